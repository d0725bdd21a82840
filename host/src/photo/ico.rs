//! The pictures of an icon.

/// The file of the largest picture, if that is PNG: the decoder of icons takes no other PNG than one with transparency.
pub(super) fn largest_as_png(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?));
    let entries = bytes.get(6..)?.as_chunks::<16>().0.iter().take(count);
    // A side of 256 pixels is written as zero.
    let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
    let number =
        |entry: &[u8; 16], at: usize| entry.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four) as usize);
    let depth = |entry: &[u8; 16]| u16::from_le_bytes([entry[6], entry[7]]);
    let largest = entries.max_by_key(|entry| (side(entry[0]) * side(entry[1]), depth(entry)))?;
    let (length, start) = (number(largest, 8)?, number(largest, 12)?);
    let picture = bytes.get(start..start.checked_add(length)?)?;
    picture.starts_with(b"\x89PNG").then_some(picture)
}
