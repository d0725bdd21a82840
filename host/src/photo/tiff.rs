//! How many pages a TIFF file has.

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
