//! Stages 2 and 3: the weight of each channel, and the P channels that speak most for the score.

use crate::{Error, Maps};
use heapless::Vec;
use heapless::binary_heap::{BinaryHeap, Min};

/// Index of a channel: layers have at most 65,536.
pub type Channel = u16;

/// w_c = mean over positions of d score / d A_c.
///
/// # Shapes
/// `gradients` C x H x W; `weights` C, overwritten.
///
/// # Errors
/// [`Error::Shape`] if `weights` is not C long; [`Error::NonFinite`] if a gradient is NaN or
/// infinite. `weights` is unspecified after `NonFinite`, untouched after `Shape`.
///
/// # Reference
/// Selvaraju et al. 2017 (Grad-CAM), equation 1.
pub fn weights(gradients: &Maps, weights: &mut [f32]) -> Result<(), Error> {
    if weights.len() != gradients.channels() {
        return Err(Error::Shape);
    }
    for (channel, weight) in weights.iter_mut().enumerate() {
        *weight = gradients.mean(channel)?;
        if !weight.is_finite() {
            return Err(Error::NonFinite);
        }
    }
    Ok(())
}

/// The `count` channels with the largest signed weight, largest first; equal weights in the order of their index.
///
/// # Errors
/// [`Error::Channels`] if `count` is zero, more than there are weights or more than the capacity `P`; [`Error::NonFinite`] if a weight is NaN or infinite.
///
/// # Cost
/// One pass over the weights, C log P comparisons; about 12 P bytes on the stack.
pub fn top<const P: usize>(weights: &[f32], count: usize) -> Result<Vec<Channel, P>, Error> {
    let available = weights.len().min(Channel::MAX as usize + 1);
    if count == 0 || count > P || count > available || weights.len() > available {
        return Err(Error::Channels);
    }
    let mut best: BinaryHeap<Candidate, Min, P> = BinaryHeap::new();
    for (channel, &weight) in weights.iter().enumerate() {
        if !weight.is_finite() {
            return Err(Error::NonFinite);
        }
        let candidate = Candidate { weight, channel: channel as Channel };
        if best.len() < count {
            best.push(candidate).map_err(|_| Error::Channels)?;
        } else if let Some(mut worst) = best.peek_mut()
            && candidate > *worst
        {
            *worst = candidate;
        }
    }
    let mut top = Vec::new();
    while let Some(candidate) = best.pop() {
        top.push(candidate.channel).map_err(|_| Error::Channels)?;
    }
    top.reverse();
    Ok(top)
}

/// A channel and its weight, ordered by weight, and among equals the smaller index first.
#[derive(Clone, Copy)]
struct Candidate {
    weight: f32,
    channel: Channel,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        // -0 and +0 are equal weights: `total_cmp` alone would tell them apart.
        let (a, b) = (self.weight + 0.0, other.weight + 0.0);
        a.total_cmp(&b).then(other.channel.cmp(&self.channel))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}
