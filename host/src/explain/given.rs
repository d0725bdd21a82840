//! The method on a layer that another program computed, such as PyTorch: activations and gradients go in, the map and its parts come out. It is the same code
//! as that of [`super::explain`], without a photo and a network.

use super::grid::Grid;
use super::look::Layers;
use super::options::Options;
use super::parts::{self, Decomposition, Rank};
use crate::encoders::activations::Activations;
use crate::encoders::image::{Explained, ImageVectors, Seen};
use crate::error::Sorted as _;
use crate::methods::{Map, Method, Recipe};
use crate::{Error, Result, Size};
use anyhow::{Context as _, anyhow, ensure};
use decomcam_core::{Maps, cams, decompose};
use std::sync::Arc;

/// A layer for one picture.
#[derive(Clone, Copy, Debug)]
pub struct GivenLayer<'a> {
    /// Channels x height x width, row by row.
    pub activations: &'a [f32],
    /// The derivative of the score with respect to each activation, in the same order.
    pub gradients: &'a [f32],
    /// Channels.
    pub channels: usize,
    /// Height and width of the layer, in positions.
    pub size: Size,
}

/// What [`given_layer`] makes of a layer.
#[derive(Clone, Debug)]
pub struct OfGivenLayer {
    /// The saliency, not upsampled. That of `exact` has negative values, which belong to zero.
    pub map: Map,
    /// The parts, and the weight of each in the map; none for methods without parts.
    pub parts: Option<(Decomposition, Vec<f32>)>,
}

/// The map, and with DecomCAM the parts, of a layer that another program computed.
///
/// Of the options, method, affinity, P, Q and the sign rule are used; one that is set beyond them is refused.
///
/// # Errors
/// [`Error::Options`]: lengths that do not fit, options without effect, and methods that must run the network. [`Error::Explanation`]: numbers that are not
/// finite.
///
/// ```
/// use decomcam::explain::{GivenLayer, given_layer};
/// use decomcam::{Options, Size};
/// let layer = GivenLayer { activations: &[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 1.0], gradients: &[0.5; 8], channels: 2, size: Size::square(2) };
/// let made = given_layer(layer, &Options::new().affinity(false))?;
/// assert_eq!(made.map.values.len(), 4);
/// # Ok::<(), decomcam::Error>(())
/// ```
pub fn given_layer(layer: GivenLayer<'_>, options: &Options) -> Result<OfGivenLayer> {
    options.check_used(&[options.method])?;
    options.check_unset(
        &["layer", "scales", "refine", "integrate", "name-parts", "rise-masks"],
        "arrays that were computed elsewhere",
    )?;
    let GivenLayer { activations, gradients, channels, size } = layer;
    checked(layer).kind(Error::Options)?;
    let layer = Explained {
        seen: Seen {
            vectors: ImageVectors::new(&[], Vec::new()),
            activations: Activations { channels, size, values: activations.to_vec(), prefix: Vec::new(), steps: None },
            guide: None,
        },
        gradients: gradients.to_vec(),
        beyond_range: false,
    };
    let layer = Arc::new(layer);
    let layers = Layers { own: &layer, finer: None };
    let method = options.method;
    if let Method::Cam(cam) = method
        && options.affinity == Some(true)
    {
        return Ok(OfGivenLayer { map: super::cam_of_grid(layers, cam, true, 1)?, parts: None });
    }
    let Some(recipe) = method.recipe() else {
        let map = cam_map(method, &layer)?.with_context(|| {
            format!("method \"{}\" runs the network, so it cannot be computed from arrays; take grad-cam or another that needs one pass", method.name())
        });
        return Ok(OfGivenLayer { map: map.kind(Error::Options)?, parts: None });
    };
    if !recipe.is_closed_form() {
        let message = "its weights are scores of masked photos, which arrays do not hold; take exact or aligned";
        return Err(anyhow!("recipe \"{}\": {message}", recipe.name())).kind(Error::Options);
    }
    let affinity = options.affinity.unwrap_or(recipe == Recipe::Exact);
    let grid = Grid::new(layers, affinity, 1)?;
    let rank = Rank {
        recipe,
        channels: options.channels,
        components: options.components,
        sign: options.sign.unwrap_or(recipe.sign()),
        one_sided: options.one_sided.unwrap_or(false),
    };
    let decomposition = parts::decompose(parts::channel_weights(&layer)?, &grid, rank)?;
    let integration = parts::integrate(recipe, &decomposition, None)?;
    Ok(OfGivenLayer { map: integration.map, parts: Some((decomposition, integration.weights)) })
}

fn checked(layer: GivenLayer<'_>) -> anyhow::Result<()> {
    let GivenLayer { activations, gradients, channels, size } = layer;
    let expected = channels.checked_mul(size.height).and_then(|rows| rows.checked_mul(size.width));
    ensure!(
        expected.is_some_and(|count| count > 0 && activations.len() == count && gradients.len() == count),
        "expected activations and gradients of {channels} x {size} each, found {} and {} numbers",
        activations.len(),
        gradients.len()
    );
    Ok(())
}

/// The map of a method that needs a layer's activations and gradients alone; none for others.
pub(super) fn cam_map(method: Method, layer: &Explained) -> Result<Option<Map>> {
    let Explained { seen, gradients, .. } = layer;
    let (activations, size) = (&seen.activations, seen.activations.size);
    let maps = Maps::chw(&activations.values, activations.channels, size.height, size.width)?;
    let gradients = Maps::chw(gradients, activations.channels, size.height, size.width)?;
    let mut values = vec![0.0; size.area()];
    let workspace = || vec![0.0; decompose::workspace_len(size.area(), activations.channels)];
    match method {
        Method::Cam(cam) => {
            cams::cam(cam, &maps, &gradients, &mut vec![0.0; cams::scratch_len(size.area())], &mut values)?;
        }
        Method::EigenCam => cams::eigen_cam(&maps, &mut workspace(), &mut values)?,
        Method::EigenGradCam => cams::eigen_grad_cam(&maps, &gradients, &mut workspace(), &mut values)?,
        _ => return Ok(None),
    }
    Ok(Some(Map { values, size }))
}
