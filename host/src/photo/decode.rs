//! A file's bytes become upright 8-bit pixels.

use super::Photo;
use crate::error::Sorted as _;
use crate::hash::sha256_hex;
use crate::{Error, Size};
use anyhow::anyhow;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor, Read as _};
use std::path::Path;

/// Longest accepted side of a photo, in pixels.
pub const MAX_SIDE: usize = 65_536;
/// Most pixels an accepted photo may have.
pub const MAX_PIXELS: usize = 100_000_000;
/// Largest accepted file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

// A 16-bit RGBA photo of MAX_PIXELS, and as much again for the decoder's own buffers.
const MAX_DECODER_BYTES: u64 = 2 * 8 * MAX_PIXELS as u64;
const KINDS: &str = "a JPEG, PNG, WebP, BMP or GIF image";

impl Photo {
    /// Reads a JPEG, PNG, WebP, BMP or GIF file.
    ///
    /// # Conventions
    /// The format follows from the file's content, never from its name. Of an animation the first frame is taken. 16-bit
    /// samples are rounded to 8 bits, grey is repeated three times, EXIF orientation is applied, and transparent pixels
    /// are composited over white, the page that such pictures are drawn for (Pillow's `convert("RGB")` would show
    /// whatever colour the transparent pixels hide).
    ///
    /// # Errors
    /// [`Error::Photo`]: one sentence naming the file, what was expected, what was found and what to do, when the path is missing or a
    /// directory; when the file is empty, over [`MAX_FILE_BYTES`], not a photo, damaged or cut short; or when its header
    /// announces no pixels, a side over [`MAX_SIDE`] or more than [`MAX_PIXELS`] (found before any pixel is decoded).
    pub fn open(path: impl AsRef<Path>) -> crate::Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = named(&name, read(path))?;
        Self::from_bytes(name, &bytes)
    }

    /// Decodes the bytes of a file, as [`Photo::open`] does. `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Photo`], as [`Photo::open`].
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> crate::Result<Self> {
        let name = name.into();
        let pixels = named(&name, decode(bytes))?;
        Ok(Self { name, pixels, sha256: sha256_hex(bytes) })
    }
}

fn named<T>(name: &str, found: Result<T, String>) -> crate::Result<T> {
    found.map_err(|reason| anyhow!("cannot read photo `{name}`: {reason}")).kind(Error::Photo)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("expected {KINDS}, found no such file; check the path"),
        _ => {
            format!("expected {KINDS}, found a file that cannot be read ({error}); check its permissions and its disk")
        }
    };
    if fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Err(format!("expected {KINDS}, found a directory; name one file in it"));
    }
    // Reading stops by itself, because a pipe or a device tells no length in advance.
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("expected at most {MAX_FILE_BYTES} bytes, found more; scale the photo down first"));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let guessed = image::guess_format(bytes).ok();
    let (format, kind) = match guessed {
        Some(format @ ImageFormat::Jpeg) => (format, "JPEG"),
        Some(format @ ImageFormat::Png) => (format, "PNG"),
        Some(format @ ImageFormat::WebP) => (format, "WebP"),
        Some(format @ ImageFormat::Bmp) => (format, "BMP"),
        Some(format @ ImageFormat::Gif) => (format, "GIF"),
        other => return Err(not_a_photo(bytes, other)),
    };
    let damaged = |cause: &dyn fmt::Display| {
        let count = bytes.len();
        // Some decoders break their messages into lines.
        let cause = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        format!(
            "expected a complete {kind} image, found {count} bytes that are damaged, cut short or unusual ({cause}); get it \
             again, or open it in an image editor and save it as PNG"
        )
    };
    let too_large = |found: &dyn fmt::Display| {
        let megapixels = MAX_PIXELS / 1_000_000;
        format!(
            "expected at most {megapixels} megapixels and {MAX_SIDE} pixels a side, found a {kind} image of {found}; scale it \
             down first"
        )
    };
    let refused = |error| match error {
        ImageError::Limits(_) => {
            too_large(&format_args!("more pixels than fit into {} MB", MAX_DECODER_BYTES / 1_000_000))
        }
        error => damaged(&error),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;

    let (width, height) = decoder.dimensions();
    let size = Size::new(height as usize, width as usize);
    if size.area() == 0 {
        return Err(damaged(&format_args!("its header announces {size} pixels")));
    }
    if size.area() > MAX_PIXELS || size.height.max(size.width) > MAX_SIDE {
        return Err(too_large(&format_args!("{size} pixels (height x width)")));
    }
    if kind == "JPEG" && !jpeg_reaches_its_end(bytes) {
        return Err(damaged(&"its end-of-image marker is missing"));
    }

    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
    let mut upright = DynamicImage::ImageRgb8(over_white(decoded));
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

fn not_a_photo(bytes: &[u8], format: Option<ImageFormat>) -> String {
    let count = bytes.len();
    let kind = match format {
        Some(format) => format!("{format:?}").to_uppercase(),
        // The container of what phones write; its brand tells HEIC from AVIF.
        None if bytes.get(4..8) == Some(b"ftyp") => "HEIC, AVIF or video".to_owned(),
        None if bytes.is_empty() => {
            return format!("expected {KINDS}, found an empty file; get it again");
        }
        None => {
            return format!("expected {KINDS}, found {count} bytes that are none of these; convert it first");
        }
    };
    format!("expected {KINDS}, found {count} bytes of {kind}; convert it to JPEG or PNG first")
}

// The JPEG decoder paints what is missing grey and reports success, so the markers are walked here. Segments are stepped
// over by their length: an embedded thumbnail has an end marker of its own. What follows the end marker does not count
// (phones append videos).
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    const RESTARTS_AND_START: std::ops::RangeInclusive<u8> = 0xD0..=0xD8;
    let mut at = 2;
    while let Some(skipped) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) {
        at += skipped + 1;
        let Some(&marker) = bytes.get(at) else {
            return false;
        };
        match marker {
            0xD9 => return true,
            // A fill byte may be the first half of the next marker.
            0xFF => continue,
            0x00 | 0x01 => at += 1,
            _ if RESTARTS_AND_START.contains(&marker) => at += 1,
            _ => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

fn over_white(decoded: DynamicImage) -> RgbImage {
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8();
    }
    let translucent = decoded.into_rgba8();
    let (width, height) = translucent.dimensions();
    let mut pixels = RgbImage::new(width, height);
    for (target, source) in pixels.pixels_mut().zip(translucent.pixels()) {
        let [colour @ .., alpha] = source.0.map(u32::from);
        target.0 = colour.map(|sample| ((sample * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
    }
    pixels
}
