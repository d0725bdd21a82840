//! A photo's way into the network: file to pixels, pixels to the network's input, and the blurred reference. And the maps' way back to the photo.
//!
//! Samples stay sRGB-encoded throughout, as in the Python pipelines whose models are explained; ICC profiles are ignored.

mod animation;
mod blur;
mod bmp;
mod decode;
mod filter;
mod framing;
mod gif;
mod ico;
mod jpeg;
mod orientation;
mod placement;
mod planes;
mod rect;
mod resize;
mod tiff;

pub use animation::Animation;
pub use blur::blur;
pub(crate) use decode::ENDINGS;
pub use decode::is_named_as_photo;
pub use decode::{MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE};
pub use filter::Filter;
pub use framing::{Fit, Framing};
pub use placement::{Placement, Upsampling};
pub use planes::Planes;
pub use rect::Rect;
pub(crate) use resize::resize_whole;

use crate::Size;
use crate::hash::sha256_hex;
use image::RgbImage;

/// A decoded photo.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Photo {
    /// The path that it was read from, as given, or what the caller named it.
    pub name: String,
    /// 8-bit sRGB pixels, upright, alpha composited over white.
    pub pixels: RgbImage,
    /// SHA-256 of the file's bytes, or of the samples if there is no file: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Whether its file holds more pictures that are shown after this one ([`Animation`]).
    pub animated: bool,
}

impl Photo {
    /// A photo that is decoded already, such as a frame of a video.
    pub fn from_pixels(name: impl Into<String>, pixels: RgbImage) -> Self {
        let sha256 = sha256_hex(pixels.as_raw());
        Self { name: name.into(), pixels, sha256, animated: false }
    }

    /// Height and width, in pixels.
    pub fn size(&self) -> Size {
        size_of(&self.pixels)
    }
}

/// Height and width of a picture.
pub(crate) fn size_of(picture: &RgbImage) -> Size {
    Size::new(picture.height() as usize, picture.width() as usize)
}
