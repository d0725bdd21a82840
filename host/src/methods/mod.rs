//! The methods that make saliency maps, by name: the recipes of DecomCAM, and the methods that it is compared with.

mod ablation_cam;
mod recipe;
mod rise;
mod score_cam;

pub use ablation_cam::ablation_cam;
pub use recipe::{Recipe, sign_name};
pub use rise::{RISE_MASKS, rise, rise_mask};
pub use score_cam::score_cam;

use crate::{Error, Result, Size};
use decomcam_core::cams::Cam;
use std::str::FromStr;

/// A method that makes a saliency map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// DecomCAM with a recipe: the only method that gives parts.
    DecomCam(Recipe),
    /// A weighted sum over channels, from the core.
    Cam(Cam),
    /// [`decomcam_core::cams::eigen_cam`].
    EigenCam,
    /// [`decomcam_core::cams::eigen_grad_cam`].
    EigenGradCam,
    /// Each channel is weighted by the score of the photo that it masks: one forward pass for each channel. Wang et al., CVPRW 2020.
    ScoreCam,
    /// Score-CAM of the tenth of the channels with the largest gradient. Chen et al., ACCV 2022.
    GScoreCam,
    /// Each channel is weighted by how much silencing it costs: one pass of the network from the layer on for each. Desai and Ramaswamy, WACV 2020.
    AblationCam,
    /// Random masks are weighted by the scores of the photos that they leave. Petsiuk et al., BMVC 2018.
    Rise,
    /// Baseline: a constant map.
    Uniform,
}

const OTHERS: [(Method, &str, &str); 12] = [
    (Method::Cam(Cam::GradCam), "grad-cam", "Channels weighted by their mean gradient"),
    (
        Method::Cam(Cam::GradCamPlusPlus),
        "grad-cam++",
        "Channels weighted by a weighted mean of their positive gradients",
    ),
    (Method::Cam(Cam::XGradCam), "xgrad-cam", "Channels weighted by their gradients where they are active"),
    (Method::Cam(Cam::HiResCam), "hires-cam", "Gradient times activation, summed over channels"),
    (Method::Cam(Cam::LayerCam), "layer-cam", "Positive gradient times activation, summed over channels"),
    (Method::EigenCam, "eigen-cam", "First principal component of the activations; ignores the prompt"),
    (Method::EigenGradCam, "eigen-grad-cam", "First principal component of gradient times activation"),
    (
        Method::ScoreCam,
        "score-cam",
        "Channels weighted by the score of the photo that they mask; one forward pass for each",
    ),
    (Method::GScoreCam, "gscore-cam", "Score-CAM of the tenth of the channels with the largest gradient"),
    (
        Method::AblationCam,
        "ablation-cam",
        "Channels weighted by how much silencing them costs; one pass from the layer on for each",
    ),
    (Method::Rise, "rise", "Random masks weighted by the score that they leave; one forward pass for each"),
    (Method::Uniform, "uniform", "Baseline: a constant map"),
];

impl Default for Method {
    fn default() -> Self {
        Self::DecomCam(Recipe::default())
    }
}

impl Method {
    /// Every method, recipes first, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        Recipe::ALL.into_iter().map(Self::DecomCam).chain(OTHERS.into_iter().map(|(method, ..)| method))
    }

    /// The default recipe, and every method that needs one pass through the network.
    pub fn usual() -> Vec<Self> {
        let cams = [Cam::GradCam, Cam::GradCamPlusPlus, Cam::XGradCam, Cam::HiResCam, Cam::LayerCam];
        let others = cams.map(Self::Cam).into_iter().chain([Self::EigenCam, Self::EigenGradCam]);
        [Self::default()].into_iter().chain(others).collect()
    }

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::DecomCam(recipe) => recipe.name(),
            other => OTHERS.iter().find(|(method, ..)| *method == other).map_or("unknown", |(_, name, _)| name),
        }
    }

    /// What it is, in one line.
    pub fn help(self) -> &'static str {
        match self {
            Self::DecomCam(recipe) => recipe.help(),
            other => OTHERS.iter().find(|(method, ..)| *method == other).map_or("", |(.., help)| help),
        }
    }

    /// Its recipe, if it is DecomCAM and gives parts.
    pub const fn recipe(self) -> Option<Recipe> {
        match self {
            Self::DecomCam(recipe) => Some(recipe),
            _ => None,
        }
    }

    /// Whether it looks at a layer. The others need only the outputs of the network.
    pub const fn needs_layer(self) -> bool {
        !matches!(self, Self::Rise | Self::Uniform)
    }

    /// Whether its map can be taken at two sizes, and averaged over positions with similar activations.
    pub const fn takes_grid(self) -> bool {
        matches!(self, Self::DecomCam(_) | Self::Cam(Cam::GradCam | Cam::LayerCam))
    }

    /// Whether it needs the network from the layer on.
    pub fn needs_head(self) -> bool {
        self == Self::AblationCam
    }

    /// Whether its map depends on the gradient of the score at the layer.
    pub const fn needs_gradient(self) -> bool {
        !matches!(self, Self::EigenCam | Self::ScoreCam | Self::AblationCam | Self::Rise | Self::Uniform)
    }
}

impl FromStr for Method {
    type Err = Error;

    /// The inverse of [`Method::name`].
    fn from_str(name: &str) -> Result<Self> {
        use crate::error::Sorted as _;
        use anyhow::Context as _;
        let found = Self::all().find(|method| method.name() == name).with_context(|| {
            let known: Vec<&str> = Self::all().map(Self::name).collect();
            format!("no method \"{name}\"; expected one of: {}", known.join(", "))
        });
        found.kind(Error::Options)
    }
}

/// A map as a method makes it: not scaled, and not upsampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Height x width, row-major.
    pub values: Vec<f32>,
    /// Height and width: of the layer's grid, or of the network's input.
    pub size: Size,
}

/// Scores a network's input, or its activations at the layer.
pub type Scorer<'a> = dyn Fn(&[f32]) -> Result<f32> + Sync + 'a;
