//! The head that most boards have, global average pooling and a linear layer: everything in closed form, no autodiff and no second pass through the
//! network.

use crate::activations::Maps;
use crate::mask::Range;
use crate::{Error, maths};

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
            let bias = self.bias.and_then(|bias| bias.get(class)).copied().unwrap_or(0.0);
            *logit = bias + self.weights.dot(class, pooled)?;
            if !logit.is_finite() {
                return Err(Error::NonFinite);
            }
        }
        Ok(())
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
        self.weights.read(class, weights)?;
        if let Some(versus) = versus {
            let mut own = weights.iter_mut();
            self.weights.visit(versus, |other| {
                if let Some(own) = own.next() {
                    *own -= other;
                }
            })?;
        }
        for weight in weights {
            *weight /= positions as f32;
            if !weight.is_finite() {
                return Err(Error::NonFinite);
            }
        }
        Ok(())
    }
}

/// pooled_c = mean_p A_c(p).
///
/// # Errors
/// [`Error::Shape`] if `pooled` is not C long (nothing is written then); [`Error::NonFinite`] if a mean is NaN or infinite.
pub fn pool(activations: &Maps, pooled: &mut [f32]) -> Result<(), Error> {
    crate::channels::weights(activations, pooled)
}

/// L(p) = sum over *all* channels of w_c (A_c(p) - mean_c): the first-order map of the score. With all channels selected it is
/// [`crate::Decomposition::first_order`].
///
/// # Shapes
/// `activations` C x H x W, read once; `weights` C; `row` and `map` H W each, overwritten.
///
/// # Errors
/// [`Error::Shape`] if a length does not match (nothing is written then); [`Error::NonFinite`] if a value is or becomes NaN or infinite.
pub fn first_order(activations: &Maps, weights: &[f32], row: &mut [f32], map: &mut [f32]) -> Result<(), Error> {
    let positions = activations.positions();
    if weights.len() != activations.channels() || row.len() != positions || map.len() != positions {
        return Err(Error::Shape);
    }
    map.fill(0.0);
    for (channel, weight) in weights.iter().enumerate() {
        crate::decompose::centred(activations, channel, *weight, row)?;
        for (total, value) in map.iter_mut().zip(&*row) {
            *total += value;
        }
    }
    if maths::largest_magnitude(map).is_finite() { Ok(()) } else { Err(Error::NonFinite) }
}

/// The *measured* contribution of each OSSM on a linear head: the score of the features kept where the OSSM is high and blended towards each channel's
/// spatial mean elsewhere, less the score of the features wholly blended.
///
/// With m the min-max scaled OSSM, blended features are A'_c(p) = mean_c + m(p) (A_c(p) - mean_c). Pooling and the linear layer turn that into
/// contribution = sum_p m(p) L(p), with L from [`first_order`]: exact, and no channel is read again.
///
/// # Shapes
/// `ossms` Q x H x W (after [`crate::Decomposition::rectify`]); `first_order` H W; `mask` H W of scratch; `contributions` Q, overwritten.
///
/// # Errors
/// [`Error::Shape`] if a length does not match; nothing is written then.
pub fn contributions(
    ossms: &[f32],
    first_order: &[f32],
    mask: &mut [f32],
    contributions: &mut [f32],
) -> Result<(), Error> {
    let positions = first_order.len();
    if positions == 0 || mask.len() != positions || Some(ossms.len()) != positions.checked_mul(contributions.len()) {
        return Err(Error::Shape);
    }
    let mut rest = ossms;
    for contribution in contributions {
        let (ossm, others) = rest.split_at_checked(positions).ok_or(Error::Shape)?;
        let mut range = Range::EMPTY;
        range.include(ossm);
        for (mask, value) in mask.iter_mut().zip(ossm) {
            *mask = *value;
        }
        range.scale(mask);
        *contribution = maths::dot(mask, first_order);
        rest = others;
    }
    Ok(())
}
