//! An explanation as a few hundred bytes: what a board sends over a wire, and `decomcam show` draws.
//!
//! # Format, version 1
//! Numbers are little-endian, floats IEEE 754 binary32. A map is its largest value and a byte for each position, row by row: value = byte / 255 times the
//! largest; what is negative is cut off.
//!
//! | what | bytes |
//! |---|---|
//! | `DCFR` | 4 |
//! | version, 1 | 1 |
//! | reserved, 0 | 1 |
//! | height H, width W, parts Q | 2 each |
//! | class, and the class that it is held against (2^32 - 1: none) | 4 each |
//! | score | 4 |
//! | saliency | 4 + H W |
//! | Q parts: singular value, predicted and measured contribution, weight, then the OSSM | 16 + 4 + H W each |
//! | CRC-32 (IEEE 802.3) of all bytes before | 4 |
//!
//! 7 x 7 with ten parts are 771 bytes. [`frame_len`] tells from the first [`HEADER_LEN`] bytes how many a frame has, so that it can be read from a stream.

use crate::{Error, maths};

/// The version that this build writes and reads.
pub const FORMAT_VERSION: u8 = 1;

/// Bytes before the saliency.
pub const HEADER_LEN: usize = 24;

/// Parts and positions at most: bounds what a damaged header can ask for.
pub const PARTS_MAX: usize = 256;
/// See [`PARTS_MAX`].
pub const POSITIONS_MAX: usize = 1 << 16;

const MAGIC: [u8; 4] = *b"DCFR";
const NUMBERS: usize = 4;

/// Bytes of a frame of H x W positions and Q parts. None if there are none, or more than [`POSITIONS_MAX`] and [`PARTS_MAX`].
pub const fn len(height: usize, width: usize, parts: usize) -> Option<usize> {
    let positions = match height.checked_mul(width) {
        Some(positions) if positions > 0 && positions <= POSITIONS_MAX => positions,
        _ => return None,
    };
    if parts == 0 || parts > PARTS_MAX || height > 0xffff || width > 0xffff {
        return None;
    }
    let map = 4 + positions;
    Some(HEADER_LEN + map + parts * (4 * NUMBERS + map) + 4)
}

/// Bytes of the frame that begins with these.
///
/// # Errors
/// [`Error::NotAFrame`] if they are fewer than [`HEADER_LEN`] or do not begin like one, [`Error::FrameVersion`], and [`Error::FrameDamaged`] if the sizes are
/// impossible.
pub fn frame_len(start: &[u8]) -> Result<usize, Error> {
    let header = Header::read(start)?;
    len(header.height, header.width, header.parts).ok_or(Error::FrameDamaged)
}

struct Header {
    height: usize,
    width: usize,
    parts: usize,
    class: u32,
    versus: u32,
    score: f32,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(Error::NotAFrame)?;
        let &[m0, m1, m2, m3, version, _, h0, h1, w0, w1, q0, q1, c0, c1, c2, c3, v0, v1, v2, v3, s0, s1, s2, s3] =
            header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(Error::NotAFrame);
        }
        if version != FORMAT_VERSION {
            return Err(Error::FrameVersion);
        }
        let size = |low, high| usize::from(u16::from_le_bytes([low, high]));
        Ok(Self {
            height: size(h0, h1),
            width: size(w0, w1),
            parts: size(q0, q1),
            class: u32::from_le_bytes([c0, c1, c2, c3]),
            versus: u32::from_le_bytes([v0, v1, v2, v3]),
            score: f32::from_le_bytes([s0, s1, s2, s3]),
        })
    }
}

/// What goes into a frame: the parts of an [`crate::head::Explanation`], or of one that was made stage by stage.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// The class that is explained.
    pub class: u32,
    /// The class that it is held against, if any.
    pub versus: Option<u32>,
    /// What is explained.
    pub score: f32,
    /// H x W.
    pub saliency: &'a [f32],
    /// Q x H x W.
    pub ossms: &'a [f32],
    /// At least Q.
    pub singular_values: &'a [f32],
    /// Q.
    pub predicted: &'a [f32],
    /// Q.
    pub measured: &'a [f32],
    /// Q.
    pub weights: &'a [f32],
}

impl Record<'_> {
    /// Gives the frame's bytes to `sink`, in order, a few at a time. No memory but 8 bytes.
    ///
    /// # Errors
    /// Before the first byte: [`Error::Shape`] if a length does not match or a size does not fit into a frame, [`Error::NonFinite`] if a number is not
    /// finite. Then whatever `sink` returns: what it got is no frame.
    pub fn write<E: From<Error>>(&self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let parts = self.weights.len();
        let len = len(self.height, self.width, parts).ok_or(Error::Shape)?;
        let positions = self.height * self.width;
        let fits = self.saliency.len() == positions
            && self.ossms.len() == positions * parts
            && self.singular_values.len() >= parts
            && self.predicted.len() == parts
            && self.measured.len() == parts
            && self.versus != Some(u32::MAX);
        if !fits {
            return Err(Error::Shape.into());
        }
        let lists = [self.saliency, self.ossms, self.singular_values, self.predicted, self.measured, self.weights];
        if !(self.score.is_finite() && lists.iter().all(|list| maths::largest_magnitude(list).is_finite())) {
            return Err(Error::NonFinite.into());
        }
        let (mut crc, mut written) = (Crc::new(), 0);
        let mut put = |bytes: &[u8]| {
            crc.write(bytes);
            written += bytes.len();
            sink(bytes)
        };
        put(&MAGIC)?;
        put(&[FORMAT_VERSION, 0])?;
        for size in [self.height, self.width, parts] {
            put(&(size as u16).to_le_bytes())?;
        }
        put(&self.class.to_le_bytes())?;
        put(&self.versus.unwrap_or(u32::MAX).to_le_bytes())?;
        put(&self.score.to_le_bytes())?;
        put_map(self.saliency, &mut put)?;
        let numbers = self.singular_values.iter().zip(self.predicted).zip(self.measured).zip(self.weights);
        // Not zipped: that would divide by the length of a map, which a compiler may not see to be positive.
        let mut maps = self.ossms.chunks(positions.max(1));
        for (((value, predicted), measured), weight) in numbers {
            let Some(map) = maps.next() else { break };
            for number in [value, predicted, measured, weight] {
                put(&number.to_le_bytes())?;
            }
            put_map(map, &mut put)?;
        }
        debug_assert_eq!(written + 4, len);
        let crc = crc.value();
        sink(&crc.to_le_bytes())
    }
}

fn put_map<E>(map: &[f32], put: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let largest = map.iter().fold(0.0, |largest, value| maths::greater(*value, largest));
    put(&largest.to_le_bytes())?;
    for values in map.chunks(8) {
        let mut bytes = [0; 8];
        for (byte, value) in bytes.iter_mut().zip(values) {
            // A cast cuts negatives off, and takes what is not a number (0 / 0) to zero.
            *byte = (value / largest * 255.0 + 0.5) as u8;
        }
        put(bytes.get(..values.len()).unwrap_or(&[]))?;
    }
    Ok(())
}

/// A frame in borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    height: usize,
    width: usize,
    parts: usize,
    class: u32,
    versus: u32,
    score: f32,
    maps: &'a [u8],
}

/// A part of a frame.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Part<'a> {
    /// Its singular value.
    pub singular_value: f32,
    /// Its predicted contribution.
    pub predicted: f32,
    /// Its measured contribution.
    pub measured: f32,
    /// Its weight in the saliency.
    pub weight: f32,
    /// The OSSM.
    pub map: Map<'a>,
}

/// A map of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    largest: f32,
    bytes: &'a [u8],
}

impl<'a> Map<'a> {
    /// The values, row by row; within 1/510 of the largest of what was written.
    pub fn values(self) -> impl Iterator<Item = f32> + use<'a> {
        let largest = self.largest;
        self.bytes.iter().map(move |byte| f32::from(*byte) / 255.0 * largest)
    }

    /// The largest value.
    pub fn largest(&self) -> f32 {
        self.largest
    }
}

impl<'a> Frame<'a> {
    /// Reads a frame: exactly these bytes.
    ///
    /// # Errors
    /// Those of [`frame_len`], and [`Error::FrameDamaged`] if the bytes are cut short or too many, have changed, or hold a number that is not finite.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let Header { height, width, parts, class, versus, score } = Header::read(bytes)?;
        let damaged = Error::FrameDamaged;
        if len(height, width, parts) != Some(bytes.len()) {
            return Err(damaged);
        }
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(damaged)?;
        let mut crc = Crc::new();
        crc.write(content);
        if crc.value() != u32::from_le_bytes(*checksum) {
            return Err(damaged);
        }
        let maps = content.get(HEADER_LEN..).ok_or(damaged)?;
        let frame = Self { height, width, parts, class, versus, score, maps };
        let is_map = |map: Map| map.largest.is_finite() && map.largest >= 0.0;
        let is_part = |part: Part| {
            let Part { singular_value, predicted, measured, weight, map } = part;
            [singular_value, predicted, measured, weight].iter().all(|number| number.is_finite()) && is_map(map)
        };
        let sound = score.is_finite() && is_map(frame.saliency()) && frame.parts().all(is_part);
        if sound { Ok(frame) } else { Err(damaged) }
    }

    /// Rows of the maps.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of the maps.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The class that is explained.
    pub fn class(&self) -> u32 {
        self.class
    }

    /// The class that it is held against, if any.
    pub fn versus(&self) -> Option<u32> {
        (self.versus != u32::MAX).then_some(self.versus)
    }

    /// What is explained.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// The saliency.
    pub fn saliency(&self) -> Map<'a> {
        map(self.maps.get(..4 + self.height * self.width).unwrap_or(&[]))
    }

    /// The parts, in the order of their singular values.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let len = 4 + self.height * self.width;
        let parts = self.maps.get(len..).unwrap_or(&[]).chunks_exact((4 * NUMBERS + len).max(1));
        parts.take(self.parts).map(|part| {
            let number = |index: usize| float(part.get(4 * index..).unwrap_or(&[]));
            let map = map(part.get(4 * NUMBERS..).unwrap_or(&[]));
            Part { singular_value: number(0), predicted: number(1), measured: number(2), weight: number(3), map }
        })
    }
}

fn map(bytes: &[u8]) -> Map<'_> {
    Map { largest: float(bytes), bytes: bytes.get(4..).unwrap_or(&[]) }
}

/// The first four bytes.
fn float(bytes: &[u8]) -> f32 {
    bytes.first_chunk::<4>().map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}

/// CRC-32 of IEEE 802.3, reflected, a bit at a time: a frame is a few hundred bytes, a table would be a thousand.
struct Crc(u32);

impl Crc {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _bit in 0..8 {
                self.0 = (self.0 >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(self.0 & 1));
            }
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}
