//! Methods side by side on one photo: a labelled picture, and a table of what the score says of each map. And one method alone, for `explain`.

use crate::Size;
use crate::args::CompareArgs;
use crate::draw::{self, Look, Sheet, Tile};
use crate::encoders::image::ImageTower;
use crate::encoders::text::TextTower;
use crate::eval::Faithfulness;
use crate::explain;
use crate::files::{Files, prepare_directory, write_json, write_npy, write_png};
use crate::methods::{Choices, Map, Method, Subject};
use crate::metrics::Metric;
use crate::model::Model;
use crate::photo::{Fit, Framing, Photo, Placement};
use crate::report;
use crate::score::{Prompt, Scores};
use crate::workers;
use anyhow::{Context, Result};
use image::RgbImage;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The metrics of the table.
const METRICS: [Metric; 3] = [Metric::Deletion, Metric::Insertion, Metric::AverageDrop];

/// Steps of deletion and insertion unless another number of pixels is asked for.
const STEPS: usize = 32;

/// What `explanation.json` says of a map that has no parts.
#[derive(Debug, Serialize)]
pub struct Single {
    schema_version: u32,
    program: String,
    method: &'static str,
    model: String,
    model_sha256: String,
    layer: String,
    photo: String,
    photo_sha256: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    versus: Option<String>,
    scores: Scores,
    warnings: Vec<String>,
    ms: f64,
    #[serde(skip)]
    map: Map,
    #[serde(skip)]
    framing: Framing,
}

impl Single {
    /// The map of one method, of a photo and a prompt.
    ///
    /// # Errors
    /// Those of [`Subject::map`].
    pub fn new(
        method: Method,
        choices: &Choices,
        model: &Model,
        tower: &ImageTower,
        prompt: &Prompt,
        photo: &Photo,
        fit: Option<Fit>,
    ) -> Result<Self> {
        let start = Instant::now();
        let seen = explain::network_input(model, photo, fit, tower.side(), choices.threads);
        let subject = Subject::new(model, tower, prompt, photo, seen)?;
        let framing = subject.framing;
        let map = subject.map(method, choices)?;
        let (text, versus) = prompt.typed();
        Ok(Self {
            schema_version: report::SCHEMA_VERSION,
            program: concat!("decomcam ", env!("CARGO_PKG_VERSION")).into(),
            method: method.name(),
            model: model.manifest.name.clone(),
            model_sha256: model.sha256(),
            layer: tower.layer().name.clone(),
            photo: photo.name.clone(),
            photo_sha256: photo.sha256.clone(),
            text: text.into(),
            versus: versus.map(Into::into),
            scores: prompt.scores(&subject.layer.vectors)?,
            warnings: prompt.warnings(),
            ms: start.elapsed().as_secs_f64() * 1e3,
            map,
            framing,
        })
    }

    /// What the terminal shows.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{}: \"{}\"\n{}\nmethod {}, model {}, layer {}: one map, without parts, in {:.0} ms\n",
            self.photo,
            self.text,
            self.scores.line(),
            self.method,
            self.model,
            self.layer,
            self.ms
        );
        self.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
        text
    }

    /// Writes `overlay.png`, `saliency.npy` and `explanation.json`.
    pub fn write(&self, photo: &Photo, directory: &Path) -> Result<Vec<PathBuf>> {
        let Size { height, width } = photo.size();
        let placement = Placement::new(self.map.size, self.framing, photo.size());
        let saliency = placement.saliency(&self.map.values)?;
        let overlay = draw::overlay(&photo.pixels, &saliency, placement.seen(), &Look::default())?;
        let mut files = Files::new(directory);
        files.add("overlay.png", |out| write_png(out, &overlay))?;
        files.add("saliency.npy", |out| write_npy(out, &[height, width], |push| push(&saliency)))?;
        files.add("explanation.json", |out| write_json(out, self))?;
        Ok(files.publish()?)
    }
}

/// What `comparison.json` says.
#[derive(Debug, Serialize)]
pub struct Comparison {
    program: String,
    model: String,
    layer: String,
    photo: String,
    text: String,
    scores: Scores,
    /// Pixels that deletion and insertion change at a step.
    step: usize,
    methods: Vec<Row>,
}

/// One method.
#[derive(Debug, Serialize)]
struct Row {
    method: &'static str,
    deletion: Option<f64>,
    insertion: Option<f64>,
    average_drop: Option<f64>,
    /// From the decoded photo to the map, the pass through the network included.
    ms: f64,
}

/// Compares, writes `comparison.png` and `comparison.json`, and returns the table and the files.
///
/// # Errors
/// Those of the methods; nothing is written then.
pub fn run(args: &CompareArgs, model: &Model, threads: usize) -> Result<(String, Vec<PathBuf>)> {
    prepare_directory(&args.out)?;
    let photo = Photo::open(&args.photo)?;
    let image = &model.manifest.image;
    let with = &args.methods;
    let side = with.model.size.unwrap_or(image.size);
    model.manifest.check_side((side, side)).context("--size")?;
    let layer = with.tuning.layer.as_ref().unwrap_or(&image.default_layer);
    let methods = with.chosen();
    let prompt =
        Prompt::new(model, &TextTower::load(model)?, &args.text, args.versus.as_deref(), with.tuning.score.as_deref())?;
    let tower = ImageTower::load_to_explain(model, layer, (side, side), &prompt.explained().name)?;
    let tower = Method::prepared(&methods, tower, model, with.tuning.scales.map(usize::from))?;

    let start = Instant::now();
    let seen = explain::network_input(model, &photo, with.model.fit.map(|fit| fit.0), (side, side), threads);
    let subject = Subject::new(model, &tower, &prompt, &photo, seen)?;
    let framing = subject.framing;
    let shared = start.elapsed();
    let choices = with.choices(threads);
    let step = args.step.unwrap_or((side * side).div_ceil(STEPS));
    let bar = indicatif::ProgressBar::new((methods.len() * (1 + METRICS.len())) as u64)
        .with_style(indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} maps and metrics, {eta} left")?);
    let mut maps: Vec<(Map, Duration)> = Vec::new();
    for &method in &methods {
        let start = Instant::now();
        let map = subject.map(method, &choices).with_context(|| format!("method {}", method.name()))?;
        maps.push((map, shared + start.elapsed()));
        bar.inc(1);
    }
    let values = measured(&subject, &maps, step, with.seed, threads, &bar)?;
    bar.finish_and_clear();

    let rows = methods.iter().zip(&maps).zip(&values).map(|((method, (_, time)), values)| Row {
        method: method.name(),
        deletion: values[0],
        insertion: values[1],
        average_drop: values[2],
        ms: time.as_secs_f64() * 1e3,
    });
    let comparison = Comparison {
        program: concat!("decomcam ", env!("CARGO_PKG_VERSION")).into(),
        model: model.manifest.name.clone(),
        layer: layer.clone(),
        photo: args.photo.display().to_string(),
        text: args.text.clone(),
        scores: prompt.scores(&subject.layer.vectors)?,
        step,
        methods: rows.collect(),
    };
    let picture = comparison.picture(&photo, framing, &maps, &prompt)?;
    let mut files = Files::new(&args.out);
    files.add("comparison.png", |out| write_png(out, &picture))?;
    files.add("comparison.json", |out| write_json(out, &comparison))?;
    let mut text = comparison.table();
    prompt.warnings().iter().for_each(|warning| text += &format!("warning: {warning}\n"));
    Ok((text, files.publish()?))
}

/// [`METRICS`] of every map, on several threads.
fn measured(
    subject: &Subject<'_>,
    maps: &[(Map, Duration)],
    step: usize,
    seed: u64,
    threads: usize,
    bar: &indicatif::ProgressBar,
) -> Result<Vec<[Option<f64>; METRICS.len()]>> {
    let size = subject.planes.size;
    let saliencies: Vec<Vec<f32>> = maps.iter().map(|(map, _)| map.saliency(size)).collect::<Result<_>>()?;
    let values = workers::each(maps.len() * METRICS.len(), threads, |task| {
        let (at, metric) = (task / METRICS.len(), task % METRICS.len());
        let value = Faithfulness::new(subject, &saliencies[at], step, seed).of(METRICS[metric])?;
        bar.inc(1);
        Ok(value)
    })?;
    Ok(values.as_chunks().0.to_vec())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

impl Comparison {
    /// What the terminal shows.
    fn table(&self) -> String {
        let mut text = format!(
            "{}: \"{}\"\n{}; deletion, insertion and drop are of {}, {} pixels a step\n\n",
            self.photo,
            self.text,
            self.scores.line(),
            self.scores.reported.name,
            self.step
        );
        text += "method          deletion  insertion  average drop        time\n";
        text += "                   lower     higher         lower\n";
        for row in &self.methods {
            let _ = writeln!(
                text,
                "{:<14}  {:>8}  {:>9}  {:>12}  {:>7.0} ms",
                row.method,
                number(row.deletion),
                number(row.insertion),
                number(row.average_drop),
                row.ms
            );
        }
        text
    }

    fn picture(&self, photo: &Photo, framing: Framing, maps: &[(Map, Duration)], prompt: &Prompt) -> Result<RgbImage> {
        let pixels = &photo.pixels;
        let tile = draw::tile_size(photo.size());
        let on_tile =
            |map: &Map| Ok(Placement::new(map.size, framing, photo.size()).on_copy(tile).saliency(&map.values)?);
        let drawn: Vec<Vec<f32>> = maps.iter().map(|(map, _)| on_tile(map)).collect::<Result<_>>()?;
        let mut tiles = self.methods.iter().zip(&drawn).map(|(row, map)| Tile {
            map,
            lines: vec![
                row.method.into(),
                format!("deletion {}", number(row.deletion)),
                format!("insertion {}", number(row.insertion)),
                format!("drop {}, {:.0} ms", number(row.average_drop), row.ms),
            ],
            ..Tile::default()
        });
        let Scores { reported, explained } = &self.scores;
        let title = match prompt.typed() {
            (text, Some(versus)) => format!("\"{text}\" and not \"{versus}\""),
            (text, None) => format!("\"{text}\""),
        };
        Ok(draw::sheet(&Sheet {
            photo: pixels,
            seen: framing.seen(photo.size()),
            look: &Look::default(),
            title: &title,
            subtitle: vec![
                format!(
                    "{} {:.3}, explained: {} {:.3}",
                    reported.name, reported.value, explained.name, explained.value
                ),
                format!("model {}, layer {}", self.model, self.layer),
            ],
            saliency: tiles.next().context("expected a method")?,
            parts: tiles.collect(),
            notes: vec![format!(
                "Deletion and insertion: mean {} while the most salient pixels go first, or come first ({} pixels a step). Drop: the share of the score \
                 that is lost when the photo is multiplied by the map. Good maps have low deletion, high insertion, low drop.",
                reported.name, self.step
            )],
        })?)
    }
}
