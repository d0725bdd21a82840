//! Stages 2 to 8 of the method, in the core: gradient and maps in, components, weights and saliency out.

use super::grid::Grid;
use super::options::Request;
use crate::encoders::image::Explained;
use crate::error::Sorted as _;
use crate::methods::{Map, Recipe};
use crate::{Error, Result, Size};
use anyhow::{Context as _, ensure};
use decomcam_core::{Maps, SignRule, Weighing, channels, decompose, head, integrate, sides, sums};

/// Most channels that P may select: the capacity of the core's selection here.
pub const CHANNELS_MAX: usize = 4096;

/// Q unless another number is asked for, or fewer exist.
const COMPONENTS: usize = 10;

/// A component of the decomposition, and the OSSM that is its positive side.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// (U s)_q, H x W of the grid; of one-sided parts, what became of them.
    pub values: Vec<f32>,
    /// max(0, values): the orthogonal sub-saliency map.
    pub ossm: Vec<f32>,
    /// s_q, the length of the values.
    pub singular_value: f32,
    /// s_q^2 over the sum of all squares of singular values.
    pub explained_variance: f32,
    /// The values' product with the first-order map L over the largest of these products: the contribution that the gradient predicts, without any forward pass.
    pub predicted: f32,
    /// Its direction in channel space, of length one: of each channel the product of its weighted map with the values; zero of channels that were not selected.
    /// Of a component that is the right singular vector. It does not depend on where in the photo things are.
    pub direction: Vec<f32>,
    /// The closed form's weight: of `exact` (U s)_q' L / s_q^2, turned along where the parts are one-sided; of all other recipes max(0, predicted).
    pub closed_form: f32,
}

/// What is decomposed, and how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    pub(crate) recipe: Recipe,
    pub(crate) channels: Option<usize>,
    pub(crate) components: Option<usize>,
    pub(crate) sign: SignRule,
    pub(crate) one_sided: bool,
}

impl Rank {
    pub(crate) fn of(recipe: Recipe, request: &Request) -> Self {
        let Request { channels, components, sign, one_sided, .. } = *request;
        Self { recipe, channels, components, sign, one_sided }
    }
}

/// A layer, decomposed.
#[derive(Clone, Debug)]
pub struct Decomposition {
    /// H and W of the grid of positions.
    pub size: Size,
    /// By falling singular value.
    pub components: Vec<Component>,
    /// The singular values of the components, and the next one if it exists.
    pub singular_values: Vec<f32>,
    /// w_c, the mean over positions of the gradient, of every channel.
    pub channel_weights: Vec<f32>,
    /// P, the channels that were selected.
    pub selected: usize,
    /// The mean over positions of the first-order map of the score, sum over the selected channels of w_c A_c.
    pub mean: f32,
}

/// Stage 2: the mean over positions of the gradient of every channel.
pub(crate) fn channel_weights(layer: &Explained) -> Result<Vec<f32>> {
    let Explained { seen, gradients, .. } = layer;
    let (channels, size) = (seen.activations.channels, seen.activations.size);
    let gradients = Maps::chw(gradients, channels, size.height, size.width)?;
    let mut weights = vec![0.0; channels];
    channels::weights(&gradients, &mut weights).context("the gradient of the score").kind(Error::Explanation)?;
    Ok(weights)
}

/// P: as many channels as were asked for, or the recipe's own number.
fn selected_channels(rank: Rank, available: usize) -> anyhow::Result<usize> {
    let most = available.min(CHANNELS_MAX);
    let selected = rank.channels.unwrap_or(rank.recipe.channels(most));
    ensure!(
        (1..=most).contains(&selected),
        "--channels {selected} is out of range: expected 1 to {most}, the channels of this layer; leave it out for the recipe's own number"
    );
    Ok(selected)
}

/// Q: as many components as were asked for, or ten, or all if fewer exist.
fn wanted_components(rank: Rank, size: Size, selected: usize) -> anyhow::Result<usize> {
    let most = decompose::components_max(size.area(), selected);
    ensure!(most > 0, "this layer has one position only, so it has no parts; choose a layer before the pooling");
    let wanted = rank.components.unwrap_or(most.min(COMPONENTS));
    ensure!(
        (1..=most).contains(&wanted),
        "--components {wanted} is out of range: expected 1 to {most}, as many as exist with {selected} channels of {size} positions"
    );
    Ok(wanted)
}

/// Stages 3 to 6: the maps of the grid, one for each channel weight.
pub(crate) fn decompose(channel_weights: Vec<f32>, grid: &Grid, rank: Rank) -> Result<Decomposition> {
    let size = grid.size;
    let selected = selected_channels(rank, channel_weights.len()).kind(Error::Options)?;
    let wanted = wanted_components(rank, size, selected).kind(Error::Options)?;
    let maps = Maps::chw(&grid.maps, channel_weights.len(), size.height, size.width)?;
    let top = channels::top::<CHANNELS_MAX>(&channel_weights, selected)?;
    let mut workspace = vec![0.0; decompose::workspace_len(size.area(), selected)];
    let decomposed = decompose::decompose(&maps, &channel_weights, &top, wanted, rank.sign, &mut workspace);
    let parts = decomposed.context("the activations of the layer").kind(Error::Explanation)?;

    let mut predicted = vec![0.0; wanted];
    integrate::predicted(&parts, &mut predicted)?;
    let mut closed_form = vec![0.0; wanted];
    match rank.recipe.weighing() {
        Weighing::Exact => integrate::exact_weights(&parts, &mut closed_form)?,
        _ => integrate::aligned_weights(&parts, &mut closed_form)?,
    }
    let norm = parts.norm();
    let mut lengths = parts.singular_values().to_vec();
    let mut signed = parts.maps().to_vec();
    if rank.one_sided {
        sides::one_sided(&mut signed, &mut closed_form)?;
        let first_order = parts.centred_first_order();
        let mut largest = 0.0_f32;
        for ((map, length), predicted) in signed.chunks_exact(size.area()).zip(&mut lengths).zip(&mut predicted) {
            (*length, *predicted) = (sums::dot(map, map).sqrt(), sums::dot(map, first_order));
            largest = largest.max(predicted.abs());
        }
        predicted.iter_mut().filter(|_| largest > 0.0).for_each(|predicted| *predicted /= largest);
    }
    let share = |length: f32| if norm > 0.0 { (length / norm).powi(2) } else { 0.0 };
    let numbers = lengths.iter().zip(&predicted).zip(&closed_form);
    let components = signed.chunks_exact(size.area()).zip(numbers);
    let components = components.map(|(values, ((&singular_value, &predicted), &closed_form))| Component {
        values: values.to_vec(),
        // As the core rectifies: a zero keeps its sign.
        ossm: values.iter().map(|value| if *value < 0.0 { 0.0 } else { *value }).collect(),
        singular_value,
        explained_variance: share(singular_value),
        predicted,
        direction: direction(values, &grid.maps, &channel_weights, &top),
        closed_form,
    });
    let mut selected_weights = vec![0.0; channel_weights.len()];
    for channel in top.iter().map(|channel| usize::from(*channel)) {
        selected_weights[channel] = channel_weights[channel];
    }
    Ok(Decomposition {
        size,
        components: components.collect(),
        singular_values: lengths,
        mean: head::first_order_mean(&maps, &selected_weights)?,
        channel_weights,
        selected,
    })
}

/// A part's direction in channel space. Its values sum to zero, so the means of the channels need not be taken off.
fn direction(values: &[f32], maps: &[f32], channel_weights: &[f32], selected: &[channels::Channel]) -> Vec<f32> {
    let mut direction = vec![0.0; channel_weights.len()];
    for &channel in selected {
        let channel = usize::from(channel);
        let map = &maps[channel * values.len()..][..values.len()];
        direction[channel] = channel_weights[channel] * sums::dot(map, values);
    }
    let length = sums::dot(&direction, &direction).sqrt();
    direction.iter_mut().filter(|_| length > 0.0).for_each(|entry| *entry /= length);
    direction
}

/// The explained score of a photo kept where each OSSM is high, and of one with nothing kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Contributions {
    /// Of the photo blurred all over, or of the layer's means.
    pub baseline: f32,
    /// Of each component.
    pub scores: Vec<f32>,
}

/// Stage 8: the weight of each part, and the map that they sum to.
#[derive(Clone, Debug)]
pub(crate) struct Integration {
    pub(crate) weights: Vec<f32>,
    pub(crate) map: Map,
}

/// Sums the parts. `exact`: mean + sum_q w_q (U s)_q, negatives to be cut off once it has been upsampled. All others: sum_q w_q OSSM_q. Recipes without
/// closed form need `contributions`.
pub(crate) fn integrate(
    recipe: Recipe,
    decomposition: &Decomposition,
    contributions: Option<&Contributions>,
) -> Result<Integration> {
    let Decomposition { size, components, mean, .. } = decomposition;
    let mut weights: Vec<f32> = components.iter().map(|component| component.closed_form).collect();
    if let Weighing::Scores(formula) = recipe.weighing() {
        let contributions = contributions.context("a recipe whose weights follow from scores has none");
        let Contributions { baseline, scores } = contributions.kind(Error::Explanation)?;
        integrate::score_weights(formula, scores, *baseline, &mut weights)?;
    }
    let mut values = vec![0.0; size.area()];
    if recipe == Recipe::Exact {
        let signed: Vec<f32> = components.iter().flat_map(|component| &component.values).copied().collect();
        integrate::exact_sum(*mean, &signed, &weights, &mut values)?;
    } else {
        let ossms: Vec<f32> = components.iter().flat_map(|component| &component.ossm).copied().collect();
        integrate::sum(&ossms, &weights, &mut values)?;
    }
    Ok(Integration { weights, map: Map { values, size: *size } })
}
