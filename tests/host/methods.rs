//! The methods with forward passes against the package `grad-cam` and RISE's masks by scikit-image (`cams/make.py`); and every method on a photo.

use crate::common::cat;
use decomcam::encoders::activations::Activations;
use decomcam::{Method, Options, Photo, Session, SessionOptions, Size, methods, metrics};
use serde_json::Value;
use std::collections::BTreeMap;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[track_caller]
fn agree(map: &[f32], want: &[f32], tolerance: f32) {
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert_eq!(map.len(), want.len());
    for (at, (found, want)) in map.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= tolerance * largest, "at {at}: {found}, expected {want}");
    }
}

/// The small network of `cams/make.py`: means of 2 x 2 pixels, a 1 x 1 convolution, ReLU; and its head.
struct Net {
    shape: [usize; 3],
    scale: usize,
    mix: Vec<f32>,
    bias: Vec<f32>,
    linear: Vec<f32>,
}

impl Net {
    fn layer(&self, input: &[f32]) -> Vec<f32> {
        let ([c, h, w], scale) = (self.shape, self.scale);
        let pixel = |plane: usize, y: usize, x: usize| input[(plane * h * scale + y) * w * scale + x];
        let pooled = |plane: usize, y: usize, x: usize| {
            let cells = (0..scale * scale).map(|k| pixel(plane, y * scale + k / scale, x * scale + k % scale));
            cells.sum::<f32>() / (scale * scale) as f32
        };
        let value = |channel: usize, y: usize, x: usize| {
            let mixed: f32 = (0..3).map(|plane| self.mix[channel * 3 + plane] * pooled(plane, y, x)).sum();
            (mixed + self.bias[channel]).max(0.0)
        };
        (0..c * h * w).map(|at| value(at / (h * w), at / w % h, at % w)).collect()
    }

    fn head(&self, activations: &[f32]) -> f32 {
        let value: f32 = activations.iter().zip(&self.linear).map(|(a, b)| a * b).sum();
        value + value * value / 8.0
    }
}

#[test]
fn forward_pass_methods_agree_with_the_package() {
    let data: Value = serde_json::from_str(include_str!("../cams/cams.json")).unwrap();
    let shape = [0, 1, 2].map(|k| data["shape"][k].as_u64().unwrap() as usize);
    let scale = data["scale"].as_u64().unwrap() as usize;
    let [mix, bias, linear, input, activations] =
        ["mix", "bias", "linear", "input", "activations"].map(|key| numbers(&data[key]));
    let net = Net { shape, scale, mix, bias, linear };
    agree(&net.layer(&input), &activations, 1e-5);
    let whole = net.head(&activations);
    assert!((whole - data["score"].as_f64().unwrap() as f32).abs() < 1e-4 * whole.abs());

    let all: Vec<usize> = (0..shape[0]).collect();
    let grid = Size::new(shape[1], shape[2]);
    let activations =
        Activations { channels: shape[0], size: grid, values: activations, prefix: Vec::new(), steps: None };
    let score = |input: &[f32]| Ok(net.head(&net.layer(input)));
    let map = methods::score_cam(&activations, &all, (&input, grid.times(scale)), 2, &score).unwrap();
    assert_eq!(map.size, grid);
    agree(&map.values, &numbers(&data["package"]["score-cam"]), 1e-4);
    let head = |activations: &[f32]| Ok(net.head(activations));
    let map = methods::ablation_cam(&activations, whole, 2, &head).unwrap();
    // The package divides by the score, negative or not.
    let want: Vec<f32> = numbers(&data["package"]["ablation-cam"]).iter().map(|v| v * whole.signum()).collect();
    agree(&map.values, &want, 1e-4);

    let rise = &data["rise"];
    let offset = ["top", "left"].map(|key| rise[key].as_u64().unwrap() as usize);
    let mask = methods::rise_mask(&numbers(&rise["grid"]), offset, Size::square(224));
    for (row, want) in rise["rows"].as_array().unwrap().iter().zip(rise["mask"].as_array().unwrap()) {
        let row = row.as_u64().unwrap() as usize;
        agree(&mask[row * 224..(row + 1) * 224], &numbers(want), 1e-5);
    }
}

/// RISE of a score that looks at one corner alone finds that corner, whatever the threads, and another seed other masks.
#[test]
fn rise_finds_what_the_score_looks_at() {
    let size = Size::new(32, 40);
    let input = vec![1.0; 3 * 32 * 40];
    let score = |input: &[f32]| Ok(input[5 * 40 + 6]);
    let rise = |seed, threads| methods::rise((&input, size), 400, seed, threads, &score).unwrap();
    let map = rise(1, 1);
    assert_eq!(rise(1, 3), map);
    assert_ne!(rise(2, 1), map);
    assert_eq!(map.size, size);
    assert!(methods::rise((&input, size), 0, 1, 1, &score).unwrap_err().to_string().contains("at least one mask"));
    let mut mask = vec![false; size.area()];
    mask[5 * 40 + 6] = true;
    assert!(metrics::pointing(&map.values, &mask, 40, 4.0));
}

/// Every method gives a map of its size; those that must be alike are.
#[test]
fn every_method_on_a_photo() {
    let size = Size::square(96);
    let session = Session::open_with("lite", &SessionOptions::new().size(size).threads(2)).unwrap();
    let (photo, prompt) = (Photo::open(cat()).unwrap(), session.prompt("a cat").unwrap());
    let mut maps = BTreeMap::new();
    // A pass for each of 1280 channels is slow; `gscore-cam` takes the same way with a tenth of them.
    for method in Method::all().filter(|method| *method != Method::ScoreCam) {
        let mut options = Options::new().method(method);
        options.rise_masks = (method == Method::Rise).then_some(10);
        let map = session.explain(&photo, &prompt, &options).unwrap().map;
        assert_eq!(map.values.len(), map.size.area(), "{}", method.name());
        let saliency = map.saliency(size).unwrap();
        assert!(saliency.iter().all(|value| (0.0..=1.0).contains(value)), "{}", method.name());
        assert!(method == Method::Uniform || saliency.contains(&1.0), "{}", method.name());
        maps.insert(method.name(), saliency);
    }
    // The head is linear in the layer: gradients are the same everywhere.
    let difference = |a: &str, b: &str| maps[a].iter().zip(&maps[b]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference("grad-cam", "hires-cam") <= 1e-4);
    assert!(difference("grad-cam", "eigen-cam") > 0.1);
    assert_eq!(maps["uniform"], [0.0; 96 * 96]);
}

#[test]
fn names_are_understood_and_others_refused() {
    for method in Method::all() {
        assert_eq!(method.name().parse::<Method>().unwrap(), method);
    }
    let refused = "magic".parse::<Method>().unwrap_err().to_string();
    assert!(
        refused.contains("\"magic\"") && refused.contains("exact, aligned") && refused.contains("uniform"),
        "{refused}"
    );
}
