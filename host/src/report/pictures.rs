//! `overlay.png`: the map on the photo. `parts.png`: the photo, its map and every part, by falling contribution.

use super::Answer;
use super::matter::{Told, percent, told};
use super::words::check_line;
use crate::Result;
use crate::draw::{self, Sheet, Style, Tile, Titled};
use crate::explain::{Integrate, Parts};
use image::RgbImage;

/// The longer side of the overlay has at most so many pixels.
const OVERLAY: usize = 1600;
/// What is left of the opacity where a map is not about what was asked.
const FAINT: f32 = 0.4;

impl Answer<'_> {
    /// How maps are drawn: one of two sides in two colours, one of a thing that the model does not see faint and without lines.
    pub(crate) fn style(&self) -> Style {
        let mut style = self.outputs.style.clone();
        if self.is_unsupported() {
            style.alpha *= FAINT;
            style.contours.clear();
        }
        if self.is_signed() { style.colours(draw::ColourMap::BlueOrange) } else { style }
    }

    /// What the model did not see of the photo, in words.
    pub(super) fn unseen(&self) -> Option<String> {
        let (size, seen) = (self.photo.size(), self.explanation.placement(self.photo).seen());
        let share = seen.size.area() as f32 / size.area().max(1) as f32;
        (seen.size != size).then(|| {
            format!(
                "The model saw {} of the photo; what is outside the frame was cut off. --fit pad shows it the whole photo.",
                percent(share)
            )
        })
    }

    /// `overlay.png`: the map on the photo.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn overlay(&self) -> Result<RgbImage> {
        let photo = draw::copy(&self.picture(), OVERLAY);
        let size = crate::photo::size_of(&photo);
        let style = self.style();
        let picture = draw::overlay(&photo, &self.saliency(size)?, self.on_copy(size).seen(), &style)?;
        let (against, speaks_for);
        let scale = match self.prompt.versus() {
            Some(versus) => {
                against = format!("for \"{versus}\"");
                speaks_for = format!("for \"{}\"", self.prompt.text());
                [against.as_str(), speaks_for.as_str()]
            }
            None => ["nothing", "the most of any place"],
        };
        let check = self.explanation.check.as_ref().map(check_line);
        let faint = self.is_unsupported().then(|| "The map is faint as it is not about what was asked.".to_owned());
        Ok(draw::titled(&Titled {
            picture: &picture,
            title: &self.prompt.headline(),
            subtitle: vec![self.found()],
            scale,
            notes: faint.into_iter().chain(check).chain(self.unseen()).collect(),
            style: &style,
        }))
    }

    pub(super) fn sheets(&self, parts: &Parts) -> Result<Vec<RgbImage>> {
        let tile = draw::tile_size(self.photo.size());
        let told = told(parts, self.is_signed());
        let maps: Vec<Vec<f32>> = told.iter().map(|told| self.part(told.part, tile)).collect::<Result<_>>()?;
        let strongest = told.iter().filter_map(|told| told.share).map(f32::abs).fold(0.0, f32::max);
        let saliency = self.saliency(tile)?;
        let tiles = told.iter().zip(&maps).map(|(told, map)| self.tile(told, map, strongest));
        let style = self.style();
        let mut notes = vec![format!(
            "Parts stand by falling contribution: how much the {} rises when the {} is kept where the part is high and {} elsewhere, as a share of the sum of all \
             contributions {}. Dim: a part without weight in the map.",
            self.explanation.scores.explained.name,
            if parts.integrate == Integrate::Photo { "photo" } else { "layer" },
            if parts.integrate == Integrate::Photo { "blurred" } else { "replaced by its mean" },
            if self.is_signed() { "of either sign" } else { "above zero" },
        )];
        notes.extend(self.unseen());
        draw::pages(&Sheet {
            photo: &self.picture(),
            seen: self.explanation.placement(self.photo).seen(),
            title: &self.prompt.headline(),
            subtitle: [self.sentence()].into_iter().chain(self.explanation.check.as_ref().map(check_line)).collect(),
            saliency: Tile {
                map: &saliency,
                lines: vec!["Saliency".into(), "weighted sum of the parts".into()],
                ..Tile::default()
            },
            parts: tiles.collect(),
            style: &style,
            notes,
        })
    }

    fn tile<'m>(&self, told: &Told<'_>, map: &'m [f32], strongest: f32) -> Tile<'m> {
        let share = told.share.map_or_else(|| format!("{:+.3}", told.part.contribution), percent);
        let mut lines = vec![format!("#{}  {share}", told.number), told.place.to_owned()];
        lines.extend(told.part.name.as_ref().map(|name| format!("\"{}\"", name.text)));
        lines.extend(told.side(self.prompt).filter(|_| told.matters()));
        Tile {
            map,
            lines,
            bar: told.share.filter(|_| strongest > 0.0).map(|share| share / strongest),
            dimmed: told.part.weight == 0.0,
        }
    }
}
