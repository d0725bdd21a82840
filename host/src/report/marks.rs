//! Where the map and the parts are high: maps on copies of the photo, levels at its own size, and boxes.

use super::Answer;
use crate::Result;
use crate::Size;
use crate::draw::{self, Region};
use crate::explain::Part;
use crate::files::PushRow;
use crate::photo::{Placement, Rect, Upsampling};

/// Boxes are found on a copy of what the model saw, whose longer side has at most so many pixels.
const LOOKED_AT: usize = 512;

/// And its shorter side at least so many, if the photo has as many.
const LEAST: usize = LOOKED_AT / 4;

/// The grey level of zero in the heat map of a difference.
const MIDDLE: u8 = 128;

/// A map as grey levels at the photo's size.
pub(super) struct Levels {
    placement: Placement,
    values: Vec<f32>,
    signed: bool,
    /// The range of the map over what the model saw.
    low: f32,
    high: f32,
    threshold: f32,
}

impl Levels {
    /// Every row in turn.
    pub(super) fn rows(&self, push: &mut PushRow) -> Result<()> {
        let none = if self.signed { MIDDLE } else { 0 };
        // A float-to-integer cast saturates and takes NaN to zero.
        let level = |share: f32| match self.signed {
            true => (f32::from(MIDDLE) + 127.0 * share + 0.5) as u8,
            false => (255.0 * share + 0.5) as u8,
        };
        self.each(none, level, push)
    }

    /// Every row of the mask: white where the map is at or above the threshold; of a difference middle grey where it is at or below minus the threshold; black elsewhere.
    pub(super) fn mask_rows(&self, push: &mut PushRow) -> Result<()> {
        let marked = |share: f32| match share {
            share if share >= self.threshold => 255,
            share if share <= -self.threshold => MIDDLE,
            _ => 0,
        };
        self.each(0, marked, push)
    }

    /// Every row, where each share of the map's range has this level, and what the model did not see `none`.
    fn each(&self, none: u8, level: impl Fn(f32) -> u8, push: &mut PushRow) -> Result<()> {
        let seen = self.placement.seen();
        let mut levels = vec![none; self.placement.picture().width];
        self.placement.rows(&self.values, |y, row| {
            for (x, (out, value)) in levels.iter_mut().zip(row).enumerate() {
                *out = if seen.contains(y, x) { level(self.share(*value)) } else { none };
            }
            push(&levels)
        })
    }

    /// As [`Placement::saliency`] and [`Placement::signed`] scale.
    fn share(&self, value: f32) -> f32 {
        let Self { low, high, .. } = *self;
        let (value, range) = if self.signed { (value, high.max(-low)) } else { (value.max(0.0) - low, high - low) };
        if range > 0.0 { value / range } else { 0.0 }
    }
}

impl Answer<'_> {
    /// Whether the map has two sides: one for the text, one for the text that it is held against.
    pub(crate) fn is_signed(&self) -> bool {
        self.prompt.versus().is_some()
    }

    /// The map with both sides, if it has two.
    pub(super) fn values(&self) -> Vec<f32> {
        let e = self.explanation;
        let lifted = if self.is_signed() { e.lifted } else { 0.0 };
        // Bilinear maps have their negative values cut off before they are upsampled.
        let cut = !self.is_signed() && e.request.upsampling == Upsampling::Bilinear;
        let shown = |value: f32| if cut { value.max(0.0) } else { value };
        e.map.values.iter().map(|value| shown(value + lifted)).collect()
    }

    /// Where maps lie on a copy of the photo.
    pub(crate) fn on_copy(&self, copy: Size) -> Placement {
        self.explanation.placement(self.photo).on_copy(copy)
    }

    /// The map on a copy of the photo: in 0..=1, or in -1..=1 if it has two sides.
    pub(crate) fn saliency(&self, copy: Size) -> Result<Vec<f32>> {
        self.placed(&self.on_copy(copy))
    }

    /// The same wherever the map lies.
    pub(super) fn placed(&self, placement: &Placement) -> Result<Vec<f32>> {
        if self.is_signed() { placement.signed(&self.values()) } else { placement.saliency(&self.values()) }
    }

    /// A part on a copy of the photo: its OSSM, refined as the map is; not scaled. Negative if the part speaks for the text that the other one is held against.
    pub(crate) fn part(&self, part: &Part, copy: Size) -> Result<Vec<f32>> {
        self.part_placed(part, &self.on_copy(copy))
    }

    fn part_placed(&self, part: &Part, placement: &Placement) -> Result<Vec<f32>> {
        let refined = self.explanation.refined(&part.component.ossm)?;
        let mut map = placement.upsampled(&refined.values)?;
        let side = if self.is_signed() && part.contribution < 0.0 { -1.0 } else { 1.0 };
        map.iter_mut().for_each(|value| *value = side * value.max(0.0));
        Ok(map)
    }

    /// The map at the photo's size as grey levels: black is the smallest value, white the largest ([`Placement::saliency`]). Of a difference middle grey is zero and
    /// black speaks for the other text. It is computed row by row, so that no map of the photo's size is held.
    pub(super) fn levels(&self) -> Result<Levels> {
        let (placement, values) = (self.explanation.placement(self.photo), self.values());
        let (seen, signed) = (placement.seen(), self.is_signed());
        let shown = |value: f32| if signed { value } else { value.max(0.0) };
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        placement.rows(&values, |y, row| {
            if (seen.top..seen.bottom()).contains(&y) {
                for &value in &row[seen.left..seen.right()] {
                    (low, high) = (low.min(shown(value)), high.max(shown(value)));
                }
            }
            Ok(())
        })?;
        Ok(Levels { placement, values, signed, low, high, threshold: self.outputs.threshold })
    }

    /// Boxes around the places where the map is at or above the threshold, in pixels of the photo; and of a difference those where it is at or below minus the
    /// threshold.
    pub(crate) fn regions(&self) -> Result<[Vec<Region>; 2]> {
        let looked_at = self.looked_at();
        let map = self.placed(&looked_at)?;
        let turned: Vec<f32> = map.iter().map(|value| -value).collect();
        let size = looked_at.picture();
        Ok([self.boxes(&map, size)?, if self.is_signed() { self.boxes(&turned, size)? } else { Vec::new() }])
    }

    /// Boxes around the places where a part is at or above the threshold.
    pub(crate) fn part_regions(&self, part: &Part) -> Result<Vec<Region>> {
        let looked_at = self.looked_at();
        let map: Vec<f32> = self.part_placed(part, &looked_at)?.into_iter().map(f32::abs).collect();
        self.boxes(&map, looked_at.picture())
    }

    /// A copy of what the model saw of the photo.
    fn looked_at(&self) -> Placement {
        let seen = self.explanation.placement(self.photo).on_seen();
        seen.on_copy(copy_size(seen.picture()))
    }

    fn boxes(&self, map: &[f32], copy: Size) -> Result<Vec<Region>> {
        let mut regions = draw::regions(map, copy, self.outputs.threshold)?;
        let seen = self.explanation.placement(self.photo).seen();
        for region in &mut regions {
            let bounds = scaled(region.bounds, copy, seen.size);
            region.bounds = Rect::new(seen.top + bounds.top, seen.left + bounds.left, bounds.size);
        }
        Ok(regions)
    }
}

/// The size of a copy of a picture. Of a long and narrow one the short side keeps so many pixels that a map can be told on them.
fn copy_size(picture: Size) -> Size {
    let Size { height, width } = draw::copy_size(picture, LOOKED_AT);
    Size::new(height.max(picture.height.min(LEAST)), width.max(picture.width.min(LEAST)))
}

/// A rectangle of a copy on its original: every pixel that it touches.
fn scaled(bounds: Rect, copy: Size, original: Size) -> Rect {
    let start = |edge: usize, copy: usize, original: usize| edge * original / copy;
    let end = |edge: usize, copy: usize, original: usize| (edge * original).div_ceil(copy).min(original);
    let top = start(bounds.top, copy.height, original.height);
    let left = start(bounds.left, copy.width, original.width);
    let bottom = end(bounds.bottom(), copy.height, original.height);
    let right = end(bounds.right(), copy.width, original.width);
    Rect::new(top, left, Size::new(bottom - top, right - left))
}
