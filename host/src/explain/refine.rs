//! Refinement: a finished map, upsampled to the finer grid of the guide layer and averaged over near positions with similar activations there.

use super::affinity;
use super::look::Layers;
use crate::encoders::activations::Activations;
use crate::error::Sorted as _;
use crate::methods::Map;
use crate::photo::Placement;
use crate::{Error, Result, Size, workers};
use anyhow::Context as _;

/// Standard deviation of the distance between positions that are averaged, in positions of the guide.
const SIGMA: f32 = 3.0;

/// Most positions of a guide layer: the matrix then takes 64 MB.
const POSITIONS_MAX: usize = 4096;

/// m -> G up(m), with up the bicubic upsampling to the guide's grid and G the doubly stochastic local affinity of the guide's positions
/// ([`decomcam_core::affinity::local_affinity`]). It is linear, so that refined parts sum to the refined map.
#[derive(Clone, Debug)]
pub struct Refinement {
    size: Size,
    matrix: Vec<f32>,
}

impl Refinement {
    /// By the guide layer at the largest size at which the network saw the photo; none if it has more than 64 x 64 positions there.
    ///
    /// # Errors
    /// A network that was loaded without a guide, and activations that are not finite.
    pub(crate) fn new(layers: Layers<'_>, threads: usize) -> Result<Option<Self>> {
        let guide = layers.finer.map_or(&layers.own.seen, |finer| finer).guide.as_ref();
        let guide = guide.context("the network was loaded without a guide layer").kind(Error::Explanation)?;
        let Activations { size, values, .. } = guide;
        if size.area() > POSITIONS_MAX {
            return Ok(None);
        }
        let made = workers::shared(threads, || affinity::local(values, *size, SIGMA));
        let matrix = made.context("the activations of the guide layer").kind(Error::Explanation)?;
        Ok(Some(Self { size: *size, matrix }))
    }

    /// The refined map.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn apply(&self, map: &[f32], size: Size) -> Result<Map> {
        let upsampled = Placement::whole(size, self.size).upsampled(map)?;
        let mut values = vec![0.0; self.size.area()];
        decomcam_core::affinity::share(&self.matrix, &upsampled, &mut values)?;
        Ok(Map { values, size: self.size })
    }
}
