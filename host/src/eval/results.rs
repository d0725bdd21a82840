//! Tables of what the records say: `results.json`, `results.csv`, `results.md`.

use super::records::{Records, Settings, Value};
use super::{Found, LeftOut, Skipped, Work};
use crate::methods::Method;
use crate::metrics::{self, Metric};
use crate::stats::{Estimate, Sample};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

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
pub(super) struct PartsSummary {
    pub(super) pairs: usize,
    pub(super) best_iou: Estimate,
    pub(super) overlap: Estimate,
    pub(super) energy: Estimate,
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
pub(super) struct Results {
    program: String,
    settings: Settings,
    interval: &'static str,
    photos: usize,
    pairs: usize,
    left_out: LeftOut,
    skipped_count: usize,
    pub(super) skipped: Vec<Skipped>,
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
    pub(super) parts: BTreeMap<&'static str, PartsSummary>,
    #[serde(skip)]
    metrics: Vec<Metric>,
}

impl Results {
    pub(super) fn new(
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
    pub(super) fn table(&self) -> String {
        let mut text =
            format!("{} of photo and category, {}\n\n", counted(self.pairs, "pair"), counted(self.photos, "photo"));
        text += &self.rows(&self.order, |method, metric| {
            let Estimate { mean, low, high } = self.methods.get(method)?.get(metric.name())?.estimate;
            Some(format!("{mean:.3} [{low:.3}, {high:.3}]"))
        });
        text
    }

    pub(super) fn markdown(&self) -> String {
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
            let _ = write!(text, "\n## {category}, {}\n\n", counted(results.pairs, "pair"));
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
    pub(super) fn csv(&self) -> String {
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

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
