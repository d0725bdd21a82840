//! A network's activations and gradients at its default layer: `cargo run --release --example layer -- NETWORK HEIGHTxWIDTH INPUT OUT [LAYER]`.
//!
//! INPUT holds the network's input, 3 x height x width numbers, as it is after normalising: little-endian f32. OUT receives `activations.f32` and `gradients.f32`, channels x height
//! x width of the layer, of the logit of the class with the largest one. Prints what they are as JSON. `models/export/architectures.py` compares them with torch's.

use anyhow::{Context, Result, bail, ensure};
use decomcam::Size;
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::model::{Model, ModelOptions};
use decomcam::onnx::shuffle::Shuffle;
use decomcam::score;
use std::path::Path;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, size, input, out, layer @ ..] = &arguments[..] else {
        bail!("expected NETWORK HEIGHTxWIDTH INPUT OUT [LAYER]")
    };
    let (height, width) = size.split_once('x').context("expected HEIGHTxWIDTH")?;
    let size = Size::new(height.parse()?, width.parse()?);
    let input = std::fs::read(input)?;
    let input: Vec<f32> = input.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut options = ModelOptions::new().size(size);
    options.layer = layer.first().cloned();
    let model = Model::open(network, &options)?;
    let manifest = &model.manifest;
    let key = TowerKey {
        layer: options.layer.unwrap_or_else(|| manifest.image.default_layer.clone()),
        score: manifest.explain.explained.clone(),
        size,
        shuffle: Shuffle::default(),
        guide: None,
        gradient: true,
    };
    let tower = ImageTower::load(&model, &key)?;
    let vectors = tower.vectors(&input)?;
    let class = score::predicted_class(&vectors, tower.score())?;
    let scores = vectors.get(&tower.score().image).context("no explained output")?;
    let target: Vec<f32> = (0..scores.len()).map(|at| f32::from(u8::from(at == class))).collect();
    let explained = tower.explain(&input, &target)?;
    ensure!(explained.gradients.iter().any(|value| *value != 0.0), "the gradient at {} is zero", key.layer);
    let seen = &explained.seen.activations;
    std::fs::create_dir_all(out)?;
    std::fs::write(Path::new(out).join("activations.f32"), bytes(&seen.values))?;
    std::fs::write(Path::new(out).join("gradients.f32"), bytes(&explained.gradients))?;
    let shape = [tower.layer().channels, seen.size.height, seen.size.width];
    println!("{}", serde_json::json!({"layer": key.layer, "shape": shape, "class": class, "score": scores[class]}));
    Ok(())
}
