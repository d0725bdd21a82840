//! What a folder of Hugging Face's says of a photo and texts: `cargo run --release --example folder -- FOLDER PHOTO TEXT...`. Prints the numbers of the two vectors and the score.

use anyhow::{Context, Result, bail};
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::encoders::text::TextTower;
use decomcam::model::{Model, ModelOptions};
use decomcam::onnx::shuffle::Shuffle;
use decomcam::photo::{Framing, Photo};
use decomcam::score::Prompt;
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, photo, texts @ ..] = &arguments[..] else { bail!("expected FOLDER PHOTO TEXT...") };
    let mut options = ModelOptions::new();
    options.precision = std::env::var("PRECISION").ok();
    let model = Model::open(folder, &options)?;
    let image = &model.manifest.image;
    let score = model.manifest.explain.explained.clone();
    let key = TowerKey { layer: image.default_layer.clone(), score, size: image.size, shuffle: Shuffle::default() };
    let tower = ImageTower::load(&model, &key)?;
    let photo = Photo::open(Path::new(photo))?;
    let (height, width) = (image.size.height as u32, image.size.width as u32);
    let framing =
        Framing::new(image.fit, photo.pixels.height(), photo.pixels.width(), height, width, image.margin as u32);
    let input = photo.network_input(framing, height, width, image.padding()).normalised(image.mean, image.std);
    let text = TextTower::load(&model)?;
    let seen = tower.see(&input)?;
    println!("layer {}, {}", key.layer, seen.activations.size);
    println!("{:?}", &seen.vectors.get(&tower.score().image).context("no output")?[..4]);
    for typed in texts {
        let prompt = Prompt::new(&model, &text, typed, None, None)?;
        let explained = tower.explain(&input, &prompt.target(&[&seen.vectors])?)?;
        let largest = explained.gradients.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        println!("{typed}: {:?}, largest gradient {largest:e}", prompt.scores(&seen.vectors)?.reported.value);
    }
    Ok(())
}
