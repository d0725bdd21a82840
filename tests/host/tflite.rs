//! `.tflite` networks: every tensor as TensorFlow Lite Micro computes it, and files that are no such networks.

use crate::common::root;
use base64::Engine as _;
use decomcam::tflite::float::{Float, write};
use decomcam::tflite::program::quantised;
use decomcam::tflite::{File, Program};
use serde::Deserialize;
use std::collections::BTreeMap;
use tract_onnx::prelude::*;

/// What `tests/tflite/make.py` wrote.
#[derive(Deserialize)]
struct Golden {
    inputs: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    network: String,
    /// For each tensor that the network computes: its hash for each input.
    tensors: BTreeMap<usize, Vec<String>>,
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(root("tests/tflite/golden.json")).unwrap()).unwrap()
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(&self.network).unwrap()
    }
}

/// FNV-1a.
fn hash(numbers: &[i8]) -> String {
    let hash = numbers
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, number| (hash ^ u64::from(*number as u8)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// The bytes of make.py's `generated`.
fn generated(count: usize) -> Vec<i8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as i8
    };
    (0..count).map(|_| next()).collect()
}

fn program(bytes: &[u8]) -> Result<Program, String> {
    let file = File::read(bytes).map_err(|error| format!("{error:#}"))?;
    Program::of(&file).map_err(|error| format!("{error:#}"))
}

/// The network in real numbers, as ONNX: each tensor for the picture whose integers are `input`.
fn floats(program: &Program, float: &Float, file: &File, input: &[i8]) -> Vec<Vec<f32>> {
    let tensor = &file.tensors[program.input()];
    let steps = quantised(tensor).unwrap();
    let real = |q: i8| (i32::from(q) - steps.zero_point) as f32 * steps.scale;
    let given: Vec<f32> = input.iter().copied().map(real).collect();
    let given = tract_ndarray::ArrayD::from_shape_vec(tensor.shape.clone(), given).unwrap();
    let given = if tensor.shape.len() == 4 { given.permuted_axes(vec![0, 3, 1, 2]) } else { given };
    let given: Tensor = given.as_standard_layout().to_owned().into();
    let names: Vec<&str> = float.tensors.iter().map(|named| named.name.as_str()).collect();
    let mut model = tract_onnx::onnx().model_for_read(&mut &float.onnx[..]).unwrap();
    model.select_outputs_by_name(&names).unwrap();
    let plan = model.into_typed().unwrap().into_runnable().unwrap();
    let tensors = plan.run(tvec!(given.into())).unwrap();
    tensors.iter().map(|tensor| tensor.to_plain_array_view::<f32>().unwrap().iter().copied().collect()).collect()
}

/// Errors of a step that each operator adds at most: half for its own rounding, and what gemmlowp's approximations are off by. What comes in off by a step comes out
/// off by several where weights are large: single operators are held to this, chains to what they were found to keep.
const STEPS_OFF: f32 = 1.01;
const STEPS_OFF_IN_CHAINS: f32 = 12.0;
/// Resizing takes its scale in steps of 1/1024: at the twelfth pixel places are off by 12 / 2 / 1024, along each of two axes, between pixels that differ by up to 255.
const STEPS_OFF_BETWEEN_PIXELS: f32 = 2.0 * 12.0 / 2048.0 * 255.0;

#[test]
fn the_network_in_real_numbers_is_near_the_integers() {
    let golden = golden();
    for case in &golden.cases {
        let bytes = case.bytes();
        let file = File::read(&bytes).unwrap();
        let program = Program::of(&file).unwrap();
        let float = write(&file).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        let (_, length) = program.place(program.input()).unwrap();
        let input = generated(length);
        let found = floats(&program, &float, &file, &input);
        let mut seen = BTreeMap::new();
        program.run(&input, |tensor, numbers| drop(seen.insert(tensor, numbers.to_vec()))).unwrap();
        let bound = match &float.tensors[..] {
            [one] if one.operator == "RESIZE_BILINEAR" => STEPS_OFF + STEPS_OFF_BETWEEN_PIXELS,
            [_] => STEPS_OFF,
            _ => STEPS_OFF_IN_CHAINS,
        };
        for (named, numbers) in float.tensors.iter().zip(&found) {
            let exact = named.real(&seen[&named.tensor]);
            assert_eq!(exact.len(), numbers.len(), "{}: {}", case.name, named.name);
            let off =
                exact.iter().zip(numbers).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / named.quantised.scale;
            assert!(off <= bound, "{}: {} ({}) is {off} steps off", case.name, named.name, named.operator);
        }
    }
}

/// The example `tests/tflite/compare.py` runs on whole networks does the same for millions of numbers.
#[test]
fn every_tensor_is_that_of_tensorflow_lite_micro() {
    let golden = golden();
    let mut compared = 0;
    for case in &golden.cases {
        let program = program(&case.bytes()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let (_, length) = program.place(program.input()).unwrap();
        for (at, input) in generated(golden.inputs * length).chunks_exact(length).enumerate() {
            let mut seen = BTreeMap::new();
            program.run(input, |tensor, numbers| drop(seen.insert(tensor, hash(numbers)))).unwrap();
            for (tensor, hashes) in &case.tensors {
                let found =
                    seen.get(tensor).unwrap_or_else(|| panic!("{}: tensor {tensor} is not computed", case.name));
                assert_eq!(*found, hashes[at], "{}: tensor {tensor} for input {at}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn the_arena_holds_what_lives_at_once_and_no_more() {
    let bytes = std::fs::read(root("tests/tflite/blocks.tflite")).unwrap();
    let program = program(&bytes).unwrap();
    let first = 24 * 20 * 3;
    let later = 12 * 10 * 8;
    // The picture and what the first layer makes of it, or three tensors of a block.
    assert!((first + later..=first + 2 * later).contains(&program.arena()), "{}", program.arena());
}

#[test]
fn a_truncated_or_changed_file_is_refused_or_runs_but_never_panics() {
    let bytes = std::fs::read(root("tests/tflite/blocks.tflite")).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        let error = program(&bytes[..length]).unwrap_err();
        assert!(error.starts_with("expected a"), "{length}: {error}");
    }
    // What still opens must run: places and lengths were checked.
    let mut opened = 0;
    for (at, byte) in generated(bytes.len()).into_iter().enumerate() {
        let mut changed = bytes.clone();
        changed[at] ^= byte as u8;
        if let Ok(program) = program(&changed)
            && let Some((_, length)) = program.place(program.input())
        {
            program.run(&generated(length), |_, _| ()).unwrap();
            opened += 1;
        }
    }
    assert!(opened > bytes.len() / 4, "{opened} of {}", bytes.len());
}

#[test]
fn another_file_is_told_apart_in_one_sentence() {
    let error = program(b"\x08\x07\x12\x0cpytorch and more").unwrap_err();
    assert!(error.contains("with TFL3 at its bytes 4 to 7") && !error.contains('\n'), "{error}");
}
