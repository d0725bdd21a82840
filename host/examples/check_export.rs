//! What `models/export` wrote, against torch: `cargo run --release --example check_export -- [--faithful] DIRECTORY...`
//!
//! Each directory holds a model and the numbers that torch computed for one input (`check.json`). Prints, tab-separated: the name; the largest error of
//! activations and gradient relative to torch's largest, and the cosine of the gradient; milliseconds to load, of a forward pass and of a pass with the gradient, medians; the
//! peak memory. Figures of time are this process's, one thread.

use anyhow::{Context, Result, ensure};
use decomcam::Size;
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::model::Model;
use decomcam::onnx::layout::LayerLayout;
use decomcam::onnx::shuffle::Shuffle;
use decomcam::timings::peak_memory_bytes;
use serde::Deserialize;
use std::path::Path;
use std::time::Instant;

/// Passes that the median is of.
const REPEATS: usize = 9;

#[derive(Deserialize)]
struct Check {
    layer: String,
    class: Option<usize>,
    input_shape: [usize; 4],
    output_shape: [usize; 2],
}

fn floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Tokens x channels without the prefix, as channels x positions.
fn maps(tensor: &[f32], prefix: usize, channels: usize) -> Vec<f32> {
    let grid = &tensor[prefix * channels..];
    (0..channels).flat_map(|channel| grid.iter().skip(channel).step_by(channels).copied()).collect()
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).fold(0.0, |worst: f32, (a, b)| worst.max((a - b).abs() / largest))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn median(mut pass: impl FnMut() -> Result<()>) -> Result<f64> {
    pass()?;
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        pass()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn check(folder: &Path, faithful: bool) -> Result<()> {
    let read = |name: &str| floats(&folder.join(name));
    let check: Check = serde_json::from_slice(&std::fs::read(folder.join("check.json"))?)?;
    let model = Model::from_dir(folder)?;
    let model = if faithful { model.faithful() } else { model };
    let [_, _, height, width] = check.input_shape;
    let key = TowerKey {
        layer: check.layer.clone(),
        score: model.manifest.explain.explained.clone(),
        size: Size::new(height, width),
        shuffle: Shuffle::default(),
        guide: None,
        gradient: true,
    };
    let start = Instant::now();
    let tower = ImageTower::load(&model, &key)?;
    let loading = start.elapsed().as_secs_f64() * 1e3;
    let text = match check.class {
        Some(class) => (0..check.output_shape[1]).map(|k| f32::from(u8::from(k == class))).collect(),
        None => read("check_text.f32")?,
    };
    let input = read("check_input.f32")?;
    let explained = tower.explain(&input, &text)?;
    let found = &explained.seen.activations.values;
    let (mut activations, mut gradient) = (read("check_activations.f32")?, read("check_gradient.f32")?);
    let layer = tower.layer();
    if layer.layout == LayerLayout::Tokens {
        activations = maps(&activations, layer.prefix_tokens, layer.channels);
        gradient = maps(&gradient, layer.prefix_tokens, layer.channels);
    }
    ensure!(activations.len() == found.len(), "{}: another layer", folder.display());
    let forward = median(|| tower.vectors(&input).map(drop).map_err(Into::into))?;
    let both = median(|| tower.explain(&input, &text).map(drop).map_err(Into::into))?;
    println!(
        "{}\t{:.1e}\t{:.1e}\t{:.6}\t{loading:.0}\t{forward:.1}\t{both:.1}\t{:.0}",
        model.manifest.name,
        error(found, &activations),
        error(&explained.gradients, &gradient),
        cosine(&explained.gradients, &gradient),
        peak_memory_bytes().unwrap_or(0) as f64 / 1e6,
    );
    Ok(())
}

fn main() -> Result<()> {
    let (flags, folders): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    for folder in folders {
        check(Path::new(&folder), flags.iter().any(|flag| flag == "--faithful"))?;
    }
    Ok(())
}
