//! The network from a layer on: its outputs for other activations of the layer.

use super::activations::tensor_of;
use super::graph::{Behind, Place, Wiring};
use super::image::{ImageVectors, TowerKey, run};
use crate::error::Sorted as _;
use crate::model::Model;
use crate::onnx::guard::contained;
use crate::{Error, Result};
use anyhow::Context;
use std::sync::atomic::{AtomicUsize, Ordering};
use tract_onnx::tract_hir::internal::*;

/// The network from the layer of a [`TowerKey`] on, ready to run from any number of threads.
#[derive(Debug)]
pub struct Head {
    plan: Arc<TypedRunnableModel>,
    place: Place,
    wiring: Wiring,
    passes: AtomicUsize,
}

impl Head {
    /// Cuts the network of a tower at its layer.
    ///
    /// # Errors
    /// Those of [`super::image::ImageTower::load`]; a layer that does not cut the network in two, because something bypasses it.
    pub fn load(model: &Model, key: &TowerKey) -> Result<Self> {
        Self::load_from(None, model, key)
    }

    /// The same, of what the tower of this key has kept, if it is still there.
    pub(crate) fn load_from(kept: Option<Behind>, model: &Model, key: &TowerKey) -> Result<Self> {
        let wiring = Wiring::new(model, key)?;
        let head = contained(|| wiring.head(model, kept)).with_context(|| {
            format!("{}: could not cut the network at layer \"{}\"; explain another layer", wiring.origin, key.layer)
        });
        let (plan, place) = head.kind(Error::Options)?;
        Ok(Self { plan, place, wiring, passes: AtomicUsize::new(0) })
    }

    /// The vectors that follow from these activations at the layer: of the tokens before the grid, tokens x channels, and of the grid, channels x
    /// height x width, as [`super::activations::Activations`] holds them.
    ///
    /// # Errors
    /// Activations of another size, a network that fails or answers with something else than finite numbers.
    pub fn vectors(&self, prefix: &[f32], activations: &[f32]) -> Result<ImageVectors> {
        let Wiring { layer, outputs, origin, .. } = &self.wiring;
        self.passes.fetch_add(1, Ordering::Relaxed);
        let values = tensor_of(layer, self.place.size, prefix, activations)
            .and_then(|tensor| Tensor::from_shape(&self.place.shape, &tensor))
            .and_then(|tensor| run(&self.plan, tvec!(tensor.into()), origin));
        Ok(ImageVectors::new(outputs, values.kind(Error::Explanation)?))
    }

    /// How often it was run.
    pub fn passes(&self) -> usize {
        self.passes.load(Ordering::Relaxed)
    }
}
