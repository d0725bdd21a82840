//! Animated WebP: the first frame, and all of them.
//!
//! The crate `image` decodes each frame, which is handed to it as a still file of its own. Frames are composed here, since that crate takes the wrong pixels
//! for those of the frame before where a frame is cleared, and rounds opaque colours down.

use super::animation::{After, Screen};
use super::decode::{Refusal, check_size, still};
use super::orientation::said;
use crate::Size;
use image::metadata::Orientation;
use image::{ImageFormat, RgbImage, RgbaImage, imageops};
use std::ops::ControlFlow;

/// Bits of the flags that an extended file begins with.
const ANIMATION: u8 = 0b0000_0010;
const ALPHA: u8 = 0b0001_0000;

/// Bits of a frame's flags.
const CLEARED: u8 = 0b01;
const IN_PLACE: u8 = 0b10;

/// A named piece of a file.
struct Chunk<'a> {
    name: &'a [u8; 4],
    content: &'a [u8],
    /// Whether all of it is there.
    whole: bool,
}

/// The chunks of a file, or of a frame, one after the other.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let (name, behind) = rest.split_first_chunk()?;
        let (length, behind) = behind.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = behind.get(..length);
        rest = behind.get(length.saturating_add(length % 2)..).unwrap_or_default();
        Some(Chunk { name, content: content.unwrap_or(behind), whole: content.is_some() })
    })
}

/// How many bytes the file says that it has.
fn announced(bytes: &[u8]) -> usize {
    let length = bytes.get(4..8).and_then(|length| length.first_chunk());
    length.map_or(0, |length| (u32::from_le_bytes(*length) as usize).saturating_add(8))
}

/// The chunks of a file; what lies behind the length that it announces is none of it.
fn of_file(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    chunks(bytes.get(12..announced(bytes).min(bytes.len())).unwrap_or_default())
}

fn three(bytes: &[u8; 3]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

/// Flags and size of an extended file.
fn header(bytes: &[u8]) -> Option<(u8, Size)> {
    let first = of_file(bytes).next().filter(|first| first.name == b"VP8X")?;
    let ([flags, ..], sides) = first.content.split_first_chunk::<4>()?;
    let [width, height] = sides.as_chunks::<3>().0 else { return None };
    Some((*flags, Size::new(three(height) as usize + 1, three(width) as usize + 1)))
}

/// Whether the file says that it is an animation.
pub(super) fn is_animated(bytes: &[u8]) -> bool {
    header(bytes).is_some_and(|(flags, _)| flags & ANIMATION != 0)
}

/// How many frames an animation has; none is decoded.
pub(super) fn frames(bytes: &[u8]) -> usize {
    if is_animated(bytes) { of_file(bytes).filter(|chunk| chunk.name == b"ANMF").count() } else { 0 }
}

/// What makes the frames of an animation upright.
pub(super) fn orientation(bytes: &[u8]) -> Orientation {
    let named = |name: &[u8; 4]| of_file(bytes).find(|chunk| chunk.name == name).map(|chunk| chunk.content);
    said(named(b"EXIF"), named(b"XMP "))
}

fn damaged(cause: &str) -> Refusal {
    Refusal::Damaged(cause.into())
}

/// A frame: its pixels, left and top, and what is done with it.
struct Frame {
    pixels: RgbaImage,
    at: [u32; 2],
    over: bool,
    after: After,
    seconds: f64,
}

impl Frame {
    /// Decodes a frame of an animation of this size.
    fn read(chunk: &Chunk<'_>, screen: Size) -> Result<Self, Refusal> {
        let parts = chunk.content.split_first_chunk::<16>().filter(|_| chunk.whole);
        let Some(([numbers @ .., flags], picture)) = parts else { return Err(damaged("it ends within a frame")) };
        let [x, y, width, height, milliseconds] = numbers.as_chunks::<3>().0 else {
            return Err(damaged("a short frame"));
        };
        let (at, size) = ([2 * three(x), 2 * three(y)], [three(width) + 1, three(height) + 1]);
        let reaches = [0, 1].map(|side| at[side] as usize + size[side] as usize);
        if reaches[0] > screen.width || reaches[1] > screen.height {
            return Err(damaged("a frame reaches beyond the picture"));
        }
        let (picture, _) = still(&file_of(picture, [width, height])?, ImageFormat::WebP)?;
        Ok(Self {
            pixels: picture.into_rgba8(),
            at,
            over: flags & IN_PLACE == 0,
            after: if flags & CLEARED == 0 { After::Kept } else { After::Cleared },
            seconds: f64::from(three(milliseconds)) / 1e3,
        })
    }
}

/// A still file of a frame's picture: an extended one, whose size the decoder holds the picture to.
fn file_of(picture: &[u8], sides: [&[u8; 3]; 2]) -> Result<Vec<u8>, Refusal> {
    let named = |name: &[u8; 4]| chunks(picture).find(|chunk| chunk.name == name && chunk.whole);
    let (alpha, parts) = match (named(b"VP8L"), named(b"ALPH"), named(b"VP8 ")) {
        (Some(lossless), ..) => (ALPHA, vec![lossless]),
        (None, Some(alpha), Some(lossy)) => (ALPHA, vec![alpha, lossy]),
        (None, None, Some(lossy)) => (0, vec![lossy]),
        (None, _, None) => return Err(damaged("a frame without a picture")),
    };
    let header = [&[alpha, 0, 0, 0], &sides[0][..], sides[1]].concat();
    let header = Chunk { name: b"VP8X", content: &header, whole: true };
    let mut body = b"WEBP".to_vec();
    for Chunk { name, content, .. } in [header].iter().chain(&parts) {
        body.extend_from_slice(*name);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend_from_slice(content);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    Ok([b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat())
}

/// The size of an animation, and its frames; behind them why there are no more, if bytes are missing.
fn read(bytes: &[u8]) -> Result<(Size, impl Iterator<Item = Result<Frame, Refusal>>), Refusal> {
    let (_, screen) = header(bytes).ok_or_else(|| damaged("it has no header"))?;
    check_size(screen)?;
    let frames = of_file(bytes).filter(|chunk| chunk.name == b"ANMF").map(move |chunk| Frame::read(&chunk, screen));
    // Some programs leave out the byte that makes the last chunk's length even.
    let cut = bytes.len() + 1 < announced(bytes);
    Ok((screen, frames.chain(cut.then(|| Err(damaged("it is shorter than it announces"))))))
}

/// The first frame on its screen; transparent where the frame does not reach.
pub(super) fn first_frame(bytes: &[u8]) -> Result<RgbaImage, Refusal> {
    let (screen, mut frames) = read(bytes)?;
    let first = frames.next().ok_or_else(|| damaged("it has no frame"))??;
    let mut picture = RgbaImage::new(screen.width as u32, screen.height as u32);
    imageops::replace(&mut picture, &first.pixels, first.at[0].into(), first.at[1].into());
    Ok(picture)
}

/// Gives what is seen from each frame on, over white, and for how many seconds.
pub(super) fn each_frame(bytes: &[u8], show: &mut dyn FnMut(RgbImage, f64) -> ControlFlow<()>) -> Result<(), Refusal> {
    let (screen, frames) = read(bytes)?;
    let mut drawn = Screen::new(screen);
    for frame in frames {
        let Frame { pixels, at, over, after, seconds } = frame?;
        if show(drawn.draw(&pixels, at, over, after), seconds).is_break() {
            break;
        }
    }
    Ok(())
}
