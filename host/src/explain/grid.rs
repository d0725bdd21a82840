//! The maps that are decomposed: those of the layer at one size, or the mean of both sizes; with affinity, averaged over positions with similar activations.

use super::affinity;
use super::look::Layers;
use crate::encoders::activations::Activations;
use crate::error::Sorted as _;
use crate::photo::Placement;
use crate::{Error, Result, Size, workers};
use anyhow::Context as _;

/// Channels x height x width.
pub(crate) struct Grid {
    pub(crate) size: Size,
    pub(crate) maps: Vec<f32>,
}

impl Grid {
    /// The layer's maps. If the photo was also seen at twice the size: the mean of the maps there and of the layer's maps, upsampled. With `affinity`, each map
    /// is then averaged over positions whose activations at the largest size are similar. The numbers do not depend on how many threads share the work.
    pub(crate) fn new(layers: Layers<'_>, affinity: bool, threads: usize) -> Result<Self> {
        workers::shared(threads, || {
            let own = &layers.own.seen.activations;
            let finest = layers.finer.map_or(own, |finer| &finer.activations);
            let mut maps = finest.values.clone();
            if layers.finer.is_some() {
                add_upsampled(&mut maps, own, finest.size)?;
            }
            if affinity && finest.size.area() > 1 {
                let made = affinity::of(&finest.values, finest.size);
                let matrix = made.context("the activations of the layer").kind(Error::Explanation)?;
                affinity::share(&matrix, &mut maps, finest.size.area())?;
            }
            Ok(Self { size: finest.size, maps })
        })
    }
}

/// Replaces each map by the mean of itself and of the layer's map, upsampled to the same size.
fn add_upsampled(maps: &mut [f32], layer: &Activations, size: Size) -> Result<()> {
    let placement = Placement::whole(layer.size, size);
    let portion = workers::portion(layer.channels, 1, 2, 16 * maps.len());
    workers::portions(maps, portion * size.area(), |at, maps| {
        let coarse = layer.values.chunks_exact(layer.size.area()).skip(at * portion);
        for (map, coarse) in maps.chunks_exact_mut(size.area()).zip(coarse) {
            for (value, coarse) in map.iter_mut().zip(placement.upsampled(coarse)?) {
                *value = 0.5 * (*value + coarse);
            }
        }
        Ok(())
    })
}
