//! One run over the photos: measures and records everything that has no record yet.

use super::EvalOptions;
use super::measure::measured;
use super::parts::PartsSummary;
use super::records::{Knows, Record, Records, Settings};
use super::results::Findings;
use crate::dataset::plan::{Found, Plan, Problem, Work, truth};
use crate::dataset::{Object, Truth};
use crate::error::Sorted as _;
use crate::explain::{self, Look, Request, Towers, Used};
use crate::hash::sha256_hex;
use crate::methods::Method;
use crate::metrics::{self, Metric};
use crate::photo::Photo;
use crate::progress::{Steps, in_words};
use crate::score::Prompt;
use crate::session::{Purpose, Session};
use crate::timings::timed;
use crate::{Error, Result, workers};
use anyhow::Context as _;
use std::collections::BTreeMap;

/// Everything that a run needs.
pub(super) struct Run<'a> {
    pub(super) session: &'a Session,
    pub(super) asked: &'a EvalOptions,
    pub(super) metrics: Vec<Metric>,
    /// One request for each method.
    pub(super) requests: Vec<Request>,
    pub(super) towers: Towers,
    prompts: BTreeMap<String, Prompt>,
    pub(super) work: Vec<Work>,
    pub(super) found: Found,
    pub(super) records: Records,
    step: usize,
    score: String,
    /// How many photos are processed at the same time, and with how many threads each.
    pub(super) workers: usize,
    threads_each: usize,
}

fn used(requests: &[Request]) -> BTreeMap<&'static str, Used> {
    requests.iter().map(|request| (request.method.name(), Used::of(request))).collect()
}

/// From how many seconds on the time is announced.
const ANNOUNCED: f64 = 20.0;

/// Channels of a layer, for methods that take a pass for each of them: so many as that of `lite` has.
const CHANNELS: usize = 1280;

/// How many passes of the network a metric of one map needs.
fn passes(metric: Metric, pixels: usize, step: usize) -> usize {
    match metric {
        Metric::Deletion | Metric::Insertion => pixels.div_ceil(step) + 1,
        Metric::AverageDrop | Metric::AverageIncrease => 1,
        Metric::Road => metrics::ROAD_PASSES,
        _ => 0,
    }
}

/// About how many passes of the network a map takes; a gradient counts as two, and a pass at twice the size as four.
fn passes_of_map(request: &Request) -> usize {
    let with_gradient = 3;
    match request.method {
        Method::Uniform => 0,
        Method::Rise => request.rise_masks,
        Method::ScoreCam | Method::AblationCam => CHANNELS,
        Method::GScoreCam => CHANNELS / 10,
        _ => with_gradient + if request.scales > 1 { 4 } else { 0 },
    }
}

/// Forgets the records of photos that have other bytes now, and returns of how many.
fn forget_others(records: &mut Records, work: &[Work], workers: usize) -> Result<usize> {
    let known: Vec<&Work> = work.iter().filter(|work| records.know(&work.photo)).collect();
    let hashes = workers::each(known.len(), workers, |at| {
        Ok(std::fs::read(&known[at].path).ok().map(|bytes| sha256_hex(&bytes)))
    })?;
    Ok(records.forget_others(&known.iter().map(|work| &*work.photo).zip(hashes).collect()))
}

/// Why a pair was not measured: a fault of the pair, which is noted, or one that ends the run.
enum Failure {
    OfPair(Error),
    OfRun(Error),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        session: &'a Session,
        asked: &'a EvalOptions,
        metrics: Vec<Metric>,
        settings: &Settings,
        plan: Plan,
        mut records: Records,
    ) -> Result<Self> {
        let manifest = &session.model().manifest;
        let requests = asked.options.resolve_each(&asked.methods, manifest)?;
        let towers = session.towers(&requests, &settings.explained, Purpose::Map)?;
        let workers = session.threads().clamp(1, plan.work.len().max(1));
        let Plan { work, prompts, found, .. } = plan;
        prompts.iter().for_each(|(category, prompt)| found.encoded(category, prompt));
        let changed = forget_others(&mut records, &work, workers)?;
        if let Some(announce) = asked.announce.filter(|_| changed > 0) {
            announce(&format!(
                "{changed} of {} photos are not those that were measured before under these names: they are measured anew",
                work.len()
            ));
        }
        Ok(Self {
            session,
            asked,
            metrics,
            requests,
            towers,
            prompts,
            work,
            found,
            records,
            step: settings.step,
            score: settings.explained.clone(),
            workers,
            threads_each: session.threads().div_ceil(workers),
        })
    }

    /// Measures every photo, on several threads.
    pub(super) fn measure(&self) -> Result<()> {
        self.announce()?;
        let maps = self.work.iter().map(|work| work.pairs.len() * self.requests.len()).sum();
        let steps = Steps::new(self.session.watch(), "maps", maps)?;
        workers::each(self.work.len(), self.workers, |at| self.photo(&self.work[at], &steps))?;
        Ok(())
    }

    /// Tells what was done before and how long the rest will take, by the time of one pass of the network. Pairs whose mask is too small or too large are counted too.
    fn announce(&self) -> Result<()> {
        let Some(announce) = self.asked.announce else { return Ok(()) };
        let pairs =
            || self.work.iter().flat_map(|work| work.pairs.iter().map(move |(category, _)| (&work.photo, category)));
        let done = pairs().filter(|(photo, category)| self.complete(photo, category).is_some()).count();
        if done > 0 {
            let left = match pairs().count() - done {
                0 => String::new(),
                left => {
                    format!("; {left} are looked at, of which those with too small or too large a mask do not count")
                }
            };
            announce(&format!("{done} pairs of a photo and a category were done before{left}"));
        }
        let pixels = self.session.view().size().area();
        let (mut for_maps, mut for_metrics) = (0, 0);
        for ((photo, category), request) in
            pairs().flat_map(|pair| self.requests.iter().map(move |request| (pair, request)))
        {
            let missing = self.missing(photo, category, request.method);
            for_maps += if missing.is_empty() { 0 } else { passes_of_map(request) };
            for_metrics += missing.into_iter().map(|metric| passes(metric, pixels, self.step)).sum::<usize>();
        }
        if for_maps + for_metrics == 0 {
            return Ok(());
        }
        let input = vec![0.0; 3 * pixels];
        self.towers.own.vectors(&input)?;
        let (answer, pass) = timed(|| self.towers.own.vectors(&input));
        answer?;
        let seconds = pass.as_secs_f64() * (for_maps + for_metrics) as f64 / self.workers as f64;
        if seconds >= ANNOUNCED {
            let less = if for_metrics > for_maps { "; a larger --step or fewer --metrics take less" } else { "" };
            announce(&format!(
                "this takes {}: up to {} passes of the network{less}",
                in_words(seconds),
                for_maps + for_metrics
            ));
        }
        Ok(())
    }

    /// The plan, and what was found.
    pub(super) fn into_findings(self, stages: Vec<usize>, parts: BTreeMap<&'static str, PartsSummary>) -> Findings {
        Findings {
            used: used(&self.requests),
            work: self.work,
            tally: self.found.into_tally(),
            metrics: self.metrics,
            stages,
            parts,
        }
    }

    /// The metrics of a map that are not recorded yet.
    fn missing(&self, photo: &str, category: &str, method: Method) -> Vec<Metric> {
        let known = self.records.get(photo, category, method);
        let has = |metric: &Metric| known.is_some_and(|known| known.values.contains_key(metric.name()));
        self.metrics.iter().copied().filter(|metric| !has(metric)).collect()
    }

    /// The share of a pair's mask, if its records are complete.
    fn complete(&self, photo: &str, category: &str) -> Option<Option<f64>> {
        let complete = self.asked.methods.iter().all(|method| self.missing(photo, category, *method).is_empty());
        let first = self.asked.methods.first()?;
        complete.then(|| self.records.get(photo, category, *first).and_then(|known| known.mask))
    }

    /// One photo. Errors are those that end the run; a photo that fails is skipped.
    fn photo(&self, work: &Work, steps: &Steps<'_>) -> Result<()> {
        let mut photo = None;
        for (category, objects) in &work.pairs {
            if let Some(mask) = self.complete(&work.photo, category) {
                self.found.counts(&self.asked.selection, mask, &work.photo, category);
                steps.advance(self.requests.len())?;
                continue;
            }
            let photo = match photo {
                Some(ref photo) => photo,
                None => match Photo::open(&work.path) {
                    Ok(opened) => &*photo.insert(opened),
                    Err(error) => {
                        self.found.skip(Problem::UndecodablePhoto, &work.photo, None, error);
                        return Ok(());
                    }
                },
            };
            match self.pair(work, photo, category, objects, steps) {
                Ok(()) => {}
                Err(Failure::OfRun(error)) => return Err(error),
                Err(Failure::OfPair(error)) => {
                    self.found.skip(Problem::Failed, &work.photo, Some(category), error);
                }
            }
        }
        Ok(())
    }

    /// Measures one photo and category: each method's map of which a number is missing.
    fn pair(
        &self,
        work: &Work,
        photo: &Photo,
        category: &str,
        objects: &[Object],
        steps: &Steps<'_>,
    ) -> Result<(), Failure> {
        let truth = match truth(self.session.view(), photo, objects) {
            Ok(truth) => truth,
            Err(reason) => {
                self.found.skip(Problem::BadRecord, &work.photo, Some(category), reason);
                return steps.advance(self.requests.len()).map_err(Failure::OfRun);
            }
        };
        let share = truth.as_ref().map(Truth::share);
        if !self.found.counts(&self.asked.selection, share, &work.photo, category) {
            return steps.advance(self.requests.len()).map_err(Failure::OfRun);
        }
        let look = self.look(self.session, &self.towers, photo, category).map_err(Failure::OfPair)?;
        // After the map, because the passes for the map give the vectors as well.
        let knows = || -> Result<Option<Knows>> { Ok(look.prompt().support(look.vectors()?)?.as_ref().map(Knows::of)) };
        for request in &self.requests {
            let missing = self.missing(&work.photo, category, request.method);
            if !missing.is_empty() {
                let map = explain::map(&look, request).and_then(|map| map.saliency(look.size()));
                let map = map.map_err(Failure::OfPair)?;
                let metrics = measured(&look, &map, truth.as_ref(), &missing, self.step, self.asked.options.seed);
                let record = Record {
                    settings: self.records.settings.clone(),
                    photo: work.photo.clone(),
                    photo_sha256: photo.sha256.clone(),
                    category: category.to_owned(),
                    method: request.method.name().to_owned(),
                    mask: share,
                    knows: knows().map_err(Failure::OfPair)?,
                    metrics: metrics.map_err(Failure::OfPair)?,
                };
                self.records.append(&record).map_err(Failure::OfRun)?;
            }
            steps.advance(1).map_err(Failure::OfRun)?;
        }
        Ok(())
    }

    /// Prepares a photo for a network, with the prompt of a category.
    pub(super) fn look<'l>(
        &'l self,
        session: &'l Session,
        towers: &'l Towers,
        photo: &'l Photo,
        category: &str,
    ) -> Result<Look<'l>> {
        let prompt = self.prompts.get(category).context("the category has no prompt").kind(Error::Dataset)?;
        Ok(session.look(towers, prompt, photo, self.threads_each))
    }

    /// The towers of a session whose last weight tensors are shuffled.
    pub(super) fn shuffled_towers(&self, session: &Session) -> Result<Towers> {
        session.towers(&self.requests, &self.score, Purpose::Map)
    }

    /// Whether a pair was found to count.
    pub(super) fn counted(&self, photo: &str, category: &str) -> bool {
        self.found.pairs().contains(&(photo.to_owned(), category.to_owned()))
    }
}
