//! The first frame of a GIF.

use super::decode::{MAX_DECODER_BYTES, Refusal, check_size};
use crate::Size;
use ::gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use image::{RgbaImage, imageops};
use std::num::NonZeroU64;

/// The first frame on its screen, which grows where the frame reaches beyond it, as in browsers; transparent where the frame does not reach.
pub(super) fn first_frame(bytes: &[u8]) -> Result<RgbaImage, Refusal> {
    let damaged = |error: DecodingError| Refusal::Damaged(error.to_string());
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    if let Some(most) = NonZeroU64::new(MAX_DECODER_BYTES) {
        options.set_memory_limit(MemoryLimit::Bytes(most));
    }
    let mut decoder = options.read_info(bytes).map_err(damaged)?;
    let screen = Size::new(decoder.height().into(), decoder.width().into());
    let nothing = || Refusal::Damaged("it has no frame".into());
    let frame = decoder.next_frame_info().map_err(damaged)?.ok_or_else(nothing)?;
    let (top, left) = (usize::from(frame.top), usize::from(frame.left));
    let size = Size::new(frame.height.into(), frame.width.into());
    check_size(size)?;
    let whole = Size::new(screen.height.max(top + size.height), screen.width.max(left + size.width));
    check_size(whole)?;
    let mut pixels = vec![0; 4 * size.area()];
    decoder.read_into_buffer(&mut pixels).map_err(damaged)?;
    let frame = RgbaImage::from_raw(size.width as u32, size.height as u32, pixels).ok_or_else(nothing)?;
    if whole == size {
        return Ok(frame);
    }
    let mut picture = RgbaImage::new(whole.width as u32, whole.height as u32);
    imageops::replace(&mut picture, &frame, left as i64, top as i64);
    Ok(picture)
}
