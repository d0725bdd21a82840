//! Stage 7: the contribution of each OSSM, measured by hiding everything else in the photo or in the layer.

use super::look::Look;
use super::parts::Contributions;
use super::view::View;
use crate::encoders::activations::Activations;
use crate::encoders::head::Head;
use crate::error::Sorted as _;
use crate::methods::Recipe;
use crate::photo::{self, Placement, Planes};
use crate::progress::Steps;
use crate::score::Prompt;
use crate::timings::{Timings, timed};
use crate::{Error, Result, Size, workers};
use anyhow::ensure;
use decomcam_core::mask;
use std::time::Duration;

/// Standard deviation of the blur of the masked-out part, in pixels of the network's input.
pub const BLUR_SIGMA: f32 = 10.0;

/// The photo blurred all over, and its score.
pub(crate) struct Blurred {
    pub(crate) planes: Planes,
    pub(crate) score: f32,
    pub(crate) blurring: Duration,
    pub(crate) scoring: Duration,
}

impl Blurred {
    pub(crate) fn new(look: &Look<'_>, recipe: Recipe) -> Result<Self> {
        let (planes, blurring) = timed(|| photo::blur(look.planes(), BLUR_SIGMA, recipe.blur_truncate()));
        let (score, scoring) = timed(|| look.explained_score(&look.view().normalised(&planes)));
        Ok(Self { planes, score: score?, blurring, scoring })
    }
}

/// The explained score of the photo kept where each OSSM is high and blurred elsewhere.
pub(crate) fn in_photo(
    look: &Look<'_>,
    recipe: Recipe,
    blurred: Blurred,
    (ossms, size): (&[&[f32]], Size),
    steps: &Steps<'_>,
    timings: &mut Timings,
) -> Result<Contributions> {
    timings.add("blur", blurred.blurring);
    timings.add_network("forward pass of the blurred photo", blurred.scoring);
    let masker = PhotoMasker::new(look.planes().clone(), blurred.planes, recipe, look.view(), size);
    let score = |input: &[f32]| look.explained_score(input);
    let scores = score_all(ossms, look.threads(), &|ossm| masker.masked(ossm), &score, steps, timings)?;
    Ok(Contributions { baseline: blurred.score, scores })
}

/// The explained score of the layer kept where each OSSM is high and replaced by the channels' means elsewhere.
pub(crate) fn in_features(
    look: &Look<'_>,
    layer: &Activations,
    (ossms, size): (&[&[f32]], Size),
    steps: &Steps<'_>,
    timings: &mut Timings,
) -> Result<Contributions> {
    let head = look.head()?;
    let score = |activations: &[f32]| look.prompt().explained_score(&head.vectors(&layer.prefix, activations)?);
    let (baseline, scoring) = timed(|| score(&blended_features(layer, None)));
    timings.add_network("pass of the layer's means", scoring);
    let masked = |ossm: &[f32]| Ok(blended_features(layer, Some(&coarser(ossm, size, layer.size)?)));
    let scores = score_all(ossms, look.threads(), &masked, &score, steps, timings)?;
    Ok(Contributions { baseline: baseline?, scores })
}

/// By how much each OSSM raises the explained score of each prompt, OSSMs x prompts, measured in the layer.
pub(crate) fn gains(
    head: &Head,
    layer: &Activations,
    (ossms, size): (&[&[f32]], Size),
    prompts: &[&Prompt],
) -> Result<Vec<Vec<f32>>> {
    let scores = |ossm: Option<&[f32]>| -> Result<Vec<f32>> {
        let vectors = head.vectors(&layer.prefix, &blended_features(layer, ossm))?;
        prompts.iter().map(|prompt| prompt.explained_score(&vectors)).collect()
    };
    let means = scores(None)?;
    let gain = |ossm: &&[f32]| -> Result<Vec<f32>> {
        let scores = scores(Some(&coarser(ossm, size, layer.size)?))?;
        Ok(scores.iter().zip(&means).map(|(score, mean)| score - mean).collect())
    };
    ossms.iter().map(gain).collect()
}

/// Scores what each OSSM keeps, on several threads: `masked` makes the input, `score` runs the network.
fn score_all(
    ossms: &[&[f32]],
    threads: usize,
    masked: &(dyn Fn(&[f32]) -> Result<Vec<f32>> + Sync),
    score: &(dyn Fn(&[f32]) -> Result<f32> + Sync),
    steps: &Steps<'_>,
    timings: &mut Timings,
) -> Result<Vec<f32>> {
    struct Scored {
        score: f32,
        masking: Duration,
        scoring: Duration,
    }
    let done = workers::each(ossms.len(), threads, |at| {
        let (input, masking) = timed(|| masked(ossms[at]));
        let input = input?;
        let (score, scoring) = timed(|| score(&input));
        steps.advance(1)?;
        Ok(Scored { score: score?, masking, scoring })
    })?;
    timings.add("masks", done.iter().map(|scored| scored.masking).sum());
    timings.add_network("forward passes with masks", done.iter().map(|scored| scored.scoring).sum());
    Ok(done.into_iter().map(|scored| scored.score).collect())
}

/// A map of a fine grid on a coarser one, as means of blocks.
fn coarser(map: &[f32], fine: Size, coarse: Size) -> Result<Vec<f32>> {
    if fine == coarse {
        return Ok(map.to_vec());
    }
    whole_blocks(fine, coarse).kind(Error::Options)?;
    let (down, across) = (fine.height / coarse.height, fine.width / coarse.width);
    let mut means = vec![0.0; coarse.area()];
    for (index, value) in map.iter().enumerate() {
        let (y, x) = (index / fine.width, index % fine.width);
        means[y / down * coarse.width + x / across] += value / (down * across) as f32;
    }
    Ok(means)
}

fn whole_blocks(fine: Size, coarse: Size) -> anyhow::Result<()> {
    ensure!(
        fine.height.is_multiple_of(coarse.height) && fine.width.is_multiple_of(coarse.width),
        "--integrate features needs a grid of whole blocks, found {fine} on {coarse}; take --scales 1"
    );
    Ok(())
}

/// A'_c(p) = mean_c + m(p) (A_c(p) - mean_c), with m the OSSM scaled to 0..=1. Without an OSSM: the means alone.
fn blended_features(layer: &Activations, ossm: Option<&[f32]>) -> Vec<f32> {
    let positions = layer.size.area();
    let mut mask = vec![0.0; positions];
    if let Some(ossm) = ossm {
        mask.copy_from_slice(ossm);
        let mut range = mask::Range::EMPTY;
        range.include(ossm);
        range.scale(&mut mask);
    }
    let blended = layer.values.chunks_exact(positions).flat_map(|map| {
        let mean = decomcam_core::sums::mean(map);
        map.iter().zip(&mask).map(move |(value, mask)| mean + mask * (value - mean))
    });
    blended.collect()
}

/// Makes the network's input for each OSSM in the photo.
struct PhotoMasker<'a> {
    photo: Planes,
    blurred: Planes,
    /// How blended planes are normalised; none if they were normalised before.
    view: Option<&'a View>,
    placement: Placement,
}

impl<'a> PhotoMasker<'a> {
    /// Blends pixels in 0..=1 or normalised ones, as the recipe does.
    fn new(photo: Planes, blurred: Planes, recipe: Recipe, view: &'a View, size: Size) -> Self {
        let placement = Placement::whole(size, photo.size);
        if !recipe.blends_normalised() {
            return Self { photo, blurred, view: Some(view), placement };
        }
        let normalised = |planes: Planes| Planes { size: planes.size, data: view.into_normalised(planes) };
        Self { photo: normalised(photo), blurred: normalised(blurred), view: None, placement }
    }

    /// The photo where the OSSM is high and the blurred one elsewhere.
    fn masked(&self, ossm: &[f32]) -> Result<Vec<f32>> {
        let mask = self.placement.mask(ossm)?;
        let mut data = vec![0.0; self.photo.data.len()];
        let planes = self.photo.data.chunks_exact(mask.len()).zip(self.blurred.data.chunks_exact(mask.len()));
        for ((photo, blurred), out) in planes.zip(data.chunks_exact_mut(mask.len())) {
            mask::blend(photo, blurred, &mask, out);
        }
        Ok(match self.view {
            Some(view) => view.into_normalised(Planes { size: self.photo.size, data }),
            None => data,
        })
    }
}
