//! A model in words.

use crate::Result;
use crate::encoders::image::layer_size;
use crate::model::{Explain, KnownModel, Model, Score};
use std::fmt::Write as _;

/// Where a model comes from, its layers, scores, sizes and licences.
///
/// # Errors
/// A network that cannot be read, of which that is needed.
pub fn describe(model: &Model) -> Result<String> {
    let m = &model.manifest;
    let image = &m.image;
    let mut text = format!("{}: {}\n  licence {}\n", m.name, m.description, m.licence);
    let _ = writeln!(
        text,
        "  photo: {} pixels by default (multiples of {}), fit {}",
        image.size, image.multiple, image.fit
    );
    for layer in &image.layers {
        let default = if layer.name == image.default_layer { ", default" } else { "" };
        let size = layer_size(model, &layer.name, image.size)?;
        let _ = writeln!(text, "  layer {}: {} x {size}{default}; {}", layer.name, layer.channels, layer.description);
    }
    for score in &m.scores {
        let _ = writeln!(text, "  score {}{}: {}", score.name, uses(score, &m.explain), score.description);
    }
    for file in model.file_names() {
        let bytes = model.file(file).map_or(0, <[u8]>::len);
        let _ = writeln!(text, "  file {file}: {:.2} MB", bytes as f64 / 1e6);
    }
    for notice in &m.notices {
        let _ = writeln!(text, "  {} is under {}: {}", notice.file, notice.licence, notice.source);
    }
    Ok(text)
}

/// Models of the hub, each with its size, licence, the command that explains a photo with it, and what of it was tested.
pub fn list(known: &[KnownModel]) -> String {
    let mut text = "Models of Hugging Face's hub, which --model hf:OWNER/NAME fetches once. None of these files could be reached from where this program was\n\
                    written; what was tested instead stands with each. --precision fp16, int8 or q4 takes smaller files, where the repository has them.\n"
        .to_owned();
    for model in known {
        let megabytes = 4.0 * model.weights;
        let size = if megabytes < 1000.0 { format!("{megabytes:.0} MB") } else { format!("{:.1} GB", megabytes / 1e3) };
        let KnownModel { name, kind, licence, tested, .. } = model;
        let _ = writeln!(text, "\n{name}: {kind}, {size} in f32, licence {licence}");
        let _ = writeln!(text, "  {}\n  tested: {tested}", model.command());
    }
    text
}

fn uses(score: &Score, explain: &Explain) -> String {
    let uses = [("reported", &explain.reported), ("explained", &explain.explained)];
    let uses: Vec<&str> = uses.into_iter().filter(|(_, name)| **name == score.name).map(|(use_, _)| use_).collect();
    if uses.is_empty() { String::new() } else { format!(" ({})", uses.join(", ")) }
}
