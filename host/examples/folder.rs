//! What a folder of Hugging Face's says of a photo and texts: `cargo run --release --example folder -- FOLDER PHOTO TEXT...`. Prints the numbers of the two vectors and the score.

use anyhow::{Context, Result, bail};
use decomcam::model::ModelOptions;
use decomcam::session::Purpose;
use decomcam::{Options, Photo, Session, SessionOptions};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, photo, texts @ ..] = &arguments[..] else { bail!("expected FOLDER PHOTO TEXT...") };
    let mut options = ModelOptions::new();
    options.precision = std::env::var("PRECISION").ok();
    let session = Session::open_with(folder, &SessionOptions::new().model(options))?;
    let photo = Photo::open(photo)?;
    let request = Options::new().scales(1).refine(false).resolve(&session.model().manifest)?;
    for typed in texts {
        let prompt = session.prompt(typed.as_str())?;
        let towers = session.towers(std::slice::from_ref(&request), &prompt.explained().name, Purpose::Map)?;
        let look = session.look(&towers, &prompt, &photo, session.threads());
        let explained = look.layer()?;
        let vector = explained.seen.vectors.get(&prompt.explained().image).context("no output")?;
        println!("layer {}, {}: {:?}", request.layer, explained.seen.activations.size, &vector[..vector.len().min(4)]);
        let largest = explained.gradients.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let score = prompt.scores(&explained.seen.vectors)?.reported.value;
        println!("{typed}: {score:?}, largest gradient {largest:e}");
    }
    Ok(())
}
