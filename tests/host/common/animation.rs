//! Animations, written as tests need them.

use image::{RgbImage, RgbaImage};
use png::{BitDepth, BlendOp, ColorType, DisposeOp, Encoder};

/// A frame of a PNG, and where and how it is laid.
pub struct Piece {
    pub pixels: RgbaImage,
    /// Left and top.
    pub at: [u32; 2],
    pub blend: BlendOp,
    pub dispose: DisposeOp,
    /// Numerator and denominator of seconds.
    pub delay: [u16; 2],
}

/// An animated PNG of these pieces; the first fills the screen. With `first` a picture stands before them that is no frame.
pub fn png_of(pieces: &[Piece], first: Option<&RgbaImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = pieces[0].pixels.dimensions();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_animated(pieces.len() as u32, 0).unwrap();
    encoder.set_sep_def_img(first.is_some()).unwrap();
    let mut writer = encoder.write_header().unwrap();
    if let Some(first) = first {
        writer.write_image_data(first.as_raw()).unwrap();
    }
    for piece in pieces {
        let (width, height) = piece.pixels.dimensions();
        writer.reset_frame_position().unwrap();
        writer.set_frame_dimension(width, height).unwrap();
        writer.set_frame_position(piece.at[0], piece.at[1]).unwrap();
        writer.set_blend_op(piece.blend).unwrap();
        writer.set_dispose_op(piece.dispose).unwrap();
        writer.set_frame_delay(piece.delay[0], piece.delay[1]).unwrap();
        writer.write_image_data(piece.pixels.as_raw()).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// An animated PNG of whole pictures, each shown for so many hundredths of a second.
pub fn png(pictures: &[RgbImage], delay: u16) -> Vec<u8> {
    let piece = |picture: &RgbImage| Piece {
        pixels: image::DynamicImage::ImageRgb8(picture.clone()).into_rgba8(),
        at: [0, 0],
        blend: BlendOp::Source,
        dispose: DisposeOp::None,
        delay: [delay, 100],
    };
    png_of(&pictures.iter().map(piece).collect::<Vec<_>>(), None)
}
