//! Stage 7: the photo kept where an OSSM is high and blurred elsewhere, one row at a time.

use crate::Error;
use crate::resample::Bicubic;

/// The range of a map's values, gathered row by row, for min-max scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub(crate) low: f32,
    pub(crate) high: f32,
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

    /// (value - low) / (high - low) in place, 0..=1; all zero where the range is empty or one value. What is outside of the range becomes 0 or 1, and NaN
    /// becomes 0.
    pub fn scale(&self, values: &mut [f32]) {
        // Halves of a range so wide that it is beyond the range of `f32`.
        let unit = if (self.high - self.low).is_finite() { 1.0 } else { 0.5 };
        let low = unit * self.low;
        let span = unit * self.high - low;
        for value in values {
            let above = unit * *value - low;
            let within = above > 0.0 && span > 0.0;
            *value = if within && above < span { above / span } else { f32::from(u8::from(within)) };
        }
    }
}

/// The mask of one OSSM at the size of the network's input: upsampled, min-max scaled, row by row, so that no whole mask is ever in memory.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    bicubic: &'a Bicubic<'a>,
    ossm: &'a [f32],
    range: Range,
}

impl<'a> Mask<'a> {
    /// Goes over the upsampled map once to find its range. `scratch` and `row` are as for [`Bicubic::row`].
    ///
    /// # Errors
    /// Those of [`Bicubic::row`].
    pub fn new(bicubic: &'a Bicubic<'a>, ossm: &'a [f32], scratch: &mut [f32], row: &mut [f32]) -> Result<Self, Error> {
        let mut range = Range::EMPTY;
        for y in 0..bicubic.out_height() {
            bicubic.row(ossm, y, scratch, row)?;
            range.include(row);
        }
        Ok(Self { bicubic, ossm, range })
    }

    /// Row `y` of the mask, 0..=1.
    ///
    /// # Errors
    /// Those of [`Bicubic::row`].
    pub fn row(&self, y: usize, scratch: &mut [f32], out: &mut [f32]) -> Result<(), Error> {
        self.bicubic.row(self.ossm, y, scratch, out)?;
        self.range.scale(out);
        Ok(())
    }
}

/// Scores of the photo masked by each OSSM, by a network that the caller runs: `score` is given each mask in turn, reads its rows, blends its own
/// input with them ([`blend`]) and returns the score; given none, it scores the wholly blurred photo. That score is returned.
///
/// # Shapes
/// `ossms` Q x H x W; `scores` Q; `scratch` and `row` as for [`Bicubic::row`], free again when `score` is called.
///
/// # Errors
/// [`Error::Shape`] if `ossms` does not hold Q maps; those of [`Bicubic::row`]; [`Error::NonFinite`] if a score is NaN or infinite; and whatever
/// `score` returns.
pub fn scores<E: From<Error>>(
    ossms: &[f32],
    bicubic: &Bicubic,
    scratch: &mut [f32],
    row: &mut [f32],
    scores: &mut [f32],
    mut score: impl FnMut(Option<&Mask>, &mut [f32], &mut [f32]) -> Result<f32, E>,
) -> Result<f32, E> {
    let positions = bicubic.positions();
    if Some(ossms.len()) != positions.checked_mul(scores.len()) {
        return Err(Error::Shape.into());
    }
    let finite = |score: f32| if score.is_finite() { Ok(score) } else { Err(E::from(Error::NonFinite)) };
    let blurred = finite(score(None, scratch, row)?)?;
    let mut rest = ossms;
    for place in scores {
        let (ossm, others) = rest.split_at_checked(positions).ok_or(Error::Shape)?;
        let mask = Mask::new(bicubic, ossm, scratch, row)?;
        *place = finite(score(Some(&mask), scratch, row)?)?;
        rest = others;
    }
    Ok(blurred)
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
