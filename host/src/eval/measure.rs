//! The metrics of one map.

use super::records::{Value, Values};
use crate::dataset::Truth;
use crate::error::Sorted as _;
use crate::methods::Subject;
use crate::metrics::{self, Metric};
use anyhow::{Context, Result};

/// The metrics of one map of a subject: scores are the reported ones, which are the same whatever score is explained.
pub(super) fn measured(
    subject: &Subject<'_>,
    map: &[f32],
    truth: Option<&Truth>,
    wanted: &[Metric],
    step: usize,
    seed: u64,
) -> Result<Values> {
    let width = subject.planes.size.width;
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
        let score = |input: &[f32]| subject.reported_score(input).kind(crate::Error::Explanation);
        let whole = || Ok::<_, anyhow::Error>(f64::from(subject.prompt.scores(&subject.layer.vectors)?.reported.value));
        let kept = || Ok::<_, anyhow::Error>(f64::from(score(&metrics::kept(input, map))?));
        let width = subject.planes.size.width;
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
