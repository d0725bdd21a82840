//! The cases: buffers in read-only memory, as a model's runtime would leave them, and what to ask of them.
//!
//! `build.rs` makes them from the golden files and, for the generated ones, from an integer generator, on the machine that builds: every target
//! embeds the same bytes.
#![no_std]

use decomcam_core::{Layout, Quantisation, SignRule};

/// One explanation to be computed.
pub struct Case {
    pub name: &'static str,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Where the activations and gradients lie in their buffers.
    pub layout: Layout,
    pub activations: Buffer,
    pub gradients: &'static [f32],
    /// Channels to be selected, P.
    pub top: usize,
    /// Components, Q.
    pub components: usize,
    pub sign: SignRule,
    /// Scores of the photos masked by each OSSM, and of the wholly blurred photo.
    pub scores: &'static [f32],
    pub score_blurred: f32,
}

/// Activations as the model leaves them.
pub enum Buffer {
    F32(&'static [f32]),
    I8(&'static [i8], Quantisation<'static>),
    U8(&'static [u8], Quantisation<'static>),
}

/// A file of little-endian numbers that `build.rs` wrote.
macro_rules! numbers {
    (u8, $name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name))
    };
    ($number:ty, $name:literal) => {{
        const BYTES: usize = include_bytes!(concat!(env!("OUT_DIR"), "/", $name)).len();
        static NUMBERS: [$number; BYTES / size_of::<$number>()] =
            // SAFETY: as many bytes as the numbers have, and every bit pattern is a number.
            unsafe { core::mem::transmute(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name))) };
        &NUMBERS
    }};
}

/// Explanations that the desktop recorded with `decomcam capture tests/photos/chelsea.png --text "a cat" --channels 100` and, for the first,
/// `--recipe paper`, for the second `--versus "a dog" --layer block10`.
pub const CAPSULES: [(&str, &[u8]); 2] = [
    ("capsule7", include_bytes!("../capsules/cat7.capsule")),
    ("capsule14", include_bytes!("../capsules/cat14.capsule")),
];

include!(concat!(env!("OUT_DIR"), "/cases.rs"));
