//! `explanation.json`: one schema for every method, written down in `host/schemas/explanation.schema.json`.

use super::Answer;
use super::matter::{Told, told};
use crate::Result;
use crate::draw::Region;
use crate::explain::{Check, Integrate, Name, Parts};
use crate::methods::sign_name;
use crate::photo::Rect;
use crate::program::{PROGRAM, SCHEMA_VERSION};
use crate::score::{Likeness, Scores, Side, Spot, Standing, Support};
use crate::timings::Stage;
use serde::Serialize;

/// What `explanation.json` holds.
#[derive(Debug, Serialize)]
pub struct ExplanationReport {
    schema_version: u32,
    program: &'static str,
    method: &'static str,
    model: ModelReport,
    photo: PhotoReport,
    text: String,
    versus: Option<String>,
    side: Side,
    /// The place that was asked about, if it was one.
    place: Option<Spot>,
    /// The photo that this one was compared with, if it was.
    like: Option<Likeness>,
    /// What was found, in words.
    sentence: String,
    scores: Scores,
    /// None if nothing says what the model knows.
    support: Option<Support>,
    /// Of a classifier: the class that is explained among all.
    classes: Option<Standing>,
    map: MapReport,
    /// None for methods that give no parts.
    decomposition: Option<DecompositionReport>,
    parts: Vec<PartReport>,
    /// None if the map marks nothing, or the check was left out.
    check: Option<CheckReport>,
    warnings: Vec<String>,
    /// The files that were written with this one; empty if none were.
    files: Vec<String>,
    timings_ms: Vec<StageReport>,
}

#[derive(Debug, Serialize)]
struct ModelReport {
    name: String,
    sha256: String,
    /// None for methods that look at no layer.
    layer: Option<String>,
    layer_channels: Option<usize>,
    layer_height: Option<usize>,
    layer_width: Option<usize>,
    input_height: usize,
    input_width: usize,
}

#[derive(Debug, Serialize)]
struct PhotoReport {
    path: String,
    sha256: String,
    height: usize,
    width: usize,
    /// The part that the model saw, in pixels of the photo.
    seen: Rect,
}

#[derive(Debug, Serialize)]
struct MapReport {
    height: usize,
    width: usize,
    /// How it was upsampled to the photo.
    upsampling: &'static str,
    /// At how many sizes of the photo it was taken.
    scales: usize,
    /// Whether it was averaged over positions with similar activations.
    affinity: bool,
    /// The guide layer that refined the map, if one did.
    refined_by: Option<String>,
    /// The share of the maximum from which on boxes are drawn, here and for parts.
    threshold: f32,
    /// Where the map is high, by falling share.
    regions: Vec<Region>,
    /// Where it is low: what speaks for the other text. Empty without one.
    regions_versus: Vec<Region>,
}

#[derive(Debug, Serialize)]
struct DecompositionReport {
    /// Height of the maps that were decomposed.
    grid_height: usize,
    grid_width: usize,
    scales: usize,
    affinity: bool,
    /// P, the channels that were selected.
    channels: usize,
    sign: &'static str,
    one_sided: bool,
    /// The mean of the first-order map, to which the weighted parts are added; zero for recipes that do not use it.
    mean: f32,
    /// Those of the parts, and the next one if it exists.
    singular_values: Vec<f32>,
    /// Where contributions were measured.
    integrate: &'static str,
    /// The score that contributions are differences to.
    baseline: BaselineReport,
}

#[derive(Debug, Serialize)]
struct BaselineReport {
    of: &'static str,
    score: f32,
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
    /// The contribution as a share of the evidence; none if there is none.
    share: Option<f32>,
    place: &'static str,
    regions: Vec<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Name>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    passed: bool,
    /// Share of what the model saw that was hidden.
    hidden: f32,
    /// Share of the score that this takes away; none where the photo scores no higher than its blurred copy.
    lost: Option<f32>,
    /// Share that hiding as much elsewhere takes away, on average.
    lost_elsewhere: Option<f32>,
    scores: CheckScores,
}

/// Explained scores.
#[derive(Debug, Serialize)]
struct CheckScores {
    photo: f32,
    blurred: f32,
    brightest_hidden: f32,
    elsewhere_hidden: Vec<f32>,
}

impl CheckReport {
    /// Whether the map passed.
    pub(crate) fn passed(&self) -> bool {
        self.passed
    }

    pub(crate) fn new(check: &Check) -> Self {
        Self {
            passed: check.passed(),
            hidden: check.hidden,
            lost: check.lost(),
            lost_elsewhere: check.lost_elsewhere(),
            scores: CheckScores {
                photo: check.photo,
                blurred: check.blurred,
                brightest_hidden: check.brightest,
                elsewhere_hidden: check.elsewhere.clone(),
            },
        }
    }
}

/// A stage's time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StageReport {
    pub(super) stage: &'static str,
    pub(super) ms: f64,
    pub(super) network: bool,
}

impl From<&Stage> for StageReport {
    fn from(stage: &Stage) -> Self {
        Self { stage: stage.name, ms: stage.time.as_secs_f64() * 1e3, network: stage.network }
    }
}

impl Answer<'_> {
    /// The report that becomes `explanation.json`, which names the files that are written with it.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn report(&self, files: &[String]) -> Result<ExplanationReport> {
        let e = self.explanation;
        let size = self.photo.size();
        let [regions, regions_versus] = self.regions()?;
        Ok(ExplanationReport {
            schema_version: SCHEMA_VERSION,
            program: PROGRAM,
            method: e.request.method.name(),
            model: ModelReport {
                name: self.model.manifest.name.clone(),
                sha256: self.model.sha256(),
                layer: e.layer.as_ref().map(|layer| layer.name.clone()),
                layer_channels: e.layer.as_ref().map(|layer| layer.channels),
                layer_height: e.layer.as_ref().map(|layer| layer.size.height),
                layer_width: e.layer.as_ref().map(|layer| layer.size.width),
                input_height: e.input_size.height,
                input_width: e.input_size.width,
            },
            photo: PhotoReport {
                path: self.photo.name.clone(),
                sha256: self.photo.sha256.clone(),
                height: size.height,
                width: size.width,
                seen: e.framing.seen(size),
            },
            text: self.prompt.text().into(),
            versus: self.prompt.versus().map(Into::into),
            side: self.prompt.asked_side(),
            place: self.prompt.spot().cloned(),
            like: self.prompt.likeness().cloned(),
            sentence: self.sentence(),
            scores: e.scores.clone(),
            support: e.support.clone(),
            classes: e.standing.clone(),
            map: MapReport {
                height: e.map.size.height,
                width: e.map.size.width,
                upsampling: e.request.upsampling.name(),
                scales: e.request.scales,
                affinity: e.request.affinity,
                refined_by: e.request.guide.clone().filter(|_| e.refinement.is_some()),
                threshold: self.outputs.threshold,
                regions,
                regions_versus,
            },
            decomposition: e.parts.as_ref().map(|parts| self.decomposition(parts)),
            parts: e.parts.as_ref().map_or(Ok(Vec::new()), |parts| self.parts(parts))?,
            check: e.check.as_ref().map(CheckReport::new),
            warnings: e.warnings.clone(),
            files: files.to_vec(),
            timings_ms: self.timings.stages().iter().map(Into::into).collect(),
        })
    }

    /// By number.
    fn parts(&self, parts: &Parts) -> Result<Vec<PartReport>> {
        let mut told = told(parts, self.is_signed());
        told.sort_by_key(|told| told.number);
        let report = |told: Told<'_>| {
            let Told { number, part, share, place } = told;
            Ok(PartReport {
                number,
                singular_value: part.component.singular_value,
                explained_variance: part.component.explained_variance,
                score: part.score,
                contribution: part.contribution,
                predicted: part.component.predicted,
                weight: part.weight,
                share,
                place,
                regions: self.part_regions(part)?,
                name: part.name.clone(),
            })
        };
        told.into_iter().map(report).collect()
    }

    fn decomposition(&self, parts: &Parts) -> DecompositionReport {
        let e = self.explanation;
        DecompositionReport {
            grid_height: parts.size.height,
            grid_width: parts.size.width,
            scales: e.request.scales,
            affinity: e.request.affinity,
            channels: parts.selected,
            sign: if parts.one_sided { "larger" } else { sign_name(parts.sign) },
            one_sided: parts.one_sided,
            mean: parts.mean,
            singular_values: parts.singular_values.clone(),
            integrate: parts.integrate.name(),
            baseline: BaselineReport { of: baseline_of(parts.integrate), score: parts.baseline },
        }
    }
}

/// What contributions are differences to, in words.
const fn baseline_of(integrate: Integrate) -> &'static str {
    match integrate {
        Integrate::Photo => "the blurred photo",
        Integrate::Features => "the layer's means",
    }
}
