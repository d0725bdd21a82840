//! What of TIFF files their decoder does not tell: how many pages they have, and whether JPEG data inside is whole. Each strip or tile of such data is a JPEG of its own, whose
//! tables may stand apart.
//!
//! # Reference
//! Adobe, TIFF Technical Note 2 (1995).

use super::jpeg::{self, Damage};
use std::io::Cursor;
use tiff::decoder::Decoder;
use tiff::tags::Tag;

/// Most pages that are counted: a damaged file may lead in a circle.
const MOST: usize = 10_000;

/// The pages of a TIFF file, without small copies of others; 0 if it is none.
pub(super) fn pages(bytes: &[u8]) -> usize {
    let little = match bytes.get(..4) {
        Some(b"II*\0") => true,
        Some(b"MM\0*") => false,
        _ => return 0,
    };
    let file = Tiff { bytes, little };
    let (mut pages, mut at) = (0, file.word(4).unwrap_or(0));
    for _ in 0..MOST {
        let Some(directory) = usize::try_from(at).ok().filter(|at| *at > 0).and_then(|at| file.directory(at)) else {
            break;
        };
        pages += usize::from(!directory.reduced);
        at = directory.next;
    }
    pages
}

struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
}

/// What is said of one picture.
struct Directory {
    /// Whether it is a smaller copy of another one.
    reduced: bool,
    next: u32,
}

impl Tiff<'_> {
    fn directory(&self, at: usize) -> Option<Directory> {
        /// The tag NewSubfileType, whose lowest bit says so.
        const KIND: u16 = 254;
        let entries = usize::from(self.half(at)?);
        let mut kinds = (0..entries).map(|entry| at + 2 + 12 * entry).filter(|entry| self.half(*entry) == Some(KIND));
        let kind = kinds.next().and_then(|entry| self.word(entry + 8)).unwrap_or(0);
        Some(Directory { reduced: kind & 1 == 1, next: self.word(at + 2 + 12 * entries)? })
    }

    fn half(&self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }
}

/// The number of this compression.
const JPEG: u16 = 7;
const BEGIN: [u8; 2] = [0xFF, 0xD8];
const END: [u8; 2] = [0xFF, 0xD9];

/// The first thing wrong with a strip or tile of the first picture; none also where that cannot be told.
pub(super) fn damage(bytes: &[u8]) -> Option<Damage> {
    let mut file = Decoder::new(Cursor::new(bytes)).ok()?;
    if file.find_tag_unsigned(Tag::Compression).ok()? != Some(JPEG) {
        return None;
    }
    let tables = file.get_tag_u8_vec(Tag::JPEGTables).unwrap_or_default();
    let mut numbers = |tag| file.find_tag_unsigned_vec::<u64>(tag).ok().flatten().unwrap_or_default();
    let mut places = numbers(Tag::StripOffsets);
    places.extend(numbers(Tag::TileOffsets));
    let mut lengths = numbers(Tag::StripByteCounts);
    lengths.extend(numbers(Tag::TileByteCounts));
    places.into_iter().zip(lengths).filter(|(_, length)| *length > 0).find_map(|(place, length)| {
        let place = usize::try_from(place).ok()?;
        let end = place.checked_add(usize::try_from(length).ok()?)?;
        damage_of(&tables, bytes.get(place..end)?)
    })
}

/// What is wrong with one of them. Some writers leave out the end marker, which the file's lengths make needless.
fn damage_of(tables: &[u8], piece: &[u8]) -> Option<Damage> {
    let Some(piece) = piece.strip_prefix(&BEGIN) else { return Some(Damage::Corrupt) };
    let tables = tables.strip_suffix(&END).filter(|tables| tables.starts_with(&BEGIN)).unwrap_or(&BEGIN);
    jpeg::damage(&[tables, piece].concat()).filter(|damage| !matches!(damage, Damage::EndMarker))
}
