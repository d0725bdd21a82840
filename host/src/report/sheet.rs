//! `ossms.png`: the photo, its saliency map and every part on one sheet.

use super::Answer;
use crate::Result;
use crate::draw::{self, Sheet, Style, Tile};
use crate::explain::{Integrate, Name, Part, Parts};
use crate::photo::Placement;
use image::RgbImage;

impl Answer<'_> {
    pub(super) fn sheet(&self, parts: &Parts, ossms: &[Vec<f32>], placement: &Placement) -> Result<RgbImage> {
        let photo = &*self.picture();
        let tile = placement.on_copy(draw::tile_size(self.photo.size()));
        let saliency = tile.saliency(&self.explanation.map.values)?;
        let rectified = |ossm: &Vec<f32>| -> Result<Vec<f32>> {
            let mut map = tile.upsampled(ossm)?;
            map.iter_mut().for_each(|value| *value = value.max(0.0));
            Ok(map)
        };
        let maps: Vec<Vec<f32>> = ossms.iter().map(rectified).collect::<Result<_>>()?;
        let strongest = parts.list.iter().map(|part| part.contribution.abs()).fold(0.0, f32::max);
        let ossms = parts.list.iter().zip(&maps).enumerate().map(|(q, (part, map))| part_tile(q, part, map, strongest));
        draw::sheet(&Sheet {
            photo,
            seen: placement.seen(),
            title: &self.prompt.headline(),
            subtitle: self.head_lines(),
            saliency: Tile {
                map: &saliency,
                lines: vec!["Saliency".into(), "weighted sum of the parts".into()],
                ..Tile::default()
            },
            parts: ossms.collect(),
            style: &Style::default(),
            notes: vec![format!(
                "Each part is an orthogonal sub-saliency map (OSSM). The bold number is its contribution: the score ({}) of the {}. Predicted is the \
                 contribution that the gradient alone predicts, as a share of the largest. Dim: the weight is not above zero.",
                self.explanation.scores.explained.name,
                measured(parts.integrate)
            )],
        })
    }
}

fn part_tile<'m>(q: usize, part: &Part, map: &'m [f32], strongest: f32) -> Tile<'m> {
    let component = &part.component;
    let lines = [
        format!("#{}  {:+.3}", q + 1, part.contribution),
        format!("predicted {:+.2}", component.predicted),
        format!("weight {:.2}, variance {:.1}%", part.weight, 100.0 * component.explained_variance),
    ];
    Tile {
        map,
        lines: lines.into_iter().chain(part.name.as_ref().map(Name::to_string)).collect(),
        bar: (strongest > 0.0).then(|| part.contribution / strongest),
        dimmed: part.weight <= 0.0,
    }
}

/// How contributions were measured, as the end of a sentence about the score.
const fn measured(integrate: Integrate) -> &'static str {
    match integrate {
        Integrate::Photo => "photo kept where the part is high and blurred elsewhere, less that of the blurred photo",
        Integrate::Features => {
            "layer kept where the part is high and replaced by each channel's mean elsewhere, less that of the means alone"
        }
    }
}
