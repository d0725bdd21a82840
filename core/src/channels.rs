//! Stages 2 and 3: the weight of each channel, and the P channels that speak most for the score.

use crate::{Error, Maps};
use heapless::Vec;
use heapless::binary_heap::{BinaryHeap, BinaryHeapView, Min};

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
    if count > P {
        return Err(Error::Channels);
    }
    check(weights, count)?;
    let mut best: BinaryHeap<Candidate, Min, P> = BinaryHeap::new();
    gather(weights, count, None, &mut best)?;
    let mut top = Vec::new();
    while let Some(candidate) = best.pop() {
        top.push(candidate.channel).map_err(|_| Error::Channels)?;
    }
    top.reverse();
    Ok(top)
}

/// The same for a number of channels known at run time: as many as `top` has places.
///
/// # Errors
/// [`Error::Channels`] if there is no place or more places than weights; [`Error::NonFinite`] if a weight is NaN or infinite. `top` is untouched then.
///
/// # Cost
/// One pass over the weights for every [`ROUND`] channels; 8 [`ROUND`] bytes on the stack, however many channels.
pub fn top_into(weights: &[f32], top: &mut [Channel]) -> Result<(), Error> {
    check(weights, top.len())?;
    let mut last = None;
    for places in top.chunks_mut(ROUND) {
        let mut best: BinaryHeap<Candidate, Min, ROUND> = BinaryHeap::new();
        gather(weights, places.len(), last, &mut best)?;
        last = best.peek().copied();
        for place in places.iter_mut().rev() {
            *place = best.pop().ok_or(Error::Channels)?.channel;
        }
    }
    Ok(())
}

/// Channels that [`top_into`] finds in one pass over the weights.
pub const ROUND: usize = 64;

fn check(weights: &[f32], count: usize) -> Result<(), Error> {
    let indices = usize::from(Channel::MAX) + 1;
    if count == 0 || count > weights.len() || weights.len() > indices {
        return Err(Error::Channels);
    }
    if weights.iter().any(|weight| !weight.is_finite()) {
        return Err(Error::NonFinite);
    }
    Ok(())
}

/// Fills an empty heap with the `count` best candidates of those that come after `last`.
fn gather(
    weights: &[f32],
    count: usize,
    last: Option<Candidate>,
    best: &mut BinaryHeapView<Candidate, Min>,
) -> Result<(), Error> {
    for (channel, &weight) in weights.iter().enumerate() {
        let candidate = Candidate { weight, channel: channel as Channel };
        if last.is_some_and(|last| candidate >= last) {
            continue;
        }
        if best.len() < count {
            best.push(candidate).map_err(|_| Error::Channels)?;
        } else if let Some(mut worst) = best.peek_mut()
            && candidate > *worst
        {
            *worst = candidate;
        }
    }
    Ok(())
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
