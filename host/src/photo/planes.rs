//! The network's input before normalisation.

use super::resize::resize;
use super::{Filter, Framing, Photo};
use crate::Size;

/// Three planes of samples, red, green, blue: the network's input before normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    /// Height and width.
    pub size: Size,
    /// `(3, height, width)`, row-major; photos have samples in 0..=1.
    pub data: Vec<f32>,
}

impl Photo {
    /// Cuts `framing` out of the photo and resizes it to `size`, on at most so many threads.
    ///
    /// # Shapes
    /// Planes of 3 x height x width samples in 0..=1. `pad` is the 8-bit RGB colour of what sticks out of the photo.
    ///
    /// # Conventions
    /// Pillow's `resize(..., filter, box=framing)`: the [`Filter`] widened by the reduction, half-pixel
    /// centres, taps cut at the border of the photo (not of the framing), along rows first, each pass rounded and clamped
    /// to 8 bits. Pillow 13 goes along columns first where that is cheaper (a stretched portrait photo, say), which moves
    /// hard edges by some levels; every earlier Pillow does as is done here. Equal on any number of threads.
    ///
    /// # Accuracy
    /// Within two 8-bit levels of Pillow 12 (measured on binary noise, where one sample in a thousand differs at all);
    /// `pillow_resizes_alike` in `tests/host/photo.rs` asserts one.
    ///
    /// # Panics
    /// If `framing` or `size` is empty.
    pub fn network_input(&self, framing: Framing, size: Size, filter: Filter, pad: [u8; 3], threads: usize) -> Planes {
        let plane = size.area();
        let mut data = vec![0.0; 3 * plane];
        let resized = resize(&self.pixels, framing, size, filter, pad, threads);
        for (channel, samples) in data.chunks_exact_mut(plane).enumerate() {
            for (sample, pixel) in samples.iter_mut().zip(resized.as_raw().chunks_exact(3)) {
                *sample = f32::from(pixel[channel]) / 255.0;
            }
        }
        Planes { size, data }
    }
}

impl Planes {
    /// `(255 x - mean[c]) / std[c]` for every sample x of channel c; `mean` and `std` in 8-bit levels.
    ///
    /// # Shapes
    /// `(3, height, width)`, row-major.
    pub fn normalised(&self, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
        self.clone().into_normalised(mean, std)
    }

    /// [`Planes::normalised`] in place.
    pub fn into_normalised(mut self, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
        let plane = self.size.area();
        for ((samples, mean), std) in self.data.chunks_exact_mut(plane.max(1)).zip(mean).zip(std) {
            for sample in samples {
                *sample = (255.0 * *sample - mean) / std;
            }
        }
        self.data
    }
}
