//! What a caller may choose when a model is opened.

use super::manifest::ChannelOrder;
use crate::Size;
use crate::progress::{Progress, Watcher};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// How a model is opened. What a model with a manifest says itself cannot be given for it: [`super::Model::open`] refuses that.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Round activations as an integer device does, instead of only clamping them: slower.
    pub faithful: bool,
    /// Of a network without a manifest: names of the classes; their numbers if not given.
    pub labels: Option<Labels>,
    /// Of a network without a manifest: how a picture is prepared; as for ImageNet if not given.
    pub preset: Option<Preprocessing>,
    /// Of a network without a manifest: mean of red, green and blue as shares of 1, instead of the preset's.
    pub mean: Option<[f32; 3]>,
    /// Of a network without a manifest: standard deviation of red, green and blue as shares of 1, instead of the preset's.
    pub std: Option<[f32; 3]>,
    /// Of a network without a manifest: the order of the channels that it wants; red, green, blue if not given.
    pub channels: Option<ChannelOrder>,
    /// Of a network without a manifest: the output that scores the classes; the only one that can be if not given.
    pub output: Option<String>,
    /// Of a model of Hugging Face's hub: which of its files are taken, such as fp16, int8 or q4; the first that is there if not given.
    pub precision: Option<String>,
    /// Of a network without a manifest: photos will be compared with photos, so the vector that stands for a photo is a score, too ([`super::OF_A_PICTURE`]).
    pub alike: bool,
    /// No layer will be looked at: a network opens even if none can be explained, as [`crate::encoders::image::Scorer`] needs it.
    pub layerless: bool,
    /// Size of the input that the model will be used with, in pixels; the model's own if not given.
    pub size: Option<Size>,
    /// The layer that will be explained; the model's default if not given.
    pub layer: Option<String>,
    /// Is told how far the fetching of a model of the hub is, and can stop it; nobody if not given.
    pub watcher: Option<Watcher>,
}

impl ModelOptions {
    /// Nothing chosen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether activations are rounded as an integer device does.
    pub fn faithful(self, faithful: bool) -> Self {
        Self { faithful, ..self }
    }

    /// The names of the classes: a file, or the text of one.
    pub fn labels(self, labels: impl Into<Labels>) -> Self {
        Self { labels: Some(labels.into()), ..self }
    }

    /// How a picture is prepared.
    pub fn preset(self, preset: Preprocessing) -> Self {
        Self { preset: Some(preset), ..self }
    }

    /// Mean of red, green and blue as shares of 1.
    pub fn mean(self, mean: [f32; 3]) -> Self {
        Self { mean: Some(mean), ..self }
    }

    /// Standard deviation of red, green and blue as shares of 1.
    pub fn std(self, std: [f32; 3]) -> Self {
        Self { std: Some(std), ..self }
    }

    /// The order of the channels that the network wants.
    pub fn channels(self, channels: ChannelOrder) -> Self {
        Self { channels: Some(channels), ..self }
    }

    /// The output that scores the classes.
    pub fn output(self, output: impl Into<String>) -> Self {
        Self { output: Some(output.into()), ..self }
    }

    /// Which of a folder's files are taken, such as `fp16`.
    pub fn precision(self, precision: impl Into<String>) -> Self {
        Self { precision: Some(precision.into()), ..self }
    }

    /// Whether photos will be compared with photos.
    pub fn alike(self, alike: bool) -> Self {
        Self { alike, ..self }
    }

    /// Whether no layer will be looked at.
    pub fn layerless(self, layerless: bool) -> Self {
        Self { layerless, ..self }
    }

    /// Size of the input, in pixels.
    pub fn size(self, size: Size) -> Self {
        Self { size: Some(size), ..self }
    }

    /// The layer that will be explained.
    pub fn layer(self, layer: impl Into<String>) -> Self {
        Self { layer: Some(layer.into()), ..self }
    }

    /// Is told how far the fetching of a model of the hub is. If it returns [`ControlFlow::Break`], opening ends with [`crate::Error::Cancelled`].
    pub fn watching(self, watch: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self { watcher: Some(Watcher::new(watch)), ..self }
    }

    /// Names of the options given that only a folder of Hugging Face's uses.
    pub(super) fn of_hub_folders(&self) -> Vec<&'static str> {
        if self.precision.is_some() { vec!["precision"] } else { Vec::new() }
    }

    /// Names of the options given that only a network without a manifest uses.
    pub(super) fn of_bare_networks(&self) -> Vec<&'static str> {
        let given = [
            ("--labels", self.labels.is_some()),
            ("--preset", self.preset.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--channel-order", self.channels.is_some()),
            ("--output", self.output.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

/// The names of a classifier's classes: one on each line, or JSON as Hugging Face and Keras have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// A file that holds them.
    File(PathBuf),
    /// What such a file holds.
    Text(String),
}

impl<P: Into<PathBuf>> From<P> for Labels {
    fn from(path: P) -> Self {
        Self::File(path.into())
    }
}

/// How a picture is prepared for a classifier: cut to the input's shape, then (value - mean) / std with values from 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// Of red, green and blue.
    pub mean: [f32; 3],
    /// Of red, green and blue.
    pub std: [f32; 3],
    /// Pixels cut off the shorter side, of 224 that are left.
    pub cut: usize,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self::IMAGENET
    }
}

impl Preprocessing {
    /// torchvision's and most of timm's: ImageNet's mean and deviation; 256 pixels, the middle 224.
    pub const IMAGENET: Self = Self { mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375], cut: 32 };
    /// OpenAI's CLIP: the mean and deviation of its photos; nothing cut off the shorter side.
    pub const CLIP: Self =
        Self { mean: [122.770_93, 116.746_01, 104.093_735], std: [68.500_53, 66.632_16, 70.323_16], cut: 0 };
    /// -1 to 1, as many of timm's: mean and deviation one half.
    pub const HALF: Self = Self { mean: [127.5; 3], std: [127.5; 3], cut: 32 };
    /// TensorFlow Lite's: (value - 127) / 128.
    pub const TF: Self = Self { mean: [127.0; 3], std: [128.0; 3], cut: 32 };

    /// As the pixels are, 0 to 255: for a network that prepares its pictures itself.
    pub const RAW: Self = Self { mean: [0.0; 3], std: [1.0; 3], cut: 32 };

    /// Pixels cut off the shorter side of an input of so many pixels.
    pub(super) fn margin(&self, shorter: usize) -> usize {
        self.cut * shorter / 224
    }
}
