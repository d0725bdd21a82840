//! The metrics of one map.

use super::records::{MetricValue, Values};
use crate::dataset::Truth;
use crate::error::Sorted as _;
use crate::explain::Look;
use crate::metrics::{self, Metric};
use crate::{Error, Result};
use anyhow::Context as _;

/// The metrics of one map. They measure the reported score, so they can be compared whatever score is explained.
pub(super) fn measured(
    look: &Look<'_>,
    map: &[f32],
    truth: Option<&Truth>,
    wanted: &[Metric],
    step: usize,
    seed: u64,
) -> Result<Values> {
    let width = look.size().width;
    let faithfulness = Faithfulness::new(look, map, step, seed);
    let mut values = Values::new();
    for &metric in wanted {
        let masked = || truth.context("a metric of masks without a mask").kind(Error::Dataset);
        let value = match metric {
            Metric::Pointing => {
                let tolerance = metrics::POINTING_TOLERANCE * width as f64 / 224.0;
                let hit = metrics::pointing(map, &masked()?.mask, width, tolerance);
                MetricValue::Number(f64::from(u8::from(hit)))
            }
            Metric::Energy => MetricValue::Number(metrics::energy(map, &masked()?.mask)),
            Metric::BestIou => MetricValue::Number(metrics::best_iou(map, &masked()?.mask)),
            // A crowd has no box, so no threshold can hit one.
            Metric::MaxBoxAcc if masked()?.boxes.is_empty() => MetricValue::Undefined(()),
            Metric::MaxBoxAcc => MetricValue::Hits(metrics::box_hits(map, width, &masked()?.boxes)),
            Metric::Pxap => MetricValue::Number(metrics::pxap(map, &masked()?.mask)),
            other => faithfulness.of(other)?.map_or(MetricValue::Undefined(()), MetricValue::Number),
        };
        values.insert(metric.name().to_owned(), value);
    }
    Ok(values)
}

/// The metrics that run the network.
pub struct Faithfulness<'a> {
    look: &'a Look<'a>,
    map: &'a [f32],
    step: usize,
    seed: u64,
}

impl<'a> Faithfulness<'a> {
    /// For a map of the input's size.
    pub fn new(look: &'a Look<'a>, map: &'a [f32], step: usize, seed: u64) -> Self {
        Self { look, map, step, seed }
    }

    /// The value of one metric; none where it is not defined, or for a metric that does not run the network.
    pub fn of(&self, metric: Metric) -> Result<Option<f64>> {
        let Self { look, map, step, seed } = *self;
        let input = look.input();
        let score = |input: &[f32]| look.reported_score(input);
        let whole = || Ok::<_, Error>(f64::from(look.prompt().reported_score(look.vectors()?)?));
        let kept = || Ok::<_, Error>(f64::from(score(&metrics::kept(input, map))?));
        let width = look.size().width;
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
