//! The one pipeline: a photo and a prompt go in, and the map of any method comes out, with its parts if the method is DecomCAM. The maps of every command are
//! made here.
//!
//! | room | in | out |
//! |---|---|---|
//! | [`view`] | a photo | the part of it that the network sees, as its input |
//! | [`options`] | what the caller chose | a request, in which every choice is made |
//! | [`look`] | the input, the prompt | activations and gradients at one size or at two; each pass is run once |
//! | `affinity` | activations | which positions are similar, as the core computes it |
//! | `grid` | activations | the maps that are decomposed |
//! | [`parts`] | maps, channel weights | components, their weights, the map that they sum to |
//! | [`masks`] | OSSMs | the measured contribution of each |
//! | [`refine`] | a map, a layer with finer positions | the map at those positions |
//! | [`check`] | the finished map | what the score loses when the places that the map marks are hidden |
//! | [`given_layer`] | activations and gradients that another program computed | the map and its parts |
//! | `names`, `warnings` | parts | their names, and warnings about what could mislead a reader |

mod affinity;
pub mod check;
mod given;
pub(crate) mod grid;
pub mod look;
pub mod masks;
pub(crate) mod names;
pub mod options;
pub mod parts;
pub mod refine;
pub mod view;
pub(crate) mod warnings;

pub use check::Check;
pub use given::{GivenLayer, OfGivenLayer, given_layer};
pub use look::{LayerInfo, Layers, Look, Own, Towers};
pub use names::Name;
pub use options::{Integrate, Options, Request, Used};
pub use parts::{CHANNELS_MAX, Component, Decomposition};
pub use refine::Refinement;
pub use view::View;

use crate::draw;
use crate::encoders::image::Explained;
use crate::error::Sorted as _;
use crate::methods::{self, Map, Method, Recipe};
use crate::photo::{Framing, Photo, Placement};
use crate::progress::{Steps, Watch};
use crate::score::{Prompt, Scores, Standing, Support};
use crate::timings::{Timings, timed};
use crate::{Error, Result, Size, workers};
use decomcam_core::{Maps, SignRule, cams, channels};
use grid::Grid;
use masks::Blurred;
use parts::{Contributions, Integration, Rank};
use std::ops::ControlFlow;
use std::sync::Arc;

/// One OSSM and what it contributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The component, and the OSSM that is its positive side.
    pub component: Component,
    /// The explained score of the photo, or of the layer, kept where the OSSM is high.
    pub score: f32,
    /// The measured contribution: `score` less the score with nothing kept.
    pub contribution: f32,
    /// Weight in the saliency map.
    pub weight: f32,
    /// The text that fits it best, if texts were given and it raises the score of one.
    pub name: Option<Name>,
    /// Where on the photo its map is highest, refined as the picture shows it: shares of the photo's height and width, from the top left on. None if it is
    /// nowhere above zero.
    pub peak: Option<[f64; 2]>,
}

/// The parts of an explanation that DecomCAM made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parts {
    /// By falling singular value.
    pub list: Vec<Part>,
    /// Height and width of the grid that was decomposed.
    pub size: Size,
    /// The recipe that gave them their weights.
    pub recipe: Recipe,
    /// Where their contributions were measured.
    pub integrate: Integrate,
    /// The explained score with nothing kept: of the photo blurred all over, or of the layer's means.
    pub baseline: f32,
    /// With `exact` the mean of the first-order map, to which the weighted parts are added; else zero.
    pub mean: f32,
    /// Whether no place speaks for the score, so that the map of `exact` is relative to its mean: it shows where the photo speaks least against the score.
    pub relative: bool,
    /// The singular values of the parts, and the next one if it exists.
    pub singular_values: Vec<f32>,
    /// Whether texts to name parts by were given.
    pub named: bool,
    /// The rule that decided which side of each component is its OSSM.
    pub sign: SignRule,
    /// Whether the parts are one-sided: no longer orthogonal maps, sorted by their lengths, which stand in the place of singular values.
    pub one_sided: bool,
    /// P, the channels that were selected.
    pub selected: usize,
    /// w_c of every channel.
    pub channel_weights: Vec<f32>,
    /// The layer at the network's own size, with the gradient.
    pub layer: Arc<Explained>,
}

/// Where a part is highest is looked for on a copy of the photo whose longer side has at most so many pixels: enough to tell its thirds.
const PEAKS_ON: usize = 128;

/// From this cosine on two photos are the same to a network.
const SAME: f32 = 1.0 - 1e-5;

/// Why a photo got its score.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The method, and every choice that was made for it.
    pub request: Request,
    /// Scores of the photo.
    pub scores: Scores,
    /// Whether the model sees here what the prompt asks for; none if nothing says what the model knows.
    pub support: Option<Support>,
    /// Where the class that is explained stands among all, of a classifier.
    pub standing: Option<Standing>,
    /// The saliency map, not scaled and not upsampled. That of `exact` has negative values, which are set to zero after upsampling.
    pub map: Map,
    /// What the map has less than the sum that it is made of, everywhere: negative if it is relative to its mean ([`Parts::relative`]), else zero.
    pub lifted: f32,
    /// The parts, if the method is DecomCAM.
    pub parts: Option<Parts>,
    /// What took the map, and takes the parts' maps, to finer positions; none if nothing did.
    pub refinement: Option<Refinement>,
    /// The layer; none for methods that look at no layer.
    pub layer: Option<LayerInfo>,
    /// Where the maps lie on the photo.
    pub framing: Framing,
    /// Height and width of the network's input.
    pub input_size: Size,
    /// What the score loses when the places that the map marks are hidden; none if that was not asked for, or if the map marks nothing.
    pub check: Option<Check>,
    /// Why no answer about the photo means anything, if so: it is all of one colour, say.
    pub meaningless: Option<String>,
    /// What a reader should know before trusting the explanation.
    pub warnings: Vec<String>,
    /// Time spent, by stage.
    pub timings: Timings,
}

impl Explanation {
    /// The maps on the photo.
    pub fn placement(&self, photo: &Photo) -> Placement {
        Placement::new(self.map.size, self.framing, photo.size()).upsampled_by(self.request.upsampling)
    }

    /// A part's map, of the grid's size, as it goes into the saliency map: refined, if the map is.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn refined(&self, map: &[f32]) -> Result<Map> {
        let size = self.parts.as_ref().map_or(self.map.size, |parts| parts.size);
        match &self.refinement {
            Some(refinement) => refinement.apply(map, size),
            None => Ok(Map { values: map.to_vec(), size }),
        }
    }

    /// Where each part is highest on the photo: see [`Part::peak`].
    fn peaks(&self, photo: Size, threads: usize) -> Result<Vec<Option<[f64; 2]>>> {
        let copy = draw::copy_size(photo, PEAKS_ON);
        let placement =
            Placement::new(self.map.size, self.framing, photo).upsampled_by(self.request.upsampling).on_copy(copy);
        let list = self.parts.as_ref().map_or(&[][..], |parts| &parts.list);
        workers::each(list.len(), threads, |q| {
            let map = placement.upsampled(&self.refined(&list[q].component.ossm)?.values)?;
            let highest = map.iter().enumerate().filter(|(_, value)| **value > 0.0).max_by(|a, b| a.1.total_cmp(b.1));
            let share = |position: usize, side: usize| (position as f64 + 0.5) / side as f64;
            Ok(highest.map(|(at, _)| [share(at / copy.width, copy.height), share(at % copy.width, copy.width)]))
        })
    }

    /// The saliency at the photo's size: upsampled, negative values set to zero, scaled to 0..=1 from its smallest value to its largest; zero where the network did not see
    /// the photo.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn saliency(&self, photo: &Photo) -> Result<Vec<f32>> {
        self.placement(photo).saliency(&self.map.values)
    }
}

impl Map {
    /// The saliency at another size: upsampled, negative values set to zero, scaled to 0..=1 from its smallest value to its largest.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn saliency(&self, size: Size) -> Result<Vec<f32>> {
        Placement::whole(self.size, size).saliency(&self.values)
    }
}

/// Explains the photo of a look. `names` are the texts that parts can be named by.
///
/// # Errors
/// P or Q out of range, values of the network that are not finite, failures of the network itself, and [`crate::Error::Cancelled`].
pub fn explain(look: &Look<'_>, request: &Request, names: &[Prompt], watch: &Watch<'_>) -> Result<Explanation> {
    let mut timings = Timings::default();
    let (map, mut parts) = match request.method.recipe() {
        Some(recipe) => {
            let (map, parts) = explained_parts(look, recipe, request, names, watch, &mut timings)?;
            (map, Some(parts))
        }
        None => (timings.measure("map", || other_map(look, request, watch))?, None),
    };
    let refinement = refinement(look, request, &mut timings)?;
    let mean = parts.as_ref().map_or(0.0, |parts| parts.mean);
    let (map, relative) = finished(map, mean, refinement.as_ref())?;
    if let Some(parts) = parts.as_mut().filter(|_| relative) {
        (parts.mean, parts.relative) = (0.0, true);
    }
    let check = if request.check { check::check(look, &map, watch, &mut timings)? } else { None };
    let layer = match &parts {
        Some(parts) => Some(&parts.layer),
        None if request.method.needs_gradient() => Some(look.layers(request.scales)?.own),
        None => None,
    };
    let mut explanation = Explanation {
        request: request.clone(),
        scores: look.prompt().scores(look.vectors()?)?,
        support: look.prompt().support(look.vectors()?)?,
        standing: look.prompt().standing(look.vectors()?)?,
        map,
        lifted: if relative { mean } else { 0.0 },
        layer: look.layer_info().filter(|_| request.method.needs_layer()),
        framing: look.framing(),
        input_size: look.size(),
        check,
        meaningless: look.view().shows_nothing(look.photo()),
        warnings: look.view().warnings(look.photo()).into_iter().chain(look.prompt().warnings()).collect(),
        timings,
        parts: None,
        refinement,
    };
    if look.prompt().likeness().is_some() && explanation.scores.explained.value.abs() > SAME {
        explanation.warnings.push(
            "the two photos are the same to the network, so the gradient of their cosine is nothing but rounding, and the map says nothing".into(),
        );
    }
    let layer = layer.map(Arc::clone);
    explanation.parts = parts;
    let peaks = explanation.peaks(look.photo().size(), look.threads())?;
    for (part, peak) in explanation.parts.iter_mut().flat_map(|parts| &mut parts.list).zip(peaks) {
        part.peak = peak;
    }
    let found = warnings::of(&explanation, look.prompt(), layer.as_deref());
    explanation.warnings.extend(found);
    Ok(explanation)
}

/// The map of a method alone: the same as the `map` of [`explain`], but contributions that the recipe does not need are not measured.
///
/// # Errors
/// Those of [`explain`].
pub fn map(look: &Look<'_>, request: &Request) -> Result<Map> {
    let timings = &mut Timings::default();
    let quiet: &Watch<'_> = &|_| ControlFlow::Continue(());
    let (map, mean) = match request.method.recipe() {
        Some(recipe) => {
            let decomposed = decomposed(look, recipe, request, Measure::IfNeeded, quiet, timings)?;
            (decomposed.integration.map, summed_from(recipe, &decomposed.decomposition))
        }
        None => (other_map(look, request, quiet)?, 0.0),
    };
    Ok(finished(map, mean, refinement(look, request, timings)?.as_ref())?.0)
}

/// What the weighted sum of the parts starts from.
fn summed_from(recipe: Recipe, decomposition: &Decomposition) -> f32 {
    if recipe == Recipe::Exact { decomposition.mean } else { 0.0 }
}

/// The map at its final positions, and whether it is relative: where no place speaks for the score, the map of `exact` would be empty, so the `mean` that
/// it starts from is taken off again, and it shows where the photo speaks least against the score.
fn finished(map: Map, mean: f32, refinement: Option<&Refinement>) -> Result<(Map, bool)> {
    let mut map = match refinement {
        Some(refinement) => refinement.apply(&map.values, map.size)?,
        None => map,
    };
    let relative = mean < 0.0 && map.values.iter().all(|value| *value <= 0.0);
    if relative {
        map.values.iter_mut().for_each(|value| *value -= mean);
    }
    Ok((map, relative))
}

/// What takes the map to finer positions, if that was asked for.
fn refinement(look: &Look<'_>, request: &Request, timings: &mut Timings) -> Result<Option<Refinement>> {
    if request.guide.is_none() {
        return Ok(None);
    }
    let layers = look.layers(request.scales)?;
    timings.measure("refine", || Refinement::new(layers, look.threads()))
}

/// The decomposition of activations and gradients that were computed before, of one size or of two.
///
/// # Errors
/// P or Q out of range, values that are not finite.
pub fn decomposition(layers: Layers<'_>, recipe: Recipe, request: &Request) -> Result<Decomposition> {
    let grid = Grid::new(layers, request.affinity, 1)?;
    parts::decompose(parts::channel_weights(layers.own)?, &grid, Rank::of(recipe, request))
}

/// The map of a decomposition, by a recipe whose weights follow from the decomposition alone.
///
/// # Errors
/// A recipe whose weights need scores.
pub fn closed_form_map(recipe: Recipe, decomposition: &Decomposition) -> Result<Map> {
    Ok(parts::integrate(recipe, decomposition, None)?.map)
}

/// The OSSMs of a recipe, and the size of their grid.
///
/// # Errors
/// Those of [`explain`].
pub(crate) fn ossms(look: &Look<'_>, request: &Request) -> Result<(Vec<Vec<f32>>, Size)> {
    let recipe = request.method.recipe().unwrap_or_default();
    let decomposition = decomposition(look.layers(request.scales)?, recipe, request)?;
    Ok((decomposition.components.into_iter().map(|component| component.ossm).collect(), decomposition.size))
}

/// Whether contributions are measured although the recipe does not need them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    Always,
    IfNeeded,
}

struct Decomposed {
    layer: Arc<Explained>,
    decomposition: Decomposition,
    contributions: Option<Contributions>,
    integration: Integration,
}

/// Where contributions are measured.
fn place(look: &Look<'_>, recipe: Recipe, request: &Request) -> Integrate {
    let usual = if recipe == Recipe::Exact && look.has_head() { Integrate::Features } else { Integrate::Photo };
    request.integrate.unwrap_or(usual)
}

/// Stages 1 to 8.
fn decomposed(
    look: &Look<'_>,
    recipe: Recipe,
    request: &Request,
    measure: Measure,
    watch: &Watch<'_>,
    timings: &mut Timings,
) -> Result<Decomposed> {
    let measure = measure == Measure::Always || !recipe.is_closed_form();
    let place = Some(place(look, recipe, request)).filter(|_| measure);

    // The pass of the blurred photo does not depend on the other passes, so it runs beside them.
    let layers = || timed(|| look.layers(request.scales));
    let ((layers, passing), blurred) = match place {
        Some(Integrate::Photo) => {
            workers::together(look.threads(), || Ok(layers()), || Ok(Some(Blurred::new(look, recipe)?)))?
        }
        Some(Integrate::Features) | None => (layers(), None),
    };
    let layers = layers?;
    let passes = if request.scales > 1 { "passes at both sizes, gradient" } else { "forward and gradient" };
    timings.add_network(passes, passing);

    let grid = timings.measure("grid and affinity", || Grid::new(layers, request.affinity, look.threads()))?;
    let decomposition = timings.measure("decompose", || {
        parts::decompose(parts::channel_weights(layers.own)?, &grid, Rank::of(recipe, request))
    })?;
    drop(grid);

    let ossms: Vec<&[f32]> = decomposition.components.iter().map(|component| &component.ossm[..]).collect();
    let ossms = (&ossms[..], decomposition.size);
    let steps = Steps::new(watch, "forward passes", ossms.0.len() + 2)?;
    steps.advance(2)?;
    let contributions = match (place, blurred) {
        (Some(Integrate::Features), _) => {
            Some(masks::in_features(look, &layers.own.seen.activations, ossms, &steps, timings)?)
        }
        (Some(Integrate::Photo), Some(blurred)) => {
            Some(masks::in_photo(look, recipe, blurred, ossms, &steps, timings)?)
        }
        _ => None,
    };
    let integration =
        timings.measure("integrate", || parts::integrate(recipe, &decomposition, contributions.as_ref()))?;
    Ok(Decomposed { layer: Arc::clone(layers.own), decomposition, contributions, integration })
}

fn explained_parts(
    look: &Look<'_>,
    recipe: Recipe,
    request: &Request,
    names: &[Prompt],
    watch: &Watch<'_>,
    timings: &mut Timings,
) -> Result<(Map, Parts)> {
    let Decomposed { layer, decomposition, contributions, integration } =
        decomposed(look, recipe, request, Measure::Always, watch, timings)?;
    let contributions = contributions.unwrap_or(Contributions { baseline: 0.0, scores: Vec::new() });
    let Contributions { baseline, scores } = contributions;
    let named = !names.is_empty();
    let names = if names.is_empty() {
        vec![None; scores.len()]
    } else {
        let ossms: Vec<&[f32]> = decomposition.components.iter().map(|component| &component.ossm[..]).collect();
        timings.measure("name parts", || {
            names::names(look, &layer.seen.activations, (&ossms, decomposition.size), names)
        })?
    };
    let numbers = scores.into_iter().zip(integration.weights).zip(names);
    let mean = summed_from(recipe, &decomposition);
    let list = decomposition.components.into_iter().zip(numbers).map(|(component, ((score, weight), name))| Part {
        component,
        score,
        contribution: score - baseline,
        weight,
        name,
        peak: None,
    });
    let parts = Parts {
        list: list.collect(),
        size: decomposition.size,
        recipe,
        integrate: place(look, recipe, request),
        baseline,
        mean,
        relative: false,
        singular_values: decomposition.singular_values,
        named,
        sign: request.sign,
        one_sided: request.one_sided,
        selected: decomposition.selected,
        channel_weights: decomposition.channel_weights,
        layer,
    };
    Ok((integration.map, parts))
}

/// The map of Grad-CAM or LayerCAM at two sizes, or with affinity: of the maps that recipes decompose, with the gradient at the network's own size, upsampled.
/// Grad-CAM's channel weights are the means of that gradient before it is upsampled.
fn cam_of_grid(layers: Layers<'_>, cam: cams::Cam, affinity: bool, threads: usize) -> Result<Map> {
    let grid = Grid::new(layers, affinity, threads)?;
    let (layer, channels, size) = (layers.own, layers.own.seen.activations.channels, grid.size);
    let own = layer.seen.activations.size;
    let gradients = if cam == cams::Cam::GradCam {
        let weights = parts::channel_weights(layer)?;
        weights.iter().flat_map(|weight| std::iter::repeat_n(*weight, size.area())).collect()
    } else if own == size {
        layer.gradients.clone()
    } else {
        let placement = Placement::whole(own, size);
        let upsampled = layer.gradients.chunks_exact(own.area()).map(|gradient| placement.upsampled(gradient));
        upsampled.collect::<Result<Vec<_>>>()?.concat()
    };
    let maps = Maps::chw(&grid.maps, channels, size.height, size.width)?;
    let gradients = Maps::chw(&gradients, channels, size.height, size.width)?;
    let mut values = vec![0.0; size.area()];
    cams::cam(cam, &maps, &gradients, &mut vec![0.0; cams::scratch_len(size.area())], &mut values)?;
    Ok(Map { values, size })
}

/// The map of a method that gives no parts. `watch` is told of each pass of methods that need many.
fn other_map(look: &Look<'_>, request: &Request, watch: &Watch<'_>) -> Result<Map> {
    // An upsampled constant is not constant to the last bit, so this map has the input's own size.
    if request.method == Method::Uniform {
        return Ok(Map { values: vec![0.0; look.size().area()], size: look.size() });
    }
    let input = (look.input(), look.size());
    let passes = |count| Steps::new(watch, "forward passes", count);
    if request.method == Method::Rise {
        let steps = passes(request.rise_masks)?;
        let score = |input: &[f32]| steps.counted(look.explained_score(input));
        return methods::rise(input, request.rise_masks, request.seed, look.threads(), &score);
    }
    if let Method::Cam(cam) = request.method
        && (request.scales > 1 || request.affinity)
    {
        return cam_of_grid(look.layers(request.scales)?, cam, request.affinity, look.threads());
    }
    let layer = look.layer()?;
    if let Some(map) = given::cam_map(request.method, layer)? {
        return Ok(map);
    }
    let activations = &layer.seen.activations;
    match request.method {
        Method::ScoreCam => {
            let all: Vec<usize> = (0..activations.channels).collect();
            let steps = passes(all.len())?;
            let score = |input: &[f32]| steps.counted(look.explained_score(input));
            methods::score_cam(activations, &all, input, look.threads(), &score)
        }
        Method::GScoreCam => {
            let mut top = vec![0; activations.channels.div_ceil(10)];
            channels::top_into(&parts::channel_weights(layer)?, &mut top)?;
            let top: Vec<usize> = top.into_iter().map(usize::from).collect();
            let steps = passes(top.len())?;
            let score = |input: &[f32]| steps.counted(look.explained_score(input));
            methods::score_cam(activations, &top, input, look.threads(), &score)
        }
        Method::AblationCam => {
            let whole = look.prompt().explained_score(&layer.seen.vectors)?;
            let head = look.head()?;
            let steps = passes(activations.channels)?;
            let score = |values: &[f32]| {
                steps.counted(look.prompt().explained_score(&head.vectors(&activations.prefix, values)?))
            };
            methods::ablation_cam(activations, whole, look.threads(), &score)
        }
        method => Err(anyhow::anyhow!("method \"{}\" makes its map elsewhere", method.name())).kind(Error::Explanation),
    }
}
