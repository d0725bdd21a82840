//! Stages 7 and 8: from the scores of masked photos, or the closed form, to weights; from weights to the saliency map.

use crate::decompose::Components;
use crate::maths::finite;
use crate::{Error, maths};

/// How the weights of the parts come about, and which maps they weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Weighing {
    /// Closed form without loss: the *signed* components with [`exact_weights`], and the mean of the first-order map, sum to the first-order map itself
    /// ([`exact_sum`]).
    Exact,
    /// Closed form: the OSSMs, each with max(0, alignment with the first-order map) over the largest ([`aligned_weights`]).
    #[default]
    Aligned,
    /// The OSSMs, with weights from the scores of the photos that they mask ([`score_weights`]).
    Scores(ScoreFormula),
}

/// How the scores of masked photos become weights. The paper's text and its authors' released programs differ, so each has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ScoreFormula {
    /// The paper's overview figure: min-max of the contributions.
    Paper,
    /// The released notebook: contributions over their maximum, zero below 0.01.
    Notebook,
    /// The first release: contributions times their softmax.
    V1,
    /// The last release: scores over their maximum, zero below 0.001.
    V25,
}

impl ScoreFormula {
    /// Whether the score of the wholly blurred photo is subtracted before the weights are made.
    pub const fn subtracts_blurred(self) -> bool {
        !matches!(self, ScoreFormula::V25)
    }
}

/// Weights of the OSSMs from the scores of the photos that they mask.
///
/// With s_q the scores, s_0 that of the blurred photo, and d_q = s_q - s_0:
///
/// | formula | weight |
/// |---|---|
/// | [`ScoreFormula::Paper`] | (d_q - min d) / (max d - min d) |
/// | [`ScoreFormula::Notebook`] | d_q / max d, 0 where d_q < 0.01 |
/// | [`ScoreFormula::V1`] | d_q softmax(d)_q |
/// | [`ScoreFormula::V25`] | s_q / max s, 0 where s_q < 0.001 |
///
/// All zero where the divisor is not above zero.
///
/// # Errors
/// [`Error::Components`] if there are none or `weights` has another length; [`Error::NonFinite`] if a score is NaN or infinite. `weights` is
/// untouched then.
pub fn score_weights(formula: ScoreFormula, scores: &[f32], blurred: f32, weights: &mut [f32]) -> Result<(), Error> {
    if scores.is_empty() || weights.len() != scores.len() {
        return Err(Error::Components);
    }
    let base = if formula.subtracts_blurred() { blurred } else { 0.0 };
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for score in scores {
        let difference = score - base;
        if !difference.is_finite() {
            return Err(Error::NonFinite);
        }
        low = maths::lesser(low, difference);
        high = maths::greater(high, difference);
    }
    let mut total = 0.0;
    for (weight, score) in weights.iter_mut().zip(scores) {
        let d = score - base;
        *weight = match formula {
            // Half of each, so that no difference is beyond the range.
            ScoreFormula::Paper => ratio(0.5 * d - 0.5 * low, 0.5 * high - 0.5 * low),
            ScoreFormula::Notebook if d < 0.01 => 0.0,
            ScoreFormula::V25 if d < 0.001 => 0.0,
            ScoreFormula::Notebook | ScoreFormula::V25 => ratio(d, high),
            ScoreFormula::V1 => maths::exp(d - high),
        };
        total += *weight;
    }
    if formula == ScoreFormula::V1 {
        for (weight, score) in weights.iter_mut().zip(scores) {
            *weight = (score - base) * ratio(*weight, total);
        }
    }
    Ok(())
}

/// (U s)_q' L over the largest magnitude among them: the contributions that the gradient predicts, -1..=1, without a forward pass.
/// Negative where another rule than [`crate::SignRule::Score`] turned a component against the score, and where rounding did in maps of subnormal numbers.
///
/// # Errors
/// [`Error::Components`] if `predicted` is longer than there are components.
pub fn predicted(parts: &Components, predicted: &mut [f32]) -> Result<(), Error> {
    shares(parts.maps(), parts.centred_first_order(), predicted)
}

/// [`predicted`] of components as C holds them.
pub(crate) fn shares(components: &[f32], first_order: &[f32], predicted: &mut [f32]) -> Result<(), Error> {
    let units = Units::of(components, first_order, predicted.len())?;
    let mut high = 0.0_f32;
    for (q, share) in predicted.iter_mut().enumerate() {
        *share = units.alignment(components, first_order, q)?;
        high = maths::greater(high, share.abs());
    }
    for share in predicted {
        *share = ratio(*share, high);
    }
    Ok(())
}

/// The weights of [`Weighing::Aligned`]: what [`predicted`] says, zero where that is negative.
///
/// # Errors
/// [`Error::Components`] if `weights` is longer than there are components.
pub fn aligned_weights(parts: &Components, weights: &mut [f32]) -> Result<(), Error> {
    aligned(parts.maps(), parts.centred_first_order(), weights)
}

/// [`aligned_weights`] of components as C holds them.
pub(crate) fn aligned(components: &[f32], first_order: &[f32], weights: &mut [f32]) -> Result<(), Error> {
    shares(components, first_order, weights)?;
    for weight in weights {
        *weight = maths::greater(*weight, 0.0);
    }
    Ok(())
}

/// The weights of [`Weighing::Exact`]: U_q' L / s_q = (U s)_q' L / s_q^2, zero for a component below 1e-6 of the largest.
///
/// With L = sum_c w_c A_c the first-order map, of mean mu, and components c_q = s_q U_q: L - mu = sum_q (U_q' L) U_q over all components, so that
/// mu + sum_q weight_q c_q ([`exact_sum`]) is L itself when all are there, and the nearest to it that so many can come when not. Components are summed
/// with their signs, and negatives of the sum are cut off once, at the end. mu of all channels is [`crate::head::first_order_mean`].
///
/// # Errors
/// [`Error::Components`] if `weights` is longer than there are components.
pub fn exact_weights(parts: &Components, weights: &mut [f32]) -> Result<(), Error> {
    exact(parts.maps(), parts.singular_values(), parts.centred_first_order(), weights)
}

/// [`exact_weights`] of components as C holds them.
pub(crate) fn exact(components: &[f32], values: &[f32], first_order: &[f32], weights: &mut [f32]) -> Result<(), Error> {
    let values = values.get(..weights.len()).ok_or(Error::Components)?;
    let units = Units::of(components, first_order, weights.len())?;
    let least = 1e-6 * (values.first().copied().unwrap_or(0.0) * units.components);
    let weight = |q: usize, value: f32| {
        let alignment = units.alignment(components, first_order, q)?;
        let length = value * units.components;
        let weight = alignment / (length * length) * (units.components / units.first_order);
        finite(if length > least { weight } else { 0.0 })
    };
    // A decomposition gives weights in range, what C passes may not: nothing is written then.
    for writes in [false, true] {
        for (q, (place, value)) in weights.iter_mut().zip(values).enumerate() {
            let found = weight(q, *value)?;
            if writes {
                *place = found;
            }
        }
    }
    Ok(())
}

/// [`Components::alignment`] of components as C holds them.
pub(crate) fn alignment(components: &[f32], first_order: &[f32], q: usize) -> Result<f32, Error> {
    let units = Units::of(components, first_order, q.saturating_add(1))?;
    let alignment = units.alignment(components, first_order, q)? / units.components / units.first_order;
    finite(alignment)
}

/// Powers of two that bring components and first-order map near one: products of huge or tiny numbers stay in range, and no other bit changes.
struct Units {
    components: f32,
    first_order: f32,
}

impl Units {
    /// Of components of which the first `count` must be there, all values being finite.
    fn of(components: &[f32], first_order: &[f32], count: usize) -> Result<Self, Error> {
        match first_order.len().checked_mul(count) {
            Some(len) if len <= components.len() => {}
            _ => return Err(Error::Components),
        }
        let (of_components, of_first_order) =
            (maths::largest_magnitude(components), maths::largest_magnitude(first_order));
        if !(of_components.is_finite() && of_first_order.is_finite()) {
            return Err(Error::NonFinite);
        }
        let unit = maths::power_of_two_unit;
        Ok(Self { components: unit(of_components), first_order: unit(of_first_order) })
    }

    /// [`Components::alignment`] in these units.
    fn alignment(&self, components: &[f32], first_order: &[f32], q: usize) -> Result<f32, Error> {
        let component = components.chunks(first_order.len().max(1)).nth(q).ok_or(Error::Components)?;
        Ok(maths::dot_in_units(component, self.components, first_order, self.first_order))
    }
}

/// saliency = sum_q weight_q OSSM_q at the layer's size. Resampling is linear, so that one upsampling of this sum serves for all; clamp the resampled
/// rows at zero and scale them with [`crate::mask::Range`].
///
/// # Shapes
/// `ossms` Q x H x W; `weights` Q; `saliency` H x W, overwritten.
///
/// # Errors
/// [`Error::Shape`] if the lengths do not fit together, [`Error::NonFinite`] if a value, a weight or the sum is not finite: `saliency` is untouched then.
pub fn sum(ossms: &[f32], weights: &[f32], saliency: &mut [f32]) -> Result<(), Error> {
    let positions = saliency.len();
    if positions == 0 || Some(ossms.len()) != positions.checked_mul(weights.len()) {
        return Err(Error::Shape);
    }
    let (of_maps, of_weights) = (maths::largest_magnitude(ossms), maths::largest_magnitude(weights));
    if !(of_maps.is_finite() && of_weights.is_finite()) {
        return Err(Error::NonFinite);
    }
    // Products and sums of numbers near one.
    let (of_maps, of_weights) = (maths::unit_exponent(of_maps), maths::unit_exponent(of_weights));
    let (map_unit, weight_unit) = (maths::power_of_two(-of_maps), maths::power_of_two(-of_weights));
    let exponent = of_maps + of_weights;
    let at = |position: usize| {
        let mut total = 0.0;
        for (weight, value) in weights.iter().zip(ossms.iter().skip(position).step_by(positions.max(1))) {
            total += (weight * weight_unit) * (value * map_unit);
        }
        let mut total = [total];
        maths::scale_by_power_of_two(&mut total, exponent);
        let [total] = total;
        finite(total)
    };
    // Each term is below 2^(exponent + 2), and there are fewer than 2^32 of them: mostly there is no need to look.
    let may_overflow = exponent > 127 - 2 - 32;
    for writes in [false, true] {
        if writes || may_overflow {
            for (position, place) in saliency.iter_mut().enumerate() {
                let total = at(position)?;
                if writes {
                    *place = total;
                }
            }
        }
    }
    Ok(())
}

/// saliency = mean + sum_q weight_q component_q, the sum taken first: [`sum`] of signed components, raised by the mean that they have lost.
///
/// # Shapes
/// Those of [`sum`]; `mean` that of the first-order map, [`crate::head::first_order_mean`].
///
/// # Errors
/// Those of [`sum`], and [`Error::NonFinite`] if the mean is not finite or a value with it is not.
///
/// # Accuracy
/// With every component, [`exact_weights`] and all channels selected, the saliency is the first-order map of the score: asserted in float64 by
/// `tests/core/stages.rs`.
pub fn exact_sum(mean: f32, components: &[f32], weights: &[f32], saliency: &mut [f32]) -> Result<(), Error> {
    sum(components, weights, saliency)?;
    for value in &mut *saliency {
        *value += mean;
    }
    if maths::largest_magnitude(saliency).is_finite() { Ok(()) } else { Err(Error::NonFinite) }
}

fn ratio(part: f32, whole: f32) -> f32 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
