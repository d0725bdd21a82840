//! Lines of words, written without `core::fmt`, which may panic.

use crate::{Cost, Target};

/// Reports the stages of one case.
pub struct Report<'t, T> {
    case: &'static str,
    target: &'t mut T,
    cost: Cost,
}

impl<'t, T: Target> Report<'t, T> {
    pub fn new(case: &'static str, target: &'t mut T) -> Self {
        Self { case, target, cost: Cost::default() }
    }

    /// `case NAME CHANNELS HEIGHT WIDTH TOP COMPONENTS WORKSPACE-BYTES`.
    pub fn case(
        &mut self,
        [channels, height, width]: [usize; 3],
        top: usize,
        components: usize,
        workspace_bytes: usize,
    ) {
        let mut line = Line::new("case");
        line.word(self.case);
        for number in [channels, height, width, top, components, workspace_bytes] {
            line.number(number as u64);
        }
        self.target.line(line.end());
    }

    /// Calls `stage` and keeps what it cost for the line of its (first) result.
    pub fn measured<R>(&mut self, stage: impl FnOnce() -> R) -> R {
        let (result, cost) = self.target.measured(stage);
        self.cost = cost;
        result
    }

    /// `stage CASE STAGE HASH LENGTH INSTRUCTIONS STACK-BYTES`.
    pub fn stage(&mut self, stage: &str, values: &[f32]) {
        let bytes = bytes_of(values);
        let mut line = Line::new("stage");
        line.word(self.case)
            .word(stage)
            .hexadecimal(fnv1a(bytes))
            .number(values.len() as u64)
            .number(self.cost.instructions)
            .number(self.cost.stack_bytes as u64);
        self.target.line(line.end());
        self.target.values(bytes);
        self.cost = Cost::default();
    }
}

/// Fowler, Noll and Vo's hash, variant 1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The values as they lie in memory: every target here is little-endian.
fn bytes_of(values: &[f32]) -> &[u8] {
    const { assert!(cfg!(target_endian = "little")) };
    // SAFETY: the same memory, and a byte needs no alignment and may have any value.
    unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// One line of words separated by spaces; what does not fit is cut off.
pub struct Line {
    bytes: [u8; 120],
    len: usize,
}

impl Line {
    pub fn new(kind: &str) -> Self {
        let mut line = Self { bytes: [0; _], len: 0 };
        line.push(kind.as_bytes());
        line
    }

    pub fn word(&mut self, word: &str) -> &mut Self {
        self.push(b" ").push(word.as_bytes())
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.push(b" ").digits(number, 10)
    }

    fn hexadecimal(&mut self, number: u64) -> &mut Self {
        self.push(b" ").digits(number, 16)
    }

    /// The line with its end.
    pub fn end(&mut self) -> &[u8] {
        self.push(b"\n");
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn digits(&mut self, number: u64, base: u64) -> &mut Self {
        let mut divisor = 1;
        while number / divisor >= base {
            divisor *= base;
        }
        while divisor > 0 {
            let digit = (number / divisor % base) as u8;
            self.push(&[digit + if digit < 10 { b'0' } else { b'a' - 10 }]);
            divisor /= base;
        }
        self
    }

    fn push(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = *byte;
                self.len += 1;
            }
        }
        self
    }
}
