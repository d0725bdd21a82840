//! The metrics against numpy, scipy, scikit-learn and grad-cam (`metrics/make.py`), and their bootstrap intervals against the textbook.

use decomcam::Size;
use decomcam::metrics;
use decomcam::photo::Rect;
use decomcam::random::Random;
use decomcam::stats::{self, Sample};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn bits(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|number| number == 1).collect()
}

#[track_caller]
fn near(found: f64, want: &Value, tolerance: f64) {
    let want = want.as_f64().unwrap();
    assert!((found - want).abs() <= tolerance, "{found}, expected {want}");
}

#[test]
fn every_metric_agrees_with_an_independent_implementation() {
    let data: Value = serde_json::from_str(include_str!("../metrics/metrics.json")).unwrap();
    let width = data["size"][1].as_u64().unwrap() as usize;
    let (weights, input, mask) = (numbers(&data["weights"]), numbers(&data["input"]), bits(&data["mask"]));
    let score = |x: &[f32]| {
        let dot: f64 = x.iter().zip(&weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        Ok(((dot / 20.0).tanh() + 1.2) as f32)
    };
    let boxes: Vec<Rect> = data["boxes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| {
            let [top, left, bottom, right] = [0, 1, 2, 3].map(|k| b[k].as_u64().unwrap() as usize);
            Rect::new(top, left, Size::new(bottom - top, right - left))
        })
        .collect();
    let blurred = metrics::blurred(&input, width);
    for (found, want) in blurred.iter().zip(numbers(&data["blurred"])) {
        assert!((found - want).abs() < 1e-5, "{found} {want}");
    }
    let whole = f64::from(score(&input).unwrap());
    near(whole, &data["score"], 1e-6);
    let zero = vec![0.0; input.len()];
    for case in data["cases"].as_array().unwrap() {
        let map = numbers(&case["map"]);
        assert_eq!(metrics::pointing(&map, &mask, width, 1.0), case["pointing_1"].as_bool().unwrap());
        assert_eq!(metrics::pointing(&map, &mask, width, 4.0), case["pointing_4"].as_bool().unwrap());
        near(metrics::energy(&map, &mask), &case["energy"], 1e-9);
        near(metrics::best_iou(&map, &mask), &case["best_iou"], 1e-12);
        near(metrics::pxap(&map, &mask), &case["pxap"], 1e-12);
        let hits: Vec<u8> = case["box_hits"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u8).collect();
        assert_eq!(metrics::box_hits(&map, width, &boxes), hits);
        let curve =
            |start: &[f32], finish: &[f32]| metrics::deletion_or_insertion(&map, start, finish, 25, &score).unwrap();
        near(curve(&input, &zero), &case["deletion"], 1e-5);
        near(curve(&blurred, &input), &case["insertion"], 1e-5);
        near(f64::from(score(&metrics::kept(&input, &map)).unwrap()), &case["kept"], 1e-6);
        let flat: Vec<f32> = mask.iter().map(|inside| f32::from(u8::from(*inside))).collect();
        near(stats::spearman(&map, &flat), &case["spearman"], 1e-9);
        near(metrics::road(&map, &input, width, 0.0, 0, &score).unwrap(), &case["road"], 1e-4);
    }
    let filled = metrics::filled_in(&input, &bits(&data["keep"]), width);
    for (found, want) in filled.iter().zip(numbers(&data["filled"])) {
        assert!((found - want).abs() < 1e-3, "{found} {want}");
    }
}

/// What the fixtures do not reach: empty masks are no hits, blank maps are no better than a uniform one, and nothing divides by zero.
#[test]
fn blank_maps_and_empty_masks() {
    let mask: Vec<bool> = (0..64).map(|at| at % 8 < 2).collect();
    let (blank, none) = (vec![0.0; 64], vec![false; 64]);
    assert!(!metrics::pointing(&blank, &none, 8, 15.0));
    assert_eq!(metrics::pxap(&blank, &none), 0.0);
    assert_eq!(metrics::pxap(&blank, &mask), 0.25);
    assert_eq!(metrics::best_iou(&blank, &mask), 0.25);
    assert_eq!(metrics::energy(&blank, &mask), 0.25);
    assert!(metrics::box_hits(&blank, 8, &[]).is_empty());
    assert_eq!(stats::spearman(&blank, &blank), 0.0);
    assert_eq!(metrics::average_drop(2.0, 0.5), Some(0.75));
    assert_eq!(metrics::average_drop(2.0, 3.0), Some(0.0));
    assert_eq!(metrics::average_drop(0.0, 3.0), None);
    assert_eq!((metrics::average_increase(2.0, 3.0), metrics::average_increase(2.0, 2.0)), (1.0, 0.0));
    let input = vec![1.0; 3 * 64];
    let mean = |x: &[f32]| Ok(x.iter().sum::<f32>() / x.len() as f32);
    // Nothing is kept, in either order.
    assert_eq!(metrics::road(&blank, &input, 8, 0.0, 0, &mean).unwrap(), 0.0);
    assert_eq!(metrics::filled_in(&input, &[true; 64], 8), input);
    // A straight line from one to zero: half its height.
    let deletion = metrics::deletion_or_insertion(&blank, &input, &[0.0; 192], 8, &mean).unwrap();
    assert!((deletion - 0.5).abs() < 1e-6, "{deletion}");
    assert!(metrics::deletion_or_insertion(&blank, &input, &[0.0; 191], 10, &mean).is_err());
}

#[test]
fn bootstrap_intervals() {
    let mut random = Random::new(3);
    let (mut a, mut b) = (Sample::default(), Sample::default());
    let mut values = Vec::new();
    for _ in 0..400 {
        let (value, noise) = (f64::from(random.normal()), f64::from(random.normal()));
        a.group();
        a.push(&[value + 0.1 + 0.1 * noise]);
        b.group();
        b.push(&[value]);
        values.push(value + 0.1 + 0.1 * noise);
    }
    let mean = values.iter().sum::<f64>() / 400.0;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
    let half = 1.96 * deviation / 20.0;
    let found = a.estimate(0).unwrap();
    assert!((found.mean - mean).abs() < 1e-12);
    assert!((found.low - (mean - half)).abs() < 0.2 * half && (found.high - (mean + half)).abs() < 0.2 * half);
    // Paired: what both share cancels, so a difference is certain that neither interval shows.
    let difference = a.against(&b, 0).unwrap();
    assert!(difference.low > 0.08 && difference.high < 0.12, "{difference:?}");
    assert_eq!(a.estimate(0), a.estimate(0));
    assert_ne!(a.estimate(0), a.estimate(1));
    // Groups go together: four copies in one group say no more than one.
    let (mut one, mut four) = (Sample::default(), Sample::default());
    for value in &values[..50] {
        one.group();
        one.push(&[*value]);
        four.group();
        (0..4).for_each(|_| four.push(&[*value]));
    }
    let (one, four) = (one.estimate(0).unwrap(), four.estimate(0).unwrap());
    assert!((one.low - four.low).abs() < 1e-9 && (one.high - four.high).abs() < 1e-9);
    // Several columns: the best column over all, not the best of each row.
    let mut best = Sample::default();
    best.group();
    best.push(&[1.0, 0.0, 1.0]);
    best.push(&[0.0, 1.0, 1.0]);
    best.group();
    best.push(&[0.0, 1.0, 0.0]);
    assert!((best.estimate(0).unwrap().mean - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(Sample::default().estimate(0), None);
}
