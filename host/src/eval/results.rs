//! What `results.json` holds: each metric of each method over all pairs and by category, and its difference to the first method, pair by pair.

use super::parts::PartsSummary;
use super::records::{Knows, MetricValue, Records, Settings};
use crate::dataset::plan::{Encoded, LeftOut, Skipped, Tally, Work};
use crate::explain::Used;
use crate::methods::Method;
use crate::metrics::{self, Metric};
use crate::program::{PROGRAM, SCHEMA_VERSION};
use crate::stats::{Estimate, Sample};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A metric of a method over all pairs.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    pub(super) estimate: Estimate,
    /// The mean of the categories' means.
    mean_over_categories: f64,
    /// How many pairs it is the mean of.
    pub(super) pairs: usize,
}

/// Something for each method and metric, by their names.
pub(super) type ByMethod<T> = BTreeMap<&'static str, BTreeMap<&'static str, T>>;

#[derive(Debug, Serialize)]
pub(super) struct CategoryResults {
    pub(super) pairs: usize,
    pub(super) methods: ByMethod<f64>,
}

/// How much maps of the network with shuffled weights resemble the network's own maps.
#[derive(Debug, Serialize)]
pub(super) struct Randomised {
    /// How many tensors were shuffled, counted from the score downwards.
    pub(super) tensors: usize,
    /// Spearman's correlation.
    #[serde(flatten)]
    pub(super) estimate: Estimate,
}

/// What `results.json` holds.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    schema_version: u32,
    program: &'static str,
    pub(super) settings: Settings,
    interval: &'static str,
    pub(super) photos: usize,
    pub(super) pairs: usize,
    pub(super) left_out: LeftOut,
    pub(super) skipped_count: usize,
    pub(super) skipped: Vec<Skipped>,
    /// What was asked of the model for each category, and what it took that for.
    prompts: BTreeMap<String, Encoded>,
    /// What made each method's map.
    used: BTreeMap<&'static str, Used>,
    /// The methods, in the order in which they were asked for.
    pub(super) order: Vec<&'static str>,
    pub(super) methods: ByMethod<Summary>,
    /// The difference of each method to the first, pair by pair.
    pub(super) differences: ByMethod<Estimate>,
    pub(super) categories: BTreeMap<String, CategoryResults>,
    /// The same by what the model knows; empty if nothing says what it knows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) knowledge: BTreeMap<&'static str, CategoryResults>,
    /// Correlation of each method's maps with those of networks with shuffled weights; empty unless asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) randomisation: BTreeMap<&'static str, Vec<Randomised>>,
    /// OSSMs and other ways of splitting; empty unless asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) parts: BTreeMap<&'static str, PartsSummary>,
    #[serde(skip)]
    pub(super) metrics: Vec<Metric>,
}

/// The photos that count, each with its categories that count, and their records.
struct Counted<'a> {
    photos: Vec<(&'a Work, Vec<&'a str>)>,
    records: &'a Records,
    seed: u64,
}

impl<'a> Counted<'a> {
    fn new(work: &'a [Work], tally: &Tally, records: &'a Records, seed: u64) -> Self {
        let categories = |work: &'a Work| -> Vec<&'a str> {
            let all = work.pairs.iter().map(|(category, _)| category.as_str());
            all.filter(|category| tally.pairs.contains(&(work.photo.clone(), (*category).to_owned()))).collect()
        };
        let photos = work.iter().map(|work| (work, categories(work)));
        Self { photos: photos.filter(|(_, categories)| !categories.is_empty()).collect(), records, seed }
    }

    /// One recorded value of a method's maps, over all pairs of photo and category that are wanted. The bootstrap draws photos, so each photo is a group.
    fn sample(&self, method: Method, name: &str, wanted: &dyn Fn(&str, &str) -> bool) -> Sample {
        let mut sample = Sample::default();
        for (work, categories) in &self.photos {
            sample.group();
            for category in categories.iter().filter(|category| wanted(&work.photo, category)) {
                let known = self.records.get(&work.photo, category, method);
                match known.and_then(|known| known.values.get(name)) {
                    Some(MetricValue::Number(value)) => sample.push(&[*value]),
                    Some(MetricValue::Hits(hits)) => sample.push(&row_of_hits(hits)),
                    Some(MetricValue::Undefined(())) | None => {}
                }
            }
        }
        sample
    }

    fn categories(&self) -> BTreeSet<&'a str> {
        self.photos.iter().flat_map(|(_, categories)| categories.iter().copied()).collect()
    }

    /// What the model knows of a pair.
    fn knows(&self, photo: &str, category: &str, methods: &[Method]) -> Option<Knows> {
        methods.iter().find_map(|method| self.records.get(photo, category, *method)?.knows)
    }

    /// The means over the pairs that are wanted.
    fn means(&self, wanted: &dyn Fn(&str, &str) -> bool, methods: &[Method], metrics: &[Metric]) -> CategoryResults {
        let mean =
            |method: Method, metric: &Metric| Some((metric.name(), self.sample(method, metric.name(), wanted).mean()?));
        let pairs = self.photos.iter().flat_map(|(work, categories)| categories.iter().map(|c| (&work.photo, *c)));
        let pairs = pairs.filter(|(photo, category)| wanted(photo, category)).count();
        let of_method = |method: &Method| {
            let means: BTreeMap<_, _> = metrics.iter().filter_map(|metric| mean(*method, metric)).collect();
            (!means.is_empty()).then_some((method.name(), means))
        };
        CategoryResults { pairs, methods: methods.iter().filter_map(of_method).collect() }
    }

    /// Correlations with the maps of shuffled networks.
    fn randomised(&self, method: Method, stages: &[usize]) -> Vec<Randomised> {
        let stage = |tensors: &usize| {
            let estimate = self.sample(method, &format!("randomised_{tensors}"), &all).estimate(self.seed)?;
            Some(Randomised { tensors: *tensors, estimate })
        };
        stages.iter().filter_map(stage).collect()
    }
}

/// Every pair.
fn all(_: &str, _: &str) -> bool {
    true
}

/// 1 at each threshold that hit, 0 elsewhere.
fn row_of_hits(hits: &[u8]) -> [f64; metrics::BOX_THRESHOLDS] {
    let mut row = [0.0; metrics::BOX_THRESHOLDS];
    for hit in hits {
        if let Some(place) = row.get_mut(usize::from(*hit)) {
            *place = 1.0;
        }
    }
    row
}

/// What a run measured.
pub(super) struct Findings {
    pub(super) used: BTreeMap<&'static str, Used>,
    pub(super) work: Vec<Work>,
    pub(super) tally: Tally,
    pub(super) metrics: Vec<Metric>,
    /// Numbers of weight tensors that were shuffled.
    pub(super) stages: Vec<usize>,
    pub(super) parts: BTreeMap<&'static str, PartsSummary>,
}

impl Results {
    pub(super) fn new(settings: Settings, methods: &[Method], findings: Findings, records: &Records) -> Self {
        let Findings { used, work, tally, metrics, stages, parts } = findings;
        let counted = Counted::new(&work, &tally, records, settings.seed);
        let categories: BTreeMap<String, CategoryResults> = counted
            .categories()
            .into_iter()
            .map(|category| (category.to_owned(), counted.means(&|_, other| other == category, methods, &metrics)))
            .collect();
        let knowledge = Knows::ALL.into_iter().map(|knows| {
            let wanted = |photo: &str, category: &str| counted.knows(photo, category, methods) == Some(knows);
            (knows.name(), counted.means(&wanted, methods, &metrics))
        });
        let knowledge = knowledge.filter(|(_, results)| results.pairs > 0).collect();
        let mean_over_categories = |method: Method, metric: Metric| {
            let of_method = categories.values().filter_map(|results| results.methods.get(method.name()));
            let means: Vec<f64> = of_method.filter_map(|metrics| metrics.get(metric.name())).copied().collect();
            means.iter().sum::<f64>() / means.len() as f64
        };
        let (mut summaries, mut differences) = (ByMethod::new(), ByMethod::new());
        for &method in methods {
            for &metric in &metrics {
                let sample = counted.sample(method, metric.name(), &all);
                if let Some(estimate) = sample.estimate(counted.seed) {
                    let mean_over_categories = mean_over_categories(method, metric);
                    let summary = Summary { estimate, mean_over_categories, pairs: sample.count() };
                    summaries.entry(method.name()).or_insert_with(BTreeMap::new).insert(metric.name(), summary);
                }
                if method == methods[0] {
                    continue;
                }
                let first = counted.sample(methods[0], metric.name(), &all);
                if let Some(difference) = sample.against(&first, counted.seed) {
                    differences.entry(method.name()).or_insert_with(BTreeMap::new).insert(metric.name(), difference);
                }
            }
        }
        let shuffled = methods.iter().filter(|_| !stages.is_empty());
        let randomisation = shuffled.map(|method| (method.name(), counted.randomised(*method, &stages))).collect();
        let photos = counted.photos.len();
        Self {
            schema_version: SCHEMA_VERSION,
            program: PROGRAM,
            settings,
            interval: "95%, bootstrap over photos, 2000 resamples",
            photos,
            pairs: tally.pairs.len(),
            left_out: tally.left_out,
            skipped_count: tally.skipped.len(),
            skipped: tally.skipped,
            prompts: tally.prompts,
            used,
            order: methods.iter().map(|method| method.name()).collect(),
            methods: summaries,
            differences,
            categories,
            knowledge,
            randomisation,
            parts,
            metrics,
        }
    }
}
