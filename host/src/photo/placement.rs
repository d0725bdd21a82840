//! A layer's small map, laid over a picture: the one way in which maps get to the network's input, to the photo and to tiles.

use crate::photo::{Framing, Rect};
use anyhow::Result;
use decomcam_core::{mask::Range, resample};

/// How `height` x `width` maps lie on a picture: bicubically upsampled to `framing`, of which only `seen` is on the picture.
pub struct Placement {
    height: usize,
    width: usize,
    framing: Framing,
    seen: Rect,
    picture_width: usize,
    picture_height: usize,
}

impl Placement {
    /// Maps that cover `framing` of a picture of `picture_height` x `picture_width` pixels.
    pub fn new(
        [height, width]: [usize; 2],
        framing: Framing,
        [picture_height, picture_width]: [usize; 2],
    ) -> Result<Self> {
        let seen = framing.seen(picture_height as u32, picture_width as u32);
        Ok(Self { height, width, framing, seen, picture_height, picture_width })
    }

    /// Maps that cover the whole of a picture.
    pub fn whole(map: [usize; 2], [height, width]: [usize; 2]) -> Result<Self> {
        let framing = Framing { top: 0, left: 0, height: height as u32, width: width as u32 };
        Self::new(map, framing, [height, width])
    }

    /// The part of the picture that the map covers.
    pub fn seen(&self) -> Rect {
        self.seen
    }

    /// The same maps on a smaller or larger copy of the picture, the framing rounded to its pixels.
    pub fn on_copy(&self, copy: [usize; 2]) -> Result<Self> {
        let scaled =
            |value: i64, copy: usize, picture: usize| (value as f64 * copy as f64 / picture as f64).round() as i64;
        let f = self.framing;
        let top = scaled(f.top, copy[0], self.picture_height);
        let left = scaled(f.left, copy[1], self.picture_width);
        let bottom = scaled(f.top + i64::from(f.height), copy[0], self.picture_height);
        let right = scaled(f.left + i64::from(f.width), copy[1], self.picture_width);
        let framing = Framing { top, left, height: (bottom - top).max(1) as u32, width: (right - left).max(1) as u32 };
        Self::new([self.height, self.width], framing, copy)
    }

    /// The map on the picture, row by row: every row of the picture is given to `row` in turn, zero where the map does not reach.
    pub fn rows(&self, map: &[f32], mut row: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let mut taps = vec![resample::Tap::default(); self.framing.width as usize];
        let bicubic = resample::Bicubic::new(self.height, self.width, self.framing.height as usize, &mut taps)?;
        let mut scratch = vec![0.0; resample::scratch_len(self.width)];
        let mut upsampled = vec![0.0; self.framing.width as usize];
        let mut out = vec![0.0; self.picture_width];
        let blank = vec![0.0; self.picture_width];
        let (left, width) = (self.seen.left as usize, self.seen.width as usize);
        let from = (i64::from(self.seen.left) - self.framing.left) as usize;
        let rows = self.seen.top as usize..(self.seen.top + self.seen.height) as usize;
        for y in 0..self.picture_height {
            if rows.contains(&y) {
                let inner = (y as i64 - self.framing.top) as usize;
                bicubic.row(map, inner, &mut scratch, &mut upsampled)?;
                out[left..left + width].copy_from_slice(&upsampled[from..from + width]);
                row(y, &out)?;
            } else {
                row(y, &blank)?;
            }
        }
        Ok(())
    }

    /// The whole map on the picture; zero where it does not reach. Bicubic overshoot below zero is kept.
    pub fn upsampled(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = Vec::with_capacity(self.picture_height * self.picture_width);
        self.rows(map, |_, row| {
            picture.extend_from_slice(row);
            Ok(())
        })?;
        Ok(picture)
    }

    /// A saliency map: upsampled, negatives cut off, min-max scaled over what the model saw.
    pub fn saliency(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = self.upsampled(map)?;
        for value in &mut picture {
            *value = value.max(0.0);
        }
        self.scale(&mut picture);
        Ok(picture)
    }

    /// A mask: upsampled and min-max scaled over what the model saw.
    pub fn mask(&self, map: &[f32]) -> Result<Vec<f32>> {
        let mut picture = self.upsampled(map)?;
        self.scale(&mut picture);
        Ok(picture)
    }

    fn scale(&self, picture: &mut [f32]) {
        let (left, width) = (self.seen.left as usize, self.seen.width as usize);
        let mut range = Range::EMPTY;
        let rows = |y: usize| y * self.picture_width + left..y * self.picture_width + left + width;
        let seen = self.seen.top as usize..(self.seen.top + self.seen.height) as usize;
        for y in seen.clone() {
            range.include(&picture[rows(y)]);
        }
        for y in seen {
            range.scale(&mut picture[rows(y)]);
        }
    }
}
