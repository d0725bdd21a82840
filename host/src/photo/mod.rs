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
mod webp;

pub use animation::Animation;
pub use blur::blur;
pub use decode::is_named_as_photo;
pub(crate) use decode::{ENDINGS, name_of};
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

/// Samples of one colour differ by at most so many levels of 255.
const NOISE: u8 = 3;

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
    /// How many pages its file has, if it is a TIFF: this one is the first. 0 for other files.
    pub pages: usize,
}

impl Photo {
    /// A photo that is decoded already, such as a frame of a video.
    pub fn from_pixels(name: impl Into<String>, pixels: RgbImage) -> Self {
        let sha256 = sha256_hex(pixels.as_raw());
        Self { name: name.into(), pixels, sha256, animated: false, pages: 0 }
    }

    /// Whether these pixels are all of one colour: no sample of a channel differs from another one by more than a camera's noise.
    pub fn is_plain(&self, within: Rect) -> bool {
        let mut range = [[u8::MAX, u8::MIN]; 3];
        let (rows, columns) = (within.top..within.bottom(), 3 * within.left..3 * within.right());
        let lines = self.pixels.as_raw().chunks_exact((3 * self.size().width).max(1)).enumerate();
        for (_, line) in lines.filter(|(y, _)| rows.contains(y)) {
            for (at, &sample) in line.get(columns.clone()).unwrap_or_default().iter().enumerate() {
                let [low, high] = &mut range[at % 3];
                (*low, *high) = ((*low).min(sample), (*high).max(sample));
            }
            if range.iter().any(|[low, high]| high.saturating_sub(*low) > NOISE) {
                return false;
            }
        }
        true
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
