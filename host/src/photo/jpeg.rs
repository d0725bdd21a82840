//! Whether all of a JPEG's picture is there.
//!
//! The decoder paints what is missing grey and reports success. So the entropy-coded data is walked here once more, without making pixels of it: every block
//! of every scan has to be there, and restart markers have to come in turn.
//!
//! # Reference
//! ITU-T T.81 (1992), annexes B, F and G.

use std::fmt;

/// What is wrong with a JPEG.
pub(super) enum Damage {
    /// The data ends before the picture does.
    Short,
    /// A code that means nothing, or a value where none can be.
    Corrupt,
    /// Another restart marker than the next one in turn.
    Restart,
    /// A colour that no scan holds.
    Colourless,
    /// The marker that ends every JPEG.
    EndMarker,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Short => "its data ends before the picture does",
            Self::Corrupt => "its data has codes that mean nothing",
            Self::Restart => "its restart markers are out of turn: a piece is missing",
            Self::Colourless => "the data of one of its colours is missing",
            Self::EndMarker => "its end-of-image marker is missing",
        })
    }
}

/// Whether its numbers are coded arithmetically, which no decoder of this program reads.
pub(super) fn is_arithmetic(bytes: &[u8]) -> bool {
    Segments::new(bytes).any(|segment| matches!(segment.marker, 0xC9..=0xCB | 0xCD..=0xCF))
}

/// The first thing wrong; none also where that cannot be told, as with codes that the file does not define.
pub(super) fn damage(bytes: &[u8]) -> Option<Damage> {
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let mut segments = Segments::new(bytes);
    while let Some(Segment { marker, body }) = segments.next() {
        match marker {
            0xC4 => tables.define(body)?,
            0xDD => tables.interval = usize::from(u16::from_be_bytes(*body.first_chunk()?)),
            0xC0..=0xC2 => frame = Some(Frame::new(body, marker == 0xC2)?),
            // Lossless, hierarchical, arithmetic: the decoder says so.
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return None,
            0xDA => {
                let frame = frame.as_mut()?;
                let scan = Scan::new(body, frame)?;
                let mut bits = Bits { bytes, at: segments.at, held: 0, count: 0, ended: false };
                match scan.walk(frame, &tables, &mut bits) {
                    Ok(()) => segments.at = bits.at,
                    Err(Stop::Damage(damage)) => return Some(damage),
                    Err(Stop::Unknown) => return None,
                }
            }
            0xD9 => {
                let complete = frame?.components.iter().all(|component| component.begun);
                return (!complete).then_some(Damage::Colourless);
            }
            _ => {}
        }
    }
    Some(Damage::EndMarker)
}

/// A marker and what belongs to it.
struct Segment<'a> {
    marker: u8,
    body: &'a [u8],
}

/// The segments of a file. They are stepped over by their length: an embedded thumbnail has an end marker of its own. What follows the end marker does not
/// count (phones append videos).
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            self.at += self.bytes.get(self.at..)?.iter().position(|&byte| byte == 0xFF)? + 1;
            let &marker = self.bytes.get(self.at)?;
            match marker {
                // A fill byte may be the first half of the next marker.
                0xFF => continue,
                0x00 | 0x01 | 0xD0..=0xD8 => self.at += 1,
                0xD9 => return Some(Segment { marker, body: &[] }),
                _ => {
                    let length = usize::from(u16::from_be_bytes(*self.bytes.get(self.at + 1..)?.first_chunk()?));
                    let body = self.bytes.get(self.at + 3..self.at + 1 + length)?;
                    self.at += 1 + length;
                    return Some(Segment { marker, body });
                }
            }
        }
    }
}

/// Huffman codes by their first 16 bits: the code's length and its meaning; zero for none.
type Codes = Vec<u16>;

#[derive(Default)]
struct Tables {
    dc: [Option<Codes>; 4],
    ac: [Option<Codes>; 4],
    /// MCUs between restart markers; zero for no such markers.
    interval: usize,
}

impl Tables {
    /// Takes in a DHT segment; none if it is malformed.
    fn define(&mut self, mut body: &[u8]) -> Option<()> {
        while let [head, rest @ ..] = body {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let count = counts.iter().map(|count| usize::from(*count)).sum();
            let (meanings, rest) = (rest.get(..count)?, &rest[count..]);
            let mut codes = vec![0; 1 << 16];
            let (mut next, mut meanings) = (0usize, meanings.iter());
            for (length, count) in (1u16..).zip(counts) {
                for _ in 0..*count {
                    let span = 1 << (16 - length);
                    codes.get_mut(next..next + span)?.fill(length << 8 | u16::from(*meanings.next()?));
                    next += span;
                }
            }
            let tables = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(head & 15))? = Some(codes);
            body = rest;
        }
        Some(())
    }
}

struct Component {
    id: u8,
    /// Blocks of an MCU: rows and columns.
    rows: usize,
    columns: usize,
    /// Blocks that the picture covers, and blocks in a row when MCUs are filled up.
    height: usize,
    width: usize,
    stride: usize,
    /// Whether a scan has held its mean values.
    begun: bool,
    /// Of a progressive file: which coefficients of each block are not zero so far.
    filled: Vec<u64>,
}

struct Frame {
    progressive: bool,
    mcus: [usize; 2],
    components: Vec<Component>,
}

impl Frame {
    /// From an SOF segment; none if it is malformed or its height comes later.
    fn new(body: &[u8], progressive: bool) -> Option<Self> {
        let [_, a, b, c, d, count, rest @ ..] = body else { return None };
        let size = [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])].map(usize::from);
        let parts = rest.as_chunks::<3>().0.get(..usize::from(*count))?;
        let factors = |part: &[u8; 3]| [usize::from(part[1] & 15), usize::from(part[1] >> 4)];
        let most = [0, 1].map(|side| parts.iter().map(|part| factors(part)[side]).max().unwrap_or(0));
        if size.contains(&0) || parts.iter().any(|part| factors(part).contains(&0)) {
            return None;
        }
        let mcus = [0, 1].map(|side| size[side].div_ceil(8 * most[side]));
        let component = |part: &[u8; 3]| {
            let [rows, columns] = factors(part);
            let blocks = |side: usize, factor: usize| (size[side] * factor).div_ceil(most[side]).div_ceil(8);
            let stride = mcus[1] * columns;
            let filled = if progressive { vec![0; stride * mcus[0] * rows] } else { Vec::new() };
            let (height, width) = (blocks(0, rows), blocks(1, columns));
            Component { id: part[0], rows, columns, height, width, stride, begun: false, filled }
        };
        Some(Self { progressive, mcus, components: parts.iter().map(component).collect() })
    }
}

/// Why a walk ends early.
enum Stop {
    Damage(Damage),
    Unknown,
}

struct Scan {
    /// Number in the frame, and numbers of the tables.
    parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    first: usize,
    last: usize,
    /// Whether it adds a bit to what earlier scans gave.
    refines: bool,
}

impl Scan {
    /// From an SOS segment; none if it is malformed.
    fn new(body: &[u8], frame: &Frame) -> Option<Self> {
        let (count, rest) = body.split_first()?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let [first, last, bits, ..] = rest else { return None };
        let part = |part: &[u8; 2]| {
            let number = frame.components.iter().position(|component| component.id == part[0])?;
            Some((number, usize::from(part[1] >> 4), usize::from(part[1] & 15)))
        };
        let parts = parts.as_chunks::<2>().0.iter().map(part).collect::<Option<Vec<_>>>()?;
        let progressive = (usize::from(*first), usize::from(*last).min(63), bits >> 4 != 0);
        let (first, last, refines) = if frame.progressive { progressive } else { (0, 63, false) };
        Some(Self { parts, first, last, refines })
    }

    /// Every block, and the restart markers between them.
    fn walk(&self, frame: &mut Frame, tables: &Tables, bits: &mut Bits<'_>) -> Result<(), Stop> {
        let alone = self.parts.len() == 1;
        let [rows, columns] = match &self.parts[..] {
            [] => return Err(Stop::Unknown),
            [(number, ..)] => [frame.components[*number].height, frame.components[*number].width],
            _ => frame.mcus,
        };
        let mut run = 0;
        for mcu in 0..rows * columns {
            if tables.interval > 0 && mcu > 0 && mcu.is_multiple_of(tables.interval) {
                bits.restart(mcu / tables.interval - 1)?;
                run = 0;
            }
            for &(number, dc, ac) in &self.parts {
                let component = &mut frame.components[number];
                let [height, width] = if alone { [1, 1] } else { [component.rows, component.columns] };
                for block in 0..height * width {
                    let row = mcu / columns * height + block / width;
                    let column = mcu % columns * width + block % width;
                    let filled = component.filled.get_mut(row * component.stride + column);
                    let codes = Pair { dc: tables.dc.get(dc), ac: tables.ac.get(ac) };
                    match filled {
                        Some(filled) => self.progressive(&codes, filled, &mut run, bits)?,
                        None if frame.progressive => return Err(Stop::Unknown),
                        None => sequential(&codes, bits)?,
                    }
                }
            }
        }
        if self.first == 0 {
            self.parts.iter().for_each(|(number, ..)| frame.components[*number].begun = true);
        }
        bits.finish();
        Ok(())
    }

    /// A block of a progressive scan; `run` is the number of blocks to come, this one included, that end without a code of their own.
    fn progressive(&self, codes: &Pair<'_>, filled: &mut u64, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Stop> {
        match (self.first, self.refines) {
            (0, false) => {
                let size = bits.code(codes.dc()?)?;
                bits.take(size.into()).map(drop)
            }
            (0, true) => bits.take(1).map(drop),
            (_, false) => self.first_values(codes, filled, run, bits),
            (_, true) => self.further_bits(codes, filled, run, bits),
        }
    }

    fn first_values(&self, codes: &Pair<'_>, filled: &mut u64, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Stop> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut at = self.first;
        while at <= self.last {
            let code = bits.code(codes.ac()?)?;
            let (zeros, size) = (code >> 4, code & 15);
            match (zeros, size) {
                (15, 0) => at += 16,
                (zeros, 0) => {
                    *run = (1 << zeros) - 1 + bits.take(zeros.into())?;
                    break;
                }
                _ => {
                    at += usize::from(zeros);
                    bits.take(size.into())?;
                    if at > 63 {
                        return Err(Stop::Damage(Damage::Corrupt));
                    }
                    *filled |= 1 << at;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn further_bits(&self, codes: &Pair<'_>, filled: &mut u64, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Stop> {
        let mut at = self.first;
        while *run == 0 && at <= self.last {
            let code = bits.code(codes.ac()?)?;
            let (mut zeros, size) = (code >> 4, code & 15);
            match (zeros, size) {
                (15, 0) => {}
                (zeros, 0) => {
                    *run = (1 << zeros) + bits.take(zeros.into())?;
                    break;
                }
                _ => bits.take(1).map(drop)?,
            }
            while at <= self.last {
                if *filled >> at & 1 == 1 {
                    bits.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size > 0 && at <= self.last {
                *filled |= 1 << at;
            }
            at += 1;
        }
        if *run > 0 {
            for _ in (at..=self.last).filter(|at| *filled >> at & 1 == 1) {
                bits.take(1)?;
            }
            *run -= 1;
        }
        Ok(())
    }
}

/// The codes of a component.
struct Pair<'a> {
    dc: Option<&'a Option<Codes>>,
    ac: Option<&'a Option<Codes>>,
}

impl<'a> Pair<'a> {
    fn dc(&self) -> Result<&'a Codes, Stop> {
        self.dc.and_then(Option::as_ref).ok_or(Stop::Unknown)
    }

    fn ac(&self) -> Result<&'a Codes, Stop> {
        self.ac.and_then(Option::as_ref).ok_or(Stop::Unknown)
    }
}

/// A block of a file that is not progressive.
fn sequential(codes: &Pair<'_>, bits: &mut Bits<'_>) -> Result<(), Stop> {
    let (dc, ac) = (codes.dc()?, codes.ac()?);
    let size = bits.code(dc)?;
    bits.take(size.into())?;
    let mut at = 1;
    while at < 64 {
        let code = bits.code(ac)?;
        let (zeros, size) = (usize::from(code >> 4), u32::from(code & 15));
        match (zeros, size) {
            (15, 0) => at += 16,
            (_, 0) => break,
            _ => {
                at += zeros + 1;
                bits.take(size)?;
                if at > 64 {
                    return Err(Stop::Damage(Damage::Corrupt));
                }
            }
        }
    }
    Ok(())
}

/// The bits of a scan, up to the next marker.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to be held; a marker once `ended`.
    at: usize,
    /// Bits, the next one highest, and how many.
    held: u64,
    count: u32,
    ended: bool,
}

impl Bits<'_> {
    fn fill(&mut self) {
        if self.count > 56 {
            return;
        }
        // Eight bytes at once where none of them may be a marker.
        if let Some(eight) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*eight);
            if word & 0x8080_8080_8080_8080 & (!word).wrapping_sub(0x0101_0101_0101_0101) == 0 {
                let bytes = (64 - self.count) / 8;
                let kept = word >> (64 - 8 * bytes) << (64 - 8 * bytes);
                self.held |= kept >> self.count;
                self.count += 8 * bytes;
                self.at += bytes as usize;
                return;
            }
        }
        while self.count <= 56 && !self.ended {
            match self.bytes.get(self.at..) {
                Some([0xFF, 0x00, ..]) => {
                    self.hold(0xFF);
                    self.at += 2;
                }
                Some([0xFF, ..] | []) | None => self.ended = true,
                Some([byte, ..]) => {
                    self.hold(*byte);
                    self.at += 1;
                }
            }
        }
    }

    fn hold(&mut self, byte: u8) {
        self.held |= u64::from(byte) << (56 - self.count);
        self.count += 8;
    }

    /// The next so many bits, at most 16.
    fn take(&mut self, count: u32) -> Result<u32, Stop> {
        if self.count < count {
            self.fill();
        }
        if self.count < count {
            return Err(Stop::Damage(Damage::Short));
        }
        // Twice, as a shift by all 64 bits is none.
        let bits = (self.held >> 1 >> (63 - count)) as u32;
        self.held <<= count;
        self.count -= count;
        Ok(bits)
    }

    /// What the next code means.
    fn code(&mut self, codes: &Codes) -> Result<u8, Stop> {
        if self.count < 16 {
            self.fill();
        }
        let code = codes[(self.held >> 48) as usize];
        match code >> 8 {
            0 if self.count < 16 => Err(Stop::Damage(Damage::Short)),
            0 => Err(Stop::Damage(Damage::Corrupt)),
            length => {
                self.take(length.into())?;
                Ok(code as u8)
            }
        }
    }

    /// Goes over a restart marker, which has to be the next in turn and to follow at once.
    fn restart(&mut self, number: usize) -> Result<(), Stop> {
        self.fill();
        if self.count >= 8 {
            return Err(Stop::Damage(Damage::Corrupt));
        }
        let fill = self.bytes.get(self.at..).into_iter().flatten().take_while(|byte| **byte == 0xFF).count();
        match self.bytes.get(self.at + fill) {
            None | Some(0xD9) => Err(Stop::Damage(Damage::Short)),
            Some(marker) if *marker == 0xD0 + (number % 8) as u8 => {
                *self = Self { at: self.at + fill + 1, held: 0, count: 0, ended: false, ..*self };
                Ok(())
            }
            Some(_) => Err(Stop::Damage(Damage::Restart)),
        }
    }

    /// Leaves `at` at the data's end or before it; what is held is not needed any more.
    fn finish(&mut self) {
        self.held = 0;
        self.count = 0;
    }
}
