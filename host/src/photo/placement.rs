//! A layer's small map, laid over a picture: the one way in which maps get to the network's input, to the photo and to tiles.

use super::{Framing, Rect};
use crate::error::Sorted as _;
use crate::{Error, Result, Size};
use anyhow::ensure;
use decomcam_core::{mask::Range, resample};

/// How a map is upsampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upsampling {
    /// Cubic convolution, a = -0.75, as PyTorch's: smooth. Negative values of the finished map are cut off after it.
    #[default]
    Bicubic,
    /// Straight lines between the middles of neighbouring positions, borders repeated, as OpenCV's `resize` and PyTorch's. Negative values of the finished map are
    /// cut off before it, so that the map is that of the package `grad-cam`.
    Bilinear,
}

impl Upsampling {
    /// Every way, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Bicubic, Self::Bilinear];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bicubic => "bicubic",
            Self::Bilinear => "bilinear",
        }
    }
}

/// How small maps lie on a picture: upsampled to `framing`, of which only `seen` is on the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    upsampling: Upsampling,
    map: Size,
    framing: Framing,
    seen: Rect,
    picture: Size,
}

impl Placement {
    /// Maps that cover `framing` of a picture.
    pub fn new(map: Size, framing: Framing, picture: Size) -> Self {
        Self { upsampling: Upsampling::default(), map, framing, seen: framing.seen(picture), picture }
    }

    /// Maps that cover the whole of a picture.
    pub fn whole(map: Size, picture: Size) -> Self {
        Self::new(map, Framing::whole(picture), picture)
    }

    /// The same maps, upsampled in this way.
    pub fn upsampled_by(self, upsampling: Upsampling) -> Self {
        Self { upsampling, ..self }
    }

    /// The part of the picture that the map covers.
    pub fn seen(&self) -> Rect {
        self.seen
    }

    /// Height and width of the picture.
    pub fn picture(&self) -> Size {
        self.picture
    }

    /// The same maps on a smaller or larger copy of the picture, the framing rounded to its pixels.
    pub fn on_copy(&self, copy: Size) -> Self {
        let scaled =
            |value: i64, copy: usize, picture: usize| (value as f64 * copy as f64 / picture as f64).round() as i64;
        let (f, picture) = (self.framing, self.picture);
        let top = scaled(f.top, copy.height, picture.height);
        let left = scaled(f.left, copy.width, picture.width);
        let bottom = scaled(f.top + f.size.height as i64, copy.height, picture.height);
        let right = scaled(f.left + f.size.width as i64, copy.width, picture.width);
        let ((top, height), (left, width)) = (bounded(top, bottom), bounded(left, right));
        let framing = Framing { top, left, size: Size::new(height, width) };
        Self::new(self.map, framing, copy).upsampled_by(self.upsampling)
    }

    /// The same maps on the part of the picture that they cover, as if that were the whole picture.
    pub fn on_seen(&self) -> Self {
        let (top, left) = (self.framing.top - self.seen.top as i64, self.framing.left - self.seen.left as i64);
        Self::new(self.map, Framing { top, left, ..self.framing }, self.seen.size).upsampled_by(self.upsampling)
    }

    /// The map on the picture, row by row: every row of the picture is given to `row` in turn, zero where the map does not reach.
    ///
    /// # Errors
    /// [`Error::Explanation`] if the map has another size than was said, and those of `row`.
    pub fn rows(&self, map: &[f32], mut row: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let Framing { top, left, size } = self.framing;
        let mut taps = vec![resample::Tap::default(); size.width];
        let bicubic = resample::Bicubic::new(self.map.height, self.map.width, size.height, &mut taps)
            .map_err(Into::into)
            .kind(Error::Explanation)?;
        let columns_between = between(self.map.width, size.width);
        let rows_between = between(self.map.height, size.height);
        let sized = || {
            ensure!(
                map.len() == self.map.area(),
                "expected a map of {} positions, found {} values",
                self.map,
                map.len()
            );
            Ok(())
        };
        sized().kind(Error::Explanation)?;
        let mut scratch = vec![0.0; resample::scratch_len(self.map.width)];
        let mut upsampled = vec![0.0; size.width];
        let blank = vec![0.0; self.picture.width];
        let mut out = blank.clone();
        let columns = self.seen.left..self.seen.right();
        let from = (self.seen.left as i64 - left) as usize;
        for y in 0..self.picture.height {
            if (self.seen.top..self.seen.bottom()).contains(&y) {
                let inner = (y as i64 - top) as usize;
                match self.upsampling {
                    Upsampling::Bicubic => {
                        let row = bicubic.row(map, inner, &mut scratch, &mut upsampled);
                        row.map_err(Into::into).kind(Error::Explanation)?;
                    }
                    Upsampling::Bilinear => {
                        let (above, below, share) = rows_between[inner];
                        let line = |row: usize| &map[row * self.map.width..][..self.map.width];
                        let (above, below) = (line(above), line(below));
                        for (value, &(left, right, along)) in upsampled.iter_mut().zip(&columns_between) {
                            let across = |line: &[f32]| line[left] * (1.0 - along) + line[right] * along;
                            *value = across(above) * (1.0 - share) + across(below) * share;
                        }
                    }
                }
                out[columns.clone()].copy_from_slice(&upsampled[from..from + columns.len()]);
                row(y, &out)?;
            } else {
                row(y, &blank)?;
            }
        }
        Ok(())
    }

    /// The whole map on the picture; zero where it does not reach. Bicubic overshoot below zero is kept.
    ///
    /// # Errors
    /// [`Error::Explanation`] if the map has another size than was said.
    pub fn upsampled(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = Vec::with_capacity(self.picture.area());
        self.rows(map, |_, row| {
            picture.extend_from_slice(row);
            Ok(())
        })?;
        Ok(picture)
    }

    /// A saliency map: upsampled, negatives cut off (before it, if it is bilinear), min-max scaled over what the model saw.
    ///
    /// # Errors
    /// [`Error::Explanation`] if the map has another size than was said.
    pub fn saliency(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = match self.upsampling {
            Upsampling::Bicubic => self.upsampled(map)?,
            Upsampling::Bilinear => self.upsampled(&map.iter().map(|value| value.max(0.0)).collect::<Vec<f32>>())?,
        };
        for value in &mut picture {
            *value = value.max(0.0);
        }
        self.scale(&mut picture);
        Ok(picture)
    }

    /// A map of both signs: upsampled, divided by the largest size over what the model saw, in -1..=1.
    ///
    /// # Errors
    /// [`Error::Explanation`] if the map has another size than was said.
    pub fn signed(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = self.upsampled(map)?;
        let largest = picture.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        if largest > 0.0 {
            picture.iter_mut().for_each(|value| *value /= largest);
        }
        Ok(picture)
    }

    /// A mask: upsampled and min-max scaled over what the model saw.
    ///
    /// # Errors
    /// [`Error::Explanation`] if the map has another size than was said.
    pub fn mask(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = self.upsampled(map)?;
        self.scale(&mut picture);
        Ok(picture)
    }

    fn scale(&self, picture: &mut [f32]) {
        let mut range = Range::EMPTY;
        let columns = |y: usize| y * self.picture.width + self.seen.left..y * self.picture.width + self.seen.right();
        let rows = self.seen.top..self.seen.bottom();
        for y in rows.clone() {
            range.include(&picture[columns(y)]);
        }
        for y in rows {
            range.scale(&mut picture[columns(y)]);
        }
    }
}

/// Start and length of one side of a framing: at least one pixel, and at most as many as a map can be upsampled to, around the same centre. Only the padding
/// of a photo that is next to nothing in the network's input is longer, as a copy of it is at least one pixel wide.
fn bounded(start: i64, end: i64) -> (i64, usize) {
    let most = i64::from(u16::MAX);
    let beyond = (end - start - most).max(0);
    (start + beyond / 2, (end - start).clamp(1, most) as usize)
}

/// For each target sample the two source samples that it lies between, and the share of the second one.
fn between(source: usize, target: usize) -> Vec<(usize, usize, f32)> {
    let sample = |index: usize| {
        let at =
            ((index as f64 + 0.5) * source as f64 / target as f64 - 0.5).clamp(0.0, source.saturating_sub(1) as f64);
        let first = at.floor() as usize;
        (first, (first + 1).min(source.saturating_sub(1)), (at - first as f64) as f32)
    };
    (0..target).map(sample).collect()
}
