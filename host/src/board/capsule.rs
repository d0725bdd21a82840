//! Capsules on the desktop: record what a photo gave, and compute a recording again.

use crate::explain::{CHANNELS_MAX, Explanation, Request};
use crate::onnx::quantised::Steps;
use anyhow::{Context, Result, ensure};
use decomcam_core::capsule::{self, Buffers, Capsule, Difference, Elements, Recording, Settings, Stage};
use decomcam_core::resample::Tap;
use std::fmt::Write as _;
use std::path::Path;

/// Height and width of the upsampled saliency whose hash a capsule holds.
pub const OUT_SIDE: usize = 56;

/// The bytes of a capsule of this explanation. As `floats`, activations are recorded as the network gave them, channels x height x width; otherwise as
/// the bytes that an int8 board holds, height x width x channels: the network's own if it was run faithfully, else with one scale and zero point over
/// the range of the layer.
///
/// # Errors
/// A layer that the core cannot decompose once it is quantised.
pub fn record(explanation: &Explanation, request: &Request, floats: bool) -> Result<Vec<u8>> {
    let layer = &explanation.layer;
    let settings = Settings {
        channels: explanation.channels[1],
        components: explanation.parts.len(),
        recipe: request.recipe,
        sign: explanation.sign,
        out_height: OUT_SIDE,
        out_width: OUT_SIDE,
    };
    let mut scores = vec![0.0; settings.components + 1];
    if !request.recipe.is_closed_form() {
        scores[0] = explanation.blurred_score;
        for (score, part) in scores[1..].iter_mut().zip(&explanation.parts) {
            *score = part.score;
        }
    }
    let (bytes, scale, zero_point) = quantised(&layer.activations, layer.channels, layer.steps);
    let recording = Recording {
        shape: [layer.channels, layer.height, layer.width],
        channels_last: !floats,
        elements: if floats {
            Elements::Floats(&layer.activations)
        } else {
            Elements::Bytes { bytes: &bytes, scale, zero_point }
        },
        weights: &explanation.channel_weights,
        scores: &scores,
        settings,
    };
    let mut workspace = vec![0.0; capsule::workspace_len(layer.height, layer.width, &settings)];
    let mut taps = [Tap::default(); OUT_SIDE];
    let mut capsule = Vec::new();
    let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
    recording.write::<CHANNELS_MAX>(buffers, |part| capsule.extend_from_slice(part))?;
    Ok(capsule)
}

/// C x H x W floats as H x W x C unsigned bytes with one scale and zero point; zero is exact, as in every quantisation scheme.
fn quantised(activations: &[f32], channels: usize, steps: Option<Steps>) -> (Vec<u8>, f32, u8) {
    let Steps { scale, zero_point } = steps.unwrap_or_else(|| {
        let low = activations.iter().copied().fold(0.0, f32::min);
        let high = activations.iter().copied().fold(0.0, f32::max);
        let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
        Steps { scale, zero_point: (-low / scale).round().clamp(0.0, 255.0) as u8 }
    });
    let positions = activations.len() / channels;
    let byte = |index: usize| {
        let value = activations[index % channels * positions + index / channels];
        (value / scale + f32::from(zero_point)).round().clamp(0.0, 255.0) as u8
    };
    ((0..activations.len()).map(byte).collect(), scale, zero_point)
}

/// Each stage of a capsule computed again: equal, or where it first differs.
pub type Replay = Vec<(Stage, Option<Difference>)>;

/// Reads a capsule and computes it again.
///
/// # Errors
/// A file that cannot be read, is no capsule, is of another version or damaged.
pub fn replay(path: &Path) -> Result<Replay> {
    let bytes = std::fs::read(path).with_context(|| {
        format!("cannot read capsule `{}`: expected a file that `decomcam capture` wrote", path.display())
    })?;
    let again = || {
        format!(
            "cannot read capsule `{}`: expected version {} as `decomcam capture` writes it; capture it again",
            path.display(),
            capsule::VERSION
        )
    };
    let capsule = Capsule::parse(&bytes).with_context(again)?;
    ensure!(
        capsule.settings().channels <= CHANNELS_MAX,
        "cannot replay capsule `{}`: expected at most {CHANNELS_MAX} selected channels, found {}",
        path.display(),
        capsule.settings().channels
    );
    let mut workspace = vec![0.0; capsule.workspace_len()];
    let mut taps = vec![Tap::default(); capsule.settings().out_width];
    let mut stages = Vec::new();
    let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
    capsule
        .replay::<CHANNELS_MAX>(buffers, |stage, difference| stages.push((stage, difference)))
        .with_context(again)?;
    Ok(stages)
}

/// A replay in words, a line a stage.
pub fn table(replay: &Replay) -> String {
    let mut text = String::new();
    for (stage, difference) in replay {
        let _ = match difference {
            None => writeln!(text, "{:<30} equal", stage.name()),
            Some(d) => writeln!(
                text,
                "{:<30} differs from number {} on: recorded {:08x}, computed {:08x}",
                stage.name(),
                d.index,
                d.recorded,
                d.computed
            ),
        };
    }
    text
}
