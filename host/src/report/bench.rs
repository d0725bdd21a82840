//! The time of repeated explanations, stage by stage.

use super::json::StageReport;
use super::words::stage_lines;
use crate::timings::Timings;
use serde::Serialize;
use std::time::Duration;

/// Medians over repeated explanations with a loaded model, each from the decoded photo to the saliency map.
#[derive(Debug, Serialize)]
pub struct Bench {
    repeats: usize,
    threads: usize,
    /// Time from the start of the program's work to the end of the first explanation.
    cold_ms: f64,
    /// Time of each further explanation.
    warm_ms: f64,
    /// The share of the work of a further explanation that is not spent in the network, 0..=1.
    outside_network: f64,
    peak_memory_mb: Option<f64>,
    loading: Vec<StageReport>,
    stages: Vec<StageReport>,
}

impl Bench {
    /// Takes the timings of loading, the time to the end of the first explanation, and the time and stages of each further one.
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
        let peak = self.peak_memory_mb.map_or_else(|| "not known on this system".into(), |mb| format!("{mb:>9.1} MB"));
        format!(
            "loading\n{}explanation, median of each stage (the time of all threads is added up)\n{}\
             cold, from start to the first explanation   {:>9.1} ms\n\
             warm, each further explanation              {:>9.1} ms  (median of {}, {} threads)\n\
             work outside the network                    {:>9.1} %\n\
             peak memory                                 {peak}\n",
            stage_lines(&self.loading),
            stage_lines(&self.stages),
            self.cold_ms,
            self.warm_ms,
            self.repeats,
            self.threads,
            100.0 * self.outside_network,
        )
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
