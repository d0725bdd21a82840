//! Several methods side by side on one photo: a labelled picture, and a table of metrics.

use crate::draw::{self, Sheet, Style, Tile};
use crate::error::Sorted as _;
use crate::eval::{Faithfulness, STEPS};
use crate::explain::{self, Look, Options, Used};
use crate::files::{self, Files};
use crate::methods::{Map, Method};
use crate::metrics::Metric;
use crate::owned::Inputs;
use crate::photo::{Framing, Photo, Placement, Upsampling};
use crate::program::{PROGRAM, SCHEMA_VERSION};
use crate::progress::Steps;
use crate::score::{Likeness, Prompt, Scores, Side, Spot, Support};
use crate::session::{Purpose, Session};
use crate::timings::timed;
use crate::{Error, Result, workers};
use anyhow::Context as _;
use image::RgbImage;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The metrics of the table.
const METRICS: [Metric; 3] = [Metric::Deletion, Metric::Insertion, Metric::AverageDrop];

/// The names of the files that a comparison writes.
pub const FILES: [&str; 2] = ["comparison.png", "comparison.json"];

/// What to compare.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompareOptions {
    /// The methods, each once.
    pub methods: Vec<Method>,
    /// The choices that the methods use; the method in it is ignored.
    pub options: Options,
    /// Pixels that deletion and insertion change at each step; a 32nd of the input if not given.
    pub step: Option<usize>,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { methods: Method::usual(), options: Options::new(), step: None }
    }
}

/// What `comparison.json` holds, and the maps.
#[derive(Debug, Serialize)]
pub struct Comparison {
    schema_version: u32,
    program: &'static str,
    model: String,
    layer: Option<String>,
    photo: String,
    text: String,
    versus: Option<String>,
    side: Side,
    place: Option<Spot>,
    like: Option<Likeness>,
    upsampling: &'static str,
    scores: Scores,
    support: Option<Support>,
    /// Pixels that deletion and insertion change at each step.
    step: usize,
    methods: Vec<MethodRow>,
    warnings: Vec<String>,
    #[serde(skip)]
    headline: String,
    #[serde(skip)]
    maps: Vec<Map>,
    #[serde(skip)]
    framing: Framing,
    #[serde(skip)]
    upsampled_by: Upsampling,
}

/// One method.
#[derive(Debug, Serialize)]
struct MethodRow {
    method: &'static str,
    #[serde(flatten)]
    used: Used,
    deletion: Option<f64>,
    insertion: Option<f64>,
    average_drop: Option<f64>,
    /// Time from the decoded photo to the map, including the passes through the network.
    ms: f64,
}

/// What several photos say of each method: the means of the metrics, over the photos on which they are defined.
#[derive(Clone, Debug, Default)]
pub struct Means {
    photos: usize,
    /// In the order of the methods.
    methods: Vec<Sums>,
}

/// The sums of a method.
#[derive(Clone, Debug)]
struct Sums {
    method: &'static str,
    /// Of each of [`METRICS`], and over how many photos.
    metrics: [(f64, usize); METRICS.len()],
    ms: f64,
}

impl Means {
    /// Counts one more photo.
    pub fn add(&mut self, comparison: &Comparison) {
        self.photos += 1;
        for row in &comparison.methods {
            let at = self.methods.iter().position(|sums| sums.method == row.method).unwrap_or_else(|| {
                self.methods.push(Sums { method: row.method, metrics: Default::default(), ms: 0.0 });
                self.methods.len() - 1
            });
            let Sums { metrics, ms, .. } = &mut self.methods[at];
            for ((sum, count), value) in metrics.iter_mut().zip([row.deletion, row.insertion, row.average_drop]) {
                if let Some(value) = value {
                    *sum += value;
                    *count += 1;
                }
            }
            *ms += row.ms;
        }
    }

    /// What the terminal shows.
    pub fn table(&self) -> String {
        let photos = self.photos;
        let mut text = format!("Means over {photos} {}\n\n{HEAD}", if photos == 1 { "photo" } else { "photos" });
        for Sums { method, metrics, ms } in &self.methods {
            let means = metrics.map(|(sum, count)| (count > 0).then(|| sum / count as f64));
            text += &line(method, means, ms / photos.max(1) as f64);
        }
        text
    }
}

const HEAD: &str = "method          deletion  insertion  average drop        time\n                   lower     higher         lower\n";

fn line(method: &str, [deletion, insertion, average_drop]: [Option<f64>; METRICS.len()], ms: f64) -> String {
    let (deletion, insertion, average_drop) = (number(deletion), number(insertion), number(average_drop));
    format!("{method:<14}  {deletion:>8}  {insertion:>9}  {average_drop:>12}  {ms:>7.0} ms\n")
}

/// Compares methods on a photo.
///
/// # Errors
/// Options that none of the methods uses, and the errors of the methods.
pub fn compare(session: &Session, photo: &Photo, prompt: &Prompt, asked: &CompareOptions) -> Result<Comparison> {
    asked.options.check_unset(&["name-parts"], "compare")?;
    let manifest = &session.model().manifest;
    let requests = asked.options.resolve_each(&asked.methods, manifest)?;
    let towers = session.towers(&requests, &prompt.explained().name, Purpose::Map)?;
    let steps = Steps::new(session.watch(), "maps and metrics", requests.len() * (1 + METRICS.len()))?;

    // Each method starts from the photo again, so that its time is its own.
    let mut maps: Vec<(Map, Duration)> = Vec::new();
    for request in &requests {
        let map = || explain::map(&session.look(&towers, prompt, photo, session.threads()), request);
        let (map, time) = timed(map);
        maps.push((map.with_context(|| format!("method {}", request.method.name())).kind(Error::Explanation)?, time));
        steps.advance(1)?;
    }
    let look = session.look(&towers, prompt, photo, session.threads());
    let step = asked.step.unwrap_or(look.size().area().div_ceil(STEPS));
    let measured = measured(&look, &maps, (step, asked.options.upsampling), asked.options.seed, &steps)?;

    let rows = requests.iter().zip(&maps).zip(&measured).map(|((request, (_, time)), values)| MethodRow {
        method: request.method.name(),
        used: Used::of(request),
        deletion: values[0],
        insertion: values[1],
        average_drop: values[2],
        ms: time.as_secs_f64() * 1e3,
    });
    let (scores, support) = (prompt.scores(look.vectors()?)?, prompt.support(look.vectors()?)?);
    let mut warnings: Vec<String> = look.view().warnings(photo).into_iter().chain(prompt.warnings()).collect();
    warnings.extend(support.iter().flat_map(|support| support.warnings(prompt, scores.reported.text)));
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        program: PROGRAM,
        model: manifest.name.clone(),
        layer: look.layer_info().map(|layer| layer.name),
        photo: photo.name.clone(),
        text: prompt.text().to_owned(),
        versus: prompt.versus().map(str::to_owned),
        side: prompt.asked_side(),
        place: prompt.spot().cloned(),
        like: prompt.likeness().cloned(),
        upsampling: asked.options.upsampling.name(),
        scores,
        support,
        step,
        methods: rows.collect(),
        warnings,
        headline: prompt.headline(),
        framing: look.framing(),
        upsampled_by: asked.options.upsampling,
        maps: maps.into_iter().map(|(map, _)| map).collect(),
    })
}

/// [`METRICS`] of every map, on several threads.
fn measured(
    look: &Look<'_>,
    maps: &[(Map, Duration)],
    (step, upsampling): (usize, Upsampling),
    seed: u64,
    steps: &Steps<'_>,
) -> Result<Vec<[Option<f64>; METRICS.len()]>> {
    // Computed before the threads start, so that it is computed once.
    look.vectors()?;
    let saliencies: Vec<Vec<f32>> = maps
        .iter()
        .map(|(map, _)| Placement::whole(map.size, look.size()).upsampled_by(upsampling).saliency(&map.values))
        .collect::<Result<_>>()?;
    let values = workers::each(maps.len() * METRICS.len(), look.threads(), |task| {
        let (at, metric) = (task / METRICS.len(), task % METRICS.len());
        let value = Faithfulness::new(look, &saliencies[at], step, seed).of(METRICS[metric])?;
        steps.advance(1)?;
        Ok(value)
    })?;
    Ok(values.as_chunks().0.to_vec())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

impl Comparison {
    /// What the terminal shows.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: {}\n{}{}; deletion, insertion and drop measure the score {}, with {} pixels at each step\n\n",
            self.photo,
            self.headline,
            self.place.as_ref().and_then(Spot::line).map_or_else(String::new, |line| line + "\n"),
            self.scores.line(),
            self.scores.reported.name,
            self.step
        );
        text += HEAD;
        for row in &self.methods {
            text += &line(row.method, [row.deletion, row.insertion, row.average_drop], row.ms);
        }
        text
    }

    /// What a reader should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Writes `comparison.png` and `comparison.json`.
    ///
    /// # Errors
    /// A directory that cannot be written to; nothing is written then.
    pub fn write(&self, photo: &Photo, directory: &Path) -> Result<Vec<PathBuf>> {
        let picture = self.picture(photo)?;
        let mut files = Files::new(directory).sparing(Inputs::new([&photo.name]));
        files.add(FILES[0], |out| files::write_png(out, &picture))?;
        files.add(FILES[1], |out| files::write_json(out, self))?;
        files.publish()
    }

    /// `comparison.png`: the photo under each map.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn picture(&self, photo: &Photo) -> Result<RgbImage> {
        let tile = draw::tile_size(photo.size());
        let on_tile = |map: &Map| {
            Placement::new(map.size, self.framing, photo.size())
                .upsampled_by(self.upsampled_by)
                .on_copy(tile)
                .saliency(&map.values)
        };
        let drawn: Vec<Vec<f32>> = self.maps.iter().map(on_tile).collect::<Result<_>>()?;
        let mut tiles = self.methods.iter().zip(&drawn).map(|(row, map)| row.tile(map));
        let Scores { reported, explained } = &self.scores;
        let rect = self.place.as_ref().and_then(Spot::rect);
        let picture = rect.map_or_else(|| photo.pixels.clone(), |rect| draw::marked(&photo.pixels, rect));
        draw::sheet(&Sheet {
            photo: &picture,
            seen: self.framing.seen(photo.size()),
            title: &self.headline,
            subtitle: vec![
                format!(
                    "{} {:.3}, explained: {} {:.3}",
                    reported.name, reported.value, explained.name, explained.value
                ),
                match &self.layer {
                    Some(layer) => format!("model {}, layer {layer}", self.model),
                    None => format!("model {}", self.model),
                },
            ],
            saliency: tiles.next().context("expected a method").kind(Error::Options)?,
            parts: tiles.collect(),
            style: &Style::default(),
            notes: vec![format!(
                "Deletion: the mean {} while pixels are removed, the most salient first. Insertion: the same while pixels are added ({} pixels at each step). \
                 Drop: the share of the score that is lost when the photo is multiplied by the map. Good maps have low deletion, high insertion, low drop.",
                reported.name, self.step
            )],
        })
    }
}

impl MethodRow {
    fn tile<'m>(&self, map: &'m [f32]) -> Tile<'m> {
        Tile {
            map,
            lines: vec![
                self.method.into(),
                format!("deletion {}", number(self.deletion)),
                format!("insertion {}", number(self.insertion)),
                format!("drop {}, {:.0} ms", number(self.average_drop), self.ms),
            ],
            ..Tile::default()
        }
    }
}
