//! Two photos and what makes them alike, side by side.

use super::Answer;
use crate::Result;
use crate::draw::{self, Row, Rows, Style, Tile};
use crate::files::{self, Files};
use crate::photo::size_of;
use image::RgbImage;
use std::path::{Path, PathBuf};

/// The same question asked of two photos: what of each makes it like the other.
#[derive(Clone, Copy)]
pub struct Alike<'a> {
    /// Of the first photo, for its likeness to the second.
    pub first: Answer<'a>,
    /// Of the second photo, for its likeness to the first.
    pub second: Answer<'a>,
}

/// The picture of both photos.
pub const ALIKE: &str = "alike.png";

impl Alike<'_> {
    /// Writes `alike.png`, both photos with their maps, into `directory`.
    ///
    /// # Errors
    /// A directory that cannot be written to.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let picture = self.picture()?;
        let mut files = Files::new(directory).sparing(self.first.inputs());
        files.add(ALIKE, |out| files::write_png(out, &picture))?;
        files.publish()
    }

    fn picture(&self) -> Result<RgbImage> {
        let [first, second] = [self.first, self.second].map(|answer| answer.seen_and_map());
        let ((one, one_map), (other, other_map)) = (first?, second?);
        let value = self.first.explanation.scores.explained.value;
        let label =
            |lines: &[&str]| Tile { lines: lines.iter().map(|line| (*line).to_owned()).collect(), ..Tile::default() };
        let name = |path: &str| {
            Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
        };
        let names = [&self.first, &self.second].map(|answer| name(&answer.photo.name));
        let blank = [vec![0.0; one_map.len()], vec![0.0; other_map.len()]];
        let cosine = format!("cosine {value:.3}");
        let photos = vec![(&one, tile(&blank[0], names[0].clone())), (&other, tile(&blank[1], names[1].clone()))];
        let maps = vec![
            (&one, tile(&one_map, format!("like {}", names[1]))),
            (&other, tile(&other_map, format!("like {}", names[0]))),
        ];
        let rows = vec![
            Row { label: label(&["Photos", "as the model saw them"]), tiles: photos },
            Row { label: label(&["Alike", &cosine]), tiles: maps },
        ];
        draw::rows(&Rows {
            title: &format!("What makes \"{}\" and \"{}\" alike", names[0], names[1]),
            subtitle: vec![
                format!(
                    "To the model they are alike by a cosine of {value:.3}: 1 is alike in all, 0 in nothing that it looks at."
                ),
                self.first.method_line(),
            ],
            rows,
            notes: vec!["Each map shows where in its photo the cosine of the two embeddings comes from.".into()],
            style: &Style::default(),
        })
    }
}

fn tile(map: &[f32], line: String) -> Tile<'_> {
    Tile { map, lines: vec![line], ..Tile::default() }
}

impl Answer<'_> {
    /// The part of the photo that the model saw, as a tile, and the map on it.
    fn seen_and_map(&self) -> Result<(RgbImage, Vec<f32>)> {
        let placement = self.explanation.placement(self.photo);
        let tile = draw::row_tile(&self.photo.pixels, placement.seen());
        let map = placement.on_seen().on_copy(size_of(&tile)).saliency(&self.explanation.map.values)?;
        Ok((tile, map))
    }
}
