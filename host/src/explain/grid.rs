//! The maps that are decomposed: those of the layer at one size, or the mean of both sizes; with affinity, averaged over positions with similar activations.

use super::look::Layers;
use crate::encoders::activations::Activations;
use crate::error::Sorted as _;
use crate::photo::Placement;
use crate::{Error, Result, Size, workers};
use anyhow::Context as _;
use decomcam_core::{Maps, affinity};
use std::sync::{Mutex, PoisonError};

/// Channels x height x width.
pub(crate) struct Grid {
    pub(crate) size: Size,
    pub(crate) maps: Vec<f32>,
}

impl Grid {
    /// The layer's maps. If the photo was also seen at twice the size: the mean of the maps there and of the layer's maps, upsampled. With `affinity`, each map
    /// is then averaged over positions whose activations at the largest size are similar. The numbers do not depend on how many threads share the work.
    pub(crate) fn new(layers: Layers<'_>, affinity: bool, threads: usize) -> Result<Self> {
        let own = &layers.own.seen.activations;
        let finest = layers.finer.map_or(own, |finer| &finer.activations);
        let mut maps = finest.values.clone();
        if layers.finer.is_some() {
            add_upsampled(&mut maps, own, finest.size)?;
        }
        if affinity && finest.size.area() > 1 {
            average_over_similar(&mut maps, finest, threads)?;
        }
        Ok(Self { size: finest.size, maps })
    }
}

/// Replaces each map by the mean of itself and of the layer's map, upsampled to the same size.
fn add_upsampled(maps: &mut [f32], layer: &Activations, size: Size) -> Result<()> {
    let placement = Placement::whole(layer.size, size);
    let coarse = layer.values.chunks_exact(layer.size.area());
    for (map, coarse) in maps.chunks_exact_mut(size.area()).zip(coarse) {
        for (value, coarse) in map.iter_mut().zip(placement.upsampled(coarse)?) {
            *value = 0.5 * (*value + coarse);
        }
    }
    Ok(())
}

/// Replaces each map m by K m, with K the doubly stochastic affinity of the positions.
fn average_over_similar(maps: &mut [f32], finest: &Activations, threads: usize) -> Result<()> {
    let positions = finest.size.area();
    let view = Maps::chw(&finest.values, finest.channels, finest.size.height, finest.size.width)?;
    let mut matrix = vec![0.0; positions * positions];
    let mut scratch = vec![0.0; affinity::scratch_len(positions)];
    let made = affinity::affinity(&view, &mut matrix, &mut scratch);
    made.context("the activations of the layer").kind(Error::Explanation)?;
    // Each thread its own maps; a mutex that is locked once hands them over.
    let each = finest.channels.div_ceil(threads.max(1)).max(1) * positions;
    let portions: Vec<Mutex<&mut [f32]>> = maps.chunks_mut(each).map(Mutex::new).collect();
    workers::each(portions.len(), threads, |at| {
        let mut shared = vec![0.0; positions];
        let mut portion = portions[at].lock().unwrap_or_else(PoisonError::into_inner);
        for map in portion.chunks_exact_mut(positions) {
            affinity::share(&matrix, map, &mut shared)?;
            map.copy_from_slice(&shared);
        }
        Ok(())
    })?;
    Ok(())
}
