//! The head that most boards have, global average pooling and a linear layer: everything in closed form, no autodiff and no second pass through the
//! network.

use crate::activations::Maps;
use crate::channels::{self, Channel};
use crate::decompose::{self, Ossms, SignRule};
use crate::mask::Range;
use crate::maths::{Sum, finite};
use crate::{Error, integrate, maths};

/// logit_k = b_k + sum_c W_kc mean_p A_c(p), over borrowed weights of floats or bytes.
#[derive(Clone, Copy, Debug)]
pub struct LinearHead<'a> {
    weights: Maps<'a>,
    bias: Option<&'a [f32]>,
}

impl<'a> LinearHead<'a> {
    /// A head whose `weights` are classes x 1 x channels: [`crate::Layout::chw`]`(classes, 1, channels)` for a row a class, per-channel quantisation
    /// being per class then.
    ///
    /// # Errors
    /// [`Error::Shape`] if the weights' maps are not one row, or there is a bias and it is not one number a class; [`Error::NonFinite`] if one of
    /// these is NaN or infinite.
    pub fn new(weights: Maps<'a>, bias: Option<&'a [f32]>) -> Result<Self, Error> {
        if weights.height() != 1 || bias.is_some_and(|bias| bias.len() != weights.channels()) {
            return Err(Error::Shape);
        }
        if !maths::largest_magnitude(bias.unwrap_or(&[])).is_finite() {
            return Err(Error::NonFinite);
        }
        Ok(Self { weights, bias })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.weights.channels()
    }

    /// Number of channels of the layer that is pooled.
    pub fn channels(&self) -> usize {
        self.weights.positions()
    }

    /// The logits of pooled activations (see [`pool`]).
    ///
    /// # Shapes
    /// `pooled` C; `logits` one for each class, overwritten.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length does not match; nothing is written then. [`Error::NonFinite`] if a logit is NaN or infinite.
    pub fn logits(&self, pooled: &[f32], logits: &mut [f32]) -> Result<(), Error> {
        if pooled.len() != self.channels() || logits.len() != self.classes() {
            return Err(Error::Shape);
        }
        for (class, logit) in logits.iter_mut().enumerate() {
            *logit = self.logit(class, pooled)?;
        }
        Ok(())
    }

    /// The logit of one class.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such class or `pooled` is not C long; [`Error::NonFinite`] if the logit is NaN or infinite.
    pub fn logit(&self, class: usize, pooled: &[f32]) -> Result<f32, Error> {
        if class >= self.classes() || pooled.len() != self.channels() {
            return Err(Error::Shape);
        }
        let bias = self.bias.and_then(|bias| bias.get(class)).copied().unwrap_or(0.0);
        finite(bias + self.weights.dot(class, pooled)?)
    }

    /// Channel weights of the logit of `class`, or of it less the logit of `versus`: w_c = (W_kc - W_jc) / positions, the mean over positions of the
    /// gradient (which is the same at every position).
    ///
    /// # Shapes
    /// `positions` is H W of the layer; `weights` C, overwritten.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such class, `positions` is zero or `weights` is not C long; nothing is written then. [`Error::NonFinite`] if a
    /// weight is NaN or infinite.
    pub fn channel_weights(
        &self,
        class: usize,
        versus: Option<usize>,
        positions: usize,
        weights: &mut [f32],
    ) -> Result<(), Error> {
        let known = |class: usize| class < self.classes();
        if !known(class) || !versus.is_none_or(known) || positions == 0 || weights.len() != self.channels() {
            return Err(Error::Shape);
        }
        for (channel, weight) in weights.iter_mut().enumerate() {
            *weight = self.channel_weight(class, versus, positions, channel)?;
        }
        Ok(())
    }

    /// The weight of one channel.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such class or channel; [`Error::NonFinite`] if the weight is NaN or infinite.
    pub fn channel_weight(
        &self,
        class: usize,
        versus: Option<usize>,
        positions: usize,
        channel: usize,
    ) -> Result<f32, Error> {
        let of = |class| self.weights.value(class, 0, channel).ok_or(Error::Shape);
        let weight = match versus {
            Some(versus) => of(class)? - of(versus)?,
            None => of(class)?,
        };
        finite(weight / positions as f32)
    }
}

/// pooled_c = mean_p A_c(p).
///
/// # Errors
/// [`Error::Shape`] if `pooled` is not C long (nothing is written then); [`Error::NonFinite`] if a mean is NaN or infinite.
pub fn pool(activations: &Maps, pooled: &mut [f32]) -> Result<(), Error> {
    crate::channels::weights(activations, pooled)
}

/// L(p) = sum over *all* channels of w_c A_c(p): the first-order map of the score, its mean over positions included. On a linear head, positions times
/// this mean is the logit less its bias.
///
/// # Shapes
/// `activations` C x H x W, read once; `weights` C; `row` and `map` H W each, overwritten.
///
/// # Errors
/// [`Error::Shape`] if a length does not match (nothing is written then); [`Error::NonFinite`] if a value is or becomes NaN or infinite.
///
/// # Reference
/// Zhou et al. 2016, 10.1109/CVPR.2016.319, equation 2: the class activation map.
pub fn uncentred_first_order(
    activations: &Maps,
    weights: &[f32],
    row: &mut [f32],
    map: &mut [f32],
) -> Result<(), Error> {
    add_up(activations, weights, row, map, decompose::uncentred)
}

/// sum over *all* channels of w_c (A_c(p) - mean_c): [`uncentred_first_order`] less its mean over positions. With all channels selected it is
/// [`crate::Components::centred_first_order`].
///
/// # Shapes
/// `activations` C x H x W, read once; `weights` C; `row` and `map` H W each, overwritten.
///
/// # Errors
/// [`Error::Shape`] if a length does not match (nothing is written then); [`Error::NonFinite`] if a value is or becomes NaN or infinite.
pub fn centred_first_order(activations: &Maps, weights: &[f32], row: &mut [f32], map: &mut [f32]) -> Result<(), Error> {
    add_up(activations, weights, row, map, decompose::centred)
}

fn add_up(
    activations: &Maps,
    weights: &[f32],
    row: &mut [f32],
    map: &mut [f32],
    read: impl Fn(&Maps, usize, f32, &mut [f32]) -> Result<i32, Error>,
) -> Result<(), Error> {
    let positions = activations.positions();
    if weights.len() != activations.channels() || row.len() != positions || map.len() != positions {
        return Err(Error::Shape);
    }
    let mut sum = Sum::new(map);
    for (channel, weight) in weights.iter().enumerate() {
        let exponent = read(activations, channel, *weight, row)?;
        sum.add(row, exponent);
    }
    let exponent = sum.exponent;
    maths::scale_by_power_of_two(map, exponent);
    if maths::largest_magnitude(map).is_finite() { Ok(()) } else { Err(Error::NonFinite) }
}

/// The mean over positions of [`uncentred_first_order`], sum_c w_c mean_p A_c(p): what [`integrate::exact_sum`] starts from.
///
/// # Shapes
/// `activations` C x H x W; `weights` C.
///
/// # Errors
/// [`Error::Shape`] if `weights` is not C long; [`Error::NonFinite`] if the mean is NaN or infinite.
///
/// # Cost
/// Every channel is read twice; no memory.
pub fn first_order_mean(activations: &Maps, weights: &[f32]) -> Result<f32, Error> {
    if weights.len() != activations.channels() {
        return Err(Error::Shape);
    }
    let mut total = [0.0];
    let mut sum = Sum::new(&mut total);
    for (channel, weight) in weights.iter().enumerate() {
        let mean = activations.mean(channel)?;
        let (of_mean, of_weight) = (maths::unit_exponent(mean), maths::unit_exponent(*weight));
        let product = (mean * maths::power_of_two(-of_mean)) * (weight * maths::power_of_two(-of_weight));
        sum.add(&[product], of_mean + of_weight);
    }
    let exponent = sum.exponent;
    maths::scale_by_power_of_two(&mut total, exponent);
    let [total] = total;
    finite(total)
}

/// The *measured* contribution of each OSSM on a linear head: the score of the features kept where the OSSM is high and blended towards each channel's
/// spatial mean elsewhere, less the score of the features wholly blended.
///
/// With m the min-max scaled OSSM, blended features are A'_c(p) = mean_c + m(p) (A_c(p) - mean_c). Pooling and the linear layer turn that into
/// contribution = sum_p m(p) L(p), with L from [`centred_first_order`]: exact, and no channel is read again.
///
/// # Shapes
/// `ossms` Q x H x W ([`Ossms::maps`]); `centred_first_order` H W; `mask` H W of scratch; `contributions` Q, overwritten.
///
/// # Errors
/// [`Error::Shape`] if a length does not match, [`Error::NonFinite`] if an OSSM, the first-order map or a contribution is not finite: `contributions` is
/// untouched then.
pub fn contributions(
    ossms: &[f32],
    centred_first_order: &[f32],
    mask: &mut [f32],
    contributions: &mut [f32],
) -> Result<(), Error> {
    let positions = centred_first_order.len();
    if positions == 0 || mask.len() != positions || Some(ossms.len()) != positions.checked_mul(contributions.len()) {
        return Err(Error::Shape);
    }
    let largest = maths::largest_magnitude(centred_first_order);
    if !(largest.is_finite() && maths::largest_magnitude(ossms).is_finite()) {
        return Err(Error::NonFinite);
    }
    let unit = maths::power_of_two_unit(largest);
    let mut contribution = |ossm: &[f32]| {
        let mut range = Range::EMPTY;
        range.include(ossm);
        for (mask, value) in mask.iter_mut().zip(ossm) {
            *mask = *value;
        }
        range.scale(mask);
        finite(maths::dot_in_units(mask, 1.0, centred_first_order, unit) / unit)
    };
    // At most the sum of so many values: mostly there is no need to look.
    if !(largest * positions as f32).is_finite() {
        for ossm in ossms.chunks(positions) {
            contribution(ossm)?;
        }
    }
    for (place, ossm) in contributions.iter_mut().zip(ossms.chunks(positions)) {
        *place = contribution(ossm)?;
    }
    Ok(())
}

/// What [`explain`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Question {
    /// The class whose logit is explained.
    pub class: usize,
    /// If any, the class whose logit is subtracted: why the one rather than the other.
    pub versus: Option<usize>,
    /// Q.
    pub components: usize,
    /// Which side of a component is kept.
    pub sign: SignRule,
}

/// What [`explain`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explanation<'w> {
    /// The logit of the class, less that of the other: what is explained.
    pub score: f32,
    /// The P selected channels, largest weight first.
    pub channels: &'w [Channel],
    /// OSSMs and singular values.
    pub ossms: Ossms<'w>,
    /// The contribution of each OSSM that the gradient predicts, -1..=1 ([`integrate::predicted`]).
    pub predicted: &'w [f32],
    /// The contribution of each OSSM as it is measured, in the unit of the score ([`contributions`]).
    pub measured: &'w [f32],
    /// The weight of each OSSM in the saliency, 0..=1 ([`integrate::aligned_weights`]).
    pub weights: &'w [f32],
    /// The weighted sum of the OSSMs, H x W, not scaled ([`integrate::sum`]).
    pub saliency: &'w [f32],
    /// The plain class activation map less its mean over positions, over all channels, H x W ([`centred_first_order`]).
    pub centred_first_order: &'w [f32],
}

/// `f32`s that [`explain`] needs for a layer of `positions` (H W) and `channels` (C), `top` channels (P) and `components` (Q).
pub const fn workspace_len(positions: usize, channels: usize, top: usize, components: usize) -> usize {
    let maps = positions.saturating_mul(2);
    let numbers = components.saturating_mul(3);
    decompose::workspace_len(positions, top).saturating_add(channels).saturating_add(maps).saturating_add(numbers)
}

/// Everything about one score of a linear head, from the activations that are pooled: no gradient, no second pass through the network.
///
/// # Shapes
/// `activations` C x H x W; `top` P places for the selected channels; `workspace` at least [`workspace_len`], overwritten.
///
/// # Errors
/// Before anything is written: [`Error::Shape`] if the head is of another number of channels or there is no such class; [`Error::Channels`] if P is
/// zero or more than C; [`Error::Components`]; [`Error::WorkspaceTooSmall`]. Later: [`Error::NonFinite`], [`Error::NotConverged`].
///
/// # Cost
/// Activations are read three times (pooling twice for an accurate mean, the first-order map), the selected ones once more.
pub fn explain<'w>(
    head: &LinearHead,
    activations: &Maps,
    question: &Question,
    top: &'w mut [Channel],
    workspace: &'w mut [f32],
) -> Result<Explanation<'w>, Error> {
    let (positions, channels) = (activations.positions(), activations.channels());
    let Question { class, versus, components, sign } = *question;
    let known = |class: usize| class < head.classes();
    if head.channels() != channels || !known(class) || !versus.is_none_or(known) {
        return Err(Error::Shape);
    }
    if top.is_empty() || top.len() > channels {
        return Err(Error::Channels);
    }
    if components == 0 || components > decompose::components_max(positions, top.len()) {
        return Err(Error::Components);
    }
    let small = Error::WorkspaceTooSmall;
    if workspace.len() < workspace_len(positions, channels, top.len(), components) {
        return Err(small);
    }
    let own = decompose::workspace_len(positions, top.len());
    let (own, rest) = workspace.split_at_mut_checked(own).ok_or(small)?;
    let (weights, rest) = rest.split_at_mut_checked(channels).ok_or(small)?;
    let (map, rest) = rest.split_at_mut_checked(positions).ok_or(small)?;
    let (saliency, rest) = rest.split_at_mut_checked(positions).ok_or(small)?;
    let (predicted, rest) = rest.split_at_mut_checked(components).ok_or(small)?;
    let (measured, rest) = rest.split_at_mut_checked(components).ok_or(small)?;
    let weights_of_parts = rest.get_mut(..components).ok_or(small)?;

    // One buffer for the pooled activations, which are done with when the score is known, and the channel weights.
    pool(activations, weights)?;
    let other = versus.map_or(Ok(0.0), |versus| head.logit(versus, weights))?;
    let score = finite(head.logit(class, weights)? - other)?;
    head.channel_weights(class, versus, positions, weights)?;
    channels::top_into(weights, top)?;
    let parts = decompose::decompose(activations, weights, top, components, sign, own)?;
    integrate::predicted(&parts, predicted)?;
    integrate::aligned_weights(&parts, weights_of_parts)?;
    let ossms = parts.rectify();
    // The place of the saliency is scratch until the sum goes there.
    centred_first_order(activations, weights, saliency, map)?;
    contributions(ossms.maps(), map, saliency, measured)?;
    integrate::sum(ossms.maps(), weights_of_parts, saliency)?;
    Ok(Explanation {
        score,
        channels: top,
        ossms,
        predicted,
        measured,
        weights: weights_of_parts,
        saliency,
        centred_first_order: map,
    })
}
