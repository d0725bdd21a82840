//! Where the map and the parts are high: maps on copies of the photo, levels at its own size, and boxes.

use super::Answer;
use crate::Result;
use crate::Size;
use crate::draw::{self, Region};
use crate::explain::Part;
use crate::files::PushRow;
use crate::photo::{Placement, Rect, Upsampling};

/// Boxes are found on a copy of the photo whose longer side has at most so many pixels.
const LOOKED_AT: usize = 512;

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
        let (seen, none) = (self.placement.seen(), if self.signed { MIDDLE } else { 0 });
        let mut levels = vec![none; self.placement.picture().width];
        self.placement.rows(&self.values, |y, row| {
            for (x, (level, value)) in levels.iter_mut().zip(row).enumerate() {
                *level = if seen.contains(y, x) { self.level(*value) } else { none };
            }
            push(&levels)
        })
    }

    /// Every row of the mask: white where the map is at or above the threshold; of a difference middle grey where it is at or below minus the threshold; black elsewhere.
    pub(super) fn mask_rows(&self, push: &mut PushRow) -> Result<()> {
        let marked = |level: u8| {
            let share =
                if self.signed { (f32::from(level) - f32::from(MIDDLE)) / 127.0 } else { f32::from(level) / 255.0 };
            match share {
                share if share >= self.threshold => 255,
                share if share <= -self.threshold => MIDDLE,
                _ => 0,
            }
        };
        let mut mask = Vec::new();
        self.rows(&mut |levels| {
            mask.clear();
            mask.extend(levels.iter().map(|level| marked(*level)));
            push(&mask)
        })
    }

    fn level(&self, value: f32) -> u8 {
        let Self { low, high, .. } = *self;
        // A float-to-integer cast saturates and takes NaN to zero.
        if self.signed {
            let largest = high.max(-low);
            let share = if largest > 0.0 { value / largest } else { 0.0 };
            return (f32::from(MIDDLE) + 127.0 * share + 0.5) as u8;
        }
        if high > low { (255.0 * (value.max(0.0) - low) / (high - low) + 0.5) as u8 } else { 0 }
    }
}

impl Answer<'_> {
    /// Whether the map has two sides: one for the text, one for the text that it is held against.
    pub(crate) fn is_signed(&self) -> bool {
        self.prompt.versus().is_some()
    }

    /// The map with both sides, if it has two.
    fn values(&self) -> Vec<f32> {
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
        let placement = self.on_copy(copy);
        if self.is_signed() { placement.signed(&self.values()) } else { placement.saliency(&self.values()) }
    }

    /// A part on a copy of the photo: its OSSM, refined as the map is; not scaled. Negative if the part speaks for the text that the other one is held against.
    pub(crate) fn part(&self, part: &Part, copy: Size) -> Result<Vec<f32>> {
        let refined = self.explanation.refined(&part.component.ossm)?;
        let mut map = self.on_copy(copy).upsampled(&refined.values)?;
        let side = if self.is_signed() && part.contribution < 0.0 { -1.0 } else { 1.0 };
        map.iter_mut().for_each(|value| *value = side * value.max(0.0));
        Ok(map)
    }

    /// The map at the photo's size as grey levels: black is none of the map's maximum, white all of it. Of a difference middle grey is zero and black speaks for the
    /// other text. It is computed row by row, so that no map of the photo's size is held.
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
        let copy = copy_size(self.photo.size());
        let map = self.saliency(copy)?;
        let turned: Vec<f32> = map.iter().map(|value| -value).collect();
        Ok([self.boxes(&map, copy)?, if self.is_signed() { self.boxes(&turned, copy)? } else { Vec::new() }])
    }

    /// Boxes around the places where a part is at or above the threshold.
    pub(crate) fn part_regions(&self, part: &Part) -> Result<Vec<Region>> {
        let copy = copy_size(self.photo.size());
        let map: Vec<f32> = self.part(part, copy)?.into_iter().map(f32::abs).collect();
        self.boxes(&map, copy)
    }

    fn boxes(&self, map: &[f32], copy: Size) -> Result<Vec<Region>> {
        let mut regions = draw::regions(map, copy, self.outputs.threshold)?;
        let photo = self.photo.size();
        for region in &mut regions {
            region.bounds = scaled(region.bounds, copy, photo);
        }
        Ok(regions)
    }
}

/// The size of a copy of the photo.
pub(super) fn copy_size(photo: Size) -> Size {
    draw::copy_size(photo, LOOKED_AT)
}

/// A rectangle of a copy on the photo: every pixel that it touches.
fn scaled(bounds: Rect, copy: Size, photo: Size) -> Rect {
    let start = |edge: usize, copy: usize, photo: usize| edge * photo / copy;
    let end = |edge: usize, copy: usize, photo: usize| (edge * photo).div_ceil(copy).min(photo);
    let (top, left) = (start(bounds.top, copy.height, photo.height), start(bounds.left, copy.width, photo.width));
    let bottom = end(bounds.bottom(), copy.height, photo.height);
    let right = end(bounds.right(), copy.width, photo.width);
    Rect::new(top, left, Size::new(bottom - top, right - left))
}
