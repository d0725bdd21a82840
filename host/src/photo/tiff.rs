//! JPEG data inside TIFF files: each strip or tile is a JPEG of its own, whose tables may stand apart.
//!
//! # Reference
//! Adobe, TIFF Technical Note 2 (1995).

use super::jpeg::{self, Damage};
use std::io::Cursor;
use tiff::decoder::Decoder;
use tiff::tags::Tag;

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
