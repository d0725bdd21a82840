//! Upsampling a map to the photo, one row at a time: bicubic as in PyTorch (`align_corners=False`, a = -0.75, edges repeated).

use crate::{Error, maths};

/// The four weights of one output column, and where on the source they start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Tap {
    first: u16,
    weights: [f32; 4],
}

impl Tap {
    /// What a `static` array of taps starts with; [`Bicubic::new`] fills them.
    pub const ZERO: Self = Self { first: 0, weights: [0.0; 4] };

    /// Whether it is one for sources of this width: those that [`Bicubic::new`] fills are, those that C passes may not be.
    #[cfg(feature = "capi")]
    pub(crate) fn is_for(&self, width: usize) -> bool {
        usize::from(self.first) <= width && self.weights.iter().all(|weight| weight.abs() <= 1.25)
    }
}

/// Bicubic resampling of `height` x `width` maps, one output row a call.
///
/// # Reference
/// Keys 1981; constants as in PyTorch's `upsample_bicubic2d`.
#[derive(Clone, Copy, Debug)]
pub struct Bicubic<'t> {
    height: usize,
    width: usize,
    out_height: usize,
    taps: &'t [Tap],
}

/// `f32`s of scratch for [`Bicubic::row`]: one source row with two repeated values at each end.
pub const fn scratch_len(width: usize) -> usize {
    width.saturating_add(4)
}

impl<'t> Bicubic<'t> {
    /// Resampling of `height` x `width` maps to `out_height` x `taps.len()`. Fills `taps`, one for each output column.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero, or `height`, `width` or `out_height` is more than 65,535. `taps` is untouched then.
    pub fn new(height: usize, width: usize, out_height: usize, taps: &'t mut [Tap]) -> Result<Self, Error> {
        Bicubic::with_taps(height, width, out_height, taps)?;
        let out_width = taps.len();
        for (x, tap) in taps.iter_mut().enumerate() {
            let (floor, weights) = weights_at(x, width, out_width);
            // `floor - 1` is the first of the four columns; the scratch row has two more on each side of the source.
            *tap = Tap { first: (floor + 1) as u16, weights };
        }
        Ok(Self { height, width, out_height, taps })
    }

    /// The same with taps that [`Bicubic::new`] has filled before.
    pub(crate) fn with_taps(height: usize, width: usize, out_height: usize, taps: &'t [Tap]) -> Result<Self, Error> {
        let sizes = 1..=usize::from(u16::MAX);
        if !sizes.contains(&height) || !sizes.contains(&width) || !sizes.contains(&out_height) || taps.is_empty() {
            return Err(Error::Shape);
        }
        Ok(Self { height, width, out_height, taps })
    }

    /// Columns of a source map.
    pub fn source_width(&self) -> usize {
        self.width
    }

    /// Rows of a resampled map.
    pub fn out_height(&self) -> usize {
        self.out_height
    }

    /// Columns of a resampled map.
    pub fn out_width(&self) -> usize {
        self.taps.len()
    }

    /// Values in a source map.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Row `y` of the resampled map.
    ///
    /// # Shapes
    /// `map` height x width; `scratch` at least [`scratch_len`]`(width)`; `out` as long as the taps.
    ///
    /// # Errors
    /// [`Error::Shape`] if `map` or `out` does not match or there is no such row; [`Error::WorkspaceTooSmall`]; [`Error::NonFinite`] if a value of the
    /// rows around is NaN or infinite, or a value of the resampled row would be. `out` is untouched then.
    pub fn row(&self, map: &[f32], y: usize, scratch: &mut [f32], out: &mut [f32]) -> Result<(), Error> {
        if map.len() != self.height * self.width || out.len() != self.taps.len() || y >= self.out_height {
            return Err(Error::Shape);
        }
        let padded = scratch.get_mut(..scratch_len(self.width)).ok_or(Error::WorkspaceTooSmall)?;
        self.blend_rows(map, y, padded).ok_or(Error::Shape)?;
        let largest = maths::largest_magnitude(padded);
        if !largest.is_finite() {
            return Err(Error::NonFinite);
        }
        let at = |tap: &Tap| {
            let first = usize::from(tap.first);
            let Some([a, b, c, d]) = padded.get(first..first + 4) else {
                return f32::NAN; // never: taps are made for the width
            };
            let [wa, wb, wc, wd] = tap.weights;
            (wa * a + wb * b) + (wc * c + wd * d)
        };
        // The weights' magnitudes sum to less than two: mostly there is no need to look.
        if largest >= 0.25 * f32::MAX && !self.taps.iter().all(|tap| at(tap).is_finite()) {
            return Err(Error::NonFinite);
        }
        for (out, tap) in out.iter_mut().zip(self.taps) {
            *out = at(tap);
        }
        Ok(())
    }

    /// The four source rows around output row `y`, blended, with the ends repeated.
    fn blend_rows(&self, map: &[f32], y: usize, padded: &mut [f32]) -> Option<()> {
        let (floor, [wa, wb, wc, wd]) = weights_at(y, self.height, self.out_height);
        let row = |offset: i32| {
            // `clamp` would panic if there were no rows, which a compiler cannot rule out.
            let y = (floor + offset).min(self.height as i32 - 1).max(0) as usize;
            map.get(y * self.width..(y + 1) * self.width)
        };
        let (a, b, c, d) = (row(-1)?, row(0)?, row(1)?, row(2)?);
        let inner = padded.get_mut(2..2 + self.width)?;
        for ((((out, a), b), c), d) in inner.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out = (wa * a + wb * b) + (wc * c + wd * d);
        }
        let (first, last) = (*inner.first()?, *inner.last()?);
        padded.get_mut(..2)?.fill(first);
        padded.get_mut(2 + self.width..)?.fill(last);
        Some(())
    }
}

/// Where output element `index` of `out_len` falls on `len` source elements: the source index below it (-1 to len - 1), and the weights of the four
/// around it.
fn weights_at(index: usize, len: usize, out_len: usize) -> (i32, [f32; 4]) {
    const A: f32 = -0.75;
    let scale = len as f32 / out_len as f32;
    let position = scale * (index as f32 + 0.5) - 0.5;
    // `as` truncates towards zero; positions are never below -0.5.
    let floor = if position < 0.0 { -1 } else { position as i32 };
    let t = position - floor as f32;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    (floor, [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)])
}
