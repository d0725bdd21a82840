//! Methods against annotated photos: every photo and category a pair, every pair and method a record, all records a table.
//!
//! Records are appended to `records.jsonl` as they are found, each known by its photo, category, method and a hash of the settings: a run that was
//! stopped goes on where it was, and one that asks for more metrics or methods computes only those. The tables are made from the records as they stand
//! in the file, so that a run in two parts gives the same bytes as one in one.

mod measure;
pub mod parts;
mod plan;
mod records;
mod results;

pub use measure::Faithfulness;
pub(crate) use plan::{Found, LeftOut, Pair, Problem, Skipped, View, Work, plan, prompt_of};

use crate::Size;
use crate::args::{EvalArgs, MetricArg};
use crate::dataset::{self, Object, Truth};
use crate::encoders::image::ImageTower;
use crate::encoders::text::TextTower;
use crate::files::{Files, prepare_directory, write_json};
use crate::methods::{Choices, Method, Subject};
use crate::metrics::Metric;
use crate::model::Model;
use crate::onnx::shuffle::Shuffle;
use crate::photo::Photo;
use crate::pool;
use crate::score::Prompt;
use crate::stats::{self, Sample};
use crate::workers;
use anyhow::{Context, Result, ensure};
use measure::measured;
use parts::{Split, Worth};
use records::{Record, Records, Settings, Value, Values};
use results::{PartsSummary, Results};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

/// Version of the layout of `results.json` and `records.jsonl`.
const SCHEMA_VERSION: u32 = 1;

/// What a run needs all along.
struct Run<'a> {
    args: &'a EvalArgs,
    model: Model,
    tower: ImageTower,
    prompts: BTreeMap<String, Prompt>,
    methods: Vec<Method>,
    metrics: Vec<Metric>,
    choices: Choices,
    step: usize,
    view: View,
    workers: usize,
    records: Records,
}

/// What the command prints and how it ends.
pub struct Outcome {
    /// The tables.
    pub text: String,
    /// What was skipped, a line each.
    pub skipped: Vec<String>,
    /// The files that name all that was skipped.
    pub skipped_in: &'static str,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// Evaluates methods on annotated photos and writes `results.json`, `results.csv` and `results.md` beside `records.jsonl`.
///
/// # Errors
/// What makes every number impossible: no annotations, no model, no place to write, no pair left. Bad photos and annotations are skipped and named.
pub fn run(args: &EvalArgs, model: Model, threads: usize) -> Result<Outcome> {
    ensure!(
        args.photos.is_dir(),
        "--photos `{}`: expected a directory of photos, found none; check the path",
        args.photos.display()
    );
    // A classifier's classes are known by their names alone.
    let usual = if model.manifest.classes.is_some() { "{}" } else { "a {}" };
    let prompt = args.prompt.as_deref().unwrap_or(usual);
    ensure!(prompt.matches("{}").count() == 1, "--prompt: expected {{}} once, found \"{prompt}\"");
    ensure!(
        0.0 <= args.least_mask && args.least_mask <= args.most_mask,
        "--least-mask and --most-mask: expected shares of which the first is the smaller, found {} and {}",
        args.least_mask,
        args.most_mask
    );
    let (listed, annotations_sha256) = match &args.annotations {
        Some(path) => {
            // Of a directory the names and contents are in what was read.
            let listed = dataset::read(path)?.photos;
            let digest = Sha256::digest(format!("{listed:?}").as_bytes());
            (listed, Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
        }
        None => (dataset::by_folder(&args.photos)?.photos, None),
    };
    if !args.pool.is_empty() {
        return pool::run(args, &model, listed, prompt, threads);
    }
    let masks = args.annotations.is_some();
    let metrics = wanted_metrics(&args.metrics, masks)?;
    let with = &args.methods;
    let methods = with.chosen();

    prepare_directory(&args.out)?;
    let view = View::new(args, &model)?;
    let side = view.side;
    let step = args.step.unwrap_or(side);
    let settings = Settings {
        schema_version: SCHEMA_VERSION,
        model: model.manifest.name.clone(),
        model_sha256: model.sha256(),
        layer: view.layer.clone(),
        explained: view.explained.clone(),
        reported: model.manifest.explain.reported.clone(),
        faithful: with.model.faithful,
        size: side,
        fit: view.fit.name(),
        margin: args.margin,
        prompt: prompt.to_owned(),
        annotations_sha256,
        step,
        channels: with.tuning.channels,
        components: with.tuning.components,
        scales: with.tuning.scales,
        affinity: with.tuning.affinity.map(|switch| switch.0),
        rise_masks: with.rise_masks,
        seed: with.seed,
    };
    let digest = Sha256::digest(serde_json::to_string(&settings)?.as_bytes());
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();

    let text = TextTower::load(&model)?;
    let mut found = Found::default();
    let mut prompts = BTreeMap::new();
    let work = plan(args, listed, &mut found, &mut prompts, |category| {
        prompt_of(category, prompt, &model, &text, &view.explained)
    });
    drop(text);
    let tower = ImageTower::load_to_explain(&model, &view.layer, (side, side), &view.explained)?;
    let tower = Method::prepared(&methods, tower, &model, with.tuning.scales.map(usize::from))?;
    let workers = threads.clamp(1, work.len().max(1));
    let choices = with.choices(threads.div_ceil(workers));
    let records = Records::open(&args.out.join("records.jsonl"), hash)?;
    let run = Run { args, model, tower, prompts, methods, metrics, choices, step, view, workers, records };
    let found = run.over(&work, found)?;
    ensure!(
        !found.pairs.is_empty(),
        "no pair of photo and category is left: {} skipped{}, {} left out; check --photos, --leave-out, --least-mask and --most-mask",
        found.skipped.len(),
        found.skipped.first().map_or(String::new(), |first| format!(" (such as {})", first.line())),
        found.left_out.by_category + found.left_out.mask_too_small + found.left_out.mask_too_large
    );

    let stages = if args.randomise > 0 { run.randomise(&work, &found)? } else { Vec::new() };
    let parts = if args.parts { run.parts(&work, &found)? } else { BTreeMap::new() };
    let Run { methods, metrics, records, .. } = run;
    let hash = records.settings.clone();
    drop(records);
    let records = Records::open(&args.out.join("records.jsonl"), hash)?;
    let mut results = Results::new(settings, &methods, &metrics, &stages, &work, found, &records);
    results.parts = parts;
    let mut files = Files::new(&args.out);
    files.add("results.csv", |out| out.write_all(results.csv().as_bytes()))?;
    files.add("results.md", |out| out.write_all(results.markdown().as_bytes()))?;
    files.add("results.json", |out| write_json(out, &results))?;
    let files = files.publish()?;
    let skipped = results.skipped.iter().map(Skipped::line).collect();
    Ok(Outcome { text: results.table(), skipped, skipped_in: "results.json", files })
}

fn wanted_metrics(asked: &[MetricArg], masks: bool) -> Result<Vec<Metric>> {
    let wanted: BTreeSet<Metric> = match asked {
        [] if masks => MetricArg::Localisation.metrics().into_iter().collect(),
        [] => MetricArg::Faithfulness.metrics().into_iter().collect(),
        asked => asked.iter().flat_map(|asked| asked.metrics()).collect(),
    };
    let wanted: Vec<Metric> = wanted.into_iter().filter(|metric| masks || !metric.needs_mask()).collect();
    ensure!(
        !wanted.is_empty(),
        "--metrics: those asked for compare maps with masks, and labels by folder have none; give --annotations, or ask for `faithfulness`"
    );
    Ok(wanted)
}

impl Run<'_> {
    /// All photos, on several threads.
    fn over(&self, work: &[Work], found: Found) -> Result<Found> {
        let maps: usize = work.iter().map(|work| work.pairs.len() * self.methods.len()).sum();
        let style = indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} maps, {eta} left")?;
        let bar = indicatif::ProgressBar::new(maps as u64).with_style(style);
        bar.tick();
        let found = Mutex::new(found);
        let outcome = workers::each(work.len(), self.workers, |at| self.photo(&work[at], &bar, &found));
        bar.finish_and_clear();
        outcome?;
        let mut found = found.into_inner().expect("the workers have ended");
        found.skipped.sort();
        Ok(found)
    }

    /// The metrics of a map that no record has.
    fn missing(&self, photo: &str, category: &str, method: Method) -> Vec<Metric> {
        let known = self.records.get(photo, category, method);
        let has = |metric: &Metric| known.is_some_and(|(_, values)| values.contains_key(metric.name()));
        self.metrics.iter().copied().filter(|metric| !has(metric)).collect()
    }

    /// One photo. Errors are those of writing; a photo that fails is skipped.
    fn photo(&self, work: &Work, bar: &indicatif::ProgressBar, found: &Mutex<Found>) -> Result<()> {
        let lock = || found.lock().expect("no worker panics while it holds the lock");
        let complete = |category: &str| {
            let known = self.methods.iter().all(|method| self.missing(&work.photo, category, *method).is_empty());
            known.then(|| self.records.get(&work.photo, category, self.methods[0]).and_then(|(mask, _)| *mask))
        };
        let mut photo = None;
        for (category, objects) in &work.pairs {
            let skip = |problem, reason| {
                let (photo, category) = (work.photo.clone(), Some(category.clone()));
                lock().skipped.push(Skipped { problem, photo, category, reason });
            };
            if let Some(mask) = complete(category) {
                lock().judge(self.args, mask, &work.photo, category);
                bar.inc(self.methods.len() as u64);
                continue;
            }
            let photo = match photo {
                Some(ref photo) => photo,
                None => match Photo::open(&work.path) {
                    Ok(opened) => &*photo.insert(opened),
                    Err(error) => {
                        let reason = format!("{error:#}");
                        let (photo, problem) = (work.photo.clone(), Problem::UndecodablePhoto);
                        lock().skipped.push(Skipped { problem, photo, category: None, reason });
                        return Ok(());
                    }
                },
            };
            match self.pair(work, photo, category, objects, &lock, bar) {
                Ok(Ok(())) => {}
                Ok(Err(unwritten)) => return Err(unwritten),
                Err(error) => {
                    lock().pairs.remove(&(work.photo.clone(), category.clone()));
                    skip(Problem::Failed, format!("{error:#}"));
                }
            }
        }
        Ok(())
    }

    /// One pair. The outer error is the pair's own, the inner one ends the run.
    fn pair<'f>(
        &self,
        work: &Work,
        photo: &Photo,
        category: &str,
        objects: &[Object],
        found: &dyn Fn() -> std::sync::MutexGuard<'f, Found>,
        bar: &indicatif::ProgressBar,
    ) -> Result<Result<()>> {
        let (height, width) = self.tower.side();
        let truth = self.view.truth(photo, objects);
        let share = truth.as_ref().map(Truth::share);
        if found().judge(self.args, share, &work.photo, category) == Pair::LeftOut {
            bar.inc(self.methods.len() as u64);
            return Ok(Ok(()));
        }
        let subject = self.subject(&self.tower, photo, category)?;
        for &method in &self.methods {
            let missing = self.missing(&work.photo, category, method);
            if !missing.is_empty() {
                let map = subject.map(method, &self.choices)?.saliency(Size { height, width })?;
                let metrics = measured(&subject, &map, truth.as_ref(), &missing, self.step, self.choices.seed)?;
                let record = Record {
                    settings: self.records.settings.clone(),
                    photo: work.photo.clone(),
                    category: category.to_owned(),
                    method: method.name().to_owned(),
                    mask: share,
                    metrics,
                };
                if let Err(unwritten) = self.records.append(&record) {
                    return Ok(Err(unwritten));
                }
            }
            bar.inc(1);
        }
        Ok(Ok(()))
    }
}

impl<'a> Run<'a> {
    /// What a tower says of a photo and a category.
    fn subject<'s>(&'s self, tower: &'s ImageTower, photo: &'s Photo, category: &str) -> Result<Subject<'s>> {
        let (height, width) = tower.side();
        let pad = self.model.manifest.image.padding();
        let framing = self.view.framing(photo).1;
        let planes = photo.network_input(framing, Size { height, width }, pad, 1);
        let prompt = self.prompts.get(category).context("the category has no prompt")?;
        Subject::new(&self.model, tower, prompt, photo, (framing, planes))
    }

    /// The worth of the parts of every pair that counts and whose photo shows two objects of the least size or more.
    fn parts(&self, work: &[Work], found: &Found) -> Result<BTreeMap<&'static str, PartsSummary>> {
        let (height, width) = self.tower.side();
        let style =
            indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} photos split into parts, {eta} left")?;
        let bar = indicatif::ProgressBar::new(work.len() as u64).with_style(style);
        let worths = workers::each(work.len(), self.workers, |number| {
            let work = &work[number];
            bar.inc(1);
            let mut worths = BTreeMap::new();
            let counts = |(category, _): &&(String, _)| found.pairs.contains(&(work.photo.clone(), category.clone()));
            let pairs: Vec<_> = work.pairs.iter().filter(counts).collect();
            if pairs.is_empty() || work.objects.len() < 2 {
                return Ok(worths);
            }
            let photo = Photo::open(&work.path)?;
            let (size, framing) = self.view.framing(&photo);
            let seen = work
                .objects
                .iter()
                .map(|object| Truth::new(std::iter::once(object), framing, size, Size { height, width }));
            let seen = seen.filter(|truth| truth.share() >= self.args.least_mask && truth.share() > 0.0);
            let objects: Vec<Vec<bool>> = seen.map(|truth| truth.mask).collect();
            if objects.len() < 2 {
                return Ok(worths);
            }
            for (category, _) in pairs {
                let subject = self.subject(&self.tower, &photo, category)?;
                for way in Split::ALL {
                    let maps = parts::split(&subject, way, &self.choices)?;
                    let maps: Vec<_> =
                        maps.iter().map(|map| map.saliency(Size { height, width })).collect::<Result<_>>()?;
                    if let Some(worth) = parts::worth(&maps, &objects) {
                        worths.insert((number, category.clone(), way.name()), worth);
                    }
                }
            }
            Ok(worths)
        });
        bar.finish_and_clear();
        let worths: BTreeMap<(usize, String, &str), Worth> = worths?.into_iter().flatten().collect();
        let mut summaries = BTreeMap::new();
        for way in Split::ALL {
            let estimate = |number: fn(&Worth) -> f64| {
                let mut sample = Sample::default();
                let mut last = None;
                for ((photo, _, name), worth) in &worths {
                    if *name == way.name() {
                        if last != Some(photo) {
                            sample.group();
                            last = Some(photo);
                        }
                        sample.push(&[number(worth)]);
                    }
                }
                Some((sample.estimate(self.choices.seed)?, sample.count()))
            };
            if let (Some((best_iou, pairs)), Some((overlap, _)), Some((energy, _))) =
                (estimate(|w| w.best_iou), estimate(|w| w.overlap), estimate(|w| w.energy))
            {
                summaries.insert(way.name(), PartsSummary { pairs, best_iou, overlap, energy });
            }
        }
        Ok(summaries)
    }

    /// The parameter-randomisation check: Spearman's correlation of each map with that of the network whose last 1, 2, 4 ... weight tensors are
    /// shuffled, in the order of those numbers; on the first `--randomise` pairs. Records know them as `randomised_N`.
    ///
    /// # Reference
    /// Adebayo et al., NeurIPS 2018, section 4.1 (cascading; they draw new weights, here they change places).
    fn randomise(&self, work: &[Work], found: &Found) -> Result<Vec<usize>> {
        let pairs = work.iter().flat_map(|work| work.pairs.iter().map(move |(category, _)| (work, category)));
        let counted =
            |(work, category): &(&Work, &String)| found.pairs.contains(&(work.photo.clone(), (*category).clone()));
        let pairs: Vec<(&Work, &String)> = pairs.filter(counted).take(self.args.randomise).collect();
        let (all, side) = (self.tower.weight_tensors(&self.model)?, self.tower.side());
        let stages: Vec<usize> = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < all).collect();
        let stages: Vec<usize> = stages.into_iter().chain([all]).collect();
        let style =
            indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} maps of shuffled networks, {eta} left")?;
        let bar = indicatif::ProgressBar::new((stages.len() * pairs.len()) as u64).with_style(style);
        for &tensors in &stages {
            let name = format!("randomised_{tensors}");
            let known = |work: &Work, category: &str, method| {
                self.records.get(&work.photo, category, method).is_some_and(|(_, values)| values.contains_key(&name))
            };
            let lacks = |(work, category): &&(&Work, &String)| self.methods.iter().any(|m| !known(work, category, *m));
            let missing: Vec<&(&Work, &String)> = pairs.iter().filter(lacks).collect();
            bar.inc((pairs.len() - missing.len()) as u64);
            if missing.is_empty() {
                continue;
            }
            let shuffled = self.tower.shuffled(&self.model, Shuffle { tensors, seed: self.choices.seed })?;
            workers::each(missing.len(), self.workers, |at| {
                let (work, category) = missing[at];
                let photo = Photo::open(&work.path)?;
                let subjects = [&self.tower, &shuffled].map(|tower| self.subject(tower, &photo, category));
                let [ours, theirs] = subjects;
                let (ours, theirs) = (ours?, theirs?);
                for &method in self.methods.iter().filter(|method| !known(work, category, **method)) {
                    let map =
                        |subject: &Subject<'_>| subject.map(method, &self.choices)?.saliency(Size::new(side.0, side.1));
                    let correlation = stats::spearman(&map(&ours)?, &map(&theirs)?);
                    self.records.append(&Record {
                        settings: self.records.settings.clone(),
                        photo: work.photo.clone(),
                        category: (*category).clone(),
                        method: method.name().to_owned(),
                        mask: self.records.get(&work.photo, category, method).and_then(|(mask, _)| *mask),
                        metrics: Values::from([(name.clone(), Value::Number(correlation))]),
                    })?;
                }
                bar.inc(1);
                Ok(())
            })?;
        }
        bar.finish_and_clear();
        Ok(stages)
    }
}
