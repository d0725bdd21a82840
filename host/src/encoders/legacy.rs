//! The image tower as the rooms above knew it before issue 10: one object with its head and its larger size. Goes when they are rebuilt.

#![allow(missing_docs)]

use super::activations::Steps;
use super::head::Head;
use super::image::{self, ImageVectors, TowerKey};
use crate::Size;
use crate::model::{Layer, Model, Score};
use crate::onnx::shuffle::Shuffle;
use anyhow::{Context, Result};

#[derive(Debug)]
pub struct ImageTower {
    own: image::ImageTower,
    head: Option<Head>,
    finer: Option<Box<ImageTower>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    pub vectors: ImageVectors,
    pub activations: Vec<f32>,
    pub prefix: Vec<f32>,
    pub gradients: Vec<f32>,
    pub steps: Option<Steps>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl ImageTower {
    pub fn load(model: &Model, layer: &str, side: (usize, usize)) -> Result<ImageTower> {
        ImageTower::load_to_explain(model, layer, side, &model.manifest.explain.explained)
    }

    pub fn load_to_explain(model: &Model, layer: &str, side: (usize, usize), score: &str) -> Result<ImageTower> {
        let key = TowerKey {
            layer: layer.to_owned(),
            score: score.to_owned(),
            size: Size::new(side.0, side.1),
            shuffle: Shuffle::default(),
        };
        Ok(ImageTower { own: image::ImageTower::load(model, &key)?, head: None, finer: None })
    }

    pub fn shuffled(&self, model: &Model, shuffle: Shuffle) -> Result<ImageTower> {
        let own = image::ImageTower::load(model, &TowerKey { shuffle, ..self.own.key().clone() })?;
        let mut tower = ImageTower { own, head: None, finer: None };
        if self.has_head() {
            tower = tower.with_head(model)?;
        }
        if let Some(finer) = &self.finer {
            tower = tower.with_finer(finer.shuffled(model, shuffle)?);
        }
        Ok(tower)
    }

    pub fn weight_tensors(&self, model: &Model) -> Result<usize> {
        Ok(self.own.weight_tensors(model)?)
    }

    pub fn score(&self) -> &Score {
        self.own.score()
    }

    pub fn layer(&self) -> &Layer {
        self.own.layer()
    }

    pub fn side(&self) -> (usize, usize) {
        (self.own.size().height, self.own.size().width)
    }

    pub fn vectors(&self, image: &[f32]) -> Result<ImageVectors> {
        Ok(self.own.vectors(image)?)
    }

    pub fn explain(&self, image: &[f32], text: &[f32]) -> Result<Explained> {
        let image::Explained { seen, gradients } = self.own.explain(image, text)?;
        let activations = seen.activations;
        Ok(Explained {
            vectors: seen.vectors,
            activations: activations.values,
            prefix: activations.prefix,
            gradients,
            steps: activations.steps,
            channels: activations.channels,
            height: activations.size.height,
            width: activations.size.width,
        })
    }

    pub fn load_finer(
        model: &Model,
        layer: &str,
        (height, width): (usize, usize),
        score: &str,
        times: usize,
    ) -> Result<ImageTower> {
        ImageTower::load_to_explain(model, layer, (times * height, times * width), score)
            .context("--scales: could not load the network at the larger size; take --scales 1")
    }

    pub fn with_finer(self, finer: ImageTower) -> ImageTower {
        ImageTower { finer: Some(Box::new(finer)), ..self }
    }

    pub fn finer(&self) -> Option<&ImageTower> {
        self.finer.as_deref()
    }

    pub fn with_head(mut self, model: &Model) -> Result<ImageTower> {
        self.head = Some(Head::load(model, self.own.key())?);
        Ok(self)
    }

    pub fn with_head_if_possible(mut self, model: &Model) -> ImageTower {
        self.head = Head::load(model, self.own.key()).ok();
        self
    }

    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    pub fn vectors_of_layer(&self, prefix: &[f32], activations: &[f32]) -> Result<ImageVectors> {
        let head = self.head.as_ref().context("the image tower was loaded without its head")?;
        Ok(head.vectors(prefix, activations)?)
    }
}
