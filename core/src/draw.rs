//! Saliency over a photo, one row at a time, straight into the framebuffer of a display: no map of the photo's size is in memory.
//!
//! The saliency of the layer is resampled to the photo, negatives are cut off, and it is scaled over its range to s in 0..=1. With c(s) its colour in
//! inferno, whose lightness rises evenly, a pixel becomes (1 - a) photo + a c(s), a = 0.85 s^0.7: zero leaves the photo alone. The desktop draws with
//! the same function, so the pixels are the same.

mod inferno;

use crate::mask::Range;
use crate::resample::{self, Bicubic};
use crate::{Error, maths};
use inferno::{COLOURS, OPACITIES};

#[cfg(feature = "embedded-graphics")]
mod drawable;
#[cfg(feature = "embedded-graphics")]
pub use drawable::Drawing;

/// Levels of saliency that differ in colour.
const LEVELS: usize = 256;

/// A pixel (red, green, blue) under this much saliency, 0..=1. What is outside is clamped, NaN counts as zero.
pub fn tint(pixel: [u8; 3], saliency: f32) -> [u8; 3] {
    // A cast saturates and takes NaN to zero.
    let level = (saliency * (LEVELS - 1) as f32 + 0.5) as u8;
    let [cr, cg, cb] = COLOURS.get(usize::from(level)).copied().unwrap_or([0; 3]);
    let opacity = OPACITIES.get(usize::from(level)).copied().unwrap_or(0.0);
    let [r, g, b] = pixel;
    [mix(r, cr, opacity), mix(g, cg, opacity), mix(b, cb, opacity)]
}

#[inline]
fn mix(pixel: u8, colour: u8, opacity: f32) -> u8 {
    // Below 256 and not negative. An integer of more bits needs no look at the ends of the range of a byte.
    ((opacity * f32::from(colour) + 0.5) + (1.0 - opacity) * f32::from(pixel)) as i32 as u8
}

/// The same for a pixel of 16 bits: five of red, six of green, five of blue, from the highest bit down.
pub fn tint_rgb565(pixel: u16, saliency: f32) -> u16 {
    let (r, g, b) = (pixel >> 11, pixel >> 5 & 0x3f, pixel & 0x1f);
    // Their highest bits fill the lowest places, so that white is white.
    let wide = [(r << 3 | r >> 2) as u8, (g << 2 | g >> 4) as u8, (b << 3 | b >> 2) as u8];
    let [r, g, b] = tint(wide, saliency);
    u16::from(r >> 3) << 11 | u16::from(g >> 2) << 5 | u16::from(b >> 3)
}

/// `f32`s of workspace for an [`Overlay`] of maps of this width on pictures of that width.
pub const fn workspace_len(width: usize, out_width: usize) -> usize {
    resample::scratch_len(width).saturating_add(out_width)
}

/// A saliency map over a picture.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    bicubic: &'a Bicubic<'a>,
    saliency: &'a [f32],
    range: Range,
}

impl<'a> Overlay<'a> {
    /// Goes over the resampled map once to find its range.
    ///
    /// # Shapes
    /// `bicubic` from the layer's size to the picture's; `saliency` H x W of the layer, as [`crate::integrate::sum`] makes it; `workspace` at least
    /// [`workspace_len`].
    ///
    /// # Errors
    /// Those of [`Bicubic::row`].
    pub fn new(bicubic: &'a Bicubic<'a>, saliency: &'a [f32], workspace: &mut [f32]) -> Result<Self, Error> {
        let mut overlay = Self { bicubic, saliency, range: Range::EMPTY };
        for y in 0..bicubic.out_height() {
            let row = overlay.resampled(y, workspace)?;
            overlay.range.include(row);
        }
        Ok(overlay)
    }

    /// As C holds it.
    #[cfg(feature = "capi")]
    pub(crate) fn with_range(bicubic: &'a Bicubic<'a>, saliency: &'a [f32], range: Range) -> Self {
        Self { bicubic, saliency, range }
    }

    #[cfg(feature = "capi")]
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// Row `y` of the saliency, 0..=1, at the size of the picture: the first `out_width` places of `workspace`.
    ///
    /// # Errors
    /// Those of [`Bicubic::row`].
    pub fn row<'w>(&self, y: usize, workspace: &'w mut [f32]) -> Result<&'w [f32], Error> {
        let row = self.resampled(y, workspace)?;
        self.range.scale(row);
        Ok(row)
    }

    fn resampled<'w>(&self, y: usize, workspace: &'w mut [f32]) -> Result<&'w mut [f32], Error> {
        let (row, scratch) =
            workspace.split_at_mut_checked(self.bicubic.out_width()).ok_or(Error::WorkspaceTooSmall)?;
        self.bicubic.row(self.saliency, y, scratch, row)?;
        for value in &mut *row {
            *value = maths::greater(*value, 0.0);
        }
        Ok(row)
    }

    /// Row `y` of the overlay, in place of that row of the picture: red, green and blue of each pixel.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one pixel for each column; those of [`Bicubic::row`]. `pixels` is untouched then.
    pub fn rgb888(&self, y: usize, workspace: &mut [f32], pixels: &mut [[u8; 3]]) -> Result<(), Error> {
        if pixels.len() != self.bicubic.out_width() {
            return Err(Error::Shape);
        }
        for (pixel, saliency) in pixels.iter_mut().zip(self.row(y, workspace)?) {
            *pixel = tint(*pixel, *saliency);
        }
        Ok(())
    }

    /// The same for pixels of 16 bits ([`tint_rgb565`]), in the machine's byte order: many displays want the other one.
    ///
    /// # Errors
    /// Those of [`Overlay::rgb888`].
    pub fn rgb565(&self, y: usize, workspace: &mut [f32], pixels: &mut [u16]) -> Result<(), Error> {
        if pixels.len() != self.bicubic.out_width() {
            return Err(Error::Shape);
        }
        for (pixel, saliency) in pixels.iter_mut().zip(self.row(y, workspace)?) {
            *pixel = tint_rgb565(*pixel, *saliency);
        }
        Ok(())
    }
}
