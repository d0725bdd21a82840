//! The average over all places of a layer and the linear layer behind it.

use crate::encoders::image::layer_size;
use crate::encoders::text::TextTower;
use crate::onnx::ends::End;
use crate::onnx::head;
use crate::onnx::layout::LayerLayout;
use crate::onnx::normal::Normal;
use crate::session::Session;
use crate::tflite::{self, File};
use anyhow::{Context as _, Result, bail, ensure};
use decomcam_int8::tables::Quantised;

/// The end of a network, behind the layer that is explained.
#[derive(Debug)]
pub struct Ending {
    /// The layer's name.
    pub layer: String,
    /// Its number among the tensors of a `.tflite` file.
    pub tensor: Option<usize>,
    /// Height, width and channels of the layer.
    pub shape: [usize; 3],
    /// Whether the layer's tensor is height x width x channels; else channels x height x width.
    pub channels_last: bool,
    /// Weights, and what the layer's numbers are.
    pub numbers: Numbers,
    /// One for each class.
    pub bias: Vec<f32>,
    /// Names of the classes.
    pub names: Vec<String>,
}

/// Weights, classes x channels.
#[derive(Debug)]
pub enum Numbers {
    /// Of a network of floats.
    Floats {
        /// The weights.
        weights: Vec<f32>,
    },
    /// Of a network of integers.
    Bytes {
        /// The weights.
        weights: Vec<i8>,
        /// Real number of one step of them, for each class.
        scales: Vec<f32>,
        /// What the layer's integers stand for.
        features: Quantised,
    },
}

impl Ending {
    /// The end of an open model. `layer` has to be the one that is averaged, if it is given.
    pub(super) fn of(session: &Session, layer: Option<&str>) -> Result<Self> {
        let model = session.model();
        let manifest = &model.manifest;
        ensure!(
            manifest.classes.is_some(),
            "expected a classifier, found a dual encoder, whose score depends on a text"
        );
        ensure!(manifest.image.places.is_none(), "expected one number for each class, found numbers at many places");
        let score = manifest.score(&manifest.explain.explained)?;
        let names = TextTower::load(model)?.labels().context("no names of classes")?.to_vec();
        match (model.flashed(), model.integers()) {
            (Some(bytes), Some(integers)) => {
                let file = File::read(bytes)?;
                let scores = integers.tensor(&score.image).context("the scores are no tensor of the file")?.tensor;
                let tflite::head::Head { layer: tensor, shape, features, weights, scales, bias } =
                    tflite::head::of(&file, scores)?;
                let own = manifest.image.layers.iter().map(|layer| &layer.name);
                let mut own = own.filter(|name| integers.tensor(name).is_some_and(|named| named.tensor == tensor));
                let name = own.next().cloned().unwrap_or_else(|| file.tensors[tensor].short_name().to_owned());
                is_asked_for(layer, std::slice::from_ref(&name))?;
                let numbers = Numbers::Bytes { weights, scales, features };
                Ok(Self { layer: name, tensor: Some(tensor), shape, channels_last: true, numbers, bias, names })
            }
            _ => {
                let normal = Normal::read(model.file(&manifest.image.file)?, model.folder())?;
                let end = End::of(normal.graph(), &score.image);
                let found = head::of(normal.graph(), &end.explained, names.len())?;
                is_asked_for(layer, &found.layers)?;
                Self::of_floats(session, found, names)
            }
        }
    }

    fn of_floats(session: &Session, found: head::Head, names: Vec<String>) -> Result<Self> {
        let head::Head { layers, channels_last, window, weights, bias } = found;
        let known = &session.model().manifest.image.layers;
        let layer = layers.iter().find_map(|name| known.iter().find(|layer| layer.name == *name));
        let layer = layer
            .with_context(|| format!("what is averaged, \"{}\", is no layer that can be explained", layers[0]))?
            .clone();
        let size = layer_size(session.model(), &layer.name, session.view().size())?;
        ensure!(
            layer.layout == if channels_last { LayerLayout::ChannelsLast } else { LayerLayout::Maps },
            "{}; found an average of layer \"{}\" over other axes than its places",
            head::WANTED,
            layer.name
        );
        ensure!(
            window.is_none_or(|window| window == [size.height, size.width]),
            "{}; found an average over windows of {window:?} of {size} places",
            head::WANTED
        );
        ensure!(
            weights.len() == names.len() * layer.channels
                && weights.iter().chain(&bias).all(|number| number.is_finite()),
            "expected {} x {} finite weights, found {}",
            names.len(),
            layer.channels,
            weights.len()
        );
        let shape = [size.height, size.width, layer.channels];
        let numbers = Numbers::Floats { weights };
        Ok(Self { layer: layer.name, tensor: None, shape, channels_last, numbers, bias, names })
    }

    /// Bytes of the constants.
    pub fn bytes(&self) -> usize {
        let numbers = match &self.numbers {
            Numbers::Floats { weights } => 4 * weights.len(),
            Numbers::Bytes { weights, scales, .. } => weights.len() + 4 * scales.len(),
        };
        numbers + 4 * self.bias.len()
    }
}

fn is_asked_for(asked: Option<&str>, averaged: &[String]) -> Result<()> {
    match asked {
        Some(asked) if !averaged.iter().any(|name| name == asked) => {
            bail!(
                "expected --layer \"{}\", which the linear layer's average is of, found \"{asked}\"; leave --layer out",
                averaged[0]
            )
        }
        _ => Ok(()),
    }
}
