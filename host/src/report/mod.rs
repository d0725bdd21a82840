//! An explanation in words, numbers and pictures: the terminal, `explanation.json`, `.npy` maps and PNG pictures.

use crate::Size;
use crate::args::{IntegrateArg, RecipeArg, SignArg};
use crate::draw::{self, Look, Sheet, Tile};
use crate::explain::{Explanation, Integrate, Name, Request};
use crate::files::{Files, write_json, write_npy, write_png};
use crate::model::Model;
use crate::photo::{Photo, Placement, Rect};
use crate::score::{Prompt, Scores};
use crate::timings::{Stage, Timings};
use anyhow::Result;
use decomcam_core::Recipe;
use image::RgbImage;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the layout of `explanation.json`. It grows when a field changes its meaning or goes away, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// What `explanation.json` says.
#[derive(Debug, Serialize)]
pub struct Report {
    schema_version: u32,
    program: String,
    model: ModelReport,
    photo: PhotoReport,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    versus: Option<String>,
    scores: Scores,
    blurred_score: f32,
    recipe: RecipeReport,
    parts: Vec<PartReport>,
    singular_values: Vec<f32>,
    warnings: Vec<String>,
    timings_ms: Vec<StageReport>,
}

#[derive(Debug, Serialize)]
struct ModelReport {
    name: String,
    sha256: String,
    layer: String,
    layer_channels: usize,
    layer_height: usize,
    layer_width: usize,
    /// Of the positions that were decomposed.
    grid_height: usize,
    grid_width: usize,
    input_height: usize,
    input_width: usize,
}

#[derive(Debug, Serialize)]
struct PhotoReport {
    path: String,
    sha256: String,
    #[serde(flatten)]
    size: Size,
    /// The part that the model saw, in pixels of the photo.
    seen: Rect,
}

#[derive(Debug, Serialize)]
struct RecipeReport {
    name: &'static str,
    sign: &'static str,
    integrate: &'static str,
    affinity: bool,
    /// What the weighted sum of the parts starts from.
    mean: f32,
    channels: usize,
    components: usize,
}

#[derive(Debug, Serialize)]
struct PartReport {
    number: usize,
    singular_value: f32,
    explained_variance: f32,
    score: f32,
    contribution: f32,
    predicted: f32,
    weight: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Name>,
}

#[derive(Debug, Serialize)]
struct StageReport {
    stage: &'static str,
    ms: f64,
    network: bool,
}

/// One explanation with all that it was made from.
pub struct Explained<'a> {
    /// The model.
    pub model: &'a Model,
    /// The layer that was explained.
    pub layer: &'a str,
    /// The photo.
    pub photo: &'a Photo,
    /// The prompts.
    pub prompt: &'a Prompt,
    /// What was asked for.
    pub request: &'a Request,
    /// The answer.
    pub explanation: &'a Explanation,
    /// Time by stage, loading included.
    pub timings: &'a Timings,
}

impl Explained<'_> {
    /// The report that becomes `explanation.json`.
    pub fn report(&self) -> Report {
        let e = self.explanation;
        let (text, versus) = self.prompt.typed();
        let size = self.photo.size();
        Report {
            schema_version: SCHEMA_VERSION,
            program: concat!("decomcam ", env!("CARGO_PKG_VERSION")).into(),
            model: ModelReport {
                name: self.model.manifest.name.clone(),
                sha256: self.model.sha256(),
                layer: self.layer.into(),
                layer_channels: e.channels[0],
                layer_height: e.layer.height,
                layer_width: e.layer.width,
                grid_height: e.grid[0],
                grid_width: e.grid[1],
                input_height: e.input_size[0],
                input_width: e.input_size[1],
            },
            photo: PhotoReport {
                path: self.photo.name.clone(),
                sha256: self.photo.sha256.clone(),
                size,
                seen: e.framing.seen(size),
            },
            text: text.into(),
            versus: versus.map(Into::into),
            scores: e.scores.clone(),
            blurred_score: e.blurred_score,
            recipe: RecipeReport {
                name: RecipeArg(self.request.recipe).word(),
                sign: SignArg(e.sign).word(),
                integrate: IntegrateArg(self.request.integrate).word(),
                affinity: self.request.affinity,
                mean: e.mean,
                channels: e.channels[1],
                components: e.parts.len(),
            },
            parts: e
                .parts
                .iter()
                .enumerate()
                .map(|(q, part)| PartReport {
                    number: q + 1,
                    singular_value: part.singular_value,
                    explained_variance: part.explained_variance,
                    score: part.score,
                    contribution: part.contribution,
                    predicted: part.predicted,
                    weight: part.weight,
                    name: part.name.clone(),
                })
                .collect(),
            singular_values: e.singular_values.clone(),
            warnings: e.warnings.clone(),
            timings_ms: self.timings.stages().iter().map(Into::into).collect(),
        }
    }

    /// The question, as a headline.
    fn question(&self) -> String {
        match self.prompt.typed() {
            (text, Some(versus)) => format!("\"{text}\" and not \"{versus}\""),
            (text, None) => format!("\"{text}\""),
        }
    }

    /// The scores in one line, the explained one named as such.
    fn score_line(&self) -> String {
        let mut line = self.explanation.scores.line();
        let masked = match self.request.integrate {
            Integrate::Photo => "of the blurred photo",
            Integrate::Features => "of the layer's means",
        };
        let _ = write!(line, ", {masked} {:.3}", self.explanation.blurred_score);
        line
    }

    fn recipe_line(&self) -> String {
        let e = self.explanation;
        format!(
            "model {}, layer {} ({} x {}), recipe {}, {} of {} channels, sign by {}",
            self.model.manifest.name,
            self.layer,
            e.grid[0],
            e.grid[1],
            RecipeArg(self.request.recipe).word(),
            e.channels[1],
            e.channels[0],
            SignArg(e.sign).word(),
        )
    }

    /// What the terminal shows: scores, parts, warnings.
    pub fn summary(&self) -> String {
        let mut text =
            format!("{}: {}\n{}\n{}\n\n", self.photo.name, self.question(), self.score_line(), self.recipe_line());
        text += "part  contribution  predicted  weight  variance  where\n";
        for (q, part) in self.explanation.parts.iter().enumerate() {
            let _ = writeln!(
                text,
                "{:>4}  {:>+12.3}  {:>+9.2}  {:>6.2}  {:>7.1}%  {}{}",
                format!("#{}", q + 1),
                part.contribution,
                part.predicted,
                part.weight,
                100.0 * part.explained_variance,
                place(&part.ossm, self.explanation.grid),
                part.name.as_ref().map_or_else(String::new, |name| format!("  {}", named(name))),
            );
        }
        for warning in &self.explanation.warnings {
            let _ = write!(text, "\nwarning: {warning}");
        }
        if !self.explanation.warnings.is_empty() {
            text.push('\n');
        }
        text
    }

    /// Writes `overlay.png`, `ossms.png`, `saliency.npy`, `ossms.npy`, of an exact sum `components.npy`, and `explanation.json` into `directory`. All are complete before any appears
    /// under its name; the report comes last.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let photo = &self.photo.pixels;
        let placement = self.explanation.placement(self.photo);
        let saliency = placement.saliency(&self.explanation.saliency)?;
        let Size { height, width } = self.photo.size();
        let shape = [height, width];

        let mut files = Files::new(directory);
        let overlay = draw::overlay(photo, &saliency, placement.seen(), &Look::default())?;
        files.add("overlay.png", |out| write_png(out, &overlay))?;
        drop(overlay);
        let sheet = self.sheet(&placement)?;
        files.add("ossms.png", |out| write_png(out, &sheet))?;
        files.add("saliency.npy", |out| write_npy(out, &shape, |push| push(&saliency)))?;
        drop(saliency);
        let shape = [self.explanation.parts.len(), shape[0], shape[1]];
        files.add("ossms.npy", |out| {
            write_npy(out, &shape, |push| {
                for part in &self.explanation.parts {
                    placement.rows(&part.ossm, |_, row| push(row))?;
                }
                Ok(())
            })
        })?;
        if self.request.recipe == Recipe::Exact {
            files.add("components.npy", |out| {
                write_npy(out, &shape, |push| {
                    for part in &self.explanation.parts {
                        placement.rows(&part.component, |_, row| push(row))?;
                    }
                    Ok(())
                })
            })?;
        }
        let report = self.report();
        files.add("explanation.json", |out| write_json(out, &report))?;
        Ok(files.publish()?)
    }

    fn sheet(&self, placement: &Placement) -> Result<RgbImage> {
        let photo = &self.photo.pixels;
        let tile = placement.on_copy(draw::tile_size(self.photo.size()));
        let e = self.explanation;
        let saliency = tile.saliency(&e.saliency)?;
        let maps: Vec<Vec<f32>> = e
            .parts
            .iter()
            .map(|part| {
                let mut map = tile.upsampled(&part.ossm)?;
                map.iter_mut().for_each(|value| *value = value.max(0.0));
                Ok(map)
            })
            .collect::<Result<_>>()?;
        let strongest = e.parts.iter().map(|part| part.contribution.abs()).fold(0.0, f32::max);
        let ossms = e.parts.iter().zip(&maps).enumerate().map(|(q, (part, map))| Tile {
            map,
            lines: [
                format!("#{}  {:+.3}", q + 1, part.contribution),
                format!("predicted {:+.2}", part.predicted),
                format!("weight {:.2}, variance {:.1}%", part.weight, 100.0 * part.explained_variance),
            ]
            .into_iter()
            .chain(part.name.as_ref().map(named))
            .collect(),
            bar: (strongest > 0.0).then(|| part.contribution / strongest),
            dimmed: part.weight <= 0.0,
        });
        Ok(draw::sheet(&Sheet {
            photo,
            seen: placement.seen(),
            title: &self.question(),
            subtitle: vec![self.score_line(), self.recipe_line()],
            saliency: Tile {
                map: &saliency,
                lines: vec!["Saliency".into(), "weighted sum of the parts".into()],
                ..Tile::default()
            },
            parts: ossms.collect(),
            look: &Look::default(),
            notes: vec![format!(
                "Each part is an orthogonal sub-saliency map (OSSM). The bold number is its contribution: the score ({}) of the {}. \
                 Predicted is what the gradient alone says, as a share of the largest.",
                e.scores.explained.name,
                match self.request.integrate {
                    Integrate::Photo =>
                        "photo kept where the part is high and blurred elsewhere, less that of the blurred photo",
                    Integrate::Features =>
                        "layer kept where the part is high and at its mean elsewhere, less that of the means alone",
                }
            )],
        })?)
    }
}

/// A part's name, and what the part adds to its score.
pub(crate) fn named(name: &Name) -> String {
    format!("\"{}\" {:+.2}", name.text, name.gain)
}

/// In words where a map has its largest value.
fn place(map: &[f32], [height, width]: [usize; 2]) -> String {
    let Some((at, _)) = map.iter().enumerate().filter(|(_, value)| **value > 0.0).max_by(|a, b| a.1.total_cmp(b.1))
    else {
        return "nowhere".into();
    };
    let third = |position: usize, size: usize| (3 * position + 1) / size.max(1);
    let row = ["top", "middle", "bottom"][third(at / width, height).min(2)];
    let column = ["left", "centre", "right"][third(at % width, width).min(2)];
    match (row, column) {
        ("middle", "centre") => "centre".into(),
        ("middle", side) => side.into(),
        (row, "centre") => row.into(),
        (row, side) => format!("{row} {side}"),
    }
}

/// The stages as a table.
pub fn timing_table(timings: &Timings) -> String {
    let stages: Vec<StageReport> = timings.stages().iter().map(Into::into).collect();
    let mut text = String::new();
    stage_lines(&mut text, &stages);
    text
}

/// Medians over repeated explanations, each from a decoded photo to its saliency, on a model that is loaded.
#[derive(Debug, Serialize)]
pub struct Bench {
    repeats: usize,
    threads: usize,
    /// From start to the end of the first explanation.
    cold_ms: f64,
    /// A further explanation.
    warm_ms: f64,
    /// Share of a further explanation's work that is not the network's, 0..=1.
    outside_network: f64,
    peak_memory_mb: Option<f64>,
    loading: Vec<StageReport>,
    stages: Vec<StageReport>,
}

impl Bench {
    /// From the loading's timings, the time to the end of the first explanation, and each further explanation's time and stages.
    pub fn new(
        loading: &Timings,
        cold: Duration,
        runs: &[(Duration, Timings)],
        threads: usize,
        peak_memory: Option<u64>,
    ) -> Self {
        let names = runs.first().map_or(&[][..], |(_, timings)| timings.stages());
        let stages = names.iter().enumerate().map(|(k, stage)| StageReport {
            ms: median(runs.iter().map(|(_, timings)| timings.stages()[k].time.as_secs_f64() * 1e3)),
            ..stage.into()
        });
        Self {
            repeats: runs.len(),
            threads,
            cold_ms: cold.as_secs_f64() * 1e3,
            warm_ms: median(runs.iter().map(|(time, _)| time.as_secs_f64() * 1e3)),
            outside_network: median(runs.iter().map(|(_, timings)| timings.share_outside_network())),
            peak_memory_mb: peak_memory.map(|bytes| bytes as f64 / 1e6),
            loading: loading.stages().iter().map(Into::into).collect(),
            stages: stages.collect(),
        }
    }

    /// The same as a table.
    pub fn table(&self) -> String {
        let mut text = String::from("loading\n");
        stage_lines(&mut text, &self.loading);
        text += "explanation, median of each stage (stages on several threads: all threads together)\n";
        stage_lines(&mut text, &self.stages);
        let _ = writeln!(
            text,
            "cold, from start to the first explanation   {:>9.1} ms\n\
             warm, each further explanation              {:>9.1} ms  (median of {}, {} threads)\n\
             work outside the network                    {:>9.1} %\n\
             peak memory                                 {}",
            self.cold_ms,
            self.warm_ms,
            self.repeats,
            self.threads,
            100.0 * self.outside_network,
            self.peak_memory_mb.map_or_else(|| "not known on this system".into(), |mb| format!("{mb:>9.1} MB")),
        );
        text
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => 0.5 * (values[middle - 1] + values[middle]),
    }
}

impl From<&Stage> for StageReport {
    fn from(stage: &Stage) -> Self {
        Self { stage: stage.name, ms: stage.time.as_secs_f64() * 1e3, network: stage.network }
    }
}

fn stage_lines(text: &mut String, stages: &[StageReport]) {
    for stage in stages {
        let network = if stage.network { "  network" } else { "" };
        let _ = writeln!(text, "  {:<32} {:>9.1} ms{network}", stage.stage, stage.ms);
    }
}

impl Model {
    /// The model in words: where it comes from, its layers, scores, sizes and licences.
    pub fn describe(&self) -> String {
        let m = &self.manifest;
        let mut text = format!("{}: {}\n  licence {}\n", m.name, m.description, m.licence);
        let image = &m.image;
        let _ = writeln!(
            text,
            "  photo: {} x {} pixels by default (multiples of {}), fit {}",
            image.size, image.size, image.multiple, image.fit
        );
        for layer in &image.layers {
            let default = if layer.name == image.default_layer { ", default" } else { "" };
            let side = image.size / layer.stride;
            let _ = writeln!(
                text,
                "  layer {}: {} x {side} x {side}{default}; {}",
                layer.name, layer.channels, layer.description
            );
        }
        for score in &m.scores {
            let mut uses = Vec::new();
            if score.name == m.explain.reported {
                uses.push("reported");
            }
            if score.name == m.explain.explained {
                uses.push("explained");
            }
            let uses = if uses.is_empty() { String::new() } else { format!(" ({})", uses.join(", ")) };
            let _ = writeln!(text, "  score {}{uses}: {}", score.name, score.description);
        }
        for file in self.file_names() {
            let bytes = self.file(file).map_or(0, <[u8]>::len);
            let _ = writeln!(text, "  file {file}: {:.2} MB", bytes as f64 / 1e6);
        }
        for notice in &m.notices {
            let _ = writeln!(text, "  {} is under {}: {}", notice.file, notice.licence, notice.source);
        }
        text
    }
}
