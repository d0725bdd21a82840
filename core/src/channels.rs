//! Stages 2 and 3: the weight of each channel, and the P channels that speak most for the score.

use crate::{Error, Maps, maths};
use heapless::Vec;

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
/// That of [`top_into`]; no memory but the result, 2 P bytes.
pub fn top<const P: usize>(weights: &[f32], count: usize) -> Result<Vec<Channel, P>, Error> {
    let mut top = Vec::new();
    top.resize_default(count).map_err(|_| Error::Channels)?;
    top_into(weights, &mut top)?;
    Ok(top)
}

/// The same for a number of channels known at run time: as many as `top` has places.
///
/// # Errors
/// [`Error::Channels`] if there is no place or more places than weights; [`Error::NonFinite`] if a weight is NaN or infinite. `top` is untouched then.
///
/// # Cost
/// One pass over the weights, and C log P comparisons at most. The result is its own heap: no memory beside it.
///
/// # Reference
/// Williams 1964, Algorithm 232: heapsort.
pub fn top_into(weights: &[f32], top: &mut [Channel]) -> Result<(), Error> {
    let indices = usize::from(Channel::MAX) + 1;
    let count = top.len();
    if count == 0 || count > weights.len() || weights.len() > indices {
        return Err(Error::Channels);
    }
    if !maths::largest_magnitude(weights).is_finite() {
        return Err(Error::NonFinite);
    }
    for (place, channel) in top.iter_mut().zip(0..) {
        *place = channel;
    }
    for place in (0..count / 2).rev() {
        sink(weights, top, place);
    }
    let mut worst = weight_at(weights, top, 0);
    for (channel, weight) in weights.iter().enumerate().skip(count) {
        // Among equals the earlier one stays.
        if *weight > worst {
            set(top, 0, channel as Channel);
            sink(weights, top, 0);
            worst = weight_at(weights, top, 0);
        }
    }
    for end in (1..count).rev() {
        let Some((heap, [last, ..])) = top.split_at_mut_checked(end) else {
            return Err(Error::Channels);
        };
        if let Some(first) = heap.first_mut() {
            core::mem::swap(first, last);
        }
        sink(weights, heap, 0);
    }
    Ok(())
}

// The heap is the best channels so far, the worst of them first: none is better than the two that hang on it, those at 2 k + 1 and 2 k + 2.

/// Lets the channel at `place` sink until none of those that hang on it is worse. One level of the heap a round.
#[inline(never)]
fn sink(weights: &[f32], heap: &mut [Channel], place: usize) {
    let (mut place, Some(&channel)) = (place, heap.get(place)) else {
        return;
    };
    let weight = weight_of(weights, channel);
    let is_worse = |(a, weight_a): (Channel, f32), (b, weight_b): (Channel, f32)| {
        weight_a < weight_b || (weight_a == weight_b && a > b)
    };
    while let Some(&left) = heap.get(2 * place + 1) {
        let mut child = (left, weight_of(weights, left));
        let mut below = 2 * place + 1;
        if let Some(&right) = heap.get(below + 1) {
            let right = (right, weight_of(weights, right));
            if is_worse(right, child) {
                child = right;
                below += 1;
            }
        }
        if !is_worse(child, (channel, weight)) {
            break;
        }
        set(heap, place, child.0);
        place = below;
    }
    set(heap, place, channel);
}

fn set(heap: &mut [Channel], place: usize, channel: Channel) {
    if let Some(place) = heap.get_mut(place) {
        *place = channel;
    }
}

fn weight_of(weights: &[f32], channel: Channel) -> f32 {
    weights.get(usize::from(channel)).copied().unwrap_or(0.0)
}

fn weight_at(weights: &[f32], heap: &[Channel], place: usize) -> f32 {
    heap.get(place).map_or(0.0, |channel| weight_of(weights, *channel))
}
