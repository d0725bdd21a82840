//! The pipeline, and nothing else: a photo and a prompt in, an [`Explanation`] out.

use crate::Size;
use crate::encoders::image::{Explained, ImageTower};
use crate::model::Model;
use crate::photo::{self, Fit, Framing, Photo, Placement, Planes};
use crate::score::{Prompt, Scores};
use crate::timings::Timings;
use crate::workers;
use anyhow::{Context, Result, ensure};
use decomcam_core::{Maps, Recipe, SignRule, affinity, channels, decompose, head, integrate, mask, maths};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Standard deviation of the blur of the masked-out part, in pixels of the network's input.
pub const BLUR_SIGMA: f32 = 10.0;

/// Most channels that P may select: the capacity of the core's selection here.
pub const CHANNELS_MAX: usize = 4096;

/// Below this relative gap to the next singular value, a component can turn into its neighbour: (s_q - s_{q+1}) / s_q.
const NEAR_EQUAL: f32 = 0.02;

/// Below this share of the measured score difference, the gradient does not explain the score: it has saturated.
const SATURATED: f32 = 0.05;

/// How to explain; what is the prompt's.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which variant of the method.
    pub recipe: Recipe,
    /// P, the channels selected; the recipe's own number if not given.
    pub channels: Option<usize>,
    /// Q, the components; 10 (or all, if fewer exist) if not given.
    pub components: Option<usize>,
    /// The side of each component that is kept; the recipe's own rule if not given.
    pub sign: Option<SignRule>,
    /// How the photo is made to fit the network's input; the model's own way if not given.
    pub fit: Option<Fit>,
    /// Where the OSSMs are masked to measure what they contribute.
    pub integrate: Integrate,
    /// Whether positions that look alike share what they have ([`decomcam_core::affinity`]) before the maps are decomposed.
    pub affinity: bool,
    /// Worker threads for the masked photos.
    pub threads: usize,
}

impl Request {
    /// The usual explanation, on this many threads.
    pub fn new(threads: usize) -> Self {
        Self {
            recipe: Recipe::Exact,
            channels: None,
            components: None,
            sign: None,
            fit: None,
            integrate: Integrate::default(),
            affinity: true,
            threads,
        }
    }
}

/// Where OSSMs are masked to measure their contributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Integrate {
    /// In the photo, blurred outside the OSSM: what the method does. One forward pass for each OSSM.
    #[default]
    Photo,
    /// In the layer's activations, blended outside the OSSM towards each channel's spatial mean: what a board with a linear head does. The network runs
    /// from the layer on.
    Features,
}

/// One OSSM and what it contributes.
#[derive(Clone, Debug)]
pub struct Part {
    /// (U s)_q, H x W of the grid.
    pub component: Vec<f32>,
    /// max(0, component), H x W of the grid.
    pub ossm: Vec<f32>,
    /// s_q.
    pub singular_value: f32,
    /// s_q^2 over the sum of all squares.
    pub explained_variance: f32,
    /// Score of the photo kept where this OSSM is high and blurred elsewhere.
    pub score: f32,
    /// `score` less the score of the wholly blurred photo: the measured contribution.
    pub contribution: f32,
    /// (U s)_q' L over the largest of them: the contribution that the gradient predicts, without any forward pass.
    pub predicted: f32,
    /// Weight in the saliency map.
    pub weight: f32,
    /// What it shows, if names were given ([`name_parts`]) and one fits.
    pub name: Option<Name>,
}

/// A text that fits a part.
#[derive(Clone, Debug, Serialize)]
pub struct Name {
    /// The text as it was understood.
    pub text: String,
    /// What the part adds to the text's explained score.
    pub gain: f32,
}

/// Why a photo got its score.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Scores of the photo.
    pub scores: Scores,
    /// Explained score of the wholly blurred photo.
    pub blurred_score: f32,
    /// The OSSMs, by falling singular value.
    pub parts: Vec<Part>,
    /// sum_q weight_q OSSM_q, H x W of the grid, not scaled. With [`Recipe::Exact`] mean + sum_q weight_q component_q: negatives are cut off once it has
    /// been upsampled.
    pub saliency: Vec<f32>,
    /// With [`Recipe::Exact`] the mean that the sum starts from; else zero.
    pub mean: f32,
    /// H and W of the grid of positions that was decomposed: that of the layer, or the finer one that a larger copy of the photo gave.
    pub grid: [usize; 2],
    /// The layer's activations and gradients, at the network's own size.
    pub layer: Explained,
    /// w_c, the mean over positions of the gradient, of every channel.
    pub channel_weights: Vec<f32>,
    /// Number of channels of the layer, and of those selected.
    pub channels: [usize; 2],
    /// The singular values of the parts, and the next one if it exists.
    pub singular_values: Vec<f32>,
    /// The sign rule used.
    pub sign: SignRule,
    /// Where the layer's maps lie on the photo.
    pub framing: Framing,
    /// Side of the network's input, height and width.
    pub input_size: [usize; 2],
    /// What a reader should know before trusting the picture.
    pub warnings: Vec<String>,
    /// Time spent, by stage.
    pub timings: Timings,
}

impl Explanation {
    /// The layer's maps on the photo.
    pub fn placement(&self, photo: &Photo) -> Placement {
        let [height, width] = self.grid;
        Placement::new(Size { height, width }, self.framing, photo.size())
    }
}

/// Explains `photo`. `progress` is told of each forward pass done, out of how many.
///
/// # Errors
/// P or Q out of range, values of the network that are not finite, and failures of the network itself.
pub fn explain(
    model: &Model,
    tower: &ImageTower,
    prompt: &Prompt,
    photo: &Photo,
    request: &Request,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Explanation> {
    let mut timings = Timings::default();
    let image = &model.manifest.image;
    let (mean, std) = (image.mean, image.std);
    let (height, width) = tower.side();

    let (framing, planes) =
        timings.measure("prepare", || network_input(model, photo, request.fit, (height, width), request.threads));
    let photo_score = |input: &[f32]| prompt.explained_score(&tower.vectors(input)?);

    // Passes that need nothing of each other: what the gradient and the finer grid need, and the blurred photo.
    let input = planes.normalised(mean, std);
    let seen_pass = || {
        timed(|| {
            look(model, tower, prompt, &input, &|side| {
                network_input(model, photo, request.fit, side, request.threads).1
            })
        })
    };
    let blurred_pass = || {
        let (blurred, blurring) = timed(|| photo::blur(&planes, BLUR_SIGMA, request.recipe.blur_truncate()));
        let (score, scoring) = timed(|| photo_score(&blurred.normalised(mean, std)));
        (blurred, score, blurring, scoring)
    };
    let ((seen, explaining), blurred) = match request.integrate {
        Integrate::Photo => {
            let (seen, blurred) = workers::both(request.threads, || Ok(seen_pass()), || Ok(blurred_pass()))?;
            (seen, Some(blurred))
        }
        Integrate::Features => (seen_pass(), None),
    };
    let Seen { layer, finer } = seen?;
    timings.add_network(
        if finer.is_some() { "passes at both sizes, gradient" } else { "forward and gradient" },
        explaining,
    );
    let scores = prompt.scores(&layer.vectors)?;

    let sign = request.sign.unwrap_or(default_sign(request.recipe));
    let grid = timings.measure("grid and affinity", || Grid::new(&layer, finer.as_ref(), request.affinity))?;
    let size = [grid.height, grid.width];
    let mut decomposed = timings.measure("decompose", || decomposed(&layer, &grid, request, sign))?;
    let total = decomposed.parts.len() + 2;
    let steps = AtomicUsize::new(0);
    let tick = || progress(steps.fetch_add(1, Ordering::Relaxed) + 1, total);
    tick();
    tick();

    let ossms: Vec<&[f32]> = decomposed.parts.iter().map(|part| &part.ossm[..]).collect();
    let (blurred_score, part_scores, masking, network) = match blurred {
        Some((blurred, blurred_score, blurring, scoring)) => {
            timings.add("blur", blurring);
            timings.add_network("forward pass of the blurred photo", scoring);
            let masker = PhotoMasker::new(planes, blurred, request.recipe, (mean, std), size)?;
            let (scores, masking, network) =
                score_all(&ossms, request.threads, &|ossm| masker.masked(ossm), &photo_score, &tick)?;
            (blurred_score?, scores, masking, network)
        }
        None => {
            let score =
                |activations: &[f32]| prompt.explained_score(&tower.vectors_of_layer(&layer.prefix, activations)?);
            let (means_score, scoring) = timed(|| score(&blended_features(&layer, None)));
            timings.add_network("pass of the layer's means", scoring);
            let masked = |ossm: &[f32]| {
                let coarse = coarser(ossm, size, [layer.height, layer.width])?;
                Ok(blended_features(&layer, Some(&coarse)))
            };
            let (scores, masking, network) = score_all(&ossms, request.threads, &masked, &score, &tick)?;
            (means_score?, scores, masking, network)
        }
    };
    timings.add("masks", masking);
    timings.add_network("forward passes with masks", network);

    timings.measure("integrate", || -> Result<()> {
        let mut weights: Vec<f32> = decomposed.parts.iter().map(|part| part.weight).collect();
        if !request.recipe.is_closed_form() {
            integrate::score_weights(request.recipe, &part_scores, blurred_score, &mut weights)?;
        }
        for ((part, weight), score) in decomposed.parts.iter_mut().zip(&weights).zip(&part_scores) {
            part.weight = *weight;
            part.score = *score;
            part.contribution = score - blurred_score;
        }
        // The exact sum is of components, which only `decomposed` has.
        if request.recipe != Recipe::Exact {
            let ossms: Vec<f32> = decomposed.parts.iter().flat_map(|part| part.ossm.iter().copied()).collect();
            integrate::sum(&ossms, &weights, &mut decomposed.saliency)?;
        }
        Ok(())
    })?;

    let mut explanation = Explanation {
        scores,
        blurred_score,
        parts: decomposed.parts,
        saliency: decomposed.saliency,
        mean: decomposed.mean,
        grid: size,
        channels: [layer.channels, decomposed.selected],
        channel_weights: decomposed.channel_weights,
        singular_values: decomposed.singular_values,
        sign,
        framing,
        input_size: [height, width],
        warnings: prompt.warnings(),
        timings,
        layer,
    };
    explanation.warn();
    Ok(explanation)
}

/// The photo as the network takes it, before normalisation, and where that lies on the photo. `fit` is the model's own way if not given.
pub fn network_input(
    model: &Model,
    photo: &Photo,
    fit: Option<Fit>,
    (height, width): (usize, usize),
    threads: usize,
) -> (Framing, Planes) {
    let image = &model.manifest.image;
    let size = Size { height, width };
    // The same part of the photo at every size.
    let margin = (image.margin * height.min(width)).div_ceil(image.size);
    let framing = Framing::new(fit.unwrap_or(image.fit), photo.size(), size, margin);
    let planes = photo.network_input(framing, size, image.padding(), threads);
    (framing, planes)
}

/// The sign rule of a recipe: the score's for the closed form, which follows from it; scikit-learn's for those that inherited that.
pub fn default_sign(recipe: Recipe) -> SignRule {
    if recipe.is_closed_form() { SignRule::Score } else { SignRule::LargestLoading }
}

/// P of a recipe, at most as many as the layer has.
fn default_channels(recipe: Recipe, available: usize) -> usize {
    match recipe {
        Recipe::Aligned | Recipe::Exact => available,
        Recipe::V25 => available.min(500),
        _ => available.min(100),
    }
}

pub(crate) struct Decomposed {
    channel_weights: Vec<f32>,
    pub(crate) parts: Vec<Part>,
    pub(crate) singular_values: Vec<f32>,
    pub(crate) saliency: Vec<f32>,
    mean: f32,
    selected: usize,
}

/// What the network saw of the photo.
pub(crate) struct Seen {
    /// At its own size, with the gradient.
    pub(crate) layer: Explained,
    /// At the larger size, if it looked.
    pub(crate) finer: Option<Explained>,
}

/// The passes that an explanation starts from. A posterior score depends on what the photo shows, at both sizes, so its gradient comes last.
/// `at` makes the network's input of another size, of the same part of the photo.
pub(crate) fn look(
    model: &Model,
    tower: &ImageTower,
    prompt: &Prompt,
    input: &[f32],
    at: &dyn Fn((usize, usize)) -> Planes,
) -> Result<Seen> {
    let image = &model.manifest.image;
    let finer = tower
        .finer()
        .map(|finer| finer.explain(&at(finer.side()).normalised(image.mean, image.std), prompt.evidence()))
        .transpose()?;
    let own = if prompt.depends_on_photo() { Some(tower.vectors(input)?) } else { None };
    let vectors: Vec<_> = own.iter().chain(finer.as_ref().map(|finer| &finer.vectors)).collect();
    let target = prompt.target(&vectors)?;
    Ok(Seen { layer: tower.explain(input, &target)?, finer })
}

/// The maps that are decomposed: channels x height x width.
pub(crate) struct Grid {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) maps: Vec<f32>,
}

impl Grid {
    /// The layer's maps; or, with a finer look, the mean of those and the layer's, upsampled. Then, with `affinity`, shared between positions that look
    /// alike at the finest size.
    pub(crate) fn new(layer: &Explained, finer: Option<&Explained>, affinity: bool) -> Result<Self> {
        let finest = finer.unwrap_or(layer);
        let (height, width) = (finest.height, finest.width);
        let positions = height * width;
        let mut maps = finest.activations.clone();
        if finer.is_some() {
            let placement = Placement::whole(Size::new(layer.height, layer.width), Size { height, width });
            let coarse = layer.activations.chunks_exact(layer.height * layer.width);
            for (map, coarse) in maps.chunks_exact_mut(positions).zip(coarse) {
                for (value, coarse) in map.iter_mut().zip(placement.upsampled(coarse)?) {
                    *value = 0.5 * (*value + coarse);
                }
            }
        }
        if affinity && positions > 1 {
            let view = Maps::chw(&finest.activations, finest.channels, height, width)?;
            let mut matrix = vec![0.0; positions * positions];
            let mut scratch = vec![0.0; affinity::scratch_len(positions)];
            affinity::affinity(&view, &mut matrix, &mut scratch).context("the activations of the layer")?;
            let mut shared = vec![0.0; positions];
            for map in maps.chunks_exact_mut(positions) {
                affinity::share(&matrix, map, &mut shared)?;
                map.copy_from_slice(&shared);
            }
        }
        Ok(Self { height, width, maps })
    }
}

/// Names each part by the text whose explained score it raises most: the score with the layer's activations kept where the part is high and drawn to
/// their mean elsewhere, less that of the means. A part that raises none stays without a name.
///
/// # Errors
/// A tower without its head, and failures of the network.
pub fn name_parts(tower: &ImageTower, explanation: &mut Explanation, names: &[Prompt]) -> Result<()> {
    let Explanation { parts, layer, grid, .. } = explanation;
    let ossms: Vec<&[f32]> = parts.iter().map(|part| &part.ossm[..]).collect();
    let gains = gains(tower, layer, *grid, &ossms, &names.iter().collect::<Vec<_>>())?;
    for (part, gains) in parts.iter_mut().zip(gains) {
        part.name = Name::best(names, &gains);
    }
    Ok(())
}

impl Name {
    /// The text with the largest gain, if that is one.
    pub(crate) fn best(names: &[Prompt], gains: &[f32]) -> Option<Self> {
        let best = names.iter().zip(gains).reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (name, gain) = best.filter(|(_, gain)| **gain > 0.0)?;
        Some(Self { text: name.typed().0.to_owned(), gain: *gain })
    }
}

/// What each OSSM adds to the explained score of each prompt: the score with the layer's activations kept where the OSSM is high and drawn to their mean
/// elsewhere, less that of the means. `grid` is the size of the OSSMs.
pub(crate) fn gains(
    tower: &ImageTower,
    layer: &Explained,
    grid: [usize; 2],
    ossms: &[&[f32]],
    prompts: &[&Prompt],
) -> Result<Vec<Vec<f32>>> {
    let scores = |ossm: Option<&[f32]>| -> Result<Vec<f32>> {
        let vectors = tower.vectors_of_layer(&layer.prefix, &blended_features(layer, ossm))?;
        prompts.iter().map(|prompt| prompt.explained_score(&vectors)).collect()
    };
    let means = scores(None)?;
    let gain = |ossm: &&[f32]| -> Result<Vec<f32>> {
        let scores = scores(Some(&coarser(ossm, grid, [layer.height, layer.width])?))?;
        Ok(scores.iter().zip(&means).map(|(score, mean)| score - mean).collect())
    };
    ossms.iter().map(gain).collect()
}

/// A map of a fine grid on a coarser one: means of blocks.
fn coarser(map: &[f32], [height, width]: [usize; 2], coarse: [usize; 2]) -> Result<Vec<f32>> {
    if [height, width] == coarse {
        return Ok(map.to_vec());
    }
    ensure!(
        height.is_multiple_of(coarse[0]) && width.is_multiple_of(coarse[1]),
        "--integrate features needs a grid of whole blocks, found {height} x {width} on {} x {}; take --scales 1",
        coarse[0],
        coarse[1]
    );
    let (down, across) = (height / coarse[0], width / coarse[1]);
    let mut means = vec![0.0; coarse[0] * coarse[1]];
    for (index, value) in map.iter().enumerate() {
        means[index / width / down * coarse[1] + index % width / across] += value / (down * across) as f32;
    }
    Ok(means)
}

/// Stage 2: the mean over positions of the gradient of every channel.
pub(crate) fn channel_weights(layer: &Explained) -> Result<Vec<f32>> {
    let gradients = Maps::chw(&layer.gradients, layer.channels, layer.height, layer.width)?;
    let mut weights = vec![0.0; layer.channels];
    channels::weights(&gradients, &mut weights).context("the gradient of the score")?;
    Ok(weights)
}

/// Stages 2 to 6 of the method, in the core: the layer's gradient, and the maps of the grid.
pub(crate) fn decomposed(layer: &Explained, grid: &Grid, request: &Request, sign: SignRule) -> Result<Decomposed> {
    decomposed_with(channel_weights(layer)?, grid, request, sign)
}

/// Stages 3 to 6: the maps of the grid, one for each channel weight.
pub(crate) fn decomposed_with(weights: Vec<f32>, grid: &Grid, request: &Request, sign: SignRule) -> Result<Decomposed> {
    let (c, h, w) = (weights.len(), grid.height, grid.width);
    let activations = Maps::chw(&grid.maps, c, h, w)?;

    let available = c.min(CHANNELS_MAX);
    let p = request.channels.unwrap_or(default_channels(request.recipe, available));
    ensure!(
        (1..=available).contains(&p),
        "--channels {p} is out of range: expected 1 to {available}, the channels of this layer; leave it out for the recipe's own number"
    );
    let most = decompose::components_max(h * w, p);
    ensure!(most > 0, "this layer has one position only, so it has no parts; choose a layer before the pooling");
    let q = request.components.unwrap_or(most.min(10));
    ensure!(
        (1..=most).contains(&q),
        "--components {q} is out of range: expected 1 to {most}, as many as exist with {p} channels of {h} x {w} positions"
    );

    let top = channels::top::<CHANNELS_MAX>(&weights, p)?;
    let mut workspace = vec![0.0; decompose::workspace_len(h * w, p)];
    let mut parts = decompose::decompose(&activations, &weights, &top, q, sign, &mut workspace)
        .context("the activations of the layer")?;

    let mut predicted = vec![0.0; q];
    integrate::predicted(&parts, &mut predicted)?;
    let mut saliency = vec![0.0; h * w];
    let mut mean = 0.0;
    // The closed forms' weights; other recipes replace them when the scores are there.
    let mut part_weights: Vec<f32> = predicted.iter().map(|share| share.max(0.0)).collect();
    if request.recipe == Recipe::Exact {
        integrate::exact_weights(&parts, &mut part_weights)?;
        integrate::sum(parts.components(), &part_weights, &mut saliency)?;
        let mut row = vec![0.0; h * w];
        let mut first_order = vec![0.0; h * w];
        head::first_order(&activations, &weights, &mut row, &mut first_order)?;
        mean = maths::mean(&first_order);
        saliency.iter_mut().for_each(|value| *value += mean);
    }
    let components: Vec<Vec<f32>> = parts.components().chunks_exact(h * w).map(<[f32]>::to_vec).collect();
    parts.rectify();
    let singular_values = parts.singular_values().to_vec();
    let norm = parts.norm();
    let listed = parts
        .components()
        .chunks_exact(h * w)
        .zip(&singular_values)
        .zip(predicted.iter().zip(&part_weights))
        .zip(components)
        .map(|(((ossm, &singular_value), (&predicted, &weight)), component)| Part {
            component,
            ossm: ossm.to_vec(),
            singular_value,
            explained_variance: if norm > 0.0 { (singular_value / norm).powi(2) } else { 0.0 },
            score: 0.0,
            contribution: 0.0,
            predicted,
            weight,
            name: None,
        })
        .collect();
    Ok(Decomposed { channel_weights: weights, parts: listed, singular_values, saliency, mean, selected: p })
}

/// Gradient times activation, summed: what the score would lose, to first order, were the layer silent.
fn first_order_score(layer: &Explained) -> f32 {
    let products = layer.activations.iter().zip(&layer.gradients);
    products.map(|(a, g)| f64::from(*a) * f64::from(*g)).sum::<f64>() as f32
}

/// Runs something and takes its time.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// Stage 7: the explained score with each OSSM kept; and the time that all threads together spent on masks and in the network. `masked` makes the input
/// for an OSSM, `score` runs it.
fn score_all(
    ossms: &[&[f32]],
    threads: usize,
    masked: &(dyn Fn(&[f32]) -> Result<Vec<f32>> + Sync),
    score: &(dyn Fn(&[f32]) -> Result<f32> + Sync),
    tick: &(dyn Fn() + Sync),
) -> Result<(Vec<f32>, Duration, Duration)> {
    let done = workers::each(ossms.len(), threads, |at| {
        let (input, masking) = timed(|| masked(ossms[at]));
        let input = input?;
        let (value, scoring) = timed(|| score(&input));
        tick();
        Ok((value?, masking, scoring))
    })?;
    let scores = done.iter().map(|(score, ..)| *score).collect();
    let (masking, scoring) = (done.iter().map(|(_, time, _)| time), done.iter().map(|(.., time)| time));
    Ok((scores, masking.sum(), scoring.sum()))
}

/// A'_c(p) = mean_c + m(p) (A_c(p) - mean_c), with m the min-max scaled OSSM; for none, the means alone.
fn blended_features(layer: &Explained, ossm: Option<&[f32]>) -> Vec<f32> {
    let positions = layer.height * layer.width;
    let mask = ossm.map_or_else(
        || vec![0.0; positions],
        |ossm| {
            let (mut mask, mut range) = (ossm.to_vec(), mask::Range::EMPTY);
            range.include(ossm);
            range.scale(&mut mask);
            mask
        },
    );
    let blended = layer.activations.chunks_exact(positions).flat_map(|map| {
        let mean = maths::mean(map);
        map.iter().zip(&mask).map(move |(value, mask)| mean + mask * (value - mean))
    });
    blended.collect()
}

/// Makes the network's input for each OSSM in the photo.
pub(crate) struct PhotoMasker {
    photo: Planes,
    blurred: Planes,
    /// Mean and deviation to take out after blending; none if the planes are normalised already.
    normalise: Option<([f32; 3], [f32; 3])>,
    placement: Placement,
}

impl PhotoMasker {
    /// Blends as the recipe does: pixels in 0..=1, or normalised ones.
    pub(crate) fn new(
        photo: Planes,
        blurred: Planes,
        recipe: Recipe,
        (mean, std): ([f32; 3], [f32; 3]),
        size: [usize; 2],
    ) -> Result<Self> {
        let placement = Placement::whole(Size::new(size[0], size[1]), photo.size);
        if !recipe.blends_normalised() {
            return Ok(Self { photo, blurred, normalise: Some((mean, std)), placement });
        }
        let normalised = |planes: Planes| Planes { size: planes.size, data: planes.into_normalised(mean, std) };
        Ok(Self { photo: normalised(photo), blurred: normalised(blurred), normalise: None, placement })
    }

    /// The photo where the OSSM is high and the blurred one elsewhere.
    pub(crate) fn masked(&self, ossm: &[f32]) -> Result<Vec<f32>> {
        let mask = self.placement.mask(ossm)?;
        let mut data = vec![0.0; self.photo.data.len()];
        let planes = self.photo.data.chunks_exact(mask.len()).zip(self.blurred.data.chunks_exact(mask.len()));
        for ((photo, blurred), out) in planes.zip(data.chunks_exact_mut(mask.len())) {
            mask::blend(photo, blurred, &mask, out);
        }
        Ok(match self.normalise {
            Some((mean, std)) => Planes { data, ..self.photo }.into_normalised(mean, std),
            None => data,
        })
    }
}

/// Says which of the first `count` components are zero, or may turn into their neighbours.
pub(crate) fn spectrum_warnings(values: &[f32], count: usize) -> Vec<String> {
    let warning = |q: usize| {
        let (this, next) = (values[q], values.get(q + 1).copied().unwrap_or(0.0));
        if this <= 0.0 {
            return Some(format!(
                "component #{} is zero: the selected channels have fewer independent maps than were asked for",
                q + 1
            ));
        }
        ((this - next) / this < NEAR_EQUAL && q + 1 < count).then(|| {
            format!(
                "components #{} and #{} have nearly equal singular values ({this:.4}, {next:.4}): they may turn into each other, read them together",
                q + 1,
                q + 2
            )
        })
    };
    (0..count).filter_map(warning).collect()
}

impl Explanation {
    /// Says what would mislead a reader.
    fn warn(&mut self) {
        let first_order = first_order_score(&self.layer);
        self.warnings.extend(spectrum_warnings(&self.singular_values, self.parts.len()));
        let drop = self.scores.explained.value - self.blurred_score;
        if first_order.abs() < SATURATED * drop.abs() {
            self.warnings.push(format!(
                "the score `{}` is saturated: its gradient accounts for {:.1}% of what blurring the photo takes away; another --score may point better",
                self.scores.explained.name,
                100.0 * first_order.abs() / drop.abs()
            ));
        }
        if self.parts.iter().all(|part| part.weight <= 0.0) {
            self.warnings.push(
                "no part has a positive weight: nothing in the photo speaks for the text, and the saliency map is empty".into(),
            );
        }
    }
}
