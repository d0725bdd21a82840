//! The pipeline: `exact` against its formula (`explain/make.py`), contributions against the core's closed form, and one map for every command.

use crate::common::cat;
use decomcam::encoders::activations::Activations;
use decomcam::encoders::image::{Explained, ImageVectors, Seen};
use decomcam::explain::{self, Layers};
use decomcam::photo::Fit;
use decomcam::session::Purpose;
use decomcam::{Explanation, Integrate, Method, Options, Photo, Question, Recipe, Session, SessionOptions, Size};
use decomcam_core::{Maps, SignRule, head};
use serde::Deserialize;
use std::sync::Arc;

/// What `explain/make.py` wrote.
#[derive(Deserialize)]
struct Fixture {
    channels: usize,
    own_size: [usize; 2],
    fine_size: [usize; 2],
    own: Vec<f32>,
    fine: Vec<f32>,
    gradients: Vec<f32>,
    weights: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scales: usize,
    affinity: bool,
    components: usize,
    /// Whether there are no more components.
    all: bool,
    /// The Frobenius norm of the weighted maps, before they are centred.
    norm: f64,
    /// Those of the components, and the next one.
    singular_values: Vec<f64>,
    map: Vec<f64>,
}

impl Case {
    /// How far f32 may be from float64.
    ///
    /// The matrix X of the weighted maps is off by at most d = 2e-6 of its norm: the affinity's rounds leave rows within 1e-6 of one (`core/src/affinity.rs`),
    /// and its sums of up to 48 products, the bicubic ones of 16 and the weights round by about as much again. Of X the best approximation of rank Q moves
    /// with the projector: by d (1 + 2 s_Q / (s_Q - s_Q+1)), and by d alone if nothing is left out. The map is the sum over C channels of that, so an entry is
    /// off by at most sqrt(C) times it.
    fn tolerance(&self, channels: usize) -> f64 {
        let last = self.singular_values[self.components - 1];
        let turning = if self.all { 0.0 } else { 2.0 * last / (last - self.singular_values[self.components]) };
        2e-6 * self.norm * (channels as f64).sqrt() * (1.0 + turning)
    }
}

fn seen(channels: usize, [height, width]: [usize; 2], values: &[f32]) -> Seen {
    let (size, values) = (Size::new(height, width), values.to_vec());
    let activations = Activations { channels, size, values, prefix: Vec::new(), steps: None };
    Seen { vectors: ImageVectors::new(&[], Vec::new()), activations, guide: None }
}

#[test]
fn exact_is_its_formula() {
    let fixture: Fixture = serde_json::from_str(include_str!("../explain/exact.json")).unwrap();
    let own = seen(fixture.channels, fixture.own_size, &fixture.own);
    let own = Arc::new(Explained { seen: own, gradients: fixture.gradients, beyond_range: false });
    let finer = seen(fixture.channels, fixture.fine_size, &fixture.fine);
    let manifest = decomcam::model::Model::bundled("lite").unwrap().manifest;
    let mut tried = 0;
    for case in &fixture.cases {
        let what = format!("{} sizes, affinity {}, Q {}", case.scales, case.affinity, case.components);
        let options = Options::new().scales(case.scales).affinity(case.affinity).components(case.components);
        let request = options.resolve(&manifest).unwrap();
        let layers = Layers { own: &own, finer: (case.scales == 2).then_some(&finer) };
        let decomposition = explain::decomposition(layers, Recipe::Exact, &request).unwrap();
        let map = explain::closed_form_map(Recipe::Exact, &decomposition).unwrap();

        for (found, expected) in decomposition.channel_weights.iter().zip(&fixture.weights) {
            // A mean of twelve numbers below four.
            assert!((found - expected).abs() <= 1e-6, "{what}: {found} for {expected}");
        }
        assert_eq!((map.values.len(), decomposition.components.len()), (case.map.len(), case.components), "{what}");
        let tolerance = case.tolerance(fixture.channels);
        let largest = case.map.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        // A bar that any map would pass is none.
        assert!(tolerance < 0.01 * largest, "{what}: {tolerance}");
        let worst = map.values.iter().zip(&case.map).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance, "{what}: off by {worst:.1e}, allowed {tolerance:.1e}");
        for (component, expected) in decomposition.components.iter().zip(&case.singular_values) {
            let off = (f64::from(component.singular_value) - expected).abs();
            assert!(off <= 2e-6 * case.norm, "{what}: {} for {expected}", component.singular_value);
        }
        println!("{what}: off by {worst:.1e}, allowed {tolerance:.1e}, largest {largest:.2}");
        tried += 1;
    }
    assert_eq!(tried, 12);
}

// On a photo.

const SIZE: Size = Size::square(96);

fn open(options: &SessionOptions) -> (Session, Photo) {
    (Session::open_with("lite", &options.clone().threads(2)).unwrap(), Photo::open(cat()).unwrap())
}

/// One pipeline: the map of a look, which `eval`, `compare` and `pool` take, is that of `explain`, bit for bit, at one size and at two, in every framing.
#[test]
fn the_map_alone_is_the_explanation_s() {
    let framings = [
        SessionOptions::new().size(SIZE),
        SessionOptions::new().size(SIZE).margin(24),
        SessionOptions::new().size(SIZE).fit(Fit::Pad),
        SessionOptions::new().size(Size::new(96, 128)).fit(Fit::Stretch),
    ];
    let mut seen = Vec::new();
    for framing in &framings {
        let (session, photo) = open(framing);
        let prompt = session.prompt("a cat").unwrap();
        for (scales, refine) in [(1, true), (2, true), (1, false), (2, false)] {
            let options = Options::new().scales(scales).refine(refine);
            let explanation = session.explain(&photo, &prompt, &options).unwrap();
            let request = options.resolve(&session.model().manifest).unwrap();
            let towers =
                session.towers(std::slice::from_ref(&request), &prompt.explained().name, Purpose::Map).unwrap();
            let look = session.look(&towers, &prompt, &photo, 1);
            let map = explain::map(&look, &request).unwrap();
            assert_eq!(map, explanation.map, "{framing:?}, {options:?}");
            let stride = if refine { 16 } else { 32 };
            let Size { height, width } = session.view().size();
            assert_eq!(map.size, Size::new(height / stride, width / stride).times(scales));
            assert_eq!(look.framing(), explanation.framing);
            seen.push(map.values);
        }
    }
    seen.sort_by(|a, b| a.partial_cmp(b).unwrap());
    seen.dedup();
    assert_eq!(seen.len(), 16, "every framing and number of sizes has a map of its own");
}

/// The same for every other recipe and method.
#[test]
fn every_method_s_map_alone_is_the_explanation_s() {
    let (session, photo) = open(&SessionOptions::new().size(SIZE));
    let prompt = session.prompt("a cat").unwrap();
    // Score-CAM takes 1280 passes; gScore-CAM goes the same way.
    for method in Method::all().filter(|method| *method != Method::ScoreCam) {
        let mut options = Options::new().method(method);
        options.rise_masks = (method == Method::Rise).then_some(8);
        let explanation = session.explain(&photo, &prompt, &options).unwrap();
        let request = options.resolve(&session.model().manifest).unwrap();
        let towers = session.towers(std::slice::from_ref(&request), &prompt.explained().name, Purpose::Map).unwrap();
        let map = explain::map(&session.look(&towers, &prompt, &photo, 1), &request).unwrap();
        assert_eq!(map, explanation.map, "{}", method.name());
    }
}

/// On a linear head the core has contributions in closed form: they must be what the desktop measures by running the head on blended features.
/// At the size that the model was calibrated for: elsewhere the clamp of a quantised pooling may bind, and the head is not linear.
#[test]
fn features_agree_with_the_core() {
    let (session, photo) = open(&SessionOptions::new());
    // A score that is linear in the features.
    let question = Question { text: "a cat", versus: None, score: Some("evidence") };
    let prompt = session.prompt(question).unwrap();
    let method = Method::DecomCam(Recipe::Aligned);
    let options = Options::new().method(method).integrate(Integrate::Features);
    let parts = session.explain(&photo, &prompt, &options).unwrap().parts.unwrap();
    let activations = &parts.layer.seen.activations;
    let maps = Maps::chw(&activations.values, 1280, 7, 7).unwrap();
    let (mut row, mut map) = ([0.0; 49], [0.0; 49]);
    head::centred_first_order(&maps, &parts.channel_weights, &mut row, &mut map).unwrap();
    let ossms: Vec<f32> = parts.list.iter().flat_map(|part| part.component.ossm.iter().copied()).collect();
    let mut want = vec![0.0; parts.list.len()];
    head::contributions(&ossms, &map, &mut row, &mut want).unwrap();
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (part, want) in parts.list.iter().zip(want) {
        let off = (part.contribution - want).abs();
        assert!(off <= 1e-4 * largest.max(parts.baseline.abs()), "{} {want}", part.contribution);
    }
}

/// The saliency of `exact` is its mean and the weighted sum of its signed parts, cut off at zero once: refined or not, as refining is linear and keeps means.
#[test]
fn an_explanation_s_parts_sum_to_its_map() {
    let (session, photo) = open(&SessionOptions::new().size(SIZE));
    let prompt = session.prompt("a cat").unwrap();
    for (refine, one_sided) in [(true, false), (false, false), (true, true), (false, true)] {
        let options = Options::new().refine(refine).one_sided(one_sided);
        let explanation = session.explain(&photo, &prompt, &options).unwrap();
        let parts = explanation.parts.as_ref().unwrap();
        let mut sum = vec![parts.mean; explanation.map.size.area()];
        for part in &parts.list {
            let refined = explanation.refined(&part.component.values).unwrap();
            assert_eq!(refined.size, explanation.map.size);
            sum.iter_mut().zip(refined.values).for_each(|(sum, value)| *sum += part.weight * value);
            assert_eq!(part.contribution, part.score - parts.baseline);
            let rectified = part.component.values.iter().map(|value| value.max(0.0));
            assert!(rectified.eq(part.component.ossm.iter().copied()));
        }
        let largest = explanation.map.values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (sum, value) in sum.iter().zip(&explanation.map.values) {
            assert!((sum - value).abs() <= 1e-5 * largest, "{sum} {value}");
        }
    }
}

/// Less is cut off of one-sided parts, the map stays, and what would have no effect is refused.
#[test]
fn one_sided_parts_change_nothing_but_the_parts() {
    let (session, photo) = open(&SessionOptions::new().size(SIZE));
    let prompt = session.prompt("a cat").unwrap();
    let explained = |one_sided| session.explain(&photo, &prompt, &Options::new().one_sided(one_sided)).unwrap();
    let (plain, turned) = (explained(false), explained(true));
    let largest = plain.map.values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (turned, plain) in turned.map.values.iter().zip(&plain.map.values) {
        assert!((turned - plain).abs() <= 1e-5 * largest, "{turned} {plain}");
    }
    let cut_off = |explanation: &Explanation| -> f64 {
        let components = explanation.parts.as_ref().unwrap().list.iter().map(|part| &part.component.values);
        components.flatten().map(|value| f64::from(value.min(0.0)).powi(2)).sum()
    };
    assert!(cut_off(&turned) < 0.8 * cut_off(&plain), "{} {}", cut_off(&turned), cut_off(&plain));
    let lengths: Vec<f32> =
        turned.parts.as_ref().unwrap().list.iter().map(|part| part.component.singular_value).collect();
    assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    let refused = |options: Options, expected: &str| {
        let text = session.explain(&photo, &prompt, &options).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    refused(
        Options::new().method(Method::DecomCam(Recipe::Aligned)).one_sided(true),
        "--one-sided has no effect with aligned",
    );
    refused(Options::new().sign(SignRule::Score).one_sided(true), "--sign has no effect with --one-sided on");
}

/// With all channels and all parts, the map of `exact` is Grad-CAM's on the same grid, before negative values are cut off. At one size and two, with and
/// without affinity. The decomposition is in f32, whose error is that of [`an_explanation_s_parts_sum_to_its_map`].
#[test]
fn grad_cam_takes_the_grid_of_recipes() {
    let (session, photo) = open(&SessionOptions::new().size(SIZE));
    let prompt = session.prompt("a cat").unwrap();
    for (scales, affinity) in [(1, false), (1, true), (2, false), (2, true)] {
        let plain = Options::new().scales(scales).affinity(affinity).refine(false);
        let positions = session.view().size().area() / (32 * 32) * scales * scales;
        let all = plain.clone().components(positions - 1);
        let exact = session.explain(&photo, &prompt, &all).unwrap().map;
        for method in ["grad-cam", "layer-cam"] {
            let options = plain.clone().method(method.parse().unwrap());
            let found = session.explain(&photo, &prompt, &options).unwrap();
            assert_eq!((found.map.size, found.request.scales, found.request.affinity), (exact.size, scales, affinity));
            // The gradient of lite is the same at every position, so LayerCAM is Grad-CAM without the channels that speak against the score.
            let same = |(found, exact): (&f32, &f32)| (found - exact.max(0.0)).abs();
            let largest = exact.values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let apart = found.map.values.iter().zip(&exact.values).map(same).fold(0.0f32, f32::max);
            let limit = 1e-4 * largest;
            assert_eq!(apart <= limit, method == "grad-cam", "{method} {scales} {affinity}: {apart} of {largest}");
        }
    }
}

// Refinement: the same in f64, from `core/src/resample.rs` and `core/src/affinity.rs` as they document it.

/// Bicubic along one axis, a = -0.75, pixel centres, borders repeated: weights of every old place in every new one.
fn bicubic(old: usize, new: usize) -> Vec<Vec<f64>> {
    let weights = |index: usize| {
        let position = (index as f64 + 0.5) * old as f64 / new as f64 - 0.5;
        let mut weights = vec![0.0; old];
        for tap in position.floor() as i64 - 1..=position.floor() as i64 + 2 {
            let x = (position - tap as f64).abs();
            let near = 1.25 * x.powi(3) - 2.25 * x * x + 1.0;
            let far = -0.75 * x.powi(3) + 3.75 * x * x - 6.0 * x + 3.0;
            weights[tap.clamp(0, old as i64 - 1) as usize] += if x <= 1.0 { near } else { far };
        }
        weights
    };
    (0..new).map(weights).collect()
}

/// max(0, cos)^2 of activations less each channel's mean, times exp(-d^2 / 2 sigma^2), balanced until rows sum to one.
fn local_affinity(guide: &Activations, sigma: f64) -> Vec<Vec<f64>> {
    let (n, width) = (guide.size.area(), guide.size.width);
    let mut features = vec![Vec::new(); n];
    for map in guide.values.chunks_exact(n) {
        let mean = map.iter().map(|value| f64::from(*value)).sum::<f64>() / n as f64;
        features.iter_mut().zip(map).for_each(|(feature, value)| feature.push(f64::from(*value) - mean));
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let entry = |i: usize, j: usize| {
        let lengths = (dot(&features[i], &features[i]) * dot(&features[j], &features[j])).sqrt();
        let cosine = if lengths > 0.0 { dot(&features[i], &features[j]) / lengths } else { 0.0 };
        let apart = (i / width).abs_diff(j / width).pow(2) + (i % width).abs_diff(j % width).pow(2);
        if i == j { 1.0 } else { cosine.max(0.0).powi(2) * (-0.5 * apart as f64 / (sigma * sigma)).exp() }
    };
    let matrix: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    let mut scales = vec![1.0; n];
    for _ in 0..500 {
        scales = matrix.iter().zip(&scales).map(|(row, scale)| (scale / dot(row, &scales)).sqrt()).collect();
    }
    let balanced = |(i, row): (usize, &Vec<f64>)| row.iter().zip(&scales).map(|(k, d)| scales[i] * k * d).collect();
    matrix.iter().enumerate().map(balanced).collect()
}

/// The guide at the finest size that the network looked at, at one size and at two. Within 1e-5 of the largest value: rows of the core's matrix sum to one
/// within 1e-6, and a value is a sum of up to 144 products, each of f32.
#[test]
fn refinement_is_its_formula() {
    let (session, photo) = open(&SessionOptions::new().size(SIZE));
    let prompt = session.prompt("a cat").unwrap();
    for scales in [1, 2] {
        let options = Options::new().scales(scales);
        let refined = session.explain(&photo, &prompt, &options).unwrap().map;
        let plain = session.explain(&photo, &prompt, &options.clone().refine(false)).unwrap().map;
        let request = options.resolve(&session.model().manifest).unwrap();
        let towers = session.towers(&[request], &prompt.explained().name, Purpose::Map).unwrap();
        let look = session.look(&towers, &prompt, &photo, 1);
        let layers = look.layers(scales).unwrap();
        let guide = layers.finer.map_or(&layers.own.seen, |finer| finer).guide.as_ref().unwrap();
        assert_eq!(guide.size, plain.size.times(2));

        let (down, across) =
            (bicubic(plain.size.height, guide.size.height), bicubic(plain.size.width, guide.size.width));
        let upsampled = |y: usize, x: usize| -> f64 {
            let row = |row: usize| -> f64 {
                let values = plain.values[row * plain.size.width..].iter();
                values.zip(&across[x]).map(|(value, weight)| f64::from(*value) * weight).sum()
            };
            down[y].iter().enumerate().map(|(at, weight)| weight * row(at)).sum()
        };
        let width = guide.size.width;
        let upsampled: Vec<f64> = (0..guide.size.area()).map(|at| upsampled(at / width, at % width)).collect();
        let matrix = local_affinity(guide, 3.0);
        let largest = upsampled.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        for (row, found) in matrix.iter().zip(&refined.values) {
            let expected: f64 = row.iter().zip(&upsampled).map(|(k, value)| k * value).sum();
            assert!((f64::from(*found) - expected).abs() <= 1e-5 * largest, "{scales}: {found}, expected {expected}");
        }
    }
}

/// The check from its description alone: the brightest fifth of what was seen of the photo is blurred, and the same shape moved. Padding is no part of the photo.
#[test]
fn the_check_is_its_formula() {
    use decomcam::explain::check::MOVES;
    use decomcam::photo::{self, Placement};
    use decomcam::random::Random;
    for (options, rows) in [
        (SessionOptions::new().size(SIZE), 0..96),
        // 300 of 451 rows: 63.9 of 96 pixels, in the middle.
        (SessionOptions::new().size(SIZE).fit(Fit::Pad), 16..80),
    ] {
        let (session, photo) = open(&options);
        let prompt = session.prompt("a cat").unwrap();
        for method in ["exact", "grad-cam", "rise"] {
            let mut options = Options::new().method(method.parse().unwrap());
            options.rise_masks = (method == "rise").then_some(8);
            let explanation = session.explain(&photo, &prompt, &options).unwrap();
            let request = options.resolve(&session.model().manifest).unwrap();
            let towers =
                session.towers(std::slice::from_ref(&request), &prompt.explained().name, Purpose::Explanation).unwrap();
            let look = session.look(&towers, &prompt, &photo, 1);
            let planes = look.planes();
            let blurred = photo::blur(planes, explain::masks::BLUR_SIGMA, 4.0);
            let map = Placement::whole(explanation.map.size, SIZE).upsampled(&explanation.map.values).unwrap();
            let mut places: Vec<(usize, usize)> = rows.clone().flat_map(|y| (0..96).map(move |x| (y, x))).collect();
            let area = places.len();
            places.retain(|(y, x)| map[y * 96 + x] > 0.0);
            places.sort_by(|a, b| map[b.0 * 96 + b.1].total_cmp(&map[a.0 * 96 + a.1]));
            places.truncate(area / 5);
            let score = |hidden: &[(usize, usize)]| {
                let mut input = planes.clone();
                for (channel, (y, x)) in (0..3).flat_map(|channel| hidden.iter().map(move |place| (channel, place))) {
                    let at = channel * 96 * 96 + y * 96 + x;
                    input.data[at] = blurred.data[at];
                }
                look.explained_score(&look.view().normalised(&input)).unwrap()
            };
            let mut random = Random::new(0);
            let mut elsewhere = Vec::new();
            for third in 1..=MOVES {
                let mut by = |third: usize, side: usize| {
                    ((third as f64 - 0.5 + random.uniform()) / 3.0 * side as f64).round() as i64
                };
                let (down, right) = (by(third / 3, rows.len()), by(third % 3, 96));
                let moved = |(y, x): &(usize, usize)| {
                    let y = (*y as i64 - rows.start as i64 + down).rem_euclid(rows.len() as i64) as usize + rows.start;
                    (y, (*x as i64 + right).rem_euclid(96) as usize)
                };
                elsewhere.push(score(&places.iter().map(moved).collect::<Vec<_>>()));
            }
            let check = explanation.check.unwrap();
            let what = format!("{method}, {:?}", session.view().fit());
            assert_eq!(check.hidden, (places.len() as f64 / area as f64) as f32, "{what}");
            assert_eq!((check.photo, check.brightest), (score(&[]), score(&places)), "{what}");
            assert_eq!(check.blurred, look.explained_score(&look.view().normalised(&blurred)).unwrap(), "{what}");
            assert_eq!(check.elsewhere, elsewhere, "{what}");
        }
    }
}
