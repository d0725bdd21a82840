//! How well parts pick out objects: OSSMs, k-means clusters and non-negative factors (NMF) of the same weighted activations, on photos with several objects.

use crate::Result;
use crate::encoders::activations::Activations;
use crate::encoders::image::Explained;
use crate::explain::{self, Look, Request};
use crate::methods::Map;
use crate::metrics;
use crate::random::Random;

/// A way to split a layer into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// OSSMs of a recipe.
    Ossms,
    /// Positions in clusters: each part is one cluster. Lloyd's iterations from k-means++ (Arthur and Vassilvitskii, SODA 2007).
    KMeans,
    /// Non-negative factors: multiplicative updates (Lee and Seung, NIPS 2000).
    Nmf,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ossms, Self::KMeans, Self::Nmf];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ossms => "ossms",
            Self::KMeans => "k-means",
            Self::Nmf => "nmf",
        }
    }
}

/// How well the parts of one photo pick out its objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth {
    /// Mean over objects of the best IoU ([`metrics::best_iou`]) that any part has with it.
    pub best_iou: f64,
    /// Mean over pairs of parts of sum min / sum max, both divided by their maximum.
    pub overlap: f64,
    /// Mean over parts of the largest share of their sum inside one object.
    pub energy: f64,
}

/// The parts of one photo: the OSSMs of the request, or as many clusters or factors at the layer's own size.
///
/// # Errors
/// Those of the decomposition.
pub(crate) fn split(look: &Look<'_>, way: Split, request: &Request) -> Result<Vec<Map>> {
    let (ossms, size) = explain::ossms(look, request)?;
    if way == Split::Ossms {
        return Ok(ossms.into_iter().map(|values| Map { values, size }).collect());
    }
    let layer = look.layer()?;
    let (channels, size) = (layer.seen.activations.channels, layer.seen.activations.size);
    let count = ossms.len();
    let mut rows = weighted_rows(layer);
    let maps = if way == Split::KMeans {
        k_means(&rows, channels, count, request.seed)
    } else {
        rows.iter_mut().for_each(|value| *value = value.max(0.0));
        nmf(&rows, channels, count, request.seed)
    };
    Ok(maps.into_iter().map(|values| Map { values, size }).collect())
}

/// w_c A_c, one row for each position.
fn weighted_rows(layer: &Explained) -> Vec<f32> {
    let Activations { channels, size, values, .. } = &layer.seen.activations;
    let positions = size.area();
    let mut rows = vec![0.0; positions * channels];
    let maps = values.chunks_exact(positions).zip(layer.gradients.chunks_exact(positions));
    for (channel, (map, gradients)) in maps.enumerate() {
        let weight = gradients.iter().sum::<f32>() / positions as f32;
        for (at, value) in map.iter().enumerate() {
            rows[at * channels + channel] = weight * value;
        }
    }
    rows
}

/// How well parts, upsampled to the size of the masks, pick out objects. None with fewer than two objects or two parts.
pub fn worth(parts: &[Vec<f32>], objects: &[Vec<bool>]) -> Option<Worth> {
    if parts.len() < 2 || objects.len() < 2 {
        return None;
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let best = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let overlap = |a: &[f32], b: &[f32]| {
        let sum = |pick: fn(f32, f32) -> f32| a.iter().zip(b).map(|(a, b)| f64::from(pick(*a, *b))).sum::<f64>();
        let most = sum(f32::max);
        if most > 0.0 { sum(f32::min) / most } else { 0.0 }
    };
    let pairs = parts.iter().enumerate().flat_map(|(q, a)| parts[q + 1..].iter().map(move |b| (a, b)));
    Some(Worth {
        best_iou: mean(
            objects.iter().map(|mask| best(&mut parts.iter().map(|part| metrics::best_iou(part, mask)))).collect(),
        ),
        overlap: mean(pairs.map(|(a, b)| overlap(a, b)).collect()),
        energy: mean(
            parts.iter().map(|part| best(&mut objects.iter().map(|mask| metrics::energy(part, mask)))).collect(),
        ),
    })
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Clusters of rows as maps of 0 and 1.
pub fn k_means(rows: &[f32], width: usize, count: usize, seed: u64) -> Vec<Vec<f32>> {
    const STEPS: usize = 100;
    let rows: Vec<&[f32]> = rows.chunks_exact(width).collect();
    let mut random = Random::new(seed);
    let mut centres: Vec<Vec<f32>> = vec![rows[random.below(rows.len())].to_vec()];
    while centres.len() < count {
        let nearest = |row: &&[f32]| centres.iter().map(|c| distance(row, c)).fold(f64::INFINITY, f64::min);
        let distances: Vec<f64> = rows.iter().map(nearest).collect();
        let mut drawn = random.uniform() * distances.iter().sum::<f64>();
        let at = distances.iter().position(|distance| {
            drawn -= distance;
            drawn < 0.0
        });
        centres.push(rows[at.unwrap_or(rows.len() - 1)].to_vec());
    }
    let mut owners = vec![usize::MAX; rows.len()];
    for _ in 0..STEPS {
        let nearest = |row: &&[f32]| {
            let distances = centres.iter().map(|centre| distance(row, centre)).enumerate();
            distances.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(at, _)| at)
        };
        let found: Vec<usize> = rows.iter().map(nearest).collect();
        if found == owners {
            break;
        }
        owners = found;
        for (number, centre) in centres.iter_mut().enumerate() {
            let own: Vec<&&[f32]> = rows.iter().zip(&owners).filter(|(_, o)| **o == number).map(|(r, _)| r).collect();
            for (at, value) in centre.iter_mut().enumerate().filter(|_| !own.is_empty()) {
                *value = own.iter().map(|row| row[at]).sum::<f32>() / own.len() as f32;
            }
        }
    }
    let map = |number: usize| owners.iter().map(|owner| f32::from(u8::from(*owner == number))).collect();
    (0..count).map(map).collect()
}

/// The columns of W in X = W H, all three non-negative, as maps.
pub fn nmf(rows: &[f32], width: usize, count: usize, seed: u64) -> Vec<Vec<f32>> {
    const STEPS: usize = 200;
    const TINY: f64 = 1e-12;
    let height = rows.len() / width;
    let x: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
    let mut random = Random::new(seed);
    let level = (x.iter().sum::<f64>() / x.len() as f64 / count as f64).sqrt();
    let mut draw = |len: usize| -> Vec<f64> { (0..len).map(|_| level * (0.5 + random.uniform())).collect() };
    let (mut w, mut h) = (draw(height * count), draw(count * width));
    for _ in 0..STEPS {
        let mut above = vec![0.0; count * width];
        let mut square = vec![0.0; count * count];
        for (row, weights) in x.chunks_exact(width).zip(w.chunks_exact(count)) {
            for (q, weight) in weights.iter().enumerate() {
                above[q * width..(q + 1) * width].iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
                square[q * count..(q + 1) * count].iter_mut().zip(weights).for_each(|(sum, v)| *sum += weight * v);
            }
        }
        let old = h.clone();
        for q in 0..count {
            for at in 0..width {
                let below: f64 = (0..count).map(|k| square[q * count + k] * old[k * width + at]).sum();
                h[q * width + at] *= above[q * width + at] / (below + TINY);
            }
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let part = |q: usize| &h[q * width..(q + 1) * width];
        let square: Vec<f64> = (0..count * count).map(|at| dot(part(at / count), part(at % count))).collect();
        for (row, weights) in x.chunks_exact(width).zip(w.chunks_exact_mut(count)) {
            let old = weights.to_vec();
            for (q, weight) in weights.iter_mut().enumerate() {
                *weight *= dot(row, part(q)) / (dot(&square[q * count..(q + 1) * count], &old) + TINY);
            }
        }
    }
    (0..count).map(|q| w.chunks_exact(count).map(|row| row[q] as f32).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three blocks of four positions each, every block with channels of its own.
    fn planted() -> Vec<f32> {
        (0..12 * 9).map(|at| if at / 9 / 4 == at % 9 / 3 { 1.0 + (at % 5) as f32 / 10.0 } else { 0.0 }).collect()
    }

    #[test]
    fn planted_parts_are_found() {
        for maps in [k_means(&planted(), 9, 3, 1), nmf(&planted(), 9, 3, 1)] {
            let mut blocks: Vec<usize> = Vec::new();
            for map in maps {
                let largest = map.iter().copied().fold(0.0, f32::max);
                let strong: Vec<usize> = (0..12).filter(|at| map[*at] > 0.5 * largest).collect();
                assert_eq!(strong.len(), 4, "{map:?}");
                assert!(strong.iter().all(|at| at / 4 == strong[0] / 4), "{map:?}");
                blocks.push(strong[0] / 4);
            }
            blocks.sort_unstable();
            assert_eq!(blocks, [0, 1, 2]);
        }
    }

    #[test]
    fn worth_of_perfect_and_of_equal_parts() {
        let mask = |from: usize| -> Vec<bool> { (0..8).map(|at| (from..from + 4).contains(&at)).collect() };
        let map = |mask: &[bool]| -> Vec<f32> { mask.iter().map(|inside| f32::from(u8::from(*inside))).collect() };
        let objects = [mask(0), mask(4)];
        let perfect = worth(&[map(&objects[0]), map(&objects[1])], &objects).unwrap();
        assert_eq!(perfect, Worth { best_iou: 1.0, overlap: 0.0, energy: 1.0 });
        let equal = worth(&[vec![1.0; 8], vec![1.0; 8]], &objects).unwrap();
        assert_eq!(equal, Worth { best_iou: 0.5, overlap: 1.0, energy: 0.5 });
        assert_eq!(worth(&[vec![1.0; 8]], &objects), None);
    }
}
