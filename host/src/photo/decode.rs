//! A file's bytes become upright 8-bit pixels.

use super::orientation::orientation;
use super::{Photo, animation, bmp, gif, ico, jpeg, tiff, webp};
use crate::error::Sorted as _;
use crate::hash::sha256_hex;
use crate::{Error, Size};
use anyhow::anyhow;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
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
pub(super) const MAX_DECODER_BYTES: u64 = 2 * 8 * MAX_PIXELS as u64;
const KINDS: &str = "a JPEG, PNG, WebP, BMP, GIF, TIFF or ICO image";

/// Endings of files that may be photos, also of kinds that are refused with a sentence.
pub(crate) const ENDINGS: [&str; 17] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "dib", "gif", "tif", "tiff", "ico", "avif", "heic",
    "heif", "jxl",
];

/// Whether a file's name ends as photos' do.
pub fn is_named_as_photo(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}

impl Photo {
    /// Reads a JPEG, PNG, WebP, BMP, GIF, TIFF or ICO file.
    ///
    /// # Conventions
    /// The format follows from the file's content, never from its name. Of an animation the first frame is taken, of an icon the largest picture. 16-bit
    /// samples are rounded to 8 bits, grey is repeated three times, the orientation that EXIF or XMP states is applied, and transparent pixels
    /// are composited over white, the page that such pictures are drawn for (Pillow's `convert("RGB")` would show
    /// whatever colour the transparent pixels hide). What a GIF's first frame or a BMP's run lengths leave open is transparent; a frame that is larger than
    /// the GIF's screen is shown whole, as browsers do.
    ///
    /// # Errors
    /// [`Error::Photo`]: one sentence naming the file, what was expected, what was found and what to do, when the path is missing or a
    /// directory; when the file is empty, over [`MAX_FILE_BYTES`], not a photo, damaged or cut short; or when its header
    /// announces no pixels, a side over [`MAX_SIDE`] or more than [`MAX_PIXELS`] (found before any pixel is decoded).
    pub fn open(path: impl AsRef<Path>) -> crate::Result<Self> {
        let path = path.as_ref();
        let name = name_of(path);
        let bytes = named(&name, read(path))?;
        Self::from_bytes(name, &bytes)
    }

    /// Reads a picture that marks a region by what is bright, as [`Photo::open`] does, but transparent pixels are composited over black: nothing is marked where nothing was drawn.
    ///
    /// # Errors
    /// [`Error::Photo`], as [`Photo::open`].
    pub fn open_mask(path: impl AsRef<Path>) -> crate::Result<Self> {
        let path = path.as_ref();
        let name = name_of(path);
        let bytes = named(&name, read(path))?;
        let pixels = named(&name, decode(&bytes, BLACK))?;
        Ok(Self::from_pixels(name, pixels))
    }

    /// Reads everything that comes, such as standard input, and decodes it as [`Photo::open`] does. `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Photo`], as [`Photo::open`].
    pub fn read(name: impl Into<String>, from: impl io::Read) -> crate::Result<Self> {
        let name = name.into();
        let bytes = named(&name, everything(from))?;
        Self::from_bytes(name, &bytes)
    }

    /// Whether a file that begins with these bytes, some sixteen, is of a kind that is read.
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        image::guess_format(bytes).is_ok_and(|format| kind(format).is_some())
    }

    /// Decodes the bytes of a file, as [`Photo::open`] does. `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Photo`], as [`Photo::open`].
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> crate::Result<Self> {
        let name = name.into();
        let pixels = named(&name, decode(bytes, WHITE))?;
        let animated = image::guess_format(bytes).is_ok_and(|format| animation::has_more(bytes, format));
        Ok(Self { name, pixels, sha256: sha256_hex(bytes), animated, pages: tiff::pages(bytes) })
    }
}

/// What a file is called in messages, lines and pages: its path; one that is no text in quotes, with escapes for what is none, so that no two files have one name.
pub(crate) fn name_of(path: &Path) -> String {
    path.to_str().map_or_else(|| format!("{path:?}"), str::to_owned)
}

pub(super) fn named<T>(name: &str, found: Result<T, String>) -> crate::Result<T> {
    found.map_err(|reason| anyhow!("cannot read photo `{name}`: {reason}")).kind(Error::Photo)
}

fn unreadable(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("expected {KINDS}, found no such file; check the path"),
        _ => {
            format!("expected {KINDS}, found a file that cannot be read ({error}); check its permissions and its disk")
        }
    }
}

/// Everything, or one byte more than is accepted: a pipe or a device tells no length in advance.
fn all(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_too_long(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("expected at most {MAX_FILE_BYTES} bytes, found more; scale the photo down first"));
    }
    Ok(bytes)
}

/// Everything that comes.
pub(super) fn everything(from: impl io::Read) -> Result<Vec<u8>, String> {
    all(from).map_err(unreadable).and_then(not_too_long)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let missing = |error: io::Error| match fs::read_link(path) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => format!(
            "expected {KINDS}, found a link to `{}`, which is not there; get the file itself (`git annex get`, `dvc pull`) or mount its disk",
            target.display()
        ),
        _ => unreadable(error),
    };
    if fs::metadata(path).map_err(missing)?.is_dir() {
        return Err(format!("expected {KINDS}, found a directory; name one file in it"));
    }
    everything(File::open(path).map_err(unreadable)?)
}

/// Why bytes do not become a photo.
pub(super) enum Refusal {
    /// In the decoder's words.
    Damaged(String),
    /// The size that was found.
    TooLarge(String),
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => {
                Self::TooLarge(format!("more pixels than fit into {} MB", MAX_DECODER_BYTES / 1_000_000))
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl Refusal {
    /// Why, without what to do.
    pub(super) fn cause(self) -> String {
        match self {
            Self::Damaged(cause) => cause,
            Self::TooLarge(found) => format!("too large: {found}"),
        }
    }

    /// A sentence for the user.
    fn words(self, kind: &str, bytes: &[u8]) -> String {
        match self {
            Self::Damaged(cause) => {
                // Some decoders break their messages into lines.
                let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
                let count = bytes.len();
                format!(
                    "expected a complete {kind} image, found {count} bytes that are damaged, cut short or unusual ({cause}); get it \
                     again, or open it in an image editor and save it as PNG"
                )
            }
            Self::TooLarge(found) => format!(
                "expected at most {} megapixels and {MAX_SIDE} pixels a side, found a {kind} image of {found}; scale it down first",
                MAX_PIXELS / 1_000_000
            ),
        }
    }
}

/// The name of a format that is read.
pub(super) fn kind(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::Png => Some("PNG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Tiff => Some("TIFF"),
        ImageFormat::Ico => Some("ICO"),
        _ => None,
    }
}

/// Levels that transparent pixels are composited over.
const WHITE: u8 = 255;
const BLACK: u8 = 0;

fn decode(bytes: &[u8], background: u8) -> Result<RgbImage, String> {
    let guessed = image::guess_format(bytes).ok();
    let Some((format, kind)) = guessed.and_then(|format| Some((format, kind(format)?))) else {
        return Err(not_a_photo(bytes, guessed));
    };
    if format == ImageFormat::Jpeg && jpeg::is_arithmetic(bytes) {
        return Err(format!(
            "expected {KINDS}, found a JPEG with arithmetic coding, which few programs read; convert it first, with `djpeg` or \
             `magick FILE photo.png`"
        ));
    }
    let decoded = match format {
        ImageFormat::Gif => {
            gif::first_frame(bytes).map(|frame| (DynamicImage::ImageRgba8(frame), Orientation::NoTransforms))
        }
        ImageFormat::WebP if webp::is_animated(bytes) => {
            webp::first_frame(bytes).map(|frame| (DynamicImage::ImageRgba8(frame), webp::orientation(bytes)))
        }
        ImageFormat::Ico => match ico::largest_as_png(bytes) {
            Some(png) => still(png, ImageFormat::Png),
            None => still(bytes, format),
        },
        _ => still(bytes, format),
    };
    let (decoded, orientation) = decoded.map_err(|refusal| refusal.words(kind, bytes))?;
    // Turned last: three bytes a pixel are the least that has to be held twice.
    let mut upright = DynamicImage::ImageRgb8(over(decoded, background));
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

/// Anything but a GIF and an animated WebP, as it is stored, and what makes it upright.
pub(super) fn still(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), Refusal> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    check_size(Size::new(height as usize, width as usize))?;
    let damage = match format {
        ImageFormat::Jpeg => jpeg::damage(bytes),
        ImageFormat::Tiff => tiff::damage(bytes),
        _ => None,
    };
    if let Some(damage) = damage {
        return Err(Refusal::Damaged(damage.to_string()));
    }
    let orientation = orientation(&mut decoder, bytes);
    let mut decoded = DynamicImage::from_decoder(decoder)?;
    if format == ImageFormat::Bmp {
        decoded = bmp::without_holes(decoded, bytes);
    }
    Ok((decoded, orientation))
}

/// Refuses what has no pixels or too many, before any is decoded.
pub(super) fn check_size(size: Size) -> Result<(), Refusal> {
    if size.area() == 0 {
        return Err(Refusal::Damaged(format!("its header announces {size} pixels")));
    }
    if size.area() > MAX_PIXELS || size.height.max(size.width) > MAX_SIDE {
        return Err(Refusal::TooLarge(format!("{size} pixels (height x width)")));
    }
    Ok(())
}

/// Something else that lies where a photo is expected.
struct Foreign {
    /// One of these stands at its beginning, after white space if it is text.
    begins: &'static [&'static [u8]],
    found: &'static str,
    remedy: &'static str,
}

const CONVERT: &str = "convert it to JPEG or PNG first";

/// The kinds of files that are often found in the place of a photo.
const FOREIGN: [Foreign; 10] = [
    Foreign {
        begins: &[b"version https://git-lfs.github.com/"],
        found: "a pointer of Git LFS, which stands for the photo",
        remedy: "get the photo itself with `git lfs pull`",
    },
    Foreign {
        begins: &[b"<!doctype html", b"<html"],
        found: "a page of HTML, such as a server sends with an error",
        remedy: "get the photo itself again",
    },
    Foreign { begins: &[b"<svg"], found: "a drawing in SVG", remedy: CONVERT },
    Foreign { begins: &[b"<?xml"], found: "XML, such as a drawing in SVG", remedy: CONVERT },
    Foreign { begins: &[b"%pdf-"], found: "a PDF", remedy: "convert a page of it to JPEG or PNG first" },
    Foreign { begins: &[b"8bps"], found: "a file of Photoshop", remedy: "export it as JPEG or PNG first" },
    Foreign { begins: &[b"\0\0\0\x0cjp  \r\n\x87\n", b"\xff\x4f\xff\x51"], found: "JPEG 2000", remedy: CONVERT },
    Foreign { begins: &[b"\0\0\0\x0cjxl \r\n\x87\n", b"\xff\x0a"], found: "JPEG XL", remedy: CONVERT },
    Foreign {
        begins: &[b"ii+\0", b"mm\0+"],
        found: "a BigTIFF, which is not read",
        remedy: "save it as an ordinary TIFF, JPEG or PNG first",
    },
    Foreign {
        begins: &[b"fujifilmccd-raw", b"iiro", b"iiu\0", b"\0mrm"],
        found: "the raw data of a camera",
        remedy: "develop it to JPEG or PNG first",
    },
];

impl Foreign {
    /// What was found and what to do, if the bytes begin like this. Letters of both cases count.
    fn found(&self, bytes: &[u8]) -> Option<(&'static str, &'static str)> {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        let begins = |start: &&[u8]| {
            [bytes, text].iter().any(|bytes| bytes.get(..start.len()).is_some_and(|b| b.eq_ignore_ascii_case(start)))
        };
        self.begins.iter().any(begins).then_some((self.found, self.remedy))
    }
}

fn not_a_photo(bytes: &[u8], format: Option<ImageFormat>) -> String {
    let count = bytes.len();
    let kind = match format {
        Some(ImageFormat::Avif) => "AVIF".to_owned(),
        Some(format) => format!("{format:?}").to_uppercase(),
        // The container of what phones write; its brand tells HEIC from AVIF.
        None => match (bytes.get(4..8), bytes.get(8..12)) {
            (Some(b"ftyp"), Some(b"avif" | b"avis")) => "AVIF".to_owned(),
            (Some(b"ftyp"), Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1")) => {
                "HEIC".to_owned()
            }
            (Some(b"ftyp"), _) => {
                return format!(
                    "expected {KINDS}, found {count} bytes of HEIC, AVIF or video; convert a photo to JPEG or PNG first, and give --frames for a video"
                );
            }
            (_, None) if bytes.is_empty() => {
                return format!("expected {KINDS}, found an empty file; get it again");
            }
            _ => {
                if let Some((found, remedy)) = FOREIGN.iter().find_map(|foreign| foreign.found(bytes)) {
                    return format!("expected {KINDS}, found {found}; {remedy}");
                }
                return format!(
                    "expected {KINDS}, found {count} bytes that are none of these; convert it first, or give --frames if it is a video"
                );
            }
        },
    };
    format!("expected {KINDS}, found {count} bytes of {kind}; convert it to JPEG or PNG first")
}

pub(super) fn over_white(decoded: DynamicImage) -> RgbImage {
    over(decoded, WHITE)
}

fn over(decoded: DynamicImage, background: u8) -> RgbImage {
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8();
    }
    let translucent = decoded.into_rgba8();
    let (width, height) = translucent.dimensions();
    let mut pixels = RgbImage::new(width, height);
    for (target, source) in pixels.pixels_mut().zip(translucent.pixels()) {
        let [colour @ .., alpha] = source.0.map(u32::from);
        target.0 = colour.map(|sample| ((sample * alpha + u32::from(background) * (255 - alpha) + 127) / 255) as u8);
    }
    pixels
}
