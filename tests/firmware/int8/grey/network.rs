//! grey.tflite for decomcam-int8: the same integers as TensorFlow Lite Micro's. Written by decomcam 0.1.0.
#![allow(dead_code, unused_imports, clippy::all)]

use decomcam_int8::{fixed::Multiplier, *};

/// Bytes that all tensors take at once.
pub const ARENA: usize = 1792;
/// Where the picture lies before, height x width x channels: pixels less 128.
pub const INPUT: usize = 0;
/// Numbers of the picture.
pub const INPUT_LENGTH: usize = 448;
/// Height, width and channels of the picture.
pub const PICTURE: [usize; 3] = [16, 28, 1];
/// Where the answer lies after.
pub const OUTPUT: usize = 0;
/// Numbers of the answer.
pub const OUTPUT_LENGTH: usize = 2;
/// The operator that finishes the layer, and where its tensor lies then.
pub const LAYER: usize = 1;
/// Where the layer's tensor lies then.
pub const FEATURES_AT: usize = 0;
/// Numbers in it.
pub const FEATURES: usize = 1120;

/// Computes the network on the picture in the arena; `features` receives the layer's tensor.
///
/// # Errors
/// Those of [`Network::run`].
pub fn run(arena: &mut [i8; ARENA], features: &mut [i8; FEATURES]) -> Result<(), Fault> {
    Network::new(&OPERATORS, ARENA)?.run_seeing(arena, |operator, arena| {
        if operator == LAYER {
            if let Some(seen) = arena.get(FEATURES_AT..FEATURES_AT + FEATURES) {
                features.copy_from_slice(seen);
            }
        }
    })
}

/// The class with the largest answer, the first of several.
pub fn predicted(arena: &[i8; ARENA]) -> usize {
    let mut best = (0, i8::MIN);
    for (class, score) in arena.iter().skip(OUTPUT).take(OUTPUT_LENGTH).enumerate() {
        if *score > best.1 {
            best = (class, *score);
        }
    }
    best.0
}

/// The operators, in their order.
pub static OPERATORS: [Operator<'static>; 4] = [
    Operator { inputs: [Place::Arena(0), Place::NONE], output: 1120, work: Work::Depthwise(Convolution { batch: 1, input: [16, 28, 1], output: [8, 14, 6], window: [3, 3], stride: [2, 2], dilation: [1, 1], padding: [0, 0], zero: 0, weights_zero: 0, output_zero: -128, low: -128, high: 3, weights: &[109, 92, 56, 107, -124, -121, 76, -16, 63, -4, 102, -111, 44, -126, -90, 84, -53, 123, -39, 73, 117, -47, 122, 52, 120, -51, 3, 61, 119, -56, -5, 72, 86, 124, -73, 124, -99, 98, 95, 105, 95, 53, 21, 14, -107, 108, 107, -105, 24, -33, 62, 27, 22, -6], bias: &[-1555, 1171, 1548, -1220, -136, -1751], multipliers: &[1655642990, 1342681556, 1205019485, 1499224249, 1395536596, 1731782795], shifts: &[-8, -9, -8, -8, -8, -8] }) },
    Operator { inputs: [Place::Arena(1120), Place::NONE], output: 0, work: Work::Convolution(Convolution { batch: 1, input: [8, 14, 6], output: [8, 14, 10], window: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0, 0], zero: -128, weights_zero: 0, output_zero: -128, low: -128, high: -90, weights: &[80, -46, 8, -79, -127, 24, -70, 24, 100, -59, -63, -84, -43, 68, 41, 44, -117, 77, 61, -72, 25, 57, -114, -108, -71, -126, 29, -82, 20, 72, -60, 10, 36, 30, -61, 24, -69, 35, -55, -45, 116, 56, -92, -124, -103, -31, 100, -114, -99, -95, -61, 103, -47, 26, -124, 74, 15, 27, 116, 18], bias: &[-1714, 1179, 197, 492, -1820, 41, 1550, 226, -345, 275], multipliers: &[1378061785, 1556930488, 1414342373, 1955546024, 1415491120, 2129852293, 1294972549, 1100456755, 1511197675, 1266984937], shifts: &[-9, -7, -9, -9, -8, -8, -7, -9, -7, -7] }) },
    Operator { inputs: [Place::Arena(0), Place::NONE], output: 1120, work: Work::AveragePool(Pool { batch: 1, input: [8, 14, 10], output: [1, 1], window: [8, 14], stride: [8, 14], padding: [0, 0], lift: 0, low: -128, high: 127 }) },
    Operator { inputs: [Place::Arena(1120), Place::NONE], output: 0, work: Work::Convolution(Convolution { batch: 1, input: [1, 1, 10], output: [1, 1, 2], window: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0, 0], zero: -128, weights_zero: 0, output_zero: 0, low: -128, high: 127, weights: &[-56, -24, -110, 39, 74, -4, 34, 63, 75, 49, 51, -117, -44, 72, 72, 101, -51, -43, 120, 59], bias: &[-1851, 1381], multipliers: &[1515101313, 1302107787], shifts: &[-6, -5] }) },
];
