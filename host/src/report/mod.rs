//! An explanation as people read it: words, JSON, arrays and pictures.

mod alike;
pub mod bench;
mod json;
mod matter;
mod models;
mod sheet;
mod words;

pub use alike::Alike;
pub use json::ExplanationReport;
pub use models::describe;
pub use words::{classes, ranking, timing_table};

use crate::draw;
use crate::explain::{Explanation, Part};
use crate::files::{self, Files};
use crate::methods::Recipe;
use crate::model::Model;
use crate::photo::Photo;
use crate::score::Prompt;
use crate::timings::Timings;
use crate::{Result, Size};
use image::RgbImage;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// One explanation, with everything that it was made from.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The model.
    pub model: &'a Model,
    /// The photo.
    pub photo: &'a Photo,
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The explanation.
    pub explanation: &'a Explanation,
    /// Time by stage, including loading.
    pub timings: &'a Timings,
}

impl Answer<'_> {
    /// Writes `overlay.png`, `saliency.npy` and `explanation.json` into `directory`; with DecomCAM also `ossms.png` and `ossms.npy`, with recipe `exact` also
    /// `components.npy`. No file appears under its name before all are complete, and the report appears last.
    ///
    /// # Errors
    /// A directory that cannot be written to; no file appears then.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let photo = &*self.picture();
        let size = self.photo.size();
        let placement = self.explanation.placement(self.photo);
        let saliency = self.explanation.saliency(self.photo)?;

        let mut files = Files::new(directory);
        let overlay = draw::overlay(photo, &saliency, placement.seen(), &draw::Style::default())?;
        files.add("overlay.png", |out| files::write_png(out, &overlay))?;
        drop(overlay);
        files.add("saliency.npy", |out| files::write_npy(out, &[size.height, size.width], |push| push(&saliency)))?;
        drop(saliency);
        if let Some(parts) = &self.explanation.parts {
            let refined = |map: &[f32]| -> Result<Vec<f32>> { Ok(self.explanation.refined(map)?.values) };
            let maps = |map: fn(&Part) -> &[f32]| -> Result<Vec<Vec<f32>>> {
                parts.list.iter().map(|part| refined(map(part))).collect()
            };
            let ossms = maps(|part| &part.component.ossm)?;
            let sheet = self.sheet(parts, &ossms, &placement)?;
            files.add("ossms.png", |out| files::write_png(out, &sheet))?;
            self.add_maps(&mut files, "ossms.npy", &ossms)?;
            if parts.recipe == Recipe::Exact {
                let components = maps(|part| &part.component.values)?;
                self.add_maps(&mut files, "components.npy", &components)?;
            }
        }
        let report = self.report();
        files.add("explanation.json", |out| files::write_json(out, &report))?;
        files.publish()
    }

    /// The photo, with the rectangle that was asked about.
    fn picture(&self) -> Cow<'_, RgbImage> {
        let rect = self.prompt.spot().and_then(|spot| spot.rect());
        rect.map_or(Cow::Borrowed(&self.photo.pixels), |rect| Cow::Owned(draw::marked(&self.photo.pixels, rect)))
    }

    /// A map of every part on the photo: parts x height x width.
    fn add_maps(&self, files: &mut Files<'_>, name: &str, maps: &[Vec<f32>]) -> Result<()> {
        let placement = self.explanation.placement(self.photo);
        let Size { height, width } = self.photo.size();
        files.add(name, |out| {
            files::write_npy(out, &[maps.len(), height, width], |push| {
                for map in maps {
                    placement.rows(map, |_, row| push(row))?;
                }
                Ok(())
            })
        })
    }
}
