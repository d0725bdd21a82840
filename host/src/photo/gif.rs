//! The first frame of a GIF, and all of them.

use super::animation::{After, Screen};
use super::decode::{MAX_DECODER_BYTES, Refusal, check_size};
use crate::Size;
use ::gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, MemoryLimit};
use image::{RgbImage, RgbaImage, imageops};
use std::num::NonZeroU64;
use std::ops::ControlFlow;

/// A frame as the file holds it.
struct Piece {
    pixels: RgbaImage,
    /// Left and top on the screen.
    at: [u32; 2],
    after: After,
    /// In hundredths of a second.
    delay: u16,
}

fn damaged(error: DecodingError) -> Refusal {
    Refusal::Damaged(error.to_string())
}

fn decoder(bytes: &[u8]) -> Result<Decoder<&[u8]>, Refusal> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    if let Some(most) = NonZeroU64::new(MAX_DECODER_BYTES) {
        options.set_memory_limit(MemoryLimit::Bytes(most));
    }
    options.read_info(bytes).map_err(damaged)
}

fn next(decoder: &mut Decoder<&[u8]>) -> Result<Option<Piece>, Refusal> {
    let Some(frame) = decoder.next_frame_info().map_err(damaged)? else { return Ok(None) };
    let (at, delay) = ([frame.left.into(), frame.top.into()], frame.delay);
    let after = match frame.dispose {
        DisposalMethod::Any | DisposalMethod::Keep => After::Kept,
        DisposalMethod::Background => After::Cleared,
        DisposalMethod::Previous => After::TakenBack,
    };
    let size = Size::new(frame.height.into(), frame.width.into());
    check_size(size)?;
    let mut pixels = vec![0; 4 * size.area()];
    decoder.read_into_buffer(&mut pixels).map_err(damaged)?;
    let pixels = RgbaImage::from_raw(size.width as u32, size.height as u32, pixels);
    Ok(Some(Piece { pixels: pixels.ok_or_else(none)?, at, after, delay }))
}

fn none() -> Refusal {
    Refusal::Damaged("it has no frame".into())
}

/// The screen, which grows where the first frame reaches beyond it, as in browsers.
fn screen(decoder: &Decoder<&[u8]>, first: &Piece) -> Result<Size, Refusal> {
    let reaches = |at: u32, length: u32| at as usize + length as usize;
    let height = reaches(first.at[1], first.pixels.height()).max(decoder.height().into());
    let width = reaches(first.at[0], first.pixels.width()).max(decoder.width().into());
    let whole = Size::new(height, width);
    check_size(whole)?;
    Ok(whole)
}

/// The first frame on its screen; transparent where the frame does not reach.
pub(super) fn first_frame(bytes: &[u8]) -> Result<RgbaImage, Refusal> {
    let mut decoder = decoder(bytes)?;
    let first = next(&mut decoder)?.ok_or_else(none)?;
    let whole = screen(&decoder, &first)?;
    if whole == Size::new(first.pixels.height() as usize, first.pixels.width() as usize) {
        return Ok(first.pixels);
    }
    let mut picture = RgbaImage::new(whole.width as u32, whole.height as u32);
    imageops::replace(&mut picture, &first.pixels, first.at[0].into(), first.at[1].into());
    Ok(picture)
}

/// Gives what is seen from each frame on, over white, and for how many seconds.
pub(super) fn each_frame(bytes: &[u8], show: &mut dyn FnMut(RgbImage, f64) -> ControlFlow<()>) -> Result<(), Refusal> {
    let mut decoder = decoder(bytes)?;
    let mut piece = next(&mut decoder)?.ok_or_else(none)?;
    let mut drawn = Screen::new(screen(&decoder, &piece)?);
    loop {
        let picture = drawn.draw(&piece.pixels, piece.at, true, piece.after);
        if show(picture, f64::from(piece.delay) / 100.0).is_break() {
            return Ok(());
        }
        match next(&mut decoder)? {
            Some(another) => piece = another,
            None => return Ok(()),
        }
    }
}

/// Whether a second frame begins; no pixel is decoded.
pub(super) fn has_second_frame(bytes: &[u8]) -> bool {
    let mut options = DecodeOptions::new();
    options.skip_frame_decoding(true);
    let Ok(mut decoder) = options.read_info(bytes) else { return false };
    (0..2).all(|_| matches!(decoder.next_frame_info(), Ok(Some(_))))
}
