//! Why grey.tflite gave a picture its score, at layer "second". Written by decomcam 0.1.0; README.md says how it is used.
#![allow(dead_code, clippy::all)]

use decomcam_core::channels::Channel;
use decomcam_core::head::{self, Explanation, LinearHead, Question};
use decomcam_core::{Error, Layout, Maps, Quantisation, SignRule};

/// Height of the layer, in positions.
pub const HEIGHT: usize = 8;
/// Width of the layer.
pub const WIDTH: usize = 14;
/// Channels of the layer.
pub const CHANNELS: usize = 10;
/// Numbers in the layer's tensor.
pub const FEATURES: usize = 1120;
/// Classes.
pub const CLASSES: usize = 2;
/// Channels that are decomposed, those with the largest weights.
pub const TOP: usize = 10;
/// Parts.
pub const PARTS: usize = 10;
/// Floats that an explanation works in.
pub const WORKSPACE: usize = 5752;

const _: () = assert!(WORKSPACE == head::workspace_len(HEIGHT * WIDTH, CHANNELS, TOP, PARTS), "decomcam-core of another version");

/// Names of the classes.
pub static NAMES: [&str; CLASSES] = [
    "0",
    "1",
];

/// The linear layer behind the average over all places of the layer: classes x channels.
static WEIGHTS: [i8; CLASSES * CHANNELS] = [
    -56, -24, -110, 39, 74, -4, 34, 63, 75, 49, 51, -117, -44, 72, 72, 101,
    -51, -43, 120, 59,
];

/// Real number of one step of the weights, for each class.
static SCALES: [f32; CLASSES] = [
    0.00815647, 0.014019661,
];

static BIAS: [f32; CLASSES] = [
    -2.3610592, 3.0278153,
];

/// What an explanation works in, and lies in: 23028 bytes.
pub struct Memory {
    top: [Channel; TOP],
    workspace: [f32; WORKSPACE],
}

impl Memory {
    /// For a `static`.
    pub const fn new() -> Self {
        Self { top: [0; TOP], workspace: [0.0; WORKSPACE] }
    }
}

/// Explains the score of a class. `features` is the layer's tensor, height x width x channels.
///
/// # Errors
/// No such class.
pub fn why<'m>(features: &[i8; FEATURES], class: usize, memory: &'m mut Memory) -> Result<Explanation<'m>, Error> {
    let quantisation = Quantisation::PerTensor { scale: 0.15638612, zero_point: -128 };
    let activations = Maps::i8(features, Layout::hwc(HEIGHT, WIDTH, CHANNELS), quantisation)?;
    let per_class = Quantisation::PerChannel { scales: &SCALES, zero_points: &[] };
    let weights = Maps::i8(&WEIGHTS, Layout::chw(CLASSES, 1, CHANNELS), per_class)?;
    let head = LinearHead::new(weights, Some(&BIAS))?;
    let question = Question { class, versus: None, components: PARTS, sign: SignRule::Score };
    head::explain(&head, &activations, &question, &mut memory.top, &mut memory.workspace)
}
