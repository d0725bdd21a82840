//! Stage 7: the photo kept where an OSSM is high and blurred elsewhere, one row at a time.

/// The range of a map's values, gathered row by row, for min-max scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: f32,
    high: f32,
}

impl Default for Range {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Range {
    /// The range before any value.
    pub const EMPTY: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    /// Widens the range to hold these values.
    pub fn include(&mut self, values: &[f32]) {
        for &value in values {
            if value < self.low {
                self.low = value;
            }
            if value > self.high {
                self.high = value;
            }
        }
    }

    /// (value - low) / (high - low) in place, 0..=1; all zero where the range is empty or one value.
    pub fn scale(&self, values: &mut [f32]) {
        let span = self.high - self.low;
        for value in values {
            *value = if span > 0.0 { (*value - self.low) / span } else { 0.0 };
        }
    }
}

/// max(photo * mask, blurred * (1 - mask)): the photo where the mask is high, the blurred photo where it is low.
///
/// Over the shortest of the four. Values may be pixels in 0..=1 (every recipe but `v25`) or normalised ones (`v25`).
pub fn blend(photo: &[f32], blurred: &[f32], mask: &[f32], out: &mut [f32]) {
    for (((out, photo), blurred), mask) in out.iter_mut().zip(photo).zip(blurred).zip(mask) {
        let kept = photo * mask;
        let rest = blurred * (1.0 - mask);
        *out = if kept > rest { kept } else { rest };
    }
}
