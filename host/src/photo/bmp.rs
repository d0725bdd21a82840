//! The pixels that a BMP's run lengths leave open.

use image::{DynamicImage, ImageFormat, Rgba};
use std::io::Cursor;

/// The picture, what its run lengths step over being transparent: the decoder makes that black. A second decoding, with every colour of the palette white,
/// tells such pixels from black ones.
pub(super) fn without_holes(decoded: DynamicImage, bytes: &[u8]) -> DynamicImage {
    const RUN_LENGTHS: [u32; 2] = [1, 2];
    let number =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|four| u32::from_le_bytes(*four));
    let (Some(pixels), Some(header), Some(kind)) = (number(10), number(14), number(30)) else { return decoded };
    let palette = 14 + header as usize..pixels as usize;
    if !RUN_LENGTHS.contains(&kind) {
        return decoded;
    }
    let mut white = bytes.to_vec();
    let Some(palette) = white.get_mut(palette) else { return decoded };
    palette.fill(0xFF);
    let Ok(drawn) = image::load(Cursor::new(white), ImageFormat::Bmp) else { return decoded };
    let mut picture = decoded.into_rgba8();
    for (pixel, drawn) in picture.pixels_mut().zip(drawn.into_rgb8().pixels()) {
        if drawn.0 == [0; 3] {
            *pixel = Rgba([0; 4]);
        }
    }
    DynamicImage::ImageRgba8(picture)
}
