//! A photo's way into the network: file to pixels, pixels to the network's input, and the blurred reference.
//!
//! Samples stay sRGB-encoded throughout, as in the Python pipelines whose models are explained; ICC profiles are ignored.

pub mod placement;

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use anyhow::{Result, anyhow};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use sha2::{Digest as _, Sha256};

/// Longest accepted side of a photo, in pixels.
pub const MAX_SIDE: u32 = 65_536;
/// Most pixels an accepted photo may have.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Largest accepted file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

// A 16-bit RGBA photo of MAX_PIXELS, and as much again for the decoder's own buffers.
const MAX_DECODER_BYTES: u64 = 2 * 8 * MAX_PIXELS;
const KINDS: &str = "a JPEG, PNG, WebP, BMP or GIF image";

/// A decoded photo.
#[derive(Clone, Debug)]
pub struct Photo {
    /// Where it was read from, as given.
    pub path: PathBuf,
    /// 8-bit sRGB pixels, upright (EXIF orientation applied), alpha composited over white.
    pub pixels: RgbImage,
    /// SHA-256 of the file's bytes: 64 lower-case hexadecimal digits.
    pub sha256: String,
}

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
    /// One sentence naming the file, what was expected, what was found and what to do, when the path is missing or a
    /// directory; when the file is empty, over [`MAX_FILE_BYTES`], not a photo, damaged or cut short; or when its header
    /// announces no pixels, a side over [`MAX_SIDE`] or more than [`MAX_PIXELS`] (found before any pixel is decoded).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let photo = read(path).and_then(|bytes| {
            let pixels = decode(&bytes)?;
            Ok(Self { path: path.to_path_buf(), pixels, sha256: hexadecimal(&Sha256::digest(&bytes)) })
        });
        photo.map_err(|reason| anyhow!("cannot read photo `{}`: {reason}", path.display()))
    }

    /// Cuts `framing` out of the photo and resizes it to `height` x `width`.
    ///
    /// # Shapes
    /// Planes of 3 x `height` x `width` samples in 0..=1. `pad` is the 8-bit RGB colour of what sticks out of the photo.
    ///
    /// # Conventions
    /// Pillow's antialiased bicubic `resize(..., box=framing)`: Catmull-Rom (a = -0.5) widened by the reduction, half-pixel
    /// centres, taps cut at the border of the photo (not of the framing), along rows first, each pass rounded and clamped
    /// to 8 bits. Pillow 13 goes along columns first where that is cheaper (a stretched portrait photo, say), which moves
    /// hard edges by some levels; every earlier Pillow does as is done here. Equal on any number of threads.
    ///
    /// # Accuracy
    /// Within two 8-bit levels of Pillow 12 (measured on binary noise, where one sample in a thousand differs at all);
    /// `pillow_resizes_alike` in `tests/photo.rs` asserts one.
    ///
    /// # Panics
    /// If `framing`, `height` or `width` is empty.
    pub fn network_input(&self, framing: Framing, height: u32, width: u32, pad: [u8; 3]) -> Planes {
        let (height_len, width_len) = (height as usize, width as usize);
        let plane = height_len * width_len;
        let mut data = vec![0.0; 3 * plane];
        let resized = resize(&self.pixels, framing, height, width, pad);
        for (channel, samples) in data.chunks_exact_mut(plane).enumerate() {
            for (sample, pixel) in samples.iter_mut().zip(resized.as_raw().chunks_exact(3)) {
                *sample = f32::from(pixel[channel]) / 255.0;
            }
        }
        Planes { height: height_len, width: width_len, data }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
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
    let pixels = u64::from(height) * u64::from(width);
    if pixels == 0 {
        return Err(damaged(&format_args!("its header announces {height} x {width} pixels")));
    }
    if pixels > MAX_PIXELS || height.max(width) > MAX_SIDE {
        return Err(too_large(&format_args!("{height} x {width} pixels (height x width)")));
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

/// How a photo is made to fit the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Cut out the centre; nothing is distorted, the photo's ends are not seen.
    #[default]
    Crop,
    /// Fill up with a plain colour; nothing is distorted, everything is seen, smaller.
    Pad,
    /// Take the whole photo, distorted.
    Stretch,
}

impl Fit {
    /// Every way to fit, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Crop, Self::Pad, Self::Stretch];

    /// The name on the command line: `crop`, `pad` or `stretch`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Pad => "pad",
            Self::Stretch => "stretch",
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Fit {
    type Err = anyhow::Error;

    /// The inverse of [`Fit::name`].
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|fit| fit.name() == name)
            .ok_or_else(|| anyhow!("unknown fit `{name}`: expected crop, pad or stretch"))
    }
}

/// A rectangle within a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Rows above it.
    pub top: u32,
    /// Columns to its left.
    pub left: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// The rectangle, in pixels of the photo, that becomes the network's input. With [`Fit::Pad`] it sticks out of the photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    /// First row; negative above the photo.
    pub top: i64,
    /// First column; negative left of the photo.
    pub left: i64,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Framing {
    /// Frames a photo for an input of `input_height` x `input_width` pixels.
    ///
    /// # Conventions
    /// Crop: the centred rectangle of round(`input` * u), u = min over both sides of `photo` / (`input` + `margin`). For a
    /// square this is round(size / (size + margin) * shorter side): what torchvision's `Resize(size + margin)`,
    /// `CenterCrop(size)` sees, but for torchvision's rounding of the offset (less than one pixel of the input). Pad: the
    /// centred rectangle of round(`input` * u), u = max over both sides of `photo` / `input`. Stretch: the whole photo.
    /// Only Crop heeds `margin` (pixels of the input). An odd remainder leaves the extra row or column of the photo at the
    /// bottom or right.
    pub fn new(
        fit: Fit,
        photo_height: u32,
        photo_width: u32,
        input_height: u32,
        input_width: u32,
        margin: u32,
    ) -> Self {
        let unit = |photo: u32, input: u32, margin: u32| f64::from(photo) / (f64::from(input) + f64::from(margin));
        let scaled = |input: u32, unit: f64| (f64::from(input) * unit).round() as u32;
        let (height, width) = match fit {
            Fit::Crop => {
                let unit = unit(photo_height, input_height, margin).min(unit(photo_width, input_width, margin));
                (
                    scaled(input_height, unit).clamp(1, photo_height.max(1)),
                    scaled(input_width, unit).clamp(1, photo_width.max(1)),
                )
            }
            Fit::Pad => {
                let unit = unit(photo_height, input_height, 0).max(unit(photo_width, input_width, 0));
                (scaled(input_height, unit).max(photo_height), scaled(input_width, unit).max(photo_width))
            }
            Fit::Stretch => (photo_height, photo_width),
        };
        let start = |photo: u32, side: u32| (i64::from(photo) - i64::from(side)).div_euclid(2);
        Self { top: start(photo_height, height), left: start(photo_width, width), height, width }
    }

    /// The part of the photo within the framing: what the model saw.
    pub fn seen(&self, photo_height: u32, photo_width: u32) -> Rect {
        let overlap = |start: i64, side: u32, photo: u32| {
            let first = start.clamp(0, i64::from(photo));
            let end = (start + i64::from(side)).clamp(first, i64::from(photo));
            (first as u32, (end - first) as u32)
        };
        let (top, height) = overlap(self.top, self.height, photo_height);
        let (left, width) = overlap(self.left, self.width, photo_width);
        Rect { top, left, height, width }
    }
}

/// Three planes of samples, red, green, blue: the network's input before normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `(3, height, width)`, row-major; photos have samples in 0..=1.
    pub data: Vec<f32>,
}

impl Planes {
    /// `(255 x - mean[c]) / std[c]` for every sample x of channel c; `mean` and `std` in 8-bit levels.
    ///
    /// # Shapes
    /// `(3, height, width)`, row-major.
    pub fn normalised(&self, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
        self.clone().into_normalised(mean, std)
    }

    /// [`Planes::normalised`] in place.
    pub fn into_normalised(mut self, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
        let plane = self.height * self.width;
        for ((samples, mean), std) in self.data.chunks_exact_mut(plane.max(1)).zip(mean).zip(std) {
            for sample in samples {
                *sample = (255.0 * *sample - mean) / std;
            }
        }
        self.data
    }
}

// Samples summed side by side: a multiple of the three colours and of every vector width up to 4.
const RGB_LANES: usize = 12;
const PIXELS_A_LANE_GROUP: usize = RGB_LANES / 3;

/// The source samples behind each target sample of one axis.
struct Taps {
    first: Vec<i64>,
    weights: Vec<Vec<f32>>,
}

impl Taps {
    /// Pillow's `precompute_coeffs` for its BICUBIC; `start`, `side` of the framing and `photo` in source pixels.
    fn new(start: i64, side: u32, photo: u32, target: u32) -> Self {
        assert!(side > 0 && target > 0, "an empty framing or network input cannot be resized");
        // Beyond the photo lies padding as far as the framing reaches, and nothing further on.
        let low = start.min(0);
        let high = (start + i64::from(side)).max(i64::from(photo));
        let scale = f64::from(side) / f64::from(target);
        let widening = scale.max(1.0);
        let support = 2.0 * widening;
        let mut taps = Self { first: Vec::new(), weights: Vec::new() };
        for index in 0..target {
            let centre = (start - low) as f64 + (f64::from(index) + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(high - low);
            let weights: Vec<f64> =
                (first..end).map(|source| catmull_rom((source as f64 - centre + 0.5) / widening)).collect();
            let sum: f64 = weights.iter().sum();
            taps.first.push(low + first);
            taps.weights.push(weights.into_iter().map(|weight| (weight / sum) as f32).collect());
        }
        taps
    }

    /// First source sample that any target sample needs, and one past the last.
    fn span(&self) -> (i64, i64) {
        let ends = self.first.iter().zip(&self.weights).map(|(first, weights)| first + weights.len() as i64);
        (self.first.iter().copied().min().unwrap_or(0), ends.max().unwrap_or(0))
    }
}

fn catmull_rom(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn to_level(sample: f32) -> u8 {
    // A float-to-integer cast saturates, and cuts towards zero.
    (sample + 0.5) as u8
}

/// The whole picture at another size, resampled as [`Photo::network_input`] does.
pub(crate) fn resize_whole(picture: &RgbImage, height: u32, width: u32) -> RgbImage {
    let whole = Framing { top: 0, left: 0, height: picture.height(), width: picture.width() };
    resize(picture, whole, height, width, [0; 3])
}

fn resize(picture: &RgbImage, framing: Framing, height: u32, width: u32, pad: [u8; 3]) -> RgbImage {
    let columns = Taps::new(framing.left, framing.width, picture.width(), width);
    let rows = Taps::new(framing.top, framing.height, picture.height(), height);
    let (low, high) = rows.span();
    let low = low.clamp(0, i64::from(picture.height())) as usize;
    let high = high.clamp(low as i64, i64::from(picture.height())) as usize;

    let narrow = narrow(picture, &columns, low..high, pad);
    let row_len = 3 * width as usize;
    let mut resized = RgbImage::new(width, height);
    let padding = pad.map(f32::from);
    let mut sums = vec![0.0_f32; row_len];
    for (index, target) in resized.as_mut().chunks_exact_mut(row_len).enumerate() {
        let (first, weights) = (rows.first[index], &rows.weights[index]);
        sums.fill(0.0);
        let mut padded = 0.0;
        for (row, &weight) in (first..).zip(weights) {
            let Some(row) = usize::try_from(row).ok().filter(|row| (low..high).contains(row)) else {
                padded += weight;
                continue;
            };
            let source = &narrow[(row - low) * row_len..][..row_len];
            for (sum, &sample) in sums.iter_mut().zip(source) {
                *sum += weight * f32::from(sample);
            }
        }
        for (target, sums) in target.chunks_exact_mut(3).zip(sums.chunks_exact(3)) {
            for channel in 0..3 {
                target[channel] = to_level(sums[channel] + padded * padding[channel]);
            }
        }
    }
    resized
}

/// The named rows of the picture, resized along the columns only: `(rows, width, 3)`.
fn narrow(picture: &RgbImage, columns: &Taps, rows: std::ops::Range<usize>, pad: [u8; 3]) -> Vec<u8> {
    let (low, high) = columns.span();
    let photo_width = i64::from(picture.width());
    let inside = low.clamp(0, photo_width)..high.clamp(0, photo_width);
    let lead = (inside.start - low) as usize;
    // Every colour's weight thrice, so that the sum over taps runs along the interleaved row.
    let taps: Vec<(usize, Vec<[f32; RGB_LANES]>)> = (columns.first.iter().zip(&columns.weights))
        .map(|(first, weights)| {
            let groups = weights.chunks(PIXELS_A_LANE_GROUP).map(|group| {
                let mut lanes = [0.0; RGB_LANES];
                for (lanes, &weight) in lanes.chunks_exact_mut(3).zip(group) {
                    lanes.fill(weight);
                }
                lanes
            });
            (3 * (first - low) as usize, groups.collect())
        })
        .collect();

    let source_len = 3 * picture.width() as usize;
    let target_len = 3 * columns.first.len();
    let mut narrow = vec![0; rows.len() * target_len];
    let run = |rows: std::ops::Range<usize>, narrow: &mut [u8]| {
        // The slack lets the last group of lanes read past the end; its weights there are zero.
        let mut line = vec![0.0_f32; 3 * (high - low) as usize + RGB_LANES];
        for (sample, colour) in line.iter_mut().zip(pad.iter().cycle()) {
            *sample = f32::from(*colour);
        }
        for (row, target) in rows.zip(narrow.chunks_exact_mut(target_len)) {
            let source = &picture.as_raw()[row * source_len..][3 * inside.start as usize..3 * inside.end as usize];
            for (sample, &level) in line[3 * lead..].iter_mut().zip(source) {
                *sample = f32::from(level);
            }
            for (target, (start, weights)) in target.chunks_exact_mut(3).zip(&taps) {
                let sums = weighted(&line[*start..], weights);
                for channel in 0..3 {
                    let sum = (sums[channel] + sums[channel + 3]) + (sums[channel + 6] + sums[channel + 9]);
                    target[channel] = to_level(sum);
                }
            }
        }
    };

    // Below a megasample a thread costs more than it saves.
    let worth = rows.len() * source_len / 1_000_000 + 1;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(worth);
    let band = rows.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let starts = rows.clone().step_by(band);
        for (start, narrow) in starts.zip(narrow.chunks_mut((band * target_len).max(1))) {
            let end = (start + band).min(rows.end);
            if threads == 1 {
                run(start..end, narrow);
            } else {
                let run = &run;
                scope.spawn(move || run(start..end, narrow));
            }
        }
    });
    narrow
}

// Inlined, the sum over lanes that follows makes the compiler break the lanes up into pairs: twice the time.
#[inline(never)]
fn weighted(samples: &[f32], weights: &[[f32; RGB_LANES]]) -> [f32; RGB_LANES] {
    let mut sums = [0.0; RGB_LANES];
    for (samples, weights) in samples.as_chunks::<RGB_LANES>().0.iter().zip(weights) {
        for lane in 0..RGB_LANES {
            sums[lane] += samples[lane] * weights[lane];
        }
    }
    sums
}

/// Columns summed side by side in [`blur`].
const BLUR_LANES: usize = 32;

/// Separable Gaussian blur of every plane: scipy's `gaussian_filter(plane, sigma, truncate=truncate)`.
///
/// # Conventions
/// `radius = floor(truncate * sigma + 0.5)` taps on either side, `exp(-i² / 2 sigma²)` divided by the sum; borders
/// mirrored with the edge sample repeated (`d c b a | a b c d | d c b a`, scipy's `reflect`), as often as the radius
/// needs; along columns first, then along rows. A `sigma` of zero or less leaves the planes as they are.
///
/// # Accuracy
/// Within 1e-6 of scipy for samples in 0..=1 (`scipy_blurs_alike` in `tests/photo.rs`). Sums run in a fixed order:
/// the centre, then outwards in pairs.
pub fn blur(planes: &Planes, sigma: f32, truncate: f32) -> Planes {
    let (height, width) = (planes.height, planes.width);
    let kernel = gaussian(f64::from(sigma), f64::from(truncate));
    let mut blurred = planes.clone();
    if height == 0 || width == 0 || kernel.len() == 1 {
        return blurred;
    }
    let radius = kernel.len() - 1;
    let mirrored_rows = mirrored(height, radius);
    let mirrored_columns = mirrored(width, radius);
    // Whole groups of lanes, so that the hot loops have no remainder.
    let stride = width.next_multiple_of(BLUR_LANES);
    let mut source = vec![0.0; height * stride];
    let mut line = vec![0.0; stride + 2 * radius];
    let mut column_sums = vec![0.0; stride];

    for plane in blurred.data.chunks_exact_mut(height * width) {
        for (target, row) in source.chunks_exact_mut(stride).zip(plane.chunks_exact(width)) {
            target[..width].copy_from_slice(row);
        }
        for (index, row) in plane.chunks_exact_mut(width).enumerate() {
            for (group, sums) in column_sums.as_chunks_mut::<BLUR_LANES>().0.iter_mut().enumerate() {
                let lanes = |padded: usize| -> &[f32; BLUR_LANES] {
                    &source[mirrored_rows[padded] * stride..][..stride].as_chunks().0[group]
                };
                *sums =
                    symmetric_sum(&kernel, |offset| (lanes(index + radius - offset), lanes(index + radius + offset)));
            }
            for (sample, &column) in line.iter_mut().zip(&mirrored_columns) {
                *sample = column_sums[column];
            }
            for (group, target) in row.chunks_mut(BLUR_LANES).enumerate() {
                let centre = group * BLUR_LANES + radius;
                let lanes = |at: usize| line[at..].first_chunk::<BLUR_LANES>().expect("the line has whole groups");
                let sums = symmetric_sum(&kernel, |offset| (lanes(centre - offset), lanes(centre + offset)));
                target.copy_from_slice(&sums[..target.len()]);
            }
        }
    }
    blurred
}

/// `kernel[0] x_0 + sum over i > 0 of kernel[i] (x_-i + x_i)` in every lane; `pair(i)` is `(x_-i, x_i)`.
#[inline(always)]
fn symmetric_sum<'a, const LANES: usize>(
    kernel: &[f32],
    pair: impl Fn(usize) -> (&'a [f32; LANES], &'a [f32; LANES]),
) -> [f32; LANES] {
    let mut sums = pair(0).0.map(|sample| kernel[0] * sample);
    for (offset, &weight) in kernel.iter().enumerate().skip(1) {
        let (before, after) = pair(offset);
        for lane in 0..LANES {
            sums[lane] += weight * (before[lane] + after[lane]);
        }
    }
    sums
}

/// The centre and one side of a normalised Gaussian, without the far end that no `f32` sum could notice.
fn gaussian(sigma: f64, truncate: f64) -> Vec<f32> {
    const UNNOTICED: f64 = 1e-12;
    let mut side = vec![1.0];
    if sigma > 0.0 {
        let radius = (truncate * sigma + 0.5) as usize;
        let weights = (1..=radius).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp());
        side.extend(weights.take_while(|&weight| weight > UNNOTICED));
    }
    let sum = 2.0 * side.iter().sum::<f64>() - 1.0;
    side.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// For each of `radius + len + radius` positions the index that mirroring at the borders brings there.
fn mirrored(len: usize, radius: usize) -> Vec<usize> {
    let period = 2 * len;
    let start = period - radius % period;
    let fold = |at: usize| if at < len { at } else { period - 1 - at };
    (start..start + len + 2 * radius).map(|at| fold(at % period)).collect()
}
