//! Every way to a saliency map, by name: DecomCAM's recipes, and the methods that it is held against.

use crate::Size;
use crate::args::RecipeArg;
use crate::encoders::image::{Explained, ImageTower};
use crate::explain::{self, BLUR_SIGMA, Decomposed, PhotoMasker, Request};
use crate::metrics::Random;
use crate::model::Model;
use crate::photo::{self, Framing, Photo, Placement, Planes};
use crate::score::Prompt;
use crate::workers;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use decomcam_core::cams::{self, Cam};
use decomcam_core::{Maps, Recipe, SignRule, channels, decompose, integrate};

/// A way to a saliency map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// DecomCAM with a recipe.
    DecomCam(Recipe),
    /// A sum over channels, of the core's.
    Cam(Cam),
    /// [`cams::eigen_cam`].
    EigenCam,
    /// [`cams::eigen_grad_cam`].
    EigenGradCam,
    /// Each channel weighed by the score of the photo that it masks; a forward pass a channel. Wang et al., CVPRW 2020.
    ScoreCam,
    /// Score-CAM of the tenth of the channels with the largest gradient. Chen et al., ACCV 2022.
    GScoreCam,
    /// Each channel weighed by what its silence costs; a pass of the head a channel. Desai and Ramaswamy, WACV 2020.
    AblationCam,
    /// Random masks weighed by the scores of the photos that they leave. Petsiuk et al., BMVC 2018.
    Rise,
    /// The same everywhere: what a metric gives for nothing.
    Uniform,
}

const OTHERS: [(Method, &str, &str); 12] = [
    (Method::Cam(Cam::GradCam), "grad-cam", "Channels weighed by their mean gradient"),
    (Method::Cam(Cam::GradCamPlusPlus), "grad-cam++", "Channels weighed by their positive gradients, shared out"),
    (Method::Cam(Cam::XGradCam), "xgrad-cam", "Channels weighed by gradients where they are active"),
    (Method::Cam(Cam::HiResCam), "hires-cam", "Gradient times activation"),
    (Method::Cam(Cam::LayerCam), "layer-cam", "Positive gradient times activation"),
    (Method::EigenCam, "eigen-cam", "First principal component of the activations; heeds no text"),
    (Method::EigenGradCam, "eigen-grad-cam", "First principal component of gradient times activation"),
    (Method::ScoreCam, "score-cam", "Channels weighed by the score of the photo they mask; a forward pass each"),
    (Method::GScoreCam, "gscore-cam", "Score-CAM of the tenth of the channels with the largest gradient"),
    (Method::AblationCam, "ablation-cam", "Channels weighed by what silencing them costs; a pass of the head each"),
    (Method::Rise, "rise", "Random masks weighed by the score they leave; a forward pass each"),
    (Method::Uniform, "uniform", "The same everywhere: what a metric gives for nothing"),
];

impl Method {
    /// The default recipe, and every method that needs one pass through the network.
    pub fn usual() -> Vec<Self> {
        let cams = [Cam::GradCam, Cam::GradCamPlusPlus, Cam::XGradCam, Cam::HiResCam, Cam::LayerCam];
        let others = cams.map(Self::Cam).into_iter().chain([Self::EigenCam, Self::EigenGradCam]);
        [Self::DecomCam(Recipe::Exact)].into_iter().chain(others).collect()
    }

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::DecomCam(recipe) => RecipeArg(recipe).word(),
            other => OTHERS.iter().find(|(method, ..)| *method == other).map_or("unknown", |(_, name, _)| name),
        }
    }

    /// Loads into the tower what these methods need beside it: the head, and the larger input. `scales` is the model's own number of sizes if not given.
    pub fn prepared(
        methods: &[Self],
        mut tower: ImageTower,
        model: &Model,
        scales: Option<usize>,
    ) -> Result<ImageTower> {
        let scales = scales.unwrap_or(model.manifest.explain.scales);
        if scales > 1 && methods.contains(&Self::DecomCam(Recipe::Exact)) {
            let finer = ImageTower::load_finer(model, &tower.layer().name, tower.side(), &tower.score().name, scales)?;
            tower = tower.with_finer(finer);
        }
        if methods.iter().any(|method| method.needs_head()) {
            tower = tower.with_head(model)?;
        }
        Ok(tower)
    }

    /// Whether it runs the network from the layer on ([`ImageTower::with_head`]).
    pub fn needs_head(self) -> bool {
        self == Self::AblationCam
    }
}

impl ValueEnum for Method {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: std::sync::LazyLock<Vec<Method>> = std::sync::LazyLock::new(|| {
            let recipes = RecipeArg::value_variants().iter().map(|recipe| Method::DecomCam(recipe.0));
            recipes.chain(OTHERS.map(|(method, ..)| method)).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::DecomCam(recipe) => RecipeArg(*recipe).to_possible_value(),
            other => {
                let (_, name, help) = OTHERS.iter().find(|(method, ..)| method == other)?;
                Some(PossibleValue::new(*name).help(*help))
            }
        }
    }
}

/// What methods leave open.
#[derive(Clone, Debug)]
pub struct Choices {
    /// P of DecomCAM; the recipe's own if not given.
    pub channels: Option<usize>,
    /// Q of DecomCAM; 10 (or all, if fewer exist) if not given.
    pub components: Option<usize>,
    /// The sign rule of DecomCAM; the recipe's own if not given.
    pub sign: Option<SignRule>,
    /// Whether positions that look alike share what they have; the recipe's own choice if not given.
    pub affinity: Option<bool>,
    /// Masks of RISE.
    pub rise_masks: usize,
    /// Seed of RISE's masks.
    pub seed: u64,
    /// Worker threads of methods with forward passes.
    pub threads: usize,
}

impl Default for Choices {
    /// Every method's own choice, on one thread.
    fn default() -> Self {
        Self { channels: None, components: None, sign: None, affinity: None, rise_masks: 1000, seed: 0, threads: 1 }
    }
}

/// A photo that the network has seen, and the prompt whose score is explained.
pub struct Subject<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its image tower.
    pub tower: &'a ImageTower,
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The photo.
    pub photo: &'a Photo,
    /// The part of it that the network sees.
    pub framing: Framing,
    /// That part as the network takes it, samples in 0..=1.
    pub planes: Planes,
    /// The same, normalised: what the network is given.
    pub input: Vec<f32>,
    /// What the network said, with the gradient of the explained score at the layer.
    pub layer: Explained,
}

/// A map, not scaled, at its own size.
#[derive(Clone, Debug)]
pub struct Map {
    /// Height x width, row-major.
    pub values: Vec<f32>,
    /// Height and width: the layer's, or the input's.
    pub size: Size,
}

impl Map {
    /// The saliency at another size: upsampled, negatives cut off, scaled to 0..=1.
    pub fn saliency(&self, size: Size) -> Result<Vec<f32>> {
        Ok(Placement::whole(self.size, size).saliency(&self.values)?)
    }
}

impl<'a> Subject<'a> {
    /// Runs the network once, on `planes`, which are `framing` of the photo.
    pub fn new(
        model: &'a Model,
        tower: &'a ImageTower,
        prompt: &'a Prompt,
        photo: &'a Photo,
        (framing, planes): (Framing, Planes),
    ) -> Result<Self> {
        let input = planes.normalised(model.manifest.image.mean, model.manifest.image.std);
        let own = if prompt.depends_on_photo() { Some(tower.vectors(&input)?) } else { None };
        let target = prompt.target(&own.iter().collect::<Vec<_>>())?;
        let layer = tower.explain(&input, &target)?;
        Ok(Self { model, tower, prompt, photo, framing, planes, input, layer })
    }

    /// The explained score of an input.
    pub fn explained_score(&self, input: &[f32]) -> Result<f32> {
        self.prompt.explained_score(&self.tower.vectors(input)?)
    }

    /// The reported score of an input.
    pub fn reported_score(&self, input: &[f32]) -> Result<f32> {
        Ok(self.prompt.scores(&self.tower.vectors(input)?)?.reported.value)
    }

    /// The map of a method.
    ///
    /// # Errors
    /// P or Q out of range, values of the network that are not finite, a tower without its head for Ablation-CAM.
    pub fn map(&self, method: Method, choices: &Choices) -> Result<Map> {
        let layer = &self.layer;
        let (c, size) = (layer.channels, [layer.height, layer.width]);
        let positions = size[0] * size[1];
        let activations = Maps::chw(&layer.activations, c, size[0], size[1])?;
        let gradients = Maps::chw(&layer.gradients, c, size[0], size[1])?;
        let mut map = vec![0.0; positions];
        let workspace = || vec![0.0; decompose::workspace_len(positions, c)];
        match method {
            Method::DecomCam(recipe) => return self.decomcam(recipe, choices),
            Method::Cam(cam) => {
                cams::cam(cam, &activations, &gradients, &mut vec![0.0; cams::scratch_len(positions)], &mut map)?;
            }
            Method::EigenCam => cams::eigen_cam(&activations, &mut workspace(), &mut map)?,
            Method::EigenGradCam => cams::eigen_grad_cam(&activations, &gradients, &mut workspace(), &mut map)?,
            Method::ScoreCam => {
                let all: Vec<usize> = (0..c).collect();
                map = self.score_cam(&all, choices.threads)?;
            }
            Method::GScoreCam => {
                let mut weights = vec![0.0; c];
                channels::weights(&gradients, &mut weights)?;
                let mut top = vec![0; c.div_ceil(10)];
                channels::top_into(&weights, &mut top)?;
                let top: Vec<usize> = top.into_iter().map(usize::from).collect();
                map = self.score_cam(&top, choices.threads)?;
            }
            Method::AblationCam => {
                let whole = self.prompt.explained_score(&layer.vectors)?;
                map = ablation_cam(&layer.activations, positions, whole, choices.threads, &|activations| {
                    self.prompt.explained_score(&self.tower.vectors_of_layer(&layer.prefix, activations)?)
                })?;
            }
            Method::Rise => {
                let size = self.planes.size;
                let values =
                    rise(&self.input, [size.height, size.width], choices, &|input| self.explained_score(input))?;
                return Ok(Map { values, size });
            }
            // An upsampled constant is not constant to the last bit; at the input's own size it is.
            Method::Uniform => {
                let size = self.planes.size;
                return Ok(Map { values: vec![0.0; size.area()], size });
            }
        }
        Ok(Map { values: map, size: Size::new(size[0], size[1]) })
    }

    fn score_cam(&self, chosen: &[usize], threads: usize) -> Result<Vec<f32>> {
        let size = [self.planes.size.height, self.planes.size.width];
        let layer = [self.layer.height, self.layer.width];
        let score = |input: &[f32]| self.explained_score(input);
        score_cam(&self.layer.activations, layer, &self.input, size, chosen, threads, &score)
    }

    /// A recipe's parts and map, and their size.
    fn decomposed(&self, recipe: Recipe, choices: &Choices) -> Result<(Decomposed, [usize; 2])> {
        let Choices { channels, components, sign, threads, .. } = *choices;
        // `exact` looks twice, if the tower was loaded for that, and lets positions that look alike share.
        let exact = recipe == Recipe::Exact;
        let affinity = choices.affinity.unwrap_or(exact);
        let request = Request { recipe, channels, components, sign, affinity, ..Request::new(threads) };
        let pad = self.model.manifest.image.padding();
        let at = |(height, width)| self.photo.network_input(self.framing, Size { height, width }, pad, threads);
        let seen = match self.tower.finer() {
            Some(_) if exact => Some(explain::look(self.model, self.tower, self.prompt, &self.input, &at)?),
            _ => None,
        };
        let layer = seen.as_ref().map_or(&self.layer, |seen| &seen.layer);
        let finer = seen.as_ref().and_then(|seen| seen.finer.as_ref());
        let grid = explain::Grid::new(layer, finer, request.affinity)?;
        let sign = sign.unwrap_or(explain::default_sign(recipe));
        Ok((explain::decomposed(layer, &grid, &request, sign)?, [grid.height, grid.width]))
    }

    /// The OSSMs of a recipe, and their size.
    pub fn ossms(&self, recipe: Recipe, choices: &Choices) -> Result<(Vec<Vec<f32>>, [usize; 2])> {
        let (decomposed, size) = self.decomposed(recipe, choices)?;
        Ok((decomposed.parts.into_iter().map(|part| part.ossm).collect(), size))
    }

    fn decomcam(&self, recipe: Recipe, choices: &Choices) -> Result<Map> {
        let (Decomposed { parts, saliency, .. }, size) = self.decomposed(recipe, choices)?;
        if recipe == Recipe::Exact {
            return Ok(Map { values: saliency, size: Size::new(size[0], size[1]) });
        }
        let mut weights: Vec<f32> = parts.iter().map(|part| part.weight).collect();
        if !recipe.is_closed_form() {
            let image = &self.model.manifest.image;
            let blurred = photo::blur(&self.planes, BLUR_SIGMA, recipe.blur_truncate());
            let blurred_score = self.explained_score(&blurred.normalised(image.mean, image.std))?;
            let masker = PhotoMasker::new(self.planes.clone(), blurred, recipe, (image.mean, image.std), size)?;
            let score = |q: usize| self.explained_score(&masker.masked(&parts[q].ossm)?);
            let scores = workers::each(parts.len(), choices.threads, score)?;
            integrate::score_weights(recipe, &scores, blurred_score, &mut weights)?;
        }
        let ossms: Vec<f32> = parts.iter().flat_map(|part| part.ossm.iter().copied()).collect();
        let mut values = vec![0.0; size[0] * size[1]];
        integrate::sum(&ossms, &weights, &mut values)?;
        Ok(Map { values, size: Size::new(size[0], size[1]) })
    }
}

/// Scores a network's input, or its activations at the layer.
pub type Scorer<'a> = dyn Fn(&[f32]) -> Result<f32> + Sync + 'a;

/// Score-CAM: sum over the chosen channels of softmax(s)_c A_c, with s_c the score of the input times A_c, upsampled (bilinear, corners aligned) and
/// min-max scaled. The released gScoreCAM also gives every channel that is not chosen the weight of a score of zero; its paper does not, nor is it done
/// here.
///
/// # Shapes
/// `activations` channels x height x width of `layer`; `input` 3 x height x width of `size`; the result has the size of `layer`.
pub fn score_cam(
    activations: &[f32],
    layer: [usize; 2],
    input: &[f32],
    size: [usize; 2],
    chosen: &[usize],
    threads: usize,
    score: &Scorer<'_>,
) -> Result<Vec<f32>> {
    let positions = layer[0] * layer[1];
    let map = |channel: usize| &activations[channel * positions..(channel + 1) * positions];
    let masked = |at: usize| {
        let mut mask = bilinear(map(chosen[at]), layer, size);
        let (low, high) = mask.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        mask.iter_mut().for_each(|value| *value = (*value - low) / (high - low + 1e-8));
        let input: Vec<f32> = input.iter().zip(mask.iter().cycle()).map(|(value, weight)| value * weight).collect();
        score(&input)
    };
    let scores = workers::each(chosen.len(), threads, masked)?;
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f32 = powers.iter().sum();
    let mut sum = vec![0.0; positions];
    for (channel, power) in chosen.iter().zip(&powers) {
        sum.iter_mut().zip(map(*channel)).for_each(|(sum, value)| *sum += power / total * value);
    }
    Ok(sum)
}

/// A map at another size, corners on corners.
fn bilinear(map: &[f32], [height, width]: [usize; 2], [out_height, out_width]: [usize; 2]) -> Vec<f32> {
    let at = |index: usize, len: usize, out: usize| {
        let position = index as f32 * (len - 1) as f32 / (out - 1).max(1) as f32;
        let below = (position as usize).min(len - 1);
        (below, (below + 1).min(len - 1), position - below as f32)
    };
    let mut out = Vec::with_capacity(out_height * out_width);
    for y in 0..out_height {
        let (top, bottom, down) = at(y, height, out_height);
        for x in 0..out_width {
            let (left, right, along) = at(x, width, out_width);
            let row = |y: usize| map[y * width + left] * (1.0 - along) + map[y * width + right] * along;
            out.push(row(top) * (1.0 - down) + row(bottom) * down);
        }
    }
    out
}

/// Ablation-CAM: sum_c w_c A_c with w_c = (y - y_c) / |y|, y the score and y_c that of the layer with channel c at zero. (The paper divides by y: a
/// negative score would turn the map inside out.)
///
/// # Shapes
/// `activations` channels maps of `positions` values, as the result.
pub fn ablation_cam(
    activations: &[f32],
    positions: usize,
    whole: f32,
    threads: usize,
    score: &Scorer<'_>,
) -> Result<Vec<f32>> {
    let silenced = |channel: usize| {
        let mut others = activations.to_vec();
        others[channel * positions..(channel + 1) * positions].fill(0.0);
        score(&others)
    };
    let scores = workers::each(activations.len() / positions, threads, silenced)?;
    let unit = if whole == 0.0 { 1.0 } else { whole.abs() };
    let mut sum = vec![0.0; positions];
    for (map, without) in activations.chunks_exact(positions).zip(scores) {
        let weight = (whole - without) / unit;
        sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += weight * value);
    }
    Ok(sum)
}

/// Cells along each side of RISE's masks, and the share of them that is kept.
const RISE_CELLS: usize = 7;
const RISE_KEPT: f64 = 0.5;

/// RISE: the mean over masks of score x mask, over the share kept. Masks follow from the seed alone, and the sum from their order: the map is the same
/// on any number of threads.
pub fn rise(input: &[f32], size: [usize; 2], choices: &Choices, score: &Scorer<'_>) -> Result<Vec<f32>> {
    ensure!(choices.rise_masks > 0, "RISE: expected at least one mask");
    let mask = |number: usize| {
        let mut random = Random::new(choices.seed);
        let mut random = Random::new(random.bits().wrapping_add(number as u64));
        let grid: Vec<f32> =
            (0..RISE_CELLS * RISE_CELLS).map(|_| f32::from(u8::from(random.uniform() < RISE_KEPT))).collect();
        let offset = size.map(|side| random.below(side.div_ceil(RISE_CELLS)));
        rise_mask(&grid, offset, size)
    };
    let masked = |number: usize| {
        let mask = mask(number);
        let input: Vec<f32> = input.iter().zip(mask.iter().cycle()).map(|(value, weight)| value * weight).collect();
        score(&input)
    };
    let scores = workers::each(choices.rise_masks, choices.threads, masked)?;
    let mut sum = vec![0.0; size[0] * size[1]];
    for (number, score) in scores.iter().enumerate() {
        sum.iter_mut().zip(mask(number)).for_each(|(sum, weight)| *sum += score * weight);
    }
    let unit = choices.rise_masks as f32 * RISE_KEPT as f32;
    sum.iter_mut().for_each(|value| *value /= unit);
    Ok(sum)
}

/// A mask of RISE: the grid of 7 x 7 cells resized to the size of 8 x 8 (bilinear, mirrored at the border as in scikit-image), and a part of that.
pub fn rise_mask(grid: &[f32], [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let at = |index: usize, side: usize| {
        let whole = (RISE_CELLS + 1) * side.div_ceil(RISE_CELLS);
        let position = (index as f32 + 0.5) * RISE_CELLS as f32 / whole as f32 - 0.5;
        let below = position.floor();
        let mirrored = |cell: isize| {
            let last = RISE_CELLS as isize - 1;
            (if cell < 0 {
                -cell
            } else if cell > last {
                2 * last - cell
            } else {
                cell
            }) as usize
        };
        (mirrored(below as isize), mirrored(below as isize + 1), position - below)
    };
    let mut mask = Vec::with_capacity(height * width);
    for y in 0..height {
        let (above, below, down) = at(y + top, height);
        for x in 0..width {
            let (before, after, along) = at(x + left, width);
            let row = |y: usize| grid[y * RISE_CELLS + before] * (1.0 - along) + grid[y * RISE_CELLS + after] * along;
            mask.push(row(above) * (1.0 - down) + row(below) * down);
        }
    }
    mask
}
