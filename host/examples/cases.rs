//! Runs networks as people have them against what ONNX Runtime answers: `cargo run --release --example cases -- FOLDER PHOTO [PART OF A NAME]`.
//!
//! FOLDER holds `expected.json`, as its `make_expected.py` writes it for PHOTO, and the networks that it names. Each is opened as `decomcam` opens it, and the predicted class is
//! explained. Right is: the class and the score of ONNX Runtime, and a map that is not flat. Prints a line for each network and the counts, and fails if one is wrong.

use anyhow::{Context, Result, bail, ensure};
use decomcam::Size;
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::model::{Model, ModelOptions};
use decomcam::onnx::shuffle::Shuffle;
use decomcam::photo::{Fit, Framing, Photo};
use decomcam::score;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(serde::Deserialize)]
struct Expected {
    note: Option<String>,
    height: Option<usize>,
    width: Option<usize>,
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
}

#[derive(serde::Deserialize)]
struct Output {
    largest: Option<(usize, f32)>,
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

fn three(levels: &Option<Vec<f32>>) -> Option<[f32; 3]> {
    match levels.as_deref() {
        Some(&[grey]) => Some([grey; 3]),
        Some(&[red, green, blue, ..]) => Some([red, green, blue]),
        _ => None,
    }
}

fn run(path: &Path, expected: &Expected, photo: &Photo) -> Result<String> {
    let size = expected.height.zip(expected.width).map(|(height, width)| Size::new(height, width));
    let mut options = ModelOptions::new();
    (options.mean, options.std, options.size) = (three(&expected.mean), three(&expected.std), size);
    let name = path.to_str().context("a path in UTF-8")?;
    let model = match Model::open(name, &options) {
        // Half of a dual encoder: explained at the number that ONNX Runtime found largest.
        Err(error) if error.to_string().contains("embedding") => {
            options.output = expected.outputs.keys().next().cloned();
            Model::open(name, &options)?
        }
        model => model?,
    };
    let manifest = &model.manifest;
    let image = &manifest.image;
    let size = size.unwrap_or(image.size);
    let key = TowerKey {
        layer: image.default_layer.clone(),
        score: manifest.explain.explained.clone(),
        size,
        shuffle: Shuffle::default(),
        guide: None,
        gradient: true,
    };
    let tower = ImageTower::load(&model, &key)?;
    let framing = Framing::new(Fit::Stretch, photo.size(), size, 0);
    let mut planes = photo.network_input(framing, size, image.filter, image.padding(), 1);
    // Pillow has whole numbers after it has resized.
    planes.data.iter_mut().for_each(|value| *value = (255.0 * *value).round().clamp(0.0, 255.0) / 255.0);
    let input = planes.normalised(image.mean, image.std);
    let vectors = tower.vectors(&input)?;
    let class = score::predicted_class(&vectors, tower.score())?;
    let reported = manifest.score(&manifest.explain.reported)?;
    let values = vectors.get(&reported.image).context("no reported output")?;
    let answer =
        expected.outputs.get(&reported.image).or_else(|| expected.outputs.values().find(|o| o.largest.is_some()));
    if let Some((largest, value)) = answer.and_then(|answer| answer.largest) {
        let range = values.iter().fold(1e-6f32, |range, value| range.max(value.abs()));
        let error = (values[class] - value).abs() / range;
        ensure!(class == largest, "WRONG class {class} ({}), expected {largest} ({value})", values[class]);
        // What integers hold is clamped but not rounded unless asked for.
        let quantised = ["Quantize", "QLinear", "Integer"]
            .iter()
            .any(|word| contains(model.file(&image.file).unwrap_or(&[]), word));
        if error >= 1e-3 && quantised {
            let faithful = ImageTower::load(&model.clone().faithful(), &key)?.vectors(&input)?;
            let rounded = faithful.get(&reported.image).context("no reported output")?[class];
            let error = (rounded - value).abs() / range;
            // A chain of roundings whose ranges follow from the numbers is chaotic: ONNX Runtime's own answer moves as much when a pixel does.
            ensure!(error < 2e-2, "WRONG score {} rounded, expected {value}: off by {error:.1e} of the range", rounded);
        } else {
            ensure!(error < 1e-3, "WRONG score {} expected {value}: off by {error:.1e} of the range", values[class]);
        }
    }
    let mut target = vec![0.0; vectors.get(&tower.score().image).context("no explained output")?.len()];
    target[class] = 1.0;
    let explained = tower.explain(&input, &target)?;
    let positions = explained.seen.activations.size.area();
    let mut map = vec![0.0f32; positions];
    for (values, gradients) in
        explained.seen.activations.values.chunks(positions).zip(explained.gradients.chunks(positions))
    {
        let weight = gradients.iter().sum::<f32>() / positions as f32;
        map.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
    }
    let (low, high) = map.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    ensure!(high - low > 1e-6 * high.abs().max(low.abs()).max(1e-12), "WRONG: a flat map at {}", key.layer);
    let size = explained.seen.activations.size;
    Ok(format!("{} = {:.4} by {}, {} x {size}", reported.name, values[class], key.layer, tower.layer().channels))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, photo, rest @ ..] = &arguments[..] else { bail!("expected FOLDER PHOTO [PART OF A NAME]") };
    let folder = Path::new(folder);
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&std::fs::read(folder.join("expected.json"))?)?;
    let photo = Photo::open(Path::new(photo))?;
    let (mut right, mut wrong, mut refused) = (0, 0, 0);
    for (name, expected) in expected.iter().filter(|(name, _)| rest.iter().all(|part| name.contains(part))) {
        match run(&folder.join(name), expected, &photo) {
            Ok(line) => {
                right += 1;
                println!("right    {name}: {line}");
            }
            Err(error) => {
                let text = format!("{error:#}");
                let text = text.replace(&folder.display().to_string(), "");
                if text.starts_with("WRONG") {
                    wrong += 1
                } else {
                    refused += 1
                }
                let note = expected.note.as_ref().map(|_| " (no answer of ONNX Runtime)").unwrap_or_default();
                println!("{}  {name}{note}: {text}", if text.starts_with("WRONG") { "WRONG  " } else { "refused" });
            }
        }
    }
    println!("{right} right, {wrong} wrong, {refused} refused");
    ensure!(wrong == 0, "{wrong} are wrong");
    Ok(())
}
