//! Means with their intervals, ranks and percentiles.

use crate::random::Random;

/// A mean and the ends of its 95% bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The mean over all values.
    pub mean: f64,
    /// The 2.5% point of the means of resamples.
    pub low: f64,
    /// The 97.5% point.
    pub high: f64,
}

/// How many resamples an [`Estimate`] is made of.
pub const RESAMPLES: usize = 2000;

/// Values in groups that are resampled together (the pairs of one photo), each a row of one or several columns. The statistic is the largest of the
/// columns' means: with one column the mean, with one column for each threshold MaxBoxAcc.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The sum of the rows of each group, and how many rows it has.
    groups: Vec<(Vec<f64>, usize)>,
}

impl Sample {
    /// Starts a group, to which [`Sample::push`] adds.
    pub fn group(&mut self) {
        self.groups.push((Vec::new(), 0));
    }

    /// Adds a row to the last group.
    pub fn push(&mut self, row: &[f64]) {
        if let Some((sums, count)) = self.groups.last_mut() {
            sums.resize(row.len(), 0.0);
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            *count += 1;
        }
    }

    /// The number of rows in all groups.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|(_, count)| count).sum()
    }

    fn statistic(&self, drawn: impl Iterator<Item = usize>) -> Option<f64> {
        let (mut totals, mut count) = (Vec::new(), 0);
        for group in drawn {
            let (sums, rows) = &self.groups[group];
            totals.resize(totals.len().max(sums.len()), 0.0);
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            count += rows;
        }
        (count > 0).then(|| totals.iter().copied().fold(f64::NEG_INFINITY, f64::max) / count as f64)
    }

    /// The statistic. None if there are no rows.
    pub fn mean(&self) -> Option<f64> {
        self.statistic(0..self.groups.len())
    }

    /// The statistic with its interval: groups drawn with replacement [`RESAMPLES`] times. None if there are no rows.
    pub fn estimate(&self, seed: u64) -> Option<Estimate> {
        self.against(&Sample { groups: vec![(vec![0.0], 1); self.groups.len()] }, seed)
    }

    /// The difference of this statistic and that of `other`, with its interval. Both samples have the same groups, and the same groups are drawn for both.
    pub fn against(&self, other: &Sample, seed: u64) -> Option<Estimate> {
        let groups = self.groups.len();
        let difference =
            |drawn: &[usize]| Some(self.statistic(drawn.iter().copied())? - other.statistic(drawn.iter().copied())?);
        let mean = difference(&(0..groups).collect::<Vec<_>>())?;
        let mut random = Random::new(seed);
        let mut drawn = vec![0; groups];
        let mut means: Vec<f64> = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            drawn.iter_mut().for_each(|group| *group = random.below(groups));
            means.extend(difference(&drawn));
        }
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means.get((share * (means.len() - 1) as f64).round() as usize).copied().unwrap_or(mean);
        Some(Estimate { mean, low: at(0.025), high: at(0.975) })
    }
}

/// Pearson's correlation of two lists of equal length; 0 where one is constant.
pub fn pearson(a: &[f32], b: &[f32]) -> f64 {
    let mean = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a) - mean_a, f64::from(*b) - mean_b);
        both += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    let norm = f64::sqrt(of_a * of_b);
    if norm > 0.0 { both / norm } else { 0.0 }
}

/// Spearman's rank correlation of two maps, equal values sharing their mean rank; 0 where a map is constant.
pub fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |map: &[f32]| {
        let order = falling(map);
        let mut ranks = vec![0.0; map.len()];
        let mut start = 0;
        while start < order.len() {
            let same = |at: &&u32| map[**at as usize] == map[order[start] as usize];
            let end = start + order[start..].iter().take_while(same).count();
            // The mean of the places start .. end - 1, less the mean of all.
            let rank = (start + end - 1) as f64 / 2.0 - (order.len() - 1) as f64 / 2.0;
            order[start..end].iter().for_each(|&at| ranks[at as usize] = rank);
            start = end;
        }
        ranks
    };
    let (a, b) = (ranks(a), ranks(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
    if lengths > 0.0 { dot(&a, &b) / lengths } else { 0.0 }
}

/// Positions by falling value, equal values in their order.
pub(crate) fn falling(map: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..map.len() as u32).collect();
    order.sort_by(|&a, &b| map[b as usize].total_cmp(&map[a as usize]));
    order
}

/// numpy's linear percentile of sorted values; `share` in 0..=1.
pub(crate) fn percentile(sorted: &[f32], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[(below + 1).min(sorted.len() - 1)]));
    low + (high - low) * (at - below as f64)
}
