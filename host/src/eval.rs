//! Methods against annotated photos: every photo and category a pair, every pair and method a record, all records a table.
//!
//! Records are appended to `records.jsonl` as they are found, each known by its photo, category, method and a hash of the settings: a run that was
//! stopped goes on where it was, and one that asks for more metrics or methods computes only those. The tables are made from the records as they stand
//! in the file, so that a run in two parts gives the same bytes as one in one.

use crate::annotations::{self, Annotated, Object, Truth};
use crate::args::{EvalArgs, MetricArg};
use crate::category;
use crate::methods::{Choices, Method, Subject};
use crate::metrics::{self, Estimate, Metric, Sample};
use crate::model::Model;
use crate::network::ImageTower;
use crate::parts::{self, Split, Worth};
use crate::photo::{Fit, Framing, Photo};
use crate::randomise::Shuffle;
use crate::report::{self, Files};
use crate::scores::Prompt;
use crate::text::TextTower;
use crate::workers;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Version of the layout of `results.json` and `records.jsonl`.
const SCHEMA_VERSION: u32 = 1;

/// What every number of a record depends on, beside its photo, category and method.
#[derive(Debug, Serialize)]
struct Settings {
    schema_version: u32,
    model: String,
    model_sha256: String,
    layer: String,
    explained: String,
    reported: String,
    faithful: bool,
    size: usize,
    fit: &'static str,
    margin: u32,
    prompt: String,
    annotations_sha256: Option<String>,
    step: usize,
    channels: Option<usize>,
    components: Option<usize>,
    scales: Option<u8>,
    affinity: Option<bool>,
    rise_masks: usize,
    seed: u64,
}

/// A metric of one map: a number, or the thresholds that hit, or nothing where it is not defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Hits(Vec<u8>),
    Undefined(()),
}

type Values = BTreeMap<String, Value>;

/// A line of `records.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    settings: String,
    photo: String,
    category: String,
    method: String,
    /// The share of the input that the mask covers; none without masks.
    mask: Option<f64>,
    metrics: Values,
}

type Key = (String, String, String);

/// The records of these settings, and the file that new ones are appended to.
struct Records {
    file: Mutex<File>,
    settings: String,
    known: BTreeMap<Key, (Option<f64>, Values)>,
}

impl Records {
    /// Opens or makes the file, cuts off a last line that was not finished, and reads the rest.
    fn open(path: &Path, settings: String) -> Result<Self> {
        let named = || format!("records `{}`", path.display());
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.as_mut().map_err(|error| anyhow::anyhow!("{error}"));
        let file = file.with_context(|| format!("{}: cannot be opened; choose another --out", named()))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!("{}: another run is writing it; choose another --out", named()),
            // Where there are no locks, two runs at once are the user's to avoid.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(named)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).with_context(named)?;
        }
        file.seek(SeekFrom::Start(whole as u64)).with_context(named)?;
        let mut records = Self { file: Mutex::new(file.try_clone()?), settings, known: BTreeMap::new() };
        for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                let record = serde_json::from_slice(line).with_context(|| {
                    format!("{}, line {}: expected a record; delete the file to start anew", named(), number + 1)
                })?;
                records.learn(record);
            }
        }
        Ok(records)
    }

    fn learn(&mut self, record: Record) {
        if record.settings == self.settings {
            let known = self.known.entry((record.photo, record.category, record.method)).or_default();
            known.0 = record.mask;
            known.1.extend(record.metrics);
        }
    }

    /// Appends a record in one write.
    fn append(&self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record)? + "\n";
        let mut file = self.file.lock().expect("no worker panics while it holds the lock");
        file.write_all(line.as_bytes()).context("records: cannot be written; is there space on the disk?")
    }

    fn get(&self, photo: &str, category: &str, method: Method) -> Option<&(Option<f64>, Values)> {
        self.known.get(&(photo.to_owned(), category.to_owned(), method.name().to_owned()))
    }
}

/// Why something was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Problem {
    MissingPhoto,
    UndecodablePhoto,
    UnknownCategory,
    EmptyMask,
    Failed,
}

/// An annotation that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Skipped {
    pub(crate) problem: Problem,
    pub(crate) photo: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<String>,
    pub(crate) reason: String,
}

/// Pairs that the protocol does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    by_category: usize,
    mask_too_small: usize,
    mask_too_large: usize,
}

impl LeftOut {
    /// In words.
    pub(crate) fn words(&self) -> String {
        format!(
            "{} by category, {} with too small a mask, {} with too large a one",
            self.by_category, self.mask_too_small, self.mask_too_large
        )
    }
}

/// A photo and its categories, in the order of the annotations.
pub(crate) struct Work {
    pub(crate) photo: String,
    pub(crate) path: PathBuf,
    /// Everything on the photo, counted or not.
    objects: Vec<Object>,
    pub(crate) pairs: Vec<(String, Vec<Object>)>,
}

/// What came of one run over the photos.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) left_out: LeftOut,
    /// Photo and category of every pair that counts.
    pairs: BTreeSet<(String, String)>,
}

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

/// What of the photos and of the network is looked at.
pub(crate) struct View {
    /// Of the network's input, in pixels.
    pub(crate) side: usize,
    pub(crate) fit: Fit,
    margin: u32,
    pub(crate) layer: String,
    /// The score that is explained.
    pub(crate) explained: String,
}

impl View {
    pub(crate) fn new(args: &EvalArgs, model: &Model) -> Result<Self> {
        let (with, image) = (&args.methods, &model.manifest.image);
        let side = with.model.size.unwrap_or(image.size);
        model.manifest.check_side((side, side)).context("--size")?;
        Ok(Self {
            side,
            fit: with.model.fit.map_or(image.fit, |fit| fit.0),
            margin: args.margin,
            layer: with.tuning.layer.as_ref().unwrap_or(&image.default_layer).clone(),
            explained: with.tuning.score.as_ref().unwrap_or(&model.manifest.explain.explained).clone(),
        })
    }

    /// Height and width of a photo, and the part of it that the network sees.
    pub(crate) fn framing(&self, photo: &Photo) -> ([u32; 2], Framing) {
        let (size, side) = ([photo.pixels.height(), photo.pixels.width()], self.side as u32);
        (size, Framing::new(self.fit, size[0], size[1], side, side, self.margin))
    }

    /// Where objects lie on the network's input; none if they have no masks.
    pub(crate) fn truth(&self, photo: &Photo, objects: &[Object]) -> Option<Truth> {
        let (size, framing) = self.framing(photo);
        let masks = objects.iter().all(|object| object.shape.is_some());
        masks.then(|| Truth::new(objects.iter(), framing, size, [self.side; 2]))
    }
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
            let listed = annotations::read(path)?;
            let digest = Sha256::digest(format!("{listed:?}").as_bytes());
            (listed, Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
        }
        None => (annotations::by_folder(&args.photos)?, None),
    };
    if !args.pool.is_empty() {
        return category::run(args, &model, listed, prompt, threads);
    }
    let masks = args.annotations.is_some();
    let metrics = wanted_metrics(&args.metrics, masks)?;
    let with = &args.methods;
    let methods = with.chosen();

    report::prepare_directory(&args.out)?;
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
    files.add("results.csv", |out| Ok(out.write_all(results.csv().as_bytes())?))?;
    files.add("results.md", |out| Ok(out.write_all(results.markdown().as_bytes())?))?;
    files.add("results.json", |out| {
        serde_json::to_writer_pretty(&mut *out, &results)?;
        Ok(out.write_all(b"\n")?)
    })?;
    let files = files.publish()?;
    let skipped = results.skipped.iter().map(Skipped::line).collect();
    Ok(Outcome { text: results.table(), skipped, skipped_in: "results.json", files })
}

impl Skipped {
    /// In a line.
    pub(crate) fn line(&self) -> String {
        let category = self.category.as_ref().map_or(String::new(), |category| format!(", {category}"));
        format!("{}{category}: {}", self.photo, self.reason)
    }
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

/// What a category's score is of: `template` around its words, all of which the model must know.
pub(crate) fn prompt_of(
    category: &str,
    template: &str,
    model: &Model,
    text: &TextTower,
    explained: &str,
) -> Result<Prompt> {
    let prompt = Prompt::new(model, text, &template.replace("{}", category), None, Some(explained))?;
    let unknown = prompt.warnings();
    ensure!(unknown.is_empty(), "{}", unknown.join("; "));
    Ok(prompt)
}

/// What there is to do: photos that exist, and their categories whose prompts can be encoded.
pub(crate) fn plan(
    args: &EvalArgs,
    listed: Vec<Annotated>,
    found: &mut Found,
    prompts: &mut BTreeMap<String, Prompt>,
    encode: impl Fn(&str) -> Result<Prompt>,
) -> Vec<Work> {
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    let mut work = Vec::new();
    for Annotated { photo, objects } in listed {
        let name = Path::new(&photo).file_name().map(PathBuf::from).unwrap_or_default();
        let places = [args.photos.join(&photo), args.photos.join(name)];
        let Some(path) = places.into_iter().find(|path| path.is_file()) else {
            let reason = format!("no such photo in `{}`", args.photos.display());
            found.skipped.push(Skipped { problem: Problem::MissingPhoto, photo, category: None, reason });
            continue;
        };
        let mut pairs: Vec<(String, Vec<Object>)> = Vec::new();
        for object in objects.iter().cloned() {
            match pairs.iter_mut().find(|(category, _)| *category == object.category) {
                Some((_, objects)) => objects.push(object),
                None => pairs.push((object.category.clone(), vec![object])),
            }
        }
        pairs.retain(|(category, objects)| {
            if args.leave_out.iter().any(|out| out.eq_ignore_ascii_case(category)) {
                found.left_out.by_category += 1;
                return false;
            }
            let mut skip = |problem, reason: String| {
                let (photo, category) = (photo.clone(), Some(category.clone()));
                found.skipped.push(Skipped { problem, photo, category, reason });
                false
            };
            if !prompts.contains_key(category) && !refused.contains_key(category) {
                match encode(category) {
                    Ok(prompt) => drop(prompts.insert(category.clone(), prompt)),
                    Err(error) => drop(refused.insert(category.clone(), format!("{error:#}"))),
                }
            }
            if let Some(reason) = refused.get(category) {
                return skip(Problem::UnknownCategory, reason.clone());
            }
            if objects.iter().all(|object| object.shape.as_ref().is_some_and(annotations::Shape::is_empty)) {
                return skip(Problem::EmptyMask, "the mask is empty: its polygons enclose nothing".into());
            }
            true
        });
        if !pairs.is_empty() {
            work.push(Work { photo, path, objects, pairs });
        }
    }
    work
}

/// What is known of a pair before the network runs.
#[derive(PartialEq)]
pub(crate) enum Pair {
    Counts,
    LeftOut,
}

impl Found {
    /// Whether the mask is within the limits, and so the pair counts.
    pub(crate) fn judge(&mut self, args: &EvalArgs, mask: Option<f64>, photo: &str, category: &str) -> Pair {
        match mask {
            Some(share) if share < args.least_mask => self.left_out.mask_too_small += 1,
            Some(share) if share > args.most_mask => self.left_out.mask_too_large += 1,
            _ => {
                self.pairs.insert((photo.to_owned(), category.to_owned()));
                return Pair::Counts;
            }
        }
        Pair::LeftOut
    }
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
                let map = subject.map(method, &self.choices)?.saliency([height, width])?;
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
        let planes = photo.network_input(framing, height as u32, width as u32, pad);
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
            let seen =
                work.objects.iter().map(|object| Truth::new(std::iter::once(object), framing, size, [height, width]));
            let seen = seen.filter(|truth| truth.share() >= self.args.least_mask && truth.share() > 0.0);
            let objects: Vec<Vec<bool>> = seen.map(|truth| truth.mask).collect();
            if objects.len() < 2 {
                return Ok(worths);
            }
            for (category, _) in pairs {
                let subject = self.subject(&self.tower, &photo, category)?;
                for way in Split::ALL {
                    let maps = parts::split(&subject, way, &self.choices)?;
                    let maps: Vec<_> = maps.iter().map(|map| map.saliency([height, width])).collect::<Result<_>>()?;
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
        let (all, side) = (self.tower.weight_tensors(), self.tower.side());
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
                    let map = |subject: &Subject<'_>| subject.map(method, &self.choices)?.saliency([side.0, side.1]);
                    let correlation = metrics::spearman(&map(&ours)?, &map(&theirs)?);
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

/// The metrics of one map of a subject: scores are the reported ones, which are the same whatever score is explained.
fn measured(
    subject: &Subject<'_>,
    map: &[f32],
    truth: Option<&Truth>,
    wanted: &[Metric],
    step: usize,
    seed: u64,
) -> Result<Values> {
    let width = subject.planes.width;
    let faithfulness = Faithfulness::new(subject, map, step, seed);
    let mut values = Values::new();
    for &metric in wanted {
        let masked = || truth.context("a metric of masks without a mask");
        let value = match metric {
            Metric::Pointing => {
                let tolerance = metrics::POINTING_TOLERANCE * width as f64 / 224.0;
                let hit = metrics::pointing(map, &masked()?.mask, width, tolerance);
                Value::Number(f64::from(u8::from(hit)))
            }
            Metric::Energy => Value::Number(metrics::energy(map, &masked()?.mask)),
            Metric::BestIou => Value::Number(metrics::best_iou(map, &masked()?.mask)),
            // Without a box, as of a crowd, there is nothing to hit.
            Metric::MaxBoxAcc if masked()?.boxes.is_empty() => Value::Undefined(()),
            Metric::MaxBoxAcc => Value::Hits(metrics::box_hits(map, width, &masked()?.boxes)),
            Metric::Pxap => Value::Number(metrics::pxap(map, &masked()?.mask)),
            other => faithfulness.of(other)?.map_or(Value::Undefined(()), Value::Number),
        };
        values.insert(metric.name().to_owned(), value);
    }
    Ok(values)
}

/// The metrics that run the network.
pub struct Faithfulness<'a> {
    subject: &'a Subject<'a>,
    map: &'a [f32],
    step: usize,
    seed: u64,
}

impl<'a> Faithfulness<'a> {
    /// For a map of the input's size.
    pub fn new(subject: &'a Subject<'a>, map: &'a [f32], step: usize, seed: u64) -> Self {
        Self { subject, map, step, seed }
    }

    /// One of them; none where it is not defined, or is no such metric.
    pub fn of(&self, metric: Metric) -> Result<Option<f64>> {
        let Self { subject, map, step, seed } = *self;
        let input = &subject.input;
        let score = |input: &[f32]| subject.reported_score(input);
        let whole = || Ok::<_, anyhow::Error>(f64::from(subject.prompt.scores(&subject.layer.vectors)?.reported.value));
        let kept = || Ok::<_, anyhow::Error>(f64::from(score(&metrics::kept(input, map))?));
        let width = subject.planes.width;
        Ok(match metric {
            Metric::Deletion => {
                let zero = vec![0.0; input.len()];
                Some(metrics::deletion_or_insertion(map, input, &zero, step, &score)?)
            }
            Metric::Insertion => {
                let blurred = metrics::blurred(input, width);
                Some(metrics::deletion_or_insertion(map, &blurred, input, step, &score)?)
            }
            Metric::AverageDrop => metrics::average_drop(whole()?, kept()?),
            Metric::AverageIncrease => Some(metrics::average_increase(whole()?, kept()?)),
            Metric::Road => Some(metrics::road(map, input, width, metrics::ROAD_NOISE, seed, &score)?),
            _ => None,
        })
    }
}

/// A metric of a method over all pairs.
#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    estimate: Estimate,
    /// The mean of the categories' means.
    mean_over_categories: f64,
    /// Pairs that it is the mean of.
    pairs: usize,
}

type ByMethod<T> = BTreeMap<&'static str, BTreeMap<&'static str, T>>;

#[derive(Debug, Serialize)]
struct CategoryResults {
    pairs: usize,
    methods: ByMethod<f64>,
}

/// What one way of splitting is worth ([`Worth`]), over pairs.
#[derive(Debug, Serialize)]
struct PartsSummary {
    pairs: usize,
    best_iou: Estimate,
    overlap: Estimate,
    energy: Estimate,
}

/// Maps of the network with its last weight tensors shuffled, beside the network's own.
#[derive(Debug, Serialize)]
struct Randomised {
    /// How many tensors, counted from the score downwards.
    tensors: usize,
    /// Spearman's correlation.
    #[serde(flatten)]
    estimate: Estimate,
}

/// What `results.json` says.
#[derive(Debug, Serialize)]
struct Results {
    program: String,
    settings: Settings,
    interval: &'static str,
    photos: usize,
    pairs: usize,
    left_out: LeftOut,
    skipped_count: usize,
    skipped: Vec<Skipped>,
    /// In the order asked for.
    order: Vec<&'static str>,
    methods: ByMethod<Summary>,
    /// Each method less the first, pair by pair.
    differences: ByMethod<Estimate>,
    categories: BTreeMap<String, CategoryResults>,
    /// Correlation of each method's maps with those of networks with shuffled weights; empty unless asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    randomisation: BTreeMap<&'static str, Vec<Randomised>>,
    /// OSSMs beside other ways of splitting; empty unless asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parts: BTreeMap<&'static str, PartsSummary>,
    #[serde(skip)]
    metrics: Vec<Metric>,
}

impl Results {
    fn new(
        settings: Settings,
        methods: &[Method],
        metrics: &[Metric],
        stages: &[usize],
        work: &[Work],
        found: Found,
        records: &Records,
    ) -> Self {
        let counted = |work: &Work| -> Vec<String> {
            let categories = work.pairs.iter().map(|(category, _)| category);
            categories.filter(|c| found.pairs.contains(&(work.photo.clone(), (*c).clone()))).cloned().collect()
        };
        let photos: Vec<(&Work, Vec<String>)> = work.iter().map(|work| (work, counted(work))).collect();
        let photos: Vec<_> = photos.into_iter().filter(|(_, categories)| !categories.is_empty()).collect();
        let named = |method: Method, name: &str, only: Option<&str>| {
            let mut sample = Sample::default();
            for (work, categories) in &photos {
                sample.group();
                for category in categories.iter().filter(|category| only.is_none_or(|only| only == *category)) {
                    let values = records.get(&work.photo, category, method);
                    match values.and_then(|(_, values)| values.get(name)) {
                        Some(Value::Number(value)) => sample.push(&[*value]),
                        Some(Value::Hits(hits)) => {
                            let mut row = [0.0; metrics::BOX_THRESHOLDS];
                            for hit in hits {
                                if let Some(place) = row.get_mut(usize::from(*hit)) {
                                    *place = 1.0;
                                }
                            }
                            sample.push(&row);
                        }
                        Some(Value::Undefined(())) | None => {}
                    }
                }
            }
            sample
        };
        let sample = |method: Method, metric: Metric, only: Option<&str>| named(method, metric.name(), only);
        let seed = settings.seed;
        let mut randomisation = BTreeMap::new();
        for &method in methods.iter().filter(|_| !stages.is_empty()) {
            let stage = |tensors: &usize| {
                let estimate = named(method, &format!("randomised_{tensors}"), None).estimate(seed)?;
                Some(Randomised { tensors: *tensors, estimate })
            };
            randomisation.insert(method.name(), stages.iter().filter_map(stage).collect());
        }
        let names: BTreeSet<String> = photos.iter().flat_map(|(_, categories)| categories.iter().cloned()).collect();
        let mut categories: BTreeMap<String, CategoryResults> = BTreeMap::new();
        let (mut by_method, mut differences) = (ByMethod::new(), ByMethod::new());
        for &method in methods {
            for &metric in metrics {
                let all = sample(method, metric, None);
                let mut means = Vec::new();
                for category in &names {
                    let pairs = photos.iter().flat_map(|(_, categories)| categories).filter(|c| *c == category);
                    let results = categories
                        .entry(category.clone())
                        .or_insert_with(|| CategoryResults { pairs: pairs.count(), methods: ByMethod::new() });
                    if let Some(mean) = sample(method, metric, Some(category)).mean() {
                        results.methods.entry(method.name()).or_default().insert(metric.name(), mean);
                        means.push(mean);
                    }
                }
                if let Some(estimate) = all.estimate(seed) {
                    let mean_over_categories = means.iter().sum::<f64>() / means.len() as f64;
                    let summary = Summary { estimate, mean_over_categories, pairs: all.count() };
                    by_method.entry(method.name()).or_insert_with(BTreeMap::new).insert(metric.name(), summary);
                }
                if method != methods[0]
                    && let Some(difference) = all.against(&sample(methods[0], metric, None), seed)
                {
                    differences.entry(method.name()).or_insert_with(BTreeMap::new).insert(metric.name(), difference);
                }
            }
        }
        Self {
            program: concat!("decomcam ", env!("CARGO_PKG_VERSION")).into(),
            settings,
            interval: "95%, bootstrap over photos, 2000 resamples",
            photos: photos.len(),
            pairs: found.pairs.len(),
            left_out: found.left_out,
            skipped_count: found.skipped.len(),
            skipped: found.skipped,
            order: methods.iter().map(|method| method.name()).collect(),
            methods: by_method,
            differences,
            categories,
            randomisation,
            parts: BTreeMap::new(),
            metrics: metrics.to_vec(),
        }
    }

    /// A table, a row a method, of what `cell` finds.
    fn rows(&self, methods: &[&'static str], cell: impl Fn(&'static str, Metric) -> Option<String>) -> String {
        let mut text = String::from("| method |");
        self.metrics.iter().for_each(|metric| text += &format!(" {} |", heading(*metric)));
        text += "\n|---|";
        text += &"---|".repeat(self.metrics.len());
        text.push('\n');
        for method in methods {
            let _ = write!(text, "| {method} |");
            for metric in &self.metrics {
                let _ = write!(text, " {} |", cell(method, *metric).unwrap_or_else(|| "-".into()));
            }
            text.push('\n');
        }
        text
    }

    /// What the terminal shows.
    fn table(&self) -> String {
        let mut text = format!("{} pairs of photo and category, {} photos\n\n", self.pairs, self.photos);
        text += &self.rows(&self.order, |method, metric| {
            let Estimate { mean, low, high } = self.methods.get(method)?.get(metric.name())?.estimate;
            Some(format!("{mean:.3} [{low:.3}, {high:.3}]"))
        });
        text
    }

    fn markdown(&self) -> String {
        let s = &self.settings;
        let mut text = format!(
            "# Methods compared\n\nMade by `decomcam eval`: model {} ({}), layer {}, explained score {}, reported score {} (the one that deletion, \
             insertion, drop, increase and ROAD measure), input {} pixels, fit {}, margin {}, prompt \"{}\", {} pixels a step.\n\n\
             Brackets: 95% interval, bootstrap over photos. Lower is better where the heading says so. ",
            s.model,
            s.model_sha256.get(..12).unwrap_or(&s.model_sha256),
            s.layer,
            s.explained,
            s.reported,
            s.size,
            s.fit,
            s.margin,
            s.prompt,
            s.step
        );
        text += &self.table();
        if let Some((first, others)) = self.order.split_first()
            && !others.is_empty()
        {
            let _ =
                write!(text, "\n## Each method less {first}, pair by pair\n\nBold: the interval leaves zero out.\n\n");
            text += &self.rows(others, |method, metric| {
                let Estimate { mean, low, high } = *self.differences.get(method)?.get(metric.name())?;
                let bold = if low > 0.0 || high < 0.0 { "**" } else { "" };
                Some(format!("{bold}{mean:+.3} [{low:+.3}, {high:+.3}]{bold}"))
            });
        }
        if let Some(stages) = self.randomisation.values().next() {
            text += "\n## Weights shuffled, from the score downwards\n\nSpearman's correlation with the map of the network as it is; near 1: the map \
                     does not depend on those weights.\n\n| method |";
            stages.iter().for_each(|stage| text += &format!(" {} |", stage.tensors));
            text += "\n|---|";
            text += &"---|".repeat(stages.len());
            for method in &self.order {
                let _ = write!(text, "\n| {method} |");
                let stages = self.randomisation.get(method).into_iter().flatten();
                stages.for_each(|stage| text += &format!(" {:.3} |", stage.estimate.mean));
            }
            text.push('\n');
        }
        if !self.parts.is_empty() {
            text += "\n## Parts\n\nOn pairs whose photo shows two objects or more: the best IoU that any part has with an object, how much two parts \
                     overlap, and how much of a part lies in one object.\n\n| parts | best_iou | overlap (lower) | energy | pairs |\n|---|---|---|---|---|\n";
            for (name, parts) in &self.parts {
                let cell = |e: &Estimate| format!("{:.3} [{:.3}, {:.3}]", e.mean, e.low, e.high);
                let cells = [&parts.best_iou, &parts.overlap, &parts.energy].map(cell);
                let _ = writeln!(text, "| {name} | {} | {} |", cells.join(" | "), parts.pairs);
            }
        }
        for (category, results) in &self.categories {
            let _ = write!(text, "\n## {category}, {} pairs\n\n", results.pairs);
            text += &self.rows(&self.order, |method, metric| {
                Some(format!("{:.3}", results.methods.get(method)?.get(metric.name())?))
            });
        }
        let _ =
            write!(text, "\n## Not counted\n\nLeft out: {}. Skipped: {}.\n", self.left_out.words(), self.skipped_count);
        self.skipped.iter().for_each(|skipped| text += &format!("- {}\n", skipped.line()));
        text
    }

    /// `method,category,metric,mean,low,high,pairs`; the category is empty where it is all, the interval where it is one category.
    fn csv(&self) -> String {
        let mut text = String::from("method,category,metric,mean,low,high,pairs\n");
        for method in &self.order {
            for metric in &self.metrics {
                if let Some(summary) = self.methods.get(method).and_then(|metrics| metrics.get(metric.name())) {
                    let Estimate { mean, low, high } = summary.estimate;
                    let _ = writeln!(text, "{method},,{},{mean},{low},{high},{}", metric.name(), summary.pairs);
                }
            }
        }
        for (category, results) in &self.categories {
            let quoted = format!("\"{}\"", category.replace('"', "\"\""));
            for method in &self.order {
                for metric in &self.metrics {
                    if let Some(mean) = results.methods.get(method).and_then(|metrics| metrics.get(metric.name())) {
                        let _ = writeln!(text, "{method},{quoted},{},{mean},,,{}", metric.name(), results.pairs);
                    }
                }
            }
        }
        text
    }
}

fn heading(metric: Metric) -> String {
    if metric.higher_is_better() { metric.name().into() } else { format!("{} (lower)", metric.name()) }
}
