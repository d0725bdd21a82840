//! One-sided parts: components turned within the space that they span, until as little as possible of them is on the side that is cut off.
//!
//! A component has two sides, and its OSSM keeps one: on real maps a third of the components' energy is lost. With B the components, one a row, the rotation
//! R is sought that makes the energy of what R B has below zero least: min over rotations R of sum_ij min(0, (R B)_ij)^2. The rows of R B are the one-sided
//! parts. They span what the components span, the loadings of the channels stay orthonormal, and with weights turned along, the weighted sum of all parts
//! stays what it was. The maps themselves are no longer orthogonal, and their lengths are no singular values.
//!
//! Two rows p and q are turned at a time, as in Jacobi's method. With p+ = max(0, p), the distance of the turned rows to p+ and q+ is least at the angle
//! whose tangent is (q.p+ - p.q+) / (p.p+ + q.q+), and cutting off anew lowers it further: the energy below zero never rises. A row with more energy below
//! zero than above is negated.
//!
//! # Reference
//! Kaiser 1958, 10.1007/BF02289233 (varimax: rotations in the plane of a pair, until nothing moves). What is minimised here is ours.

use crate::Error;
use crate::maths::{self, LANES};

/// Sweeps over all pairs: more than so many change nothing that the measures of parts can see.
pub const SWEEP_CAP: u8 = 20;

/// No sine of a sweep was larger than this, 2^-10: the parts stand still.
const STILL: f32 = f32::from_bits((127 - 10) << 23);

/// Turns components into one-sided parts, and `weights` along, so that sum_q w_q map_q stays; then sorts both by falling length of the maps. Returns how
/// many sweeps were made.
///
/// # Shapes
/// `maps` Q x n, one component after the other, overwritten; `weights` Q, overwritten.
///
/// # Errors
/// [`Error::Shape`] if there is no weight or the lengths do not fit together, [`Error::NonFinite`] if a number is not finite: nothing is written then.
/// [`Error::NonFinite`] also if a number would leave the range of `f32`: all has been overwritten then.
///
/// # Accuracy
/// Maps and their weighted sum to 2^-20 of the largest entry; which of several equally good rotations is found depends on the order of the components.
///
/// # Cost
/// At most [`SWEEP_CAP`] sweeps of Q (Q - 1) / 2 pairs, 14 n operations each. No memory.
///
/// # Example
/// ```
/// // Two blobs that overlap nowhere, as a sum and a difference.
/// let mut maps = [1.0, 1.0, 0.0, 1.0, -1.0, 0.0];
/// let mut weights = [3.0, 1.0];
/// decomcam_core::sides::one_sided(&mut maps, &mut weights)?;
/// assert!(maps.iter().all(|value| *value > -0.01));
/// # Ok::<(), decomcam_core::Error>(())
/// ```
pub fn one_sided(maps: &mut [f32], weights: &mut [f32]) -> Result<u8, Error> {
    let n = maps.len().checked_div(weights.len()).unwrap_or(0);
    if n == 0 || Some(maps.len()) != n.checked_mul(weights.len()) {
        return Err(Error::Shape);
    }
    let (largest, heaviest) = (maths::largest_magnitude(maps), maths::largest_magnitude(weights));
    if !(largest.is_finite() && heaviest.is_finite()) {
        return Err(Error::NonFinite);
    }
    // Powers of two, so that squares stay in range and results scale with the maps.
    let (unit, weight_unit) = (maths::power_of_two_unit(largest), maths::power_of_two_unit(heaviest));
    maths::scale(maps, unit);
    maths::scale(weights, weight_unit);
    let mut sweeps = 0;
    let mut turned = true;
    while turned && sweeps < SWEEP_CAP {
        show_larger_sides(maps, weights, n);
        turned = sweep(maps, weights, n) > STILL;
        sweeps += 1;
    }
    show_larger_sides(maps, weights, n);
    sort(maps, weights, n);
    for value in maps.iter_mut() {
        *value /= unit;
    }
    for weight in weights.iter_mut() {
        *weight /= weight_unit;
    }
    if maths::largest_magnitude(maps).is_finite() && maths::largest_magnitude(weights).is_finite() {
        Ok(sweeps)
    } else {
        Err(Error::NonFinite)
    }
}

/// Negates each map, and its weight, that has more energy below zero than above.
fn show_larger_sides(maps: &mut [f32], weights: &mut [f32], n: usize) {
    for (map, weight) in maps.chunks_exact_mut(n).zip(weights) {
        if lane_sum(map, map, |value, _| value * value.abs()) < 0.0 {
            maths::scale(map, -1.0);
            *weight = -*weight;
        }
    }
}

/// Turns every pair once; the largest sine.
fn sweep(maps: &mut [f32], weights: &mut [f32], n: usize) -> f32 {
    let mut largest = 0.0;
    let (mut maps, mut weights) = (maps, weights);
    while let (Some((p, after)), Some((p_weight, heavier))) = (maps.split_at_mut_checked(n), weights.split_first_mut())
    {
        for (q, q_weight) in after.chunks_exact_mut(n).zip(heavier.iter_mut()) {
            largest = maths::greater(turn(p, q, p_weight, q_weight), largest);
        }
        (maps, weights) = (after, heavier);
    }
    largest
}

/// Turns two maps, and their weights, towards their positive sides; the sine of the angle, without its sign.
fn turn(p: &mut [f32], q: &mut [f32], p_weight: &mut f32, q_weight: &mut f32) -> f32 {
    let positive = |value: f32| maths::greater(value, 0.0);
    let along = lane_sum(p, q, |p, q| positive(p) * p + positive(q) * q);
    let across = lane_sum(p, q, |p, q| q * positive(p) - p * positive(q));
    // Squares of what is small as it is would be zero where maps have next to nothing in common.
    let unit = maths::power_of_two_unit(maths::greater(along.abs(), across.abs()));
    let (along, across) = (along * unit, across * unit);
    let length = maths::sqrt(along * along + across * across);
    if length == 0.0 {
        return 0.0;
    }
    let (cosine, sine) = (along / length, across / length);
    let turned = |p: f32, q: f32| (cosine * p + sine * q, cosine * q - sine * p);
    for (p, q) in p.iter_mut().zip(q) {
        (*p, *q) = turned(*p, *q);
    }
    (*p_weight, *q_weight) = turned(*p_weight, *q_weight);
    sine.abs()
}

/// sum_i term(x_i, y_i), in lane order.
fn lane_sum(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += term(*x, *y);
        }
    }
    maths::tree(lanes)
}

/// By falling length; maps of equal length stay in order.
fn sort(maps: &mut [f32], weights: &mut [f32], n: usize) {
    let (mut maps, mut weights) = (maps, weights);
    while let Some((first_weight, heavier)) = weights.split_first_mut() {
        let lengths = maps.chunks_exact(n).map(|map| maths::dot(map, map)).enumerate();
        let (longest, _) = lengths.fold((0, -1.0), |best, new| if new.1 > best.1 { new } else { best });
        let Some((first, after)) = maps.split_at_mut_checked(n) else { return };
        if let Some(place) = longest.checked_sub(1)
            && let (Some(other), Some(weight)) = (after.chunks_exact_mut(n).nth(place), heavier.get_mut(place))
        {
            first.iter_mut().zip(other).for_each(|(a, b)| core::mem::swap(a, b));
            core::mem::swap(first_weight, weight);
        }
        (maps, weights) = (after, heavier);
    }
}
