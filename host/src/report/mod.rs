//! An explanation as people read it: words, JSON, pictures, a page for the browser, and arrays.
//!
//! | room | what |
//! |---|---|
//! | `matter` | which parts matter, and where they lie |
//! | `words` | the sentence, the table of parts, the check, as the terminal shows them |
//! | `marks` | where the map and the parts are high: grey levels, masks, boxes |
//! | `pictures` | `overlay.png`, `parts.png` |
//! | `page` | `report.html` |
//! | `json` | `explanation.json` |

mod alike;
pub mod bench;
mod json;
mod marks;
mod matter;
mod models;
mod page;
mod pictures;
mod words;

pub use alike::{ALIKE, Alike};
pub(crate) use json::CheckReport;
pub use json::ExplanationReport;
pub(crate) use matter::{Told, percent, told};
pub use models::{describe, list};
pub(crate) use words::digits;
pub use words::{classes, ranking, timing_table};

use crate::draw::{self, Style};
use crate::error::Sorted as _;
use crate::explain::{Explanation, Options, Part};
use crate::files::{self, Files};
use crate::methods::{Method, Recipe};
use crate::model::Model;
use crate::owned::{self, Inputs};
use crate::photo::{Photo, Placement};
use crate::score::Prompt;
use crate::timings::Timings;
use crate::{Error, Result, Size};
use anyhow::anyhow;
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
    /// What is written, and how it is drawn.
    pub outputs: &'a Outputs,
}

/// What is written of an explanation, and how it is drawn.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outputs {
    /// The colours of pictures; differences of two texts are blue and orange whatever stands here.
    pub style: Style,
    /// The share of the map's maximum from which on `mask.png` is white and boxes are drawn, above 0 and at most 1.
    pub threshold: f32,
    /// The size of the maps that are written as arrays; none if no arrays are written.
    pub arrays: Option<Arrays>,
    /// The command that made the explanation, for the report; none if there was none.
    pub command: Option<String>,
}

impl Default for Outputs {
    /// Pictures in the usual colours, the upper half of the map in masks and boxes, no arrays.
    fn default() -> Self {
        Self { style: Style::default(), threshold: 0.5, arrays: None, command: None }
    }
}

/// The size of maps in arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrays {
    /// That of the map as it was computed: its values as they are.
    Grid,
    /// That of the network's input.
    Input,
    /// That of the photo.
    Photo,
}

/// Every name that [`Answer::write`] gives a file; of `parts.png` there may be more pages: `parts-2.png` and so on.
const NAMES: [&str; 9] =
    ["report.html", "overlay.png", "heatmap.png", "mask.png", REPORT, PARTS, SALIENCY, OSSMS, COMPONENTS];

const REPORT: &str = "explanation.json";
const PARTS: &str = "parts.png";
const SALIENCY: &str = "saliency.npy";
const OSSMS: &str = "ossms.npy";
const COMPONENTS: &str = "components.npy";

/// Whether a file of this name is one that [`Answer::write`] makes.
fn is_ours(name: &str) -> bool {
    let page = name.strip_prefix("parts-").and_then(|rest| rest.strip_suffix(".png"));
    NAMES.contains(&name)
        || page.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names of the files that an explanation with these options will write, as far as they are known before.
fn names(options: &Options, outputs: &Outputs) -> impl Iterator<Item = &'static str> {
    let parts = matches!(options.method, Method::DecomCam(_));
    let exact = options.method == Method::DecomCam(Recipe::Exact);
    let arrays = outputs.arrays.is_some();
    NAMES.into_iter().filter(move |name| match *name {
        PARTS => parts,
        SALIENCY => arrays,
        OSSMS => arrays && parts,
        COMPONENTS => arrays && exact,
        _ => true,
    })
}

/// The files of an explanation in `directory`, which may replace those of an earlier one there and spare what is read.
fn files_in(directory: &Path, inputs: Inputs) -> Files<'_> {
    Files::new(directory).sparing(inputs).replacing(written_before(directory))
}

/// Refuses before the work to write an explanation over files that the command reads, or that others wrote.
///
/// # Errors
/// [`Error::Options`]: what may not be replaced.
pub fn check_free(directory: &Path, inputs: &Inputs, options: &Options, outputs: &Outputs) -> Result<()> {
    files_in(directory, inputs.clone()).check(names(options, outputs))
}

impl Answer<'_> {
    /// Writes `overlay.png`, `parts.png` (of a method with parts), `heatmap.png`, `mask.png`, `report.html` and `explanation.json` into `directory`, and the arrays that
    /// [`Outputs`] asks for. No file appears under its name before all are complete, and `explanation.json` appears last. Files that an earlier explanation
    /// left there, by its own `explanation.json`, and this one does not have are removed.
    ///
    /// # Errors
    /// A directory that cannot be written to, a file of one of these names that is not ours or is the photo; no file appears then.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        Ok(self.write_and_report(directory)?.0)
    }

    /// The same, and what `explanation.json` holds.
    ///
    /// # Errors
    /// Those of [`Answer::write`].
    pub fn write_and_report(&self, directory: &Path) -> Result<(Vec<PathBuf>, ExplanationReport)> {
        let before = written_before(directory);
        let mut files = files_in(directory, self.inputs());
        let mut names: Vec<String> = Vec::new();
        {
            let mut add_picture = |name: String, picture: &image::RgbImage| -> Result<()> {
                files.add(&name, |out| files::write_png(out, picture))?;
                names.push(name);
                Ok(())
            };
            add_picture("overlay.png".into(), &self.overlay()?)?;
            if let Some(parts) = &self.explanation.parts {
                for (at, sheet) in self.sheets(parts)?.iter().enumerate() {
                    let name = if at == 0 { PARTS.into() } else { format!("parts-{}.png", at + 1) };
                    add_picture(name, sheet)?;
                }
            }
        }
        let (levels, size) = (self.levels()?, self.photo.size());
        files.add("heatmap.png", |out| files::write_grey_rows(out, size, |push| levels.rows(push)))?;
        files.add("mask.png", |out| files::write_grey_rows(out, size, |push| levels.mask_rows(push)))?;
        names.extend(["heatmap.png", "mask.png"].map(str::to_owned));
        if let Some(arrays) = self.outputs.arrays {
            names.extend(self.add_arrays(&mut files, arrays)?);
        }
        let page = self.page()?;
        files.add("report.html", |out| out.write_all(page.as_bytes()))?;
        names.extend(["report.html", REPORT].map(str::to_owned));
        let report = self.report(&names)?;
        files.add(REPORT, |out| files::write_json(out, &report))?;
        let written = files.publish()?;
        before.iter().filter(|name| !names.contains(name)).for_each(|stale| files.remove(stale));
        Ok((written, report))
    }

    /// The files that the explanation is of.
    fn inputs(&self) -> Inputs {
        let like = self.prompt.likeness().map(|like| &like.path);
        Inputs::new([&self.photo.name].into_iter().chain(like))
    }

    /// Writes one file alone, by its ending: the map on the photo (`.png`), the page for the browser (`.html`) or the numbers (`.json`). Returns what the numbers are.
    ///
    /// # Errors
    /// A directory that cannot be written to, and another ending; no file appears then.
    pub fn write_one(&self, path: &Path) -> Result<ExplanationReport> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let report = self.report(std::slice::from_ref(&name))?;
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        let mut files = Files::new(path.parent().unwrap_or(Path::new(""))).sparing(self.inputs());
        match &*ending {
            "png" => {
                let overlay = self.overlay()?;
                files.add(&name, |out| files::write_png(out, &overlay))?;
            }
            "html" => {
                let page = self.page()?;
                files.add(&name, |out| out.write_all(page.as_bytes()))?;
            }
            "json" => files.add(&name, |out| files::write_json(out, &report))?,
            other => {
                return Err(anyhow!(
                    "cannot write `{}`: expected the ending .png, .html or .json, found .{other}",
                    path.display()
                ))
                .kind(Error::Options);
            }
        }
        files.publish()?;
        Ok(report)
    }

    /// The photo, with the rectangle that was asked about.
    pub(crate) fn picture(&self) -> Cow<'_, RgbImage> {
        let rect = self.prompt.spot().and_then(|spot| spot.rect());
        rect.map_or(Cow::Borrowed(&self.photo.pixels), |rect| Cow::Owned(draw::marked(&self.photo.pixels, rect)))
    }

    /// The map, and with a recipe every part, as arrays.
    fn add_arrays(&self, files: &mut Files<'_>, arrays: Arrays) -> Result<Vec<String>> {
        let e = self.explanation;
        let mut names = vec![SALIENCY.to_owned()];
        let (size, placement) = match arrays {
            Arrays::Grid => (e.map.size, None),
            Arrays::Input => {
                (e.input_size, Some(Placement::whole(e.map.size, e.input_size).upsampled_by(e.request.upsampling)))
            }
            Arrays::Photo => (self.photo.size(), Some(e.placement(self.photo))),
        };
        files.add(SALIENCY, |out| {
            files::write_npy(out, &[size.height, size.width], |push| match &placement {
                Some(placement) => push(&self.placed(placement)?),
                None => push(&e.map.values),
            })
        })?;
        let Some(parts) = &e.parts else { return Ok(names) };
        let mut add = |name: &str, map: fn(&Part) -> &[f32]| -> Result<()> {
            names.push(name.to_owned());
            let maps = parts.list.iter().map(|part| Ok(e.refined(map(part))?.values)).collect::<Result<Vec<_>>>()?;
            add_maps(files, name, &maps, size, placement.as_ref())
        };
        add(OSSMS, |part| &part.component.ossm)?;
        if parts.recipe == Recipe::Exact {
            add(COMPONENTS, |part| &part.component.values)?;
        }
        Ok(names)
    }
}

/// A map of every part: parts x height x width, as it is, or upsampled row by row.
fn add_maps(
    files: &mut Files<'_>,
    name: &str,
    maps: &[Vec<f32>],
    size: Size,
    placement: Option<&Placement>,
) -> Result<()> {
    files.add(name, |out| {
        files::write_npy(out, &[maps.len(), size.height, size.width], |push| {
            for map in maps {
                match placement {
                    Some(placement) => placement.rows(map, |_, row| push(row))?,
                    None => push(map)?,
                }
            }
            Ok(())
        })
    })
}

/// The files that an earlier explanation in this directory says it wrote, as far as they have names of ours: nothing else is ever removed.
fn written_before(directory: &Path) -> Vec<String> {
    owned::listed_in(&directory.join(REPORT)).into_iter().filter(|name| is_ours(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_ours_that_an_explanation_names_are_known() {
        let place = tempfile::tempdir().unwrap();
        assert!(written_before(place.path()).is_empty());
        let named =
            r#"{"files": ["mask.png", "../mask.png", "parts-2.png", "parts-.png", "parts-2/x.png", "notes.txt", 3]}"#;
        std::fs::write(place.path().join("explanation.json"), named).unwrap();
        assert_eq!(written_before(place.path()), ["mask.png", "parts-2.png"]);
        std::fs::write(place.path().join("explanation.json"), "no JSON").unwrap();
        assert!(written_before(place.path()).is_empty());
    }
}
