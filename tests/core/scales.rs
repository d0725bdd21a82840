//! No result depends on the unit in which activations and scores are measured: times 2^k, every stage gives exactly its results times the power of two
//! that belongs to it. And no digit is lost to a mean that is large beside what is left.

use decomcam_core::cams::{self, Cam};
use decomcam_core::mask::{Mask, Range};
use decomcam_core::resample::{Bicubic, Tap, scratch_len};
use decomcam_core::{Error, Maps, SignRule, affinity, channels, decompose, head, integrate, sums};

struct Random(u32);

impl Random {
    /// Uniform in 0..1, a multiple of 2^-12, so that nothing is subnormal times 2^-100.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 20) as f32 / (1 << 12) as f32
    }
}

/// A result, and how often the power of the activations and of the weights is in it.
struct Stage(&'static str, Vec<f32>, [i32; 2]);

const C: usize = 14;
const N: usize = 20;
const Q: usize = 6;

/// Every stage, with activations times 2^a and gradients (or a head's weights) times 2^w.
fn stages(rule: SignRule, a: i32, w: i32) -> Vec<Stage> {
    let mut random = Random(7);
    let by = |power: i32, value: f32| value * 2_f32.powi(power);
    let activations: Vec<f32> = (0..C * N).map(|_| by(a, (random.next() - 0.4).max(0.0))).collect();
    let gradients: Vec<f32> = (0..C * N).map(|_| by(w, random.next() - 0.3)).collect();
    let matrix: Vec<f32> = (0..3 * C).map(|_| by(w, random.next() - 0.3)).collect();
    let bias: Vec<f32> = (0..3).map(|_| by(a + w, random.next())).collect();
    let maps = Maps::chw(&activations, C, 4, 5).unwrap();
    let slopes = Maps::chw(&gradients, C, 4, 5).unwrap();
    let mut all = Vec::new();
    let mut add = |name, values: &[f32], powers| all.push(Stage(name, values.to_vec(), powers));

    let mut weights = [0.0; C];
    channels::weights(&slopes, &mut weights).unwrap();
    add("channel weights", &weights, [0, 1]);
    let top = channels::top::<10>(&weights, 10).unwrap();
    add("top channels", &top.iter().map(|channel| f32::from(*channel)).collect::<Vec<_>>(), [0, 0]);
    let mut workspace = vec![0.0; decompose::workspace_len(N, 10)];
    let parts = decompose::decompose(&maps, &weights, &top, Q, rule, &mut workspace).unwrap();
    add("components", parts.maps(), [1, 1]);
    add("singular values", parts.singular_values(), [1, 1]);
    add("norm", &[parts.norm()], [1, 1]);
    add("centred first-order map of the top", parts.centred_first_order(), [1, 1]);
    if (a + w).abs() <= 50 {
        add("alignment", &(0..Q).map(|q| parts.alignment(q).unwrap()).collect::<Vec<_>>(), [2, 2]);
    }
    let mut part_weights = [0.0; Q];
    integrate::predicted(&parts, &mut part_weights).unwrap();
    add("predicted", &part_weights, [0, 0]);
    integrate::aligned_weights(&parts, &mut part_weights).unwrap();
    add("aligned weights", &part_weights, [0, 0]);
    let mut exact = [0.0; Q];
    integrate::exact_weights(&parts, &mut exact).unwrap();
    add("exact weights", &exact, [0, 0]);
    let (mut row, mut map) = ([0.0; N], [0.0; N]);
    let mean = head::first_order_mean(&maps, &weights).unwrap();
    add("first-order mean", &[mean], [1, 1]);
    integrate::exact_sum(mean, parts.maps(), &exact, &mut map).unwrap();
    add("exact sum", &map, [1, 1]);
    let ossms = parts.rectify();
    add("OSSMs", ossms.maps(), [1, 1]);
    integrate::sum(ossms.maps(), &part_weights, &mut map).unwrap();
    add("saliency", &map, [1, 1]);

    let mut taps = [Tap::default(); 11];
    let bicubic = Bicubic::new(4, 5, 9, &mut taps).unwrap();
    let (mut scratch, mut out) = ([0.0; scratch_len(5)], [0.0; 11]);
    let mask = Mask::new(&bicubic, &map, &mut scratch, &mut out).unwrap();
    for y in 0..9 {
        bicubic.row(&map, y, &mut scratch, &mut out).unwrap();
        add("resampled", &out, [1, 1]);
        mask.row(y, &mut scratch, &mut out).unwrap();
        add("mask", &out, [0, 0]);
    }
    head::uncentred_first_order(&maps, &weights, &mut row, &mut map).unwrap();
    add("uncentred first-order map", &map, [1, 1]);
    head::centred_first_order(&maps, &weights, &mut row, &mut map).unwrap();
    add("centred first-order map", &map, [1, 1]);
    let mut measured = [0.0; Q];
    head::contributions(ossms.maps(), &map, &mut row, &mut measured).unwrap();
    add("contributions", &measured, [1, 1]);

    let linear = head::LinearHead::new(Maps::chw(&matrix, 3, 1, C).unwrap(), Some(&bias)).unwrap();
    let (mut pooled, mut logits) = ([0.0; C], [0.0; 3]);
    head::pool(&maps, &mut pooled).unwrap();
    add("pooled", &pooled, [1, 0]);
    linear.logits(&pooled, &mut logits).unwrap();
    add("logits", &logits, [1, 1]);
    linear.channel_weights(1, Some(2), N, &mut weights).unwrap();
    add("weights of the head", &weights, [0, 1]);

    let (mut matrix, mut scratch) = ([0.0; N * N], [0.0; affinity::scratch_len(N)]);
    affinity::affinity(&maps, &mut matrix, &mut scratch).unwrap();
    add("affinity", &matrix, [0, 0]);
    affinity::share(&matrix, ossms.centred_first_order(), &mut map).unwrap();
    add("shared", &map, [1, 1]);
    let mut scratch = [0.0; cams::scratch_len(N)];
    for (name, cam) in [("Grad-CAM", Cam::GradCam), ("HiResCAM", Cam::HiResCam), ("LayerCAM", Cam::LayerCam)] {
        cams::cam(cam, &maps, &slopes, &mut scratch, &mut map).unwrap();
        add(name, &map, [1, 1]);
    }
    let mut workspace = vec![0.0; decompose::workspace_len(N, C)];
    cams::eigen_cam(&maps, &mut workspace, &mut map).unwrap();
    add("Eigen-CAM", &map, [1, 0]);
    cams::eigen_grad_cam(&maps, &slopes, &mut workspace, &mut map).unwrap();
    add("EigenGrad-CAM", &map, [1, 1]);
    all
}

/// Issue 11, point 1: signs by a product of the order of the scale's square underflowed below 2^-71 and overflowed above 2^62.
#[test]
fn every_stage_scales_exactly() {
    for rule in [SignRule::Score, SignRule::LargestLoading, SignRule::LargestEntry] {
        let base = stages(rule, 0, 0);
        // Debug builds are slow: they look at every tenth power.
        for k in (-100..=100).step_by(if cfg!(debug_assertions) { 10 } else { 1 }) {
            // Of the activations alone, of the weights alone, and of both so that the product moves, or stays where it is.
            for (a, w) in [(k, 0), (0, k), (k / 2, k - k / 2), (k, -k)] {
                let scaled = stages(rule, a, w);
                for Stage(name, values, _) in &scaled {
                    assert!(values.iter().all(|value| value.is_finite()), "{rule:?} {name} at 2^{a} 2^{w}");
                }
                let common: Vec<&Stage> =
                    base.iter().filter(|Stage(name, ..)| *name != "alignment" || (a + w).abs() <= 50).collect();
                assert_eq!(scaled.len(), common.len());
                for (Stage(name, got, powers), Stage(_, want, _)) in scaled.iter().zip(common) {
                    let factor = 2_f32.powi(powers[0] * a + powers[1] * w);
                    for (at, (got, want)) in got.iter().zip(want).enumerate() {
                        let want = want * factor;
                        assert_eq!(
                            got.to_bits(),
                            want.to_bits(),
                            "{rule:?} {name} [{at}] at 2^{a} 2^{w}: {got:e}, not {want:e}"
                        );
                    }
                }
            }
        }
    }
}

/// The example of issue 11: the component was negated at 2^-80.
#[test]
fn the_sign_of_a_tiny_component() {
    let solve = |power: i32| {
        let activations = [-2.0, -1.0, 0.0, 0.0, 0.0, -2.0].map(|value: f32| value * 2_f32.powi(power));
        let maps = Maps::chw(&activations, 2, 1, 3).unwrap();
        let mut workspace = [0.0; decompose::workspace_len(3, 2)];
        let parts = decompose::decompose(&maps, &[1.0; 2], &[0, 1], 1, SignRule::Score, &mut workspace).unwrap();
        parts.maps().to_vec()
    };
    let want = [1.155, 0.509, -1.664];
    for power in [-120, -80, -71, 0, 62, 64, 120] {
        let got = solve(power).into_iter().map(|value| value * 2_f32.powi(-power));
        assert!(got.zip(want).all(|(got, want)| (got - want).abs() < 1e-3), "2^{power}");
    }
}

/// Products of an overflowing and an underflowing factor are in range: weights 1e-30 on activations of 1e30 are an explanation like any other.
#[test]
fn an_alignment_out_of_range_is_an_error() {
    let activations: Vec<f32> = [1.0, 2.0, 4.0, 9.0].map(|value: f32| value * 1e20).to_vec();
    let maps = Maps::chw(&activations, 1, 2, 2).unwrap();
    let mut workspace = [0.0; decompose::workspace_len(4, 1)];
    let parts = decompose::decompose(&maps, &[1.0], &[0], 1, SignRule::Score, &mut workspace).unwrap();
    assert_eq!(parts.alignment(0), Err(Error::NonFinite));
    assert_eq!(parts.alignment(1), Err(Error::Components));
    assert_eq!(parts.alignment(usize::MAX), Err(Error::Components));
    let mut predicted = [0.0];
    integrate::predicted(&parts, &mut predicted).unwrap();
    assert_eq!(predicted, [1.0]);
}

#[test]
fn a_mean_is_finite_where_its_values_are() {
    for value in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(3), 0.0] {
        for count in [1, 7, 49, 200] {
            let values = vec![value; count];
            assert_eq!(sums::mean(&values), value, "{value:e} x {count}");
            assert_eq!(Maps::chw(&values, 1, 1, count).unwrap().mean(0).unwrap(), value, "{value:e} x {count}");
        }
    }
    assert!(!sums::mean(&[1.0, f32::NAN]).is_finite());
    assert!(!sums::mean(&[1.0, f32::INFINITY]).is_finite());
    assert!(!sums::mean(&[f32::INFINITY, f32::NEG_INFINITY]).is_finite());
    // A range wider than the range of numbers.
    let (mut range, mut values) = (Range::EMPTY, [f32::MIN, 0.0, f32::MAX]);
    range.include(&values);
    range.scale(&mut values);
    assert_eq!(values, [0.0, 0.5, 1.0]);
}

/// Documented: a mean within one unit in its last place and (n / 8 + 6) 2^-24 of the mean deviation, on numbers whose roundings all go one
/// way: blocks, ramps and sorted ones.
#[test]
fn a_mean_keeps_its_bound_however_long() {
    let mut random = Random(5);
    for n in [1, 7, 49, 196, 784, 1024, 1025, 3136, 12_544, 65_536, 1 << 20] {
        let mut sorted: Vec<f32> = (0..n).map(|_| random.next()).collect();
        sorted.sort_by(f32::total_cmp);
        let kinds = [
            (0..n).map(|at| if at < n / 3 { 0.916_48 } else { -0.843_88 }).collect(),
            (0..n).map(|at| at as f32 / n as f32 + 0.3).collect(),
            (0..n).map(|at| if at % 3 == 0 { 1.0 } else { 0.333_333_34 }).collect(),
            sorted,
        ];
        for (kind, values) in kinds.iter().enumerate() {
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / n as f64;
            let deviation = values.iter().map(|value| (f64::from(*value) - mean).abs()).sum::<f64>() / n as f64;
            let roundings = n / 8 + 6;
            let bound =
                mean.abs() * f64::from(f32::EPSILON) + roundings as f64 * deviation * f64::from(f32::EPSILON) / 2.0;
            for found in [sums::mean(values), Maps::chw(values, 1, 1, n).unwrap().mean(0).unwrap()] {
                let error = (f64::from(found) - mean).abs();
                assert!(error <= bound, "{kind}, {n}: {error:e} of {bound:e}");
            }
        }
    }
}

/// Channels that are zero, or the same everywhere, leave those beside them alone, whatever their weight.
#[test]
fn a_dead_channel_of_a_huge_weight_changes_nothing() {
    let live = [1.0_f32, 3.0, 2.0, 0.5];
    for dead in [0.0_f32, 1.0] {
        for (large, small) in [(1e30_f32, 1e-12_f32), (1e19, 1e-19), (1.0, 1e-38)] {
            let values: Vec<f32> = [[dead; 4], live].concat();
            let (one, two) = (Maps::chw(&live, 1, 2, 2).unwrap(), Maps::chw(&values, 2, 2, 2).unwrap());
            let (mut row, mut want, mut found) = ([0.0; 4], [0.0; 4], [0.0; 4]);
            let centred = head::centred_first_order;
            centred(&one, &[small], &mut row, &mut want).unwrap();
            centred(&two, &[large, small], &mut row, &mut found).unwrap();
            assert_eq!(found, want, "{dead} {large:e} {small:e}");
            if dead == 0.0 {
                head::uncentred_first_order(&one, &[small], &mut row, &mut want).unwrap();
                head::uncentred_first_order(&two, &[large, small], &mut row, &mut found).unwrap();
                assert_eq!(found, want, "{large:e} {small:e}");
                let mean = head::first_order_mean(&two, &[large, small]).unwrap();
                assert_eq!(mean, head::first_order_mean(&one, &[small]).unwrap());
            }
        }
    }
}

/// Documented: singular values within this many sqrt(n) 2^-23 of the largest, for every mean up to 1e4 deviations.
const VALUES: f64 = 4.0;

/// One-sided Jacobi in float64, on rows.
fn singular_values(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..60 {
        let mut largest = 0.0_f64;
        for i in 0..rows.len() {
            for j in i + 1..rows.len() {
                let (head, tail) = rows.split_at_mut(j);
                let (a, b) = (&mut head[i], &mut tail[0]);
                let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
                if ab.abs() <= 1e-300 {
                    continue;
                }
                largest = largest.max(ab.abs() / (aa * bb).sqrt());
                let cotangent = (bb - aa) / (2.0 * ab);
                let tangent = cotangent.signum() / (cotangent.abs() + cotangent.hypot(1.0));
                let c = 1.0 / tangent.hypot(1.0);
                for (x, y) in a.iter_mut().zip(b) {
                    (*x, *y) = (c * (*x - tangent * *y), c * (*y + tangent * *x));
                }
            }
        }
        if largest < 1e-14 {
            break;
        }
    }
    let mut values: Vec<f64> = rows.iter().map(|row| dot(row, row).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// Issue 11, point 2.
#[test]
fn a_large_mean_takes_no_digits() {
    // One channel: its deviations from the mean are (-1, -1, 2) / 3.
    let maps = Maps::chw(&[10001.0, 10001.0, 10002.0], 1, 1, 3).unwrap();
    let mut workspace = [0.0; decompose::workspace_len(3, 1)];
    let parts = decompose::decompose(&maps, &[1.0], &[0], 1, SignRule::Score, &mut workspace).unwrap();
    let want = (2.0_f64 / 3.0).sqrt();
    let error = (f64::from(parts.singular_values()[0]) - want).abs() / want;
    assert!(error <= VALUES * 3_f64.sqrt() * f64::from(f32::EPSILON), "{:e}", error);

    let mut worst = [0.0_f64; 2];
    let mut random = Random(3);
    for (channels, height, width) in [(1, 1, 9), (30, 7, 7), (60, 7, 7), (100, 9, 5)] {
        let n = height * width;
        for power in 0..=20 {
            // From 1 to 1e6 deviations, and none.
            let mean = if power == 0 { 0.0 } else { 10_f32.powf(0.3 * power as f32) };
            let activations: Vec<f32> = (0..channels * n).map(|_| mean + random.next() - 0.5).collect();
            let weights: Vec<f32> = (0..channels).map(|_| random.next() + 0.1).collect();
            let x: Vec<Vec<f64>> = activations
                .chunks(n)
                .zip(&weights)
                .map(|(map, weight)| {
                    let mean = map.iter().map(|value| f64::from(*value)).sum::<f64>() / n as f64;
                    map.iter().map(|value| f64::from(*weight) * (f64::from(*value) - mean)).collect()
                })
                .collect();
            let want = singular_values(x.clone());
            let maps = Maps::chw(&activations, channels, height, width).unwrap();
            let all: Vec<u16> = (0..channels as u16).collect();
            let q = decompose::components_max(n, channels).min(10);
            let mut workspace = vec![0.0; decompose::workspace_len(n, channels)];
            let parts = decompose::decompose(&maps, &weights, &all, q, SignRule::Score, &mut workspace).unwrap();
            let unit = (n.max(channels) as f64).sqrt() * f64::from(f32::EPSILON) * want[0];
            for (got, want) in parts.singular_values().iter().zip(&want) {
                let error = (f64::from(*got) - want).abs() / unit;
                let place = &mut worst[usize::from(mean > 1e4)];
                *place = place.max(error);
                assert!(error <= VALUES, "{channels} x {n}, mean {mean:e}: {got:e}, not {want:e}: {error} units");
            }
            let (mut row, mut map) = (vec![0.0; n], vec![0.0; n]);
            head::centred_first_order(&maps, &weights, &mut row, &mut map).unwrap();
            for (p, got) in map.iter().enumerate() {
                let want: f64 = x.iter().map(|map| map[p]).sum();
                assert!((f64::from(*got) - want).abs() <= VALUES * unit, "{channels} x {n}, mean {mean:e}, {p}");
            }
        }
    }
    println!(
        "worst singular values, in units of sqrt(n) 2^-23: {:.2} to a mean of 1e4, {:.2} to 1e6",
        worst[0], worst[1]
    );
}
