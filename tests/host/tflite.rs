//! `.tflite` networks: every tensor as TensorFlow Lite Micro computes it, or LiteRT's reference kernels where bytes have no sign; and files that are no such networks.

use crate::common::{cat, root};
use base64::Engine as _;
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::model::{Model, ModelOptions};
use decomcam::onnx::shuffle::Shuffle;
use decomcam::tflite::file::kind;
use decomcam::tflite::float::{Float, write};
use decomcam::tflite::integers::preparation;
use decomcam::tflite::options::code::{CONCATENATION, HARD_SWISH, RESIZE_BILINEAR};
use decomcam::tflite::options::{Levels, Width};
use decomcam::tflite::{File, Preparation, Program};
use decomcam::{Options, Photo, Session};
use decomcam_int8::tables::Quantised;
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
    let given = Levels::of(tensor).unwrap().reals(input);
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
/// The same of 16 bits: layers take 16 bits of their multipliers, which are off by up to a step where a number is largest; logistic, tanh and softmax are taken from
/// tables, between whose numbers lines are straight, and softmax takes what is below exp(-10) to be that, over and over in long rows.
const STEPS_OFF_OF_SIXTEEN_BITS: f32 = 1.51;
const STEPS_OFF_BY_SIGMOIDS: f32 = 2.5;
const STEPS_OFF_BY_SOFTMAX: f32 = 64.0;
const STEPS_OFF_IN_CHAINS_OF_SIXTEEN_BITS: f32 = 80.0;
/// Resizing takes its scale in steps of 1/1024: at the twelfth pixel places are off by 12 / 2 / 1024, along each of two axes, between pixels that differ by up to 255.
const STEPS_OFF_BETWEEN_PIXELS: f32 = 2.0 * 12.0 / 2048.0 * 255.0;

#[test]
fn the_network_in_real_numbers_is_near_the_integers() {
    let golden = golden();
    let mut far = Vec::new();
    for case in &golden.cases {
        let bytes = case.bytes();
        let file = File::read(&bytes).unwrap();
        let program = Program::of(&file).unwrap();
        let float = write(&file, &program).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        let (_, length) = program.place(program.input()).unwrap();
        let input = generated(length);
        let found = floats(&program, &float, &file, &input);
        let mut seen = BTreeMap::new();
        program.run(&input, |tensor, numbers| drop(seen.insert(tensor, numbers.to_vec()))).unwrap();
        let wide = float.tensors.iter().any(|named| named.levels.width == Width::Sixteen);
        let bound = match (&float.tensors[..], wide) {
            ([one], false) if one.operator == "RESIZE_BILINEAR" => STEPS_OFF + STEPS_OFF_BETWEEN_PIXELS,
            ([_], false) => STEPS_OFF,
            (_, false) => STEPS_OFF_IN_CHAINS,
            ([one], true) if matches!(&*one.operator, "LOGISTIC" | "TANH") => STEPS_OFF_BY_SIGMOIDS,
            ([one], true) if one.operator == "SOFTMAX" => STEPS_OFF_BY_SOFTMAX,
            ([_], true) => STEPS_OFF_OF_SIXTEEN_BITS,
            (_, true) => STEPS_OFF_IN_CHAINS_OF_SIXTEEN_BITS,
        };
        for (named, numbers) in float.tensors.iter().zip(&found) {
            let exact = named.real(&seen[&named.tensor]);
            assert_eq!(exact.len(), numbers.len(), "{}: {}", case.name, named.name);
            let off =
                exact.iter().zip(numbers).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / named.levels.steps.scale;
            if off > bound {
                far.push(format!("{}: {} ({}) is {off} steps off", case.name, named.name, named.operator));
            }
        }
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}

/// The example `tests/tflite/compare.py` runs on whole networks does the same for millions of numbers.
#[test]
fn every_tensor_is_that_of_the_reference() {
    let golden = golden();
    let (mut compared, mut differ) = (0, Vec::new());
    for case in &golden.cases {
        let program = program(&case.bytes()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let (_, length) = program.place(program.input()).unwrap();
        for (at, input) in generated(golden.inputs * length).chunks_exact(length).enumerate() {
            let mut seen = BTreeMap::new();
            program.run(input, |tensor, numbers| drop(seen.insert(tensor, hash(numbers)))).unwrap();
            for (tensor, hashes) in &case.tensors {
                let found =
                    seen.get(tensor).unwrap_or_else(|| panic!("{}: tensor {tensor} is not computed", case.name));
                if *found != hashes[at] {
                    differ.push(format!("{}: tensor {tensor} for input {at}", case.name));
                }
                compared += 1;
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(compared > 1100, "{compared}");
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
    for name in ["blocks", "sixteen"] {
        let bytes = std::fs::read(root(&format!("tests/tflite/{name}.tflite"))).unwrap();
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
        assert!(opened > bytes.len() / 4, "{name}: {opened} of {}", bytes.len());
    }
}

#[test]
fn another_file_is_told_apart_in_one_sentence() {
    let error = program(b"\x08\x07\x12\x0cpytorch and more").unwrap_err();
    assert!(error.contains("with TFL3 at its bytes 4 to 7") && !error.contains('\n'), "{error}");
}

/// Every occurrence of some bytes becomes others.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let mut count = 0;
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            changed[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
    }
    assert!(count > 0, "nothing to change");
    changed
}

#[test]
fn impossible_shapes_scales_and_places_are_refused_in_one_sentence() {
    let bytes = std::fs::read(root("tests/tflite/blocks.tflite")).unwrap();
    let refused = |changed: &[u8], expected: &str| {
        let error = program(changed).unwrap_err();
        assert!(error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
    };
    let file = File::read(&bytes).unwrap();
    let words = |shape: &[usize]| shape.iter().flat_map(|length| (*length as i32).to_le_bytes()).collect::<Vec<u8>>();
    let input = &file.tensors[file.inputs[0]];
    for lengths in [[1, 1 << 30, 1 << 30, 3], [1, usize::MAX, 20, 3], [1, 0, 20, 3], [7, 24, 20, 3]] {
        refused(&replaced(&bytes, &words(&input.shape), &words(&lengths)), "expected");
    }
    for scale in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
        refused(&replaced(&bytes, &input.scales[0].to_le_bytes(), &scale.to_le_bytes()), "scale");
    }
    // Tensors and buffers that are not there, and the beginning of the file's tables beyond its end.
    let mut changed = bytes.clone();
    changed[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&changed, "damaged");
    changed[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    refused(&changed, "damaged");
    changed = bytes.clone();
    changed[4..8].copy_from_slice(b"TFL2");
    refused(&changed, "TFL3");
}

/// A tower of one of the networks beside the golden ones, for its suggested layer.
fn tower(name: &str, layer: &str) -> (Model, ImageTower) {
    let path = root(&format!("tests/tflite/{name}.tflite"));
    let model = Model::open(path.to_str().unwrap(), &ModelOptions::new().layer(layer)).unwrap();
    let image = &model.manifest.image;
    let key = TowerKey {
        layer: layer.into(),
        score: model.manifest.explain.explained.clone(),
        size: image.size,
        shuffle: Shuffle::default(),
        guide: None,
        gradient: true,
    };
    let tower = ImageTower::load(&model, &key).unwrap();
    (model, tower)
}

/// Pixels as a board has them, and the three planes that a tower takes for them, of one picture in colour or in grey.
fn pixels(model: &Model, channels: usize) -> (Vec<i8>, Vec<f32>) {
    let image = &model.manifest.image;
    let area = image.size.area();
    let board = generated(area * channels);
    let plane = |colour: usize| {
        let level = |at: usize| f32::from(i16::from(board[at * channels + colour.min(channels - 1)]) + 128);
        (0..area).map(move |at| (level(at) - image.mean[colour]) / image.std[colour]).collect::<Vec<f32>>()
    };
    let planes = (0..3).flat_map(plane).collect();
    (board, planes)
}

/// What the board computes for a tensor, in real numbers, channels first.
fn on_the_board(model: &Model, input: &[i8], name: &str) -> Vec<f32> {
    let integers = model.integers().unwrap();
    let named = integers.tensor(name).unwrap();
    let mut found = Vec::new();
    integers
        .program()
        .run(input, |tensor, numbers| {
            if tensor == named.tensor {
                found = named.real(numbers);
            }
        })
        .unwrap();
    found
}

#[test]
fn activations_and_outputs_are_the_boards() {
    for (name, layer, channels, classes) in [
        ("blocks", "residual", 3, 5),
        ("blocks", "last", 3, 5),
        ("grey", "second", 1, 2),
        ("unsigned", "joined", 3, 4),
        ("unsigned", "last", 3, 4),
    ] {
        let (model, tower) = tower(name, layer);
        let (input, planes) = pixels(&model, channels);
        let target = [1.0, 0.0, 0.0, 0.0, 0.0];
        let target = &target[..classes];
        let explained = tower.explain(&planes, target).unwrap();
        let seen = &explained.seen;
        assert_eq!(seen.activations.values, on_the_board(&model, &input, layer), "{name} {layer}");
        let steps = seen.activations.steps.unwrap();
        assert_eq!(steps.scale, model.integers().unwrap().tensor(layer).unwrap().levels.steps.scale);
        // What is explained is named before the end of its range, and is the board's number all the same.
        let logits = &tower.score().image;
        assert!(logits.ends_with(if channels == 3 { "logits" } else { "answer" }), "{logits}");
        assert_eq!(seen.vectors.get(logits).unwrap(), on_the_board(&model, &input, logits), "{name}");
        assert_eq!(tower.see(&planes).unwrap(), *seen);
        if channels == 3 {
            let board = on_the_board(&model, &input, "probabilities");
            assert_eq!(seen.vectors.get("probabilities").unwrap(), board);
        }
    }
}

#[test]
fn activations_of_sixteen_bits_are_the_boards() {
    let bytes = std::fs::read(root("tests/tflite/sixteen.tflite")).unwrap();
    let file = File::read(&bytes).unwrap();
    let scale = file.tensors[file.inputs[0]].scales[0];
    for layer in ["residual", "last"] {
        let (model, tower) = tower("sixteen", layer);
        let (_, planes) = pixels(&model, 3);
        let area = planes.len() / 3;
        let integer = |at: usize| (planes[at % 3 * area + at / 3] / scale).round() as i16;
        let input: Vec<i8> =
            (0..planes.len()).flat_map(|at| integer(at).to_le_bytes()).map(|byte| byte as i8).collect();
        let explained = tower.explain(&planes, &[1.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        let seen = &explained.seen;
        assert_eq!(seen.activations.values, on_the_board(&model, &input, layer), "{layer}");
        // It has no steps of bytes: what is recorded for a board is rounded as floats are.
        assert!(seen.activations.steps.is_none());
        for name in ["logits", "probabilities"] {
            let found = seen.vectors.get(&tower.score().image).filter(|_| name == "logits");
            let found = found.or_else(|| seen.vectors.get(name)).unwrap();
            let board = on_the_board(&model, &input, name);
            assert_eq!(*found, board, "{name}");
            assert!(board.iter().any(|number| *number != board[0]));
        }
        assert_eq!(tower.see(&planes).unwrap(), *seen);
    }
}

/// The grey network ends in an average over all 8 x 14 places and a convolution of one position: the gradient of a logit is its weight over 112.
#[test]
fn the_gradient_of_a_linear_end_is_its_weights() {
    let (model, tower) = tower("grey", "second");
    let (_, planes) = pixels(&model, 1);
    let bytes = std::fs::read(root("tests/tflite/grey.tflite")).unwrap();
    let file = File::read(&bytes).unwrap();
    let weights = file.tensors.iter().find(|tensor| tensor.shape == [2, 1, 1, 10]).unwrap();
    let explained = tower.explain(&planes, &[0.0, 1.0]).unwrap();
    for (channel, q) in weights.bytes().unwrap()[10..].iter().enumerate() {
        let expected = f32::from(*q) * weights.scales[1] / 112.0;
        for found in &explained.gradients[channel * 112..][..112] {
            // A product and a quotient, each rounded once.
            assert!((found - expected).abs() <= 4.0 * f32::EPSILON * expected.abs(), "{channel}: {found} {expected}");
        }
    }
}

#[test]
fn a_network_is_explained_without_any_choice() {
    for (name, layer) in [("blocks", "last"), ("grey", "second"), ("unsigned", "last"), ("sixteen", "last")] {
        let path = root(&format!("tests/tflite/{name}.tflite"));
        let session = Session::open(path.to_str().unwrap()).unwrap();
        assert_eq!(session.model().manifest.image.default_layer, layer);
        let photo = Photo::open(cat()).unwrap();
        let class = session.predicted_class(&photo, &Options::new(), None).unwrap();
        let prompt = session.prompt(class.to_string().as_str()).unwrap();
        let why = session.explain(&photo, &prompt, &Options::new()).unwrap();
        assert!(why.parts.is_some(), "{name}");
    }
}

#[test]
fn scale_and_zero_point_of_the_input_say_how_pictures_are_prepared() {
    for (scale, zero_point, words) in [
        (1.0 / 255.0, -128, "0 to 1"),
        (1.0, -128, "0 to 255"),
        (2.0 / 255.0, -1, "-1 to 1"),
        (2.0 / 255.0, 0, "-1 to 1"),
        (1.0, 0, "-128 to 127"),
        (0.02, 10, "no usual range"),
    ] {
        let Preparation { mean, std, words: found } =
            preparation(Levels { width: Width::Eight, steps: Quantised { scale, zero_point } });
        assert!(found.contains(words), "{scale} {zero_point}: {found}");
        // Whatever the range: the integer of a pixel is the pixel less 128.
        let input = Quantised { scale, zero_point };
        for pixel in 0..=255 {
            assert_eq!(input.step_of((pixel as f32 - mean) / std), pixel - 128);
        }
    }
}

/// Steps of 16 bits reach as far below 0 as above, whatever pixels they were found for.
#[test]
fn pictures_are_spread_over_steps_of_sixteen_bits() {
    for (scale, mean, std, words) in [
        (1.0 / 32768.0, 127.5, 127.5, "--mean 0 and --std 1"),
        (2.5 / 32767.0, 127.5, 51.0, "--preset, or --mean and --std"),
        (255.0 / 32767.0, 0.0, 1.0, "pixels from 0 to 255"),
        (128.0 / 32767.0, 128.0, 1.0, "pixels from -128 to 127"),
    ] {
        let steps = Quantised { scale, zero_point: 0 };
        let found = preparation(Levels { width: Width::Sixteen, steps });
        assert!(found.words.contains(words), "{scale}: {}", found.words);
        assert!((found.mean - mean).abs() < 1e-3 && (found.std - std).abs() < 0.01, "{scale}: {found:?}");
        // White and black are in range.
        for pixel in [0.0, 255.0] {
            assert!(steps.step_of((pixel - found.mean) / found.std).abs() <= 32_768, "{scale}");
        }
    }
}

/// What is refused, and what the message says.
#[test]
fn what_cannot_be_explained_is_refused_with_its_place() {
    let bytes = std::fs::read(root("tests/tflite/blocks.tflite")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let open = |bytes: &[u8], options: &ModelOptions| {
        let path = folder.path().join("net.tflite");
        std::fs::write(&path, bytes).unwrap();
        Model::open(path.to_str().unwrap(), options).map(drop).unwrap_err().to_string()
    };
    let error = open(&bytes, &ModelOptions::new().faithful(true));
    assert!(error.contains("--faithful would have no effect"), "{error}");
    let error = open(&bytes[..bytes.len() / 2], &ModelOptions::new());
    assert!(error.contains("damaged or truncated"), "{error}");
    let error = open(b"no such file at all", &ModelOptions::new());
    assert!(error.contains("net.tflite: expected a .tflite file"), "{error}");
    // HARD_SWISH, number 117, becomes number 126, SEGMENT_SUM or whatever the schema calls it, in the newer of the two fields for it.
    let mut changed = bytes.clone();
    for at in 0..changed.len() - 4 {
        if changed[at..at + 4] == 117i32.to_le_bytes() {
            changed[at] = 126;
        }
    }
    let found = File::read(&changed).unwrap();
    let other = found.operators.iter().find(|operator| operator.code == 126).unwrap();
    let error = open(&changed, &ModelOptions::new());
    assert!(error.contains(&other.name) && error.contains("of \"swish\""), "{error}");
}

/// Bytes without sign: what the reference's kernels refuse, and what it computes in another way.
#[test]
fn bytes_without_sign_are_refused_where_the_reference_is_not_known() {
    let bytes = std::fs::read(root("tests/tflite/unsigned.tflite")).unwrap();
    let refused = |change: fn(&mut File), place: &str, expected: &str| {
        let mut file = File::read(&bytes).unwrap();
        change(&mut file);
        let error = format!("{:#}", Program::of(&file).unwrap_err());
        assert!(error.contains(place) && error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
    };
    refused(
        |file| {
            let weights = file.operators[0].inputs[1].unwrap();
            file.tensors[weights].scales = vec![0.1; 8];
        },
        "operator 0, CONV_2D of \"first\"",
        "expected one scale, as kernels of uint8 take it, found 8",
    );
    refused(
        |file| {
            let output = file.operators[1].outputs[0];
            file.tensors[output].kind = kind::INT8;
        },
        "operator 1, DEPTHWISE_CONV_2D of \"deep\"",
        "found int8 and uint8 side by side",
    );
    refused(
        |file| file.operators[1].code = RESIZE_BILINEAR,
        "operator 1",
        "the reference computes this operator of uint8 in real numbers",
    );
    refused(
        |file| {
            let weights = file.operators[0].inputs[1].unwrap();
            file.tensors[weights].zero_points = vec![256];
        },
        "operator 0",
        "expected a zero point from 0 to 255, as the kernels of uint8 take it, found 256",
    );
}

/// Numbers of 16 bits: what the reference does not compute, and what its kernels would misread.
#[test]
fn sixteen_bits_are_refused_where_the_reference_computes_none() {
    let bytes = std::fs::read(root("tests/tflite/sixteen.tflite")).unwrap();
    let refused = |change: fn(&mut File), place: &str, expected: &str| {
        let mut file = File::read(&bytes).unwrap();
        change(&mut file);
        let error = format!("{:#}", Program::of(&file).unwrap_err());
        assert!(error.contains(place) && error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
    };
    for code in [HARD_SWISH, RESIZE_BILINEAR] {
        let mut file = File::read(&bytes).unwrap();
        let at = file.operators.iter().position(|operator| operator.name == "LEAKY_RELU").unwrap();
        file.operators[at].code = code;
        let error = format!("{:#}", Program::of(&file).unwrap_err());
        assert!(error.contains("\"leaky\": TensorFlow Lite Micro does not compute this operator of int16"), "{error}");
    }
    refused(
        |file| {
            let output = file.operators[0].outputs[0];
            file.tensors[output].zero_points = vec![1];
        },
        "operator 0, CONV_2D of \"first\"",
        "expected a zero point from 0 to 0, as the kernels of int16 take it, found 1",
    );
    refused(
        |file| {
            let output = file.operators[1].outputs[0];
            file.tensors[output].kind = kind::INT8;
        },
        "operator 1, DEPTHWISE_CONV_2D of \"deep\"",
        "found int8 and int16 side by side",
    );
    refused(
        |file| {
            let bias = file.operators[1].inputs[2].unwrap();
            file.tensors[bias].kind = kind::INT32;
        },
        "operator 1",
        "expected biases of int64, as this kernel of int16 takes them, found int32",
    );
    refused(
        |file| {
            let weights = file.operators[0].inputs[1].unwrap();
            file.tensors[weights].kind = kind::INT16;
        },
        "operator 0",
        "expected weights of int8, found int16",
    );
    // On a board, features of 8 bits are explained.
    let file = File::read(&bytes).unwrap();
    let error = decomcam::tflite::head::of(&file, file.outputs[0]).unwrap_err().to_string();
    assert!(error.contains("expected a network of int8, found one of int16"), "{error}");
}

/// A file may give any tensor any number of axes, and leave out any input or output.
#[test]
fn what_does_not_fit_together_is_no_panic() {
    let changes: [fn(&mut Vec<usize>); 3] = [|shape| shape.truncate(3), Vec::clear, |shape| shape.push(1)];
    for name in ["blocks", "grey", "unsigned", "sixteen"] {
        let bytes = std::fs::read(root(&format!("tests/tflite/{name}.tflite"))).unwrap();
        for tensor in 0..File::read(&bytes).unwrap().tensors.len() {
            for change in changes {
                let mut file = File::read(&bytes).unwrap();
                change(&mut file.tensors[tensor].shape);
                let _ = Program::of(&file).and_then(|program| write(&file, &program));
            }
        }
        for (inputs, outputs) in [(0, 1), (1, 0)] {
            let mut file = File::read(&bytes).unwrap();
            file.inputs.truncate(inputs);
            file.outputs.truncate(outputs);
            let _ = Program::of(&file).and_then(|program| write(&file, &program));
        }
        for operator in 0..File::read(&bytes).unwrap().operators.len() {
            for (inputs, outputs) in [(0, 1), (1, 1), (2, 1), (8, 0)] {
                let mut file = File::read(&bytes).unwrap();
                file.operators[operator].inputs.truncate(inputs);
                file.operators[operator].outputs.truncate(outputs);
                let _ = Program::of(&file).and_then(|program| write(&file, &program));
                file.operators[operator].code = CONCATENATION;
                let _ = Program::of(&file).and_then(|program| write(&file, &program));
            }
        }
    }
}
