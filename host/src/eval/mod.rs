//! Measures methods on annotated photos. A photo and a category make a pair, a pair and a method a record, and all records a table.
//!
//! Each record is appended to `records.jsonl` as soon as it is measured, with its photo and a hash of its bytes, its category, method and a hash of the settings. A run that was stopped
//! therefore goes on where it was, and a run that asks for more metrics or methods computes only those. The tables are made from the records as the
//! file holds them, so a run that was interrupted writes the same bytes as one that was not.

mod cases;
mod measure;
mod parts;
mod randomise;
mod records;
mod results;
mod run;
pub mod split;
mod tables;

pub use measure::Faithfulness;

/// How many steps deletion and insertion take, unless a number of pixels is given.
pub const STEPS: usize = 32;

/// The file with a line for each map.
const RECORDS: &str = "records.jsonl";
/// The results for programs.
const RESULTS: &str = "results.json";
/// The results as tables.
const TABLES: [&str; 2] = ["results.csv", "results.md"];
/// The results for a browser.
const PAGE: &str = "report.html";
/// All files of the results.
const FILES: [&str; 4] = [TABLES[0], TABLES[1], RESULTS, PAGE];

use crate::dataset::plan::{Outcome, Plan, Selection, Skipped, Tally, prompt_of};
use crate::error::Sorted as _;
use crate::explain::{Integrate, Options};
use crate::files::{self, Files};
use crate::methods::{Method, RISE_MASKS, sign_name};
use crate::metrics::Metric;
use crate::onnx::quantised::Pairs;
use crate::owned::{self, Inputs};
use crate::session::Session;
use crate::{Error, Result};
use anyhow::ensure;
use records::{Records, Settings};
use results::Results;
use run::Run;
use std::path::{Path, PathBuf};

/// What to evaluate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EvalOptions {
    /// Which photos, and which of their objects.
    pub selection: Selection,
    /// Directory of the results.
    pub out: PathBuf,
    /// Directories of other runs with the same settings, such as those of shares, whose records count here too.
    pub merge: Vec<PathBuf>,
    /// The methods, each once; differences are to the first.
    pub methods: Vec<Method>,
    /// The choices that the methods use; the method in it is ignored.
    pub options: Options,
    /// The score that is explained; the model's own choice if not given.
    pub score: Option<String>,
    /// The metrics. If empty: those of localisation, or without masks those of faithfulness.
    pub metrics: Vec<Metric>,
    /// Pixels that deletion and insertion change at each step; a 32nd of the input if not given.
    pub step: Option<usize>,
    /// Is told before the work starts about how long it takes, if that is long.
    pub announce: Option<fn(&str)>,
    /// Whether to measure how well parts pick out objects, beside those of k-means and NMF.
    pub parts: bool,
    /// For how many pairs the maps are compared with those of networks with shuffled weights.
    pub randomise: usize,
}

impl EvalOptions {
    /// The usual methods and metrics.
    pub fn new(selection: Selection, out: impl Into<PathBuf>) -> Self {
        Self {
            selection,
            out: out.into(),
            merge: Vec::new(),
            methods: Method::usual(),
            options: Options::new(),
            score: None,
            metrics: Vec::new(),
            step: None,
            announce: None,
            parts: false,
            randomise: 0,
        }
    }
}

/// Evaluates methods on annotated photos and writes `results.json`, `results.csv`, `results.md` and `report.html` beside `records.jsonl`.
///
/// # Errors
/// Only what prevents every number: annotations that cannot be read, a directory that cannot be written to, no pair left. Bad photos and annotations are
/// skipped and named.
pub fn evaluate(session: &Session, asked: &EvalOptions) -> Result<Outcome> {
    asked.selection.check()?;
    asked.options.check_used(&asked.methods)?;
    asked.options.check_unset(&["name-parts"], "eval")?;
    let listed = asked.selection.read()?;
    asked.selection.check_categories(&listed)?;
    let annotations_sha256 = asked.selection.annotations.is_some().then(|| listed.sha256());
    let metrics = wanted_metrics(&asked.metrics, asked.selection.annotations.is_some()).kind(Error::Options)?;
    files::prepare_directory(&asked.out)?;

    let settings = settings(session, asked, annotations_sha256)?;
    let score = Some(settings.explained.as_str());
    let plan = Plan::new(&asked.selection, listed, |category| prompt_of(session, category, &asked.selection, score))?;
    session.forget_text();
    let inputs = Inputs::new(plan.work.iter().map(|work| &work.path).chain(&asked.selection.annotations));
    files_in(&asked.out, inputs.clone()).check(FILES)?;
    let path = asked.out.join(RECORDS);
    let mut records = Records::open(&path, settings.hash()?)?;
    for directory in &asked.merge {
        records.take_over(&directory.join(RECORDS))?;
    }
    if let Some(shard) = asked.selection.shard.filter(|_| plan.held == 0) {
        // Of few photos a share may have none, which is no failure of a machine.
        let text = format!("none of the photos belongs to share {shard}: nothing to measure\n");
        let skipped = plan.found.into_tally().skipped.iter().map(Skipped::line).collect();
        return Ok(Outcome { text, skipped, skipped_in: RECORDS, files: vec![path] });
    }
    let run = Run::new(session, asked, metrics, &settings, plan, records)?;
    run.measure()?;
    let stages = if asked.randomise > 0 { run.randomise()? } else { Vec::new() };
    let parts = if asked.parts { run.parts()? } else { Default::default() };
    let cases = run.cases()?;
    let findings = run.into_findings(stages, parts);
    some_pair(&findings.tally, &asked.selection).kind(Error::Dataset)?;

    // The records are read again, so that the numbers are those of the file.
    let records = Records::open(&path, settings.hash()?)?;
    let results = Results::new(settings, &asked.methods, findings, &records);
    let mut files = files_in(&asked.out, inputs);
    files.add(TABLES[0], |out| out.write_all(results.csv().as_bytes()))?;
    files.add(TABLES[1], |out| out.write_all(results.markdown().as_bytes()))?;
    files.add(RESULTS, |out| files::write_json(out, &results))?;
    let skipped: Vec<String> = results.skipped.iter().map(Skipped::line).collect();
    let page = cases::page(&results.text(), cases.as_ref(), &skipped)?;
    files.add(PAGE, |out| out.write_all(page.as_bytes()))?;
    let files = files.publish()?;
    Ok(Outcome { text: results.text(), skipped, skipped_in: "results.json", files })
}

/// The files of the results in `directory`. Tables bear no mark: they are ours where the results beside them are.
fn files_in(directory: &Path, inputs: Inputs) -> Files<'_> {
    let ours = owned::is_marked(&directory.join(RESULTS));
    Files::new(directory).sparing(inputs).replacing(TABLES.into_iter().filter(|_| ours))
}

fn settings(session: &Session, asked: &EvalOptions, annotations_sha256: Option<String>) -> Result<Settings> {
    let (model, view) = (session.model(), session.view());
    let explained = asked.score.as_ref().unwrap_or(&model.manifest.explain.explained);
    let explained = model.manifest.score(explained)?.name.clone();
    let Options {
        channels, components, sign, one_sided, integrate, scales, affinity, refine, rise_masks, seed, ..
    } = asked.options;
    Ok(Settings {
        schema_version: crate::program::SCHEMA_VERSION,
        program: crate::program::PROGRAM,
        model: model.manifest.name.clone(),
        model_sha256: model.sha256(),
        layer: asked.options.layer.as_ref().unwrap_or(&model.manifest.image.default_layer).clone(),
        explained,
        reported: model.manifest.explain.reported.clone(),
        faithful: model.pairs() == Pairs::Round,
        size: view.size(),
        fit: view.fit().name(),
        margin: view.margin(),
        prompt: asked.selection.template(&model.manifest).to_owned(),
        prompts: asked.selection.prompts.clone(),
        annotations_sha256,
        step: asked.step.unwrap_or(view.size().area().div_ceil(STEPS)),
        channels,
        components,
        sign: sign.map(sign_name),
        one_sided,
        integrate: integrate.map(Integrate::name),
        scales,
        affinity,
        refine,
        rise_masks: rise_masks.unwrap_or(RISE_MASKS),
        seed,
    })
}

fn wanted_metrics(asked: &[Metric], masks: bool) -> anyhow::Result<Vec<Metric>> {
    let wanted = |metric: &Metric| match asked {
        [] => metric.needs_mask() == masks,
        asked => asked.contains(metric) && (masks || !metric.needs_mask()),
    };
    let wanted: Vec<Metric> = Metric::ALL.into_iter().filter(wanted).collect();
    // `all` means all metrics that can be computed.
    let all = Metric::ALL.iter().all(|metric| asked.contains(metric));
    ensure!(
        masks || all || !asked.iter().any(|metric| metric.needs_mask()),
        "--metrics: these metrics compare maps with masks, and photos in folders have none; give --annotations, or take --metrics faithfulness"
    );
    Ok(wanted)
}

fn some_pair(tally: &Tally, selection: &Selection) -> anyhow::Result<()> {
    ensure!(
        !tally.pairs.is_empty(),
        "no pair of photo and category is left in `{}`: {} skipped{}, {} left out; check --photos, --leave-out, --least-mask and --most-mask",
        selection.photos.display(),
        tally.skipped.len(),
        tally.skipped.first().map_or(String::new(), |first| format!(" (such as {})", first.line())),
        tally.left_out.total()
    );
    Ok(())
}
