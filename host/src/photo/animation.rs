//! Animated GIF, PNG and WebP: the pictures that a browser shows one after the other, and when.
//!
//! Frames of a file are pieces that are laid over what stands there, and what becomes of them afterwards differs: they stay, their place becomes transparent,
//! or what was there before comes back. All are composed here; the crate `image` composes GIF alike, but takes the wrong picture back in a PNG where a
//! frame that is cleared stands before one that is taken back, refuses 16 bits, and clears the wrong pixels of a WebP.

use super::decode::{MAX_DECODER_BYTES, Refusal, check_size, kind, name_of, named, over_white, read, still};
use super::{gif, tiff, webp};
use crate::hash::sha256_hex;
use crate::{Result, Size};
use ::png::{BitDepth, BlendOp, ColorType, DisposeOp, OutputInfo, Transformations};
use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage, Rgba, RgbaImage};
use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;

/// What is shown for at most so many seconds stands for [`USUAL`], as in browsers: files that say "as fast as possible" were made for slow computers.
const TOO_SHORT: f64 = 0.0105;
const USUAL: f64 = 0.1;

/// A file with pictures that are shown one after the other. Its pictures are composed anew each time they are asked for, so that only one is held.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Animation {
    /// The path that it was read from, as given, or what the caller named it.
    pub name: String,
    /// SHA-256 of the file's bytes: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// When each picture begins, in seconds; the first at zero.
    pub begins: Vec<f64>,
    /// When the last one ends, in seconds.
    pub seconds: f64,
    /// In the decoder's words why there are no more pictures, if the file is damaged behind these.
    pub damage: Option<String>,
    /// How many pages it has, if it is a TIFF: the first is its one picture. 0 for other files.
    pub pages: usize,
    bytes: Vec<u8>,
    format: ImageFormat,
}

/// Is given each picture in turn, and for how many seconds it is shown; [`ControlFlow::Break`] ends the work.
type Show<'a> = dyn FnMut(RgbImage, f64) -> ControlFlow<()> + 'a;

impl Animation {
    /// Reads a file; one with a single picture is an animation of one. All pictures are composed once, to know when each begins.
    ///
    /// # Errors
    /// [`crate::Error::Photo`] if the first picture cannot be read, as [`super::Photo::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = name_of(path);
        let bytes = named(&name, read(path))?;
        Self::from_bytes(name, bytes)
    }

    /// Reads everything that comes, such as standard input. `name` is what messages call it.
    ///
    /// # Errors
    /// Those of [`Animation::open`].
    pub fn read(name: impl Into<String>, from: impl Read) -> Result<Self> {
        let name = name.into();
        let bytes = named(&name, super::decode::everything(from))?;
        Self::from_bytes(name, bytes)
    }

    /// Reads the bytes of a file. `name` is what messages call it.
    ///
    /// # Errors
    /// Those of [`Animation::open`].
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        let name = name.into();
        // Refuses what is no photo in the words of photos; and the first picture of an animation is one.
        let first = super::Photo::from_bytes(name.clone(), &bytes);
        let Some(format) = image::guess_format(&bytes).ok().filter(|format| kind(*format).is_some()) else {
            return Err(first.err().unwrap_or(crate::Error::Cancelled));
        };
        let (mut begins, mut seconds) = (Vec::new(), 0.0);
        let ended = composed(&bytes, format, &mut |_, shown| {
            begins.push(seconds);
            seconds += shown;
            ControlFlow::Continue(())
        });
        let damage = ended.err().map(Refusal::cause);
        if begins.is_empty() {
            first?;
            return named(&name, Err(format!("expected pictures, found none ({})", damage.unwrap_or_default())));
        }
        let sha256 = sha256_hex(&bytes);
        let pages = tiff::pages(&bytes);
        Ok(Self { name, sha256, begins, seconds, damage, pages, bytes, format })
    }

    /// Gives every picture in turn, with its number from zero: upright, composited over white.
    pub fn each(&self, mut show: impl FnMut(usize, RgbImage) -> ControlFlow<()>) {
        let mut number = 0;
        // Where it ends in damage was found when it was read.
        let _ = composed(&self.bytes, self.format, &mut |picture, _| {
            number += 1;
            show(number - 1, picture)
        });
    }
}

/// Whether more than one picture is shown of a file of this format.
pub(super) fn has_more(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Gif => gif::has_second_frame(bytes),
        ImageFormat::Png => {
            let control = png_reader(bytes).ok().and_then(|reader| reader.info().animation_control().copied());
            control.is_some_and(|control| control.num_frames > 1)
        }
        ImageFormat::WebP => webp::frames(bytes) > 1,
        _ => false,
    }
}

fn composed(bytes: &[u8], format: ImageFormat, show: &mut Show<'_>) -> Result<(), Refusal> {
    let orientation = match format {
        ImageFormat::Gif => Orientation::NoTransforms,
        ImageFormat::WebP if webp::is_animated(bytes) => webp::orientation(bytes),
        _ => still(bytes, format)?.1,
    };
    let mut show = |picture: RgbImage, seconds: f64| {
        let mut upright = DynamicImage::ImageRgb8(picture);
        upright.apply_orientation(orientation);
        show(upright.into_rgb8(), if seconds <= TOO_SHORT { USUAL } else { seconds })
    };
    match format {
        ImageFormat::Gif => gif::each_frame(bytes, &mut show),
        ImageFormat::Png if has_more(bytes, format) => each_of_png(bytes, &mut show),
        ImageFormat::WebP if webp::is_animated(bytes) => webp::each_frame(bytes, &mut show),
        _ => {
            let (picture, _) = still(bytes, format)?;
            let _ = show(over_white(picture), 0.0);
            Ok(())
        }
    }
}

/// What becomes of a frame's place when its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It stays.
    Kept,
    /// It becomes transparent.
    Cleared,
    /// What was there before comes back.
    TakenBack,
}

/// What an animation has drawn so far.
pub(super) struct Screen {
    pixels: RgbaImage,
    /// What is laid there before the next frame is drawn: the rest of the last one.
    pending: Option<(RgbaImage, [u32; 2])>,
}

impl Screen {
    /// A transparent one.
    pub(super) fn new(size: Size) -> Self {
        Self { pixels: RgbaImage::new(size.width as u32, size.height as u32), pending: None }
    }

    /// Lays a frame over it, or puts it in the place of what is there, and gives what is then seen on white paper. What lies beyond the screen is cut off.
    pub(super) fn draw(&mut self, frame: &RgbaImage, [left, top]: [u32; 2], over: bool, after: After) -> RgbImage {
        if let Some((rest, at)) = self.pending.take() {
            self.put(&rest, at, false);
        }
        self.pending = match after {
            After::Kept => None,
            After::Cleared => Some((RgbaImage::new(frame.width(), frame.height()), [left, top])),
            After::TakenBack => {
                let under = image::imageops::crop_imm(&self.pixels, left, top, frame.width(), frame.height());
                Some((under.to_image(), [left, top]))
            }
        };
        self.put(frame, [left, top], over);
        over_white(DynamicImage::ImageRgba8(self.pixels.clone()))
    }

    fn put(&mut self, frame: &RgbaImage, [left, top]: [u32; 2], over: bool) {
        for (x, y, pixel) in frame.enumerate_pixels() {
            if let Some(under) = self.pixels.get_pixel_mut_checked(left.saturating_add(x), top.saturating_add(y)) {
                match (over, pixel.0[3]) {
                    (true, 0) => {}
                    (false, _) | (true, 255) => *under = *pixel,
                    (true, _) => *under = over_pixel(*under, *pixel),
                }
            }
        }
    }
}

/// A translucent pixel over another one, as the specification of PNG has it: alpha is not multiplied into colours.
fn over_pixel(under: Rgba<u8>, over: Rgba<u8>) -> Rgba<u8> {
    let ([below @ .., below_alpha], [above @ .., alpha]) = (under.0.map(u32::from), over.0.map(u32::from));
    // In units of 255 squared.
    let (mine, rest) = (255 * alpha, below_alpha * (255 - alpha));
    let mixed =
        |above: u32, below: u32| ((above * mine + below * rest + (mine + rest) / 2) / (mine + rest).max(1)) as u8;
    let [red, green, blue] = [0, 1, 2].map(|channel| mixed(above[channel], below[channel]));
    Rgba([red, green, blue, ((mine + rest + 127) / 255) as u8])
}

fn damaged(error: ::png::DecodingError) -> Refusal {
    Refusal::Damaged(error.to_string())
}

fn png_reader(bytes: &[u8]) -> Result<::png::Reader<Cursor<&[u8]>>, Refusal> {
    let limits = ::png::Limits { bytes: MAX_DECODER_BYTES as usize };
    let mut decoder = ::png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(damaged)
}

fn each_of_png(bytes: &[u8], show: &mut Show<'_>) -> Result<(), Refusal> {
    let mut reader = png_reader(bytes)?;
    let size = Size::new(reader.info().height as usize, reader.info().width as usize);
    check_size(size)?;
    let count = reader.info().animation_control().map_or(1, |control| control.num_frames);
    let mut screen = Screen::new(size);
    let too_large = || Refusal::TooLarge(format!("{size} pixels (height x width)"));
    let mut buffer = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    // A picture for programs that know no animations may stand before the first frame.
    if reader.info().frame_control().is_none() {
        reader.next_frame(&mut buffer).map_err(damaged)?;
    }
    for _ in 0..count {
        let output = reader.next_frame(&mut buffer).map_err(damaged)?;
        let Some(control) = reader.info().frame_control().copied() else {
            return Err(Refusal::Damaged("a frame without its place".into()));
        };
        let frame = rgba(&output, &buffer).ok_or_else(|| Refusal::Damaged("a frame of an unknown kind".into()))?;
        let after = match control.dispose_op {
            DisposeOp::None => After::Kept,
            DisposeOp::Background => After::Cleared,
            DisposeOp::Previous => After::TakenBack,
        };
        let over = control.blend_op == BlendOp::Over;
        let picture = screen.draw(&frame, [control.x_offset, control.y_offset], over, after);
        let unit = if control.delay_den == 0 { 100 } else { control.delay_den };
        if show(picture, f64::from(control.delay_num) / f64::from(unit)).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// A decoded frame with four samples a pixel; 16-bit ones are rounded to 8 bits.
fn rgba(output: &OutputInfo, buffer: &[u8]) -> Option<RgbaImage> {
    let samples = buffer.get(..output.buffer_size())?;
    let samples: Vec<u8> = match output.bit_depth {
        BitDepth::Eight => samples.to_vec(),
        BitDepth::Sixteen => {
            let rounded = |pair: &[u8; 2]| ((u32::from(u16::from_be_bytes(*pair)) + 128) / 257) as u8;
            samples.as_chunks().0.iter().map(rounded).collect()
        }
        _ => return None,
    };
    let pixels: Vec<u8> = match output.color_type {
        ColorType::Grayscale => samples.iter().flat_map(|&grey| [grey, grey, grey, 255]).collect(),
        ColorType::GrayscaleAlpha => {
            samples.as_chunks().0.iter().flat_map(|&[grey, alpha]| [grey, grey, grey, alpha]).collect()
        }
        ColorType::Rgb => {
            samples.as_chunks().0.iter().flat_map(|&[red, green, blue]| [red, green, blue, 255]).collect()
        }
        ColorType::Rgba => samples,
        ColorType::Indexed => return None,
    };
    RgbaImage::from_raw(output.width, output.height, pixels)
}
