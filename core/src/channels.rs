//! Stages 2 and 3: the weight of each channel, and the P channels that speak most for the score.

use crate::{Error, Maps};
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
    if weights.iter().any(|weight| !weight.is_finite()) {
        return Err(Error::NonFinite);
    }
    let mut heap = Heap { weights, top };
    for (place, channel) in heap.top.iter_mut().zip(0..) {
        *place = channel;
    }
    for place in (0..count / 2).rev() {
        heap.sink(place, count);
    }
    let mut worst = heap.weight(0);
    for (channel, weight) in weights.iter().enumerate().skip(count) {
        // Among equals the earlier one stays.
        if *weight > worst {
            heap.set_first(channel as Channel);
            heap.sink(0, count);
            worst = heap.weight(0);
        }
    }
    for end in (1..count).rev() {
        heap.exchange(0, end);
        heap.sink(0, end);
    }
    Ok(())
}

/// The best channels so far, the worst of them first: no channel is better than the two that hang on it, those at 2 k + 1 and 2 k + 2.
struct Heap<'a> {
    weights: &'a [f32],
    top: &'a mut [Channel],
}

impl Heap<'_> {
    fn channel(&self, place: usize) -> Channel {
        self.top.get(place).copied().unwrap_or(0)
    }

    fn weight(&self, place: usize) -> f32 {
        self.weights.get(usize::from(self.channel(place))).copied().unwrap_or(0.0)
    }

    fn is_worse(&self, place: usize, other: usize) -> bool {
        let (a, b) = (self.weight(place), self.weight(other));
        a < b || (a == b && self.channel(place) > self.channel(other))
    }

    fn set_first(&mut self, channel: Channel) {
        if let Some(first) = self.top.first_mut() {
            *first = channel;
        }
    }

    fn exchange(&mut self, a: usize, b: usize) {
        let (channel_a, channel_b) = (self.channel(a), self.channel(b));
        for (place, channel) in [(a, channel_b), (b, channel_a)] {
            if let Some(place) = self.top.get_mut(place) {
                *place = channel;
            }
        }
    }

    /// Lets the channel at `place` sink until none of those that hang on it is worse. The heap is the first `len` places.
    fn sink(&mut self, place: usize, len: usize) {
        let mut place = place;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= len {
                return;
            }
            let child = if right < len && self.is_worse(right, left) { right } else { left };
            if !self.is_worse(child, place) {
                return;
            }
            self.exchange(place, child);
            place = child;
        }
    }
}
