//! One test for each stage of the method in the core, each against a plain f64 rewriting of its formula or a value worked out by hand.

use decomcam_core::affinity::{
    affinity, local_affinity, local_scratch_len, scratch_len as affinity_scratch_len, share,
};
use decomcam_core::mask::{self, Mask, Range, blend};
use decomcam_core::resample::{Bicubic, Tap, scratch_len};
use decomcam_core::{
    Error, Layout, Maps, Quantisation, ScoreFormula, SignRule, channels, decompose, head, integrate, sums,
};

struct Random(u32);

impl Random {
    /// Uniform in -1..1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

fn largest_magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn hwc_of(chw: &[f32], channels: usize) -> Vec<f32> {
    let positions = chw.len() / channels;
    (0..chw.len()).map(|i| chw[(i % channels) * positions + i / channels]).collect()
}

#[test]
fn maps_read_the_same_values_in_either_order() {
    let chw = Random(1).vec(5 * 3 * 4);
    let hwc = hwc_of(&chw, 5);
    let (a, b) = (Maps::chw(&chw, 5, 3, 4).unwrap(), Maps::hwc(&hwc, 3, 4, 5).unwrap());
    for channel in 0..5 {
        let (mut x, mut y) = ([0.0; 12], [0.0; 12]);
        a.read(channel, &mut x).unwrap();
        b.read(channel, &mut y).unwrap();
        assert_eq!(x, chw[channel * 12..][..12]);
        assert_eq!(x, y);
        // The mean without a copy has the bits of the mean of the copy.
        assert_eq!(a.mean(channel).unwrap().to_bits(), sums::mean(&x).to_bits());
        assert_eq!(b.mean(channel).unwrap().to_bits(), sums::mean(&x).to_bits());
    }
    let mut out = [7.0; 12];
    assert_eq!(a.read(5, &mut out), Err(Error::Shape));
    assert_eq!(a.read(0, &mut out[..11]), Err(Error::Shape));
    assert_eq!(out, [7.0; 12]);
    for (c, h, w) in [(0, 3, 4), (5, 0, 4), (5, 3, 0), (5, 4, 4), (usize::MAX, 2, 2)] {
        assert_eq!(Maps::chw(&chw, c, h, w).unwrap_err(), Error::Shape);
        assert_eq!(Maps::hwc(&chw, h, w, c).unwrap_err(), Error::Shape);
    }
}

#[test]
fn sums_follow_the_documented_lanes() {
    // Eight lanes, added as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)): values chosen so that any other order rounds differently.
    let x = [1e8, 1.0, -1e8, 1.0, 3.0, 1e-3, 5.0, 7.0, 1.0, 2.0];
    let mut lanes = [0.0_f32; 8];
    x.iter().enumerate().for_each(|(i, v)| lanes[i % 8] += v);
    let [a, b, c, d, e, f, g, h] = lanes;
    let want = ((a + e) + (c + g)) + ((b + f) + (d + h));
    assert_eq!(sums::sum(&x).to_bits(), want.to_bits());
    assert_eq!(sums::dot(&x, &[1.0; 10]).to_bits(), want.to_bits());
}

#[test]
fn channel_weights_are_means_of_gradients() {
    let gradients = Random(2).vec(6 * 9);
    let mut weights = [0.0; 6];
    channels::weights(&Maps::chw(&gradients, 6, 3, 3).unwrap(), &mut weights).unwrap();
    for (weight, map) in weights.iter().zip(gradients.chunks(9)) {
        let want = map.iter().map(|v| f64::from(*v)).sum::<f64>() / 9.0;
        assert!((f64::from(*weight) - want).abs() < 2.0 * f64::from(f32::EPSILON));
    }
    let mut bad = gradients.clone();
    bad[40] = f32::NAN;
    let maps = Maps::chw(&bad, 6, 3, 3).unwrap();
    assert_eq!(channels::weights(&maps, &mut weights), Err(Error::NonFinite));
    assert_eq!(channels::weights(&maps, &mut [0.0; 5]), Err(Error::Shape));
}

#[test]
fn top_channels_by_signed_weight_then_index() {
    let weights = [0.5, -3.0, 2.0, 0.5, 0.0, -0.0, 2.0];
    assert_eq!(channels::top::<7>(&weights, 7).unwrap(), [2, 6, 0, 3, 4, 5, 1]);
    assert_eq!(channels::top::<7>(&weights, 3).unwrap(), [2, 6, 0]);
    let random = Random(3).vec(500);
    let mut want: Vec<u16> = (0..500).collect();
    want.sort_by(|a, b| random[usize::from(*b)].total_cmp(&random[usize::from(*a)]));
    assert_eq!(channels::top::<64>(&random, 64).unwrap(), want[..64]);
    assert_eq!(channels::top::<64>(&random, 65).unwrap_err(), Error::Channels);
    assert_eq!(channels::top::<64>(&weights, 8).unwrap_err(), Error::Channels);
    assert_eq!(channels::top::<64>(&weights, 0).unwrap_err(), Error::Channels);
    assert_eq!(channels::top::<4>(&[1.0, f32::NAN], 1).unwrap_err(), Error::NonFinite);
    // As many channels as a `Channel` can name, the last of them the best.
    let many: Vec<f32> = (0..1 << 16).map(|k| k as f32).collect();
    assert_eq!(channels::top::<2>(&many, 2).unwrap(), [65_535, 65_534]);
    assert_eq!(channels::top::<2>(&vec![0.0; (1 << 16) + 1], 2).unwrap_err(), Error::Channels);
}

/// The weighted, centred maps of `top`, in f64, positions by channel.
fn centred(activations: &[f32], weights: &[f32], top: &[u16], positions: usize) -> Vec<Vec<f64>> {
    top.iter()
        .map(|c| {
            let c = usize::from(*c);
            let map = &activations[c * positions..][..positions];
            let weighted: Vec<f64> = map.iter().map(|a| f64::from(*a) * f64::from(weights[c])).collect();
            let mean = weighted.iter().sum::<f64>() / positions as f64;
            weighted.iter().map(|x| x - mean).collect()
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Every shape of problem: fewer and more channels than positions, one block and several, a last block that is not full, one channel, one component.
const SHAPES: [(usize, usize, usize); 9] =
    [(1, 2, 2), (2, 1, 2), (3, 7, 7), (8, 3, 3), (9, 3, 3), (17, 3, 3), (49, 7, 7), (60, 7, 7), (301, 9, 5)];

#[test]
fn components_are_the_principal_ones() {
    let mut random = Random(4);
    for (c, h, w) in SHAPES {
        let n = h * w;
        let (activations, weights) = (random.vec(c * n), random.vec(c));
        let maps = Maps::chw(&activations, c, h, w).unwrap();
        let top = channels::top::<512>(&weights, c).unwrap();
        let q = decompose::components_max(n, c);
        let mut workspace = vec![f32::NAN; decompose::workspace_len(n, c)];
        let parts = decompose::decompose(&maps, &weights, &top, q, SignRule::Score, &mut workspace).unwrap();
        let x = centred(&activations, &weights, &top, n);
        let values: Vec<f64> = parts.singular_values().iter().map(|v| f64::from(*v)).collect();
        assert_eq!(values.len(), c.min(n));
        let components: Vec<Vec<f64>> = parts.iter().map(|c| c.iter().map(|v| f64::from(*v)).collect()).collect();
        // X X' u_q = s_q^2 u_q, and all the variance is there: together these make them the principal components.
        let scale = values[0] * values[0];
        for (q, component) in components.iter().enumerate() {
            let loadings: Vec<f64> = x.iter().map(|map| dot(map, component)).collect();
            for position in 0..n {
                let image: f64 = x.iter().zip(&loadings).map(|(map, l)| map[position] * l).sum();
                let error = (image - values[q] * values[q] * component[position]).abs();
                assert!(error <= 1e-5 * scale * values[0], "{c} x {h} x {w}: component {q}: {error:e}");
            }
            assert!((dot(component, component).sqrt() - values[q]).abs() <= 2e-6 * values[0]);
            for other in &components[..q] {
                assert!(dot(component, other).abs() <= 1e-5 * scale);
            }
        }
        let total: f64 = x.iter().map(|map| dot(map, map)).sum();
        assert!((values.iter().map(|v| v * v).sum::<f64>() / total - 1.0).abs() < 4e-6, "{c} x {h} x {w}");
        // The first-order map is the sum of the centred maps, and the sign rule makes every component agree with it.
        for position in 0..n {
            let want: f64 = x.iter().map(|map| map[position]).sum();
            assert!((f64::from(parts.centred_first_order()[position]) - want).abs() <= 1e-5 * values[0]);
        }
        assert!((0..q).all(|q| parts.alignment(q).unwrap() >= 0.0));
        assert_eq!(parts.alignment(q), Err(Error::Components));
    }
}

#[test]
fn channels_of_any_scale_and_order_of_arrival() {
    // The largest channel last: the running unit changes on the way. Results scale with the input, exactly for powers of two.
    let mut random = Random(5);
    let mut activations = random.vec(40 * 9);
    for (k, value) in activations.iter_mut().enumerate() {
        *value *= 2f32.powi((k / 9) as i32 - 30);
    }
    let ones = [1.0; 40];
    let order: Vec<u16> = (0..40).collect();
    let solve = |factor: f32, order: &[u16]| -> (Vec<f32>, Vec<f32>) {
        let scaled: Vec<f32> = activations.iter().map(|a| a * factor).collect();
        let maps = Maps::chw(&scaled, 40, 3, 3).unwrap();
        let mut workspace = [0.0; decompose::workspace_len(9, 40)];
        let parts = decompose::decompose(&maps, &ones, order, 8, SignRule::LargestEntry, &mut workspace).unwrap();
        (parts.maps().to_vec(), parts.singular_values().to_vec())
    };
    let (components, values) = solve(1.0, &order);
    for power in [-60, -20, 40, 100] {
        let factor = 2f32.powi(power);
        let (other, other_values) = solve(factor, &order);
        assert!(other.iter().zip(&components).all(|(a, b)| *a == b * factor), "2^{power}");
        assert!(other_values.iter().zip(&values).all(|(a, b)| *a == b * factor), "2^{power}");
    }
    let backwards: Vec<u16> = (0..40).rev().collect();
    let (other, _) = solve(1.0, &backwards);
    let largest = largest_magnitude(&components);
    assert!(other.iter().zip(&components).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
}

#[test]
fn degenerate_activations() {
    let weights = [1.0; 12];
    let top: Vec<u16> = (0..12).collect();
    let solve = |activations: &[f32]| {
        let maps = Maps::chw(activations, 12, 3, 3).unwrap();
        let mut workspace = [0.0; decompose::workspace_len(9, 12)];
        let parts = decompose::decompose(&maps, &weights, &top, 8, SignRule::LargestLoading, &mut workspace).unwrap();
        (parts.maps().to_vec(), parts.singular_values().to_vec())
    };
    // All zero, or constant over positions: nothing is left after centring.
    for constant in [0.0, 3.5] {
        let (components, values) = solve(&[constant; 108]);
        assert!(components.iter().chain(&values).all(|v| *v == 0.0));
    }
    // Twelve times one map: rank one, its largest loading positive.
    let map = [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0];
    let (components, values) = solve(&map.repeat(12));
    let mean = 6.0 / 9.0;
    for (got, a) in components[..9].iter().zip(map) {
        assert!((got - (a - mean) * 12_f32.sqrt()).abs() < 1e-5);
    }
    assert!(values[1..].iter().all(|v| *v <= 2e-6 * values[0]));
}

#[test]
fn decompose_refuses_before_it_writes() {
    let activations = Random(6).vec(4 * 4);
    let maps = Maps::chw(&activations, 4, 2, 2).unwrap();
    let weights = [1.0; 4];
    let mut workspace = [7.0; decompose::workspace_len(4, 4)];
    let mut refused = |weights: &[f32], channels: &[u16], q: usize, len: usize| {
        let error =
            decompose::decompose(&maps, weights, channels, q, SignRule::Score, &mut workspace[..len]).unwrap_err();
        assert!(workspace.iter().all(|v| *v == 7.0));
        error
    };
    let full = decompose::workspace_len(4, 4);
    assert_eq!(refused(&weights[..3], &[0, 1], 1, full), Error::Shape);
    assert_eq!(refused(&weights, &[0, 4], 1, full), Error::Shape);
    assert_eq!(refused(&weights, &[], 1, full), Error::Channels);
    assert_eq!(refused(&weights, &[0, 1, 2, 3], 0, full), Error::Components);
    assert_eq!(refused(&weights, &[0, 1, 2, 3], 4, full), Error::Components);
    assert_eq!(refused(&weights, &[0, 1, 2, 3], 3, full - 1), Error::WorkspaceTooSmall);
    for bad in [f32::NAN, f32::INFINITY] {
        let activations = [bad; 16];
        let maps = Maps::chw(&activations, 4, 2, 2).unwrap();
        let result = decompose::decompose(&maps, &[2.0; 4], &[0, 1], 1, SignRule::Score, &mut workspace);
        assert_eq!(result.unwrap_err(), Error::NonFinite);
    }
}

/// Found by fuzzing: maps in range whose singular value, or whose sum, is not.
#[test]
fn results_beyond_the_range_are_an_error() {
    let activations: Vec<f32> = (0..64).map(|k| if k % 4 == 0 { 3e38 } else { 0.0 }).collect();
    let maps = Maps::chw(&activations, 16, 2, 2).unwrap();
    let mut workspace = [0.0; decompose::workspace_len(4, 16)];
    let all: Vec<u16> = (0..16).collect();
    let result = decompose::decompose(&maps, &[1.0; 16], &all, 1, SignRule::Score, &mut workspace);
    assert_eq!(result.unwrap_err(), Error::NonFinite);
}

#[test]
fn sign_rules() {
    // One channel, weight -1: map (0, 0, 0, -4) centred is (1, 1, 1, -3), loading and first-order map alike.
    let activations = [0.0, 0.0, 0.0, 4.0, 0.1, 0.0, 0.0, 0.0];
    let maps = Maps::chw(&activations, 2, 2, 2).unwrap();
    let component = |weights: &[f32; 2], sign| {
        let mut workspace = [0.0; decompose::workspace_len(4, 2)];
        let parts = decompose::decompose(&maps, weights, &[0, 1], 1, sign, &mut workspace).unwrap();
        parts.maps().to_vec()
    };
    // The largest entry is the fourth: positive by its rule, negative where the score (and the loading) says so.
    assert!(component(&[-1.0, 1.0], SignRule::LargestEntry)[3] > 2.9);
    assert!(component(&[-1.0, 1.0], SignRule::LargestLoading)[3] < -2.9);
    assert!(component(&[-1.0, 1.0], SignRule::Score)[3] < -2.9);
    assert!(component(&[1.0, 1.0], SignRule::Score)[3] > 2.9);
    // Of entries of the same magnitude the first decides: two positions, centred.
    let mut workspace = [0.0; decompose::workspace_len(2, 1)];
    for values in [[1.0, 3.0], [3.0, 1.0]] {
        let maps = Maps::chw(&values, 1, 1, 2).unwrap();
        let parts = decompose::decompose(&maps, &[1.0], &[0], 1, SignRule::LargestEntry, &mut workspace).unwrap();
        assert_eq!(parts.maps(), [1.0, -1.0]);
    }
}

#[test]
fn rectify_keeps_one_side() {
    let activations = Random(7).vec(6 * 9);
    let maps = Maps::chw(&activations, 6, 3, 3).unwrap();
    let mut workspace = [0.0; decompose::workspace_len(9, 6)];
    let order = [0, 1, 2, 3, 4, 5];
    let parts = decompose::decompose(&maps, &[1.0; 6], &order, 4, SignRule::Score, &mut workspace).unwrap();
    let before = parts.maps().to_vec();
    let ossms = parts.rectify();
    assert_eq!((ossms.count(), ossms.iter().len()), (4, 4));
    assert!(ossms.maps().iter().zip(&before).all(|(after, before)| *after == before.max(0.0)));
    assert!(before.iter().any(|v| *v < 0.0));
}

/// Rows of a map resampled to `out_h` x `out_w`.
fn resampled(map: &[f32], [h, w]: [usize; 2], [out_h, out_w]: [usize; 2]) -> Vec<f32> {
    let mut taps = vec![Tap::default(); out_w];
    let bicubic = Bicubic::new(h, w, out_h, &mut taps).unwrap();
    let (mut scratch, mut out) = (vec![0.0; scratch_len(w)], vec![0.0; out_h * out_w]);
    for (y, row) in out.chunks_exact_mut(out_w).enumerate() {
        bicubic.row(map, y, &mut scratch, row).unwrap();
    }
    out
}

#[test]
fn bicubic_as_in_torch() {
    // torch 2.5.1: F.interpolate(torch.tensor([[[[0., 1.], [2., 5.]]]]), (3, 4), mode="bicubic")
    let want = [
        -0.260_769_4,
        0.013_617_65,
        0.465_549_3,
        0.739_936_35,
        0.789_062_5,
        1.453_125,
        2.546_875,
        3.210_937_5,
        1.838_894_1,
        2.892_632_2,
        4.628_200_5,
        5.681_938_6,
    ];
    let got = resampled(&[0.0, 1.0, 2.0, 5.0], [2, 2], [3, 4]);
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn bicubic_keeps_constants_and_sizes() {
    // The weights are cubics whose terms reach 6 before they cancel: 6 ulp for each of the four, along both axes.
    let tolerance = 2.0 * 4.0 * 6.0 * f32::EPSILON * 2.5;
    assert!(resampled(&[2.5; 12], [3, 4], [31, 17]).iter().all(|v| (v - 2.5).abs() <= tolerance));
    let map = Random(8).vec(12);
    assert_eq!(resampled(&map, [3, 4], [3, 4]), map);
    let (mut taps, mut none) = ([Tap::default(); 4], []);
    assert_eq!(Bicubic::new(0, 4, 4, &mut taps).unwrap_err(), Error::Shape);
    assert_eq!(Bicubic::new(4, 4, 4, &mut none).unwrap_err(), Error::Shape);
    let bicubic = Bicubic::new(3, 4, 5, &mut taps).unwrap();
    let (mut scratch, mut out) = ([0.0; scratch_len(4)], [7.0; 4]);
    assert_eq!(bicubic.row(&map, 5, &mut scratch, &mut out), Err(Error::Shape));
    assert_eq!(bicubic.row(&map[1..], 0, &mut scratch, &mut out), Err(Error::Shape));
    assert_eq!(bicubic.row(&map, 0, &mut scratch[1..], &mut out), Err(Error::WorkspaceTooSmall));
    assert_eq!(out, [7.0; 4]);
}

#[test]
fn min_max_and_blend() {
    let mut range = Range::EMPTY;
    range.include(&[2.0, 4.0]);
    range.include(&[-2.0]);
    let mut mask = [2.0, 4.0, -2.0, 1.0];
    range.scale(&mut mask);
    assert_eq!(mask, [4.0 / 6.0, 1.0, 0.0, 0.5]);
    let mut out = [9.0; 4];
    blend(&[0.9, 0.8, 0.7, 0.2], &[0.3, 0.9, 0.4, 0.6], &mask, &mut out);
    assert_eq!(out, [0.9 * (4.0 / 6.0), 0.8, 0.4, 0.3]);
    let mut flat = [3.0, 3.0, 4.0, 2.0];
    let mut one_value = Range::EMPTY;
    one_value.include(&flat[..2]);
    one_value.scale(&mut flat);
    assert_eq!(flat, [0.0; 4]);
}

#[test]
fn score_weights_by_hand() {
    let of = |formula, scores: &[f32; 3], blurred| {
        let mut weights = [0.0; 3];
        integrate::score_weights(formula, scores, blurred, &mut weights).unwrap();
        weights
    };
    assert_eq!(of(ScoreFormula::Paper, &[0.5, 0.25, 0.75], 0.25), [0.5, 0.0, 1.0]);
    assert_eq!(of(ScoreFormula::Notebook, &[0.5, 0.255, 0.75], 0.25), [0.5, 0.0, 1.0]);
    assert_eq!(of(ScoreFormula::V25, &[0.5, 0.0005, 1.0], 0.25), [0.5, 0.0, 1.0]);
    // A difference of exactly the threshold is not below it.
    assert_eq!(of(ScoreFormula::Notebook, &[0.01, 1.0, 0.0], 0.0), [0.01, 1.0, 0.0]);
    assert_eq!(of(ScoreFormula::V25, &[0.001, 1.0, 0.0], 0.0), [0.001, 1.0, 0.0]);
    let v1 = of(ScoreFormula::V1, &[1.0, 1.0, 1.0], 0.25);
    assert!(v1.iter().all(|w| (w - 0.25).abs() < 1e-6), "{v1:?}");
    // No positive difference, or all alike: nothing speaks for the score.
    assert_eq!(of(ScoreFormula::Notebook, &[0.1, 0.0, 0.2], 0.25), [0.0; 3]);
    assert_eq!(of(ScoreFormula::Paper, &[0.5; 3], 0.25), [0.0; 3]);
    let mut weights = [7.0; 3];
    let mut refused =
        |formula, scores: &[f32]| integrate::score_weights(formula, scores, 0.0, &mut weights).unwrap_err();
    assert_eq!(refused(ScoreFormula::Paper, &[0.0; 2]), Error::Components);
    assert_eq!(refused(ScoreFormula::Paper, &[0.0, f32::NAN, 0.0]), Error::NonFinite);
    assert_eq!(weights, [7.0; 3]);
}

#[test]
fn aligned_weights_are_the_closed_form() {
    // METHOD: (U s)_q' L = s_q^2 sum_c V_cq, its size over the largest.
    let activations = Random(9).vec(10 * 16);
    let weights = Random(10).vec(10);
    let maps = Maps::chw(&activations, 10, 4, 4).unwrap();
    let top = channels::top::<10>(&weights, 10).unwrap();
    let mut workspace = [0.0; decompose::workspace_len(16, 10)];
    let parts = decompose::decompose(&maps, &weights, &top, 6, SignRule::Score, &mut workspace).unwrap();
    let mut got = [0.0; 6];
    integrate::aligned_weights(&parts, &mut got).unwrap();
    let x = centred(&activations, &weights, &top, 16);
    let shares: Vec<f64> = parts
        .iter()
        .map(|component| {
            let component: Vec<f64> = component.iter().map(|v| f64::from(*v)).collect();
            x.iter().map(|map| dot(map, &component)).sum::<f64>().abs()
        })
        .collect();
    let largest = shares.iter().copied().fold(0.0, f64::max);
    for (got, share) in got.iter().zip(&shares) {
        assert!((f64::from(*got) - share / largest).abs() < 1e-5);
    }
    assert_eq!(integrate::aligned_weights(&parts, &mut [0.0; 7]), Err(Error::Components));
}

#[test]
fn saliency_is_the_weighted_sum() {
    let mut saliency = [9.0; 3];
    integrate::sum(&[1.0, 2.0, 3.0, 10.0, 0.0, 1.0], &[0.5, 2.0], &mut saliency).unwrap();
    assert_eq!(saliency, [20.5, 1.0, 3.5]);
    assert_eq!(integrate::sum(&[1.0; 5], &[0.5, 2.0], &mut saliency), Err(Error::Shape));
    assert_eq!(saliency, [20.5, 1.0, 3.5]);
}

/// Bits of the whole way from activations to weights: what must not depend on how the values are stored.
fn bits(maps: &Maps, weights: &[f32]) -> Vec<u32> {
    let top = channels::top::<20>(weights, 20).unwrap();
    let mut workspace = vec![0.0; decompose::workspace_len(maps.positions(), 20)];
    let parts = decompose::decompose(maps, weights, &top, 10, SignRule::LargestLoading, &mut workspace).unwrap();
    let mut predicted = [0.0; 10];
    integrate::predicted(&parts, &mut predicted).unwrap();
    let mut means = vec![0.0; maps.channels()];
    channels::weights(maps, &mut means).unwrap();
    let all = parts.maps().iter().chain(parts.singular_values()).chain(&predicted).chain(&means);
    all.map(|v| v.to_bits()).collect()
}

#[test]
fn results_are_the_same_bits_in_any_memory_order() {
    let activations = Random(11).vec(30 * 25);
    let other = hwc_of(&activations, 30);
    let weights = Random(12).vec(30);
    let want = bits(&Maps::chw(&activations, 30, 5, 5).unwrap(), &weights);
    assert_eq!(bits(&Maps::hwc(&other, 5, 5, 30).unwrap(), &weights), want);
    // Rows padded to 8 values, channels to 64: a view into a larger arena.
    let mut padded = vec![f32::NAN; 30 * 64];
    for (index, value) in activations.iter().enumerate() {
        padded[index / 25 * 64 + index % 25 / 5 * 8 + index % 5] = *value;
    }
    let strided = Layout::strided([30, 5, 5], [64, 8, 1]);
    assert_eq!(bits(&Maps::f32(&padded, strided).unwrap(), &weights), want);
}

#[test]
fn quantised_bytes_give_the_bits_of_their_floats() {
    let mut random = Random(13);
    let weights = random.vec(30);
    let signed: Vec<i8> = (0..750).map(|_| (random.next() * 128.0).floor() as i8).collect();
    let unsigned: Vec<u8> = (0..750).map(|_| (random.next() * 128.0 + 128.0) as u8).collect();
    let scales: Vec<f32> = (0..30).map(|_| 0.001 + random.next().abs()).collect();
    let zero_points: Vec<i16> = (0..30).map(|_| (random.next() * 100.0) as i16).collect();
    let above: Vec<i16> = zero_points.iter().map(|z| z + 100).collect();
    let one = Quantisation::PerTensor { scale: 0.0173, zero_point: -7 };
    let one_above = Quantisation::PerTensor { scale: 0.0173, zero_point: 93 };
    let each = Quantisation::PerChannel { scales: &scales, zero_points: &zero_points };
    let each_above = Quantisation::PerChannel { scales: &scales, zero_points: &above };
    let number = |quantisation: &Quantisation, channel: usize, byte: i16| match quantisation {
        Quantisation::PerTensor { scale, zero_point } => f32::from(byte - zero_point) * scale,
        Quantisation::PerChannel { scales, zero_points } => f32::from(byte - zero_points[channel]) * scales[channel],
    };
    for layout in [Layout::chw(30, 5, 5), Layout::hwc(5, 5, 30)] {
        let channel = |index: usize| if layout == Layout::chw(30, 5, 5) { index / 25 } else { index % 30 };
        for (of_signed, of_unsigned) in [(one, one_above), (each, each_above)] {
            let floats: Vec<f32> =
                signed.iter().enumerate().map(|(i, b)| number(&of_signed, channel(i), (*b).into())).collect();
            let want = bits(&Maps::f32(&floats, layout).unwrap(), &weights);
            assert_eq!(bits(&Maps::i8(&signed, layout, of_signed).unwrap(), &weights), want);
            let floats: Vec<f32> =
                unsigned.iter().enumerate().map(|(i, b)| number(&of_unsigned, channel(i), (*b).into())).collect();
            let want = bits(&Maps::f32(&floats, layout).unwrap(), &weights);
            assert_eq!(bits(&Maps::u8(&unsigned, layout, of_unsigned).unwrap(), &weights), want);
        }
    }
}

#[test]
fn bad_views_are_refused() {
    let layout = Layout::chw(2, 2, 2);
    let good = Quantisation::PerTensor { scale: 1.0, zero_point: 0 };
    assert_eq!(Maps::i8(&[0; 7], layout, good).unwrap_err(), Error::Shape);
    assert_eq!(Maps::u8(&[0; 7], layout, good).unwrap_err(), Error::Shape);
    assert_eq!(Maps::f32(&[0.0; 8], Layout::strided([2, 2, 2], [5, 2, 1])).unwrap_err(), Error::Shape);
    assert_eq!(Maps::f32(&[0.0; 8], Layout::strided([2, 0, 2], [4, 2, 1])).unwrap_err(), Error::Shape);
    assert_eq!(Maps::f32(&[0.0; 8], Layout::strided([2, 2, 2], [usize::MAX, 2, 1])).unwrap_err(), Error::Shape);
    let with = |scale, zero_point| Quantisation::PerTensor { scale, zero_point };
    for (scale, zero_point) in [(f32::NAN, 0), (f32::INFINITY, 0), (1.0, 128), (1.0, -129)] {
        assert_eq!(Maps::i8(&[0; 8], layout, with(scale, zero_point)).unwrap_err(), Error::Quantisation);
    }
    for zero_point in [-1, 256] {
        assert_eq!(Maps::u8(&[0; 8], layout, with(1.0, zero_point)).unwrap_err(), Error::Quantisation);
    }
    let short = Quantisation::PerChannel { scales: &[1.0], zero_points: &[0, 0] };
    assert_eq!(Maps::i8(&[0; 8], layout, short).unwrap_err(), Error::Shape);
    for (scales, zero_points) in [(&[1.0; 3][..], &[][..]), (&[1.0; 3], &[0; 3]), (&[1.0; 2], &[0; 3])] {
        let wrong = Quantisation::PerChannel { scales, zero_points };
        assert_eq!(Maps::i8(&[0; 8], layout, wrong).unwrap_err(), Error::Shape);
    }
    let bad = Quantisation::PerChannel { scales: &[1.0, f32::NAN], zero_points: &[0, 0] };
    assert_eq!(Maps::i8(&[0; 8], layout, bad).unwrap_err(), Error::Quantisation);
    // One value in place of a row is no row; a column that is one wide needs no stride.
    assert_eq!(Maps::f32(&[0.0; 8], Layout::strided([2, 2, 2], [4, 2, 0])).unwrap_err(), Error::Shape);
    assert!(Maps::f32(&[0.0; 4], Layout::strided([2, 2, 1], [2, 1, 0])).is_ok());
}

#[test]
fn linear_head_in_closed_form() {
    let mut random = Random(14);
    let (c, h, w, classes) = (12, 3, 3, 4);
    let n = h * w;
    let (activations, weights, bias) = (random.vec(c * n), random.vec(classes * c), random.vec(classes));
    let maps = Maps::chw(&activations, c, h, w).unwrap();
    let matrix = Maps::chw(&weights, classes, 1, c).unwrap();
    let linear = head::LinearHead::new(matrix, Some(&bias)).unwrap();
    assert_eq!((linear.classes(), linear.channels()), (classes, c));

    let score = |activations: &[f64], class: usize| -> f64 {
        let pooled = activations.chunks(n).map(|map| map.iter().sum::<f64>() / n as f64);
        f64::from(bias[class]) + pooled.zip(&weights[class * c..]).map(|(z, w)| z * f64::from(*w)).sum::<f64>()
    };
    let wide: Vec<f64> = activations.iter().map(|a| f64::from(*a)).collect();
    let (mut pooled, mut logits) = (vec![0.0; c], [0.0; 4]);
    head::pool(&maps, &mut pooled).unwrap();
    linear.logits(&pooled, &mut logits).unwrap();
    for (class, logit) in logits.iter().enumerate() {
        assert!((f64::from(*logit) - score(&wide, class)).abs() < 1e-6);
    }

    let mut gradient = vec![0.0; c];
    linear.channel_weights(2, Some(1), n, &mut gradient).unwrap();
    for (k, w) in gradient.iter().enumerate() {
        assert!((w - (weights[2 * c + k] - weights[c + k]) / n as f32).abs() < 1e-7);
    }
    // Measured contributions against the head itself, run on blended features.
    let top = channels::top::<12>(&gradient, 12).unwrap();
    let mut workspace = vec![0.0; decompose::workspace_len(n, c)];
    let ossms = decompose::decompose(&maps, &gradient, &top, 5, SignRule::Score, &mut workspace).unwrap().rectify();
    let (mut row, mut map, mut got) = (vec![0.0; n], vec![0.0; n], [0.0; 5]);
    head::centred_first_order(&maps, &gradient, &mut row, &mut map).unwrap();
    for (a, b) in map.iter().zip(ossms.centred_first_order()) {
        assert!((a - b).abs() < 1e-6);
    }
    head::contributions(ossms.maps(), &map, &mut row, &mut got).unwrap();
    for (q, ossm) in ossms.iter().enumerate() {
        let low = ossm.iter().copied().fold(f32::MAX, f32::min);
        let high = ossm.iter().copied().fold(f32::MIN, f32::max);
        let blended: Vec<f64> = (0..c * n)
            .map(|i| {
                let mean = wide[i / n * n..][..n].iter().sum::<f64>() / n as f64;
                let mask = f64::from((ossm[i % n] - low) / (high - low));
                mean + mask * (wide[i] - mean)
            })
            .collect();
        let difference = |activations: &[f64]| score(activations, 2) - score(activations, 1);
        let want = difference(&blended) - difference(&wide);
        assert!((f64::from(got[q]) - want).abs() < 1e-6, "{q}: {} {want}", got[q]);
    }

    assert_eq!(linear.channel_weights(4, None, n, &mut gradient), Err(Error::Shape));
    assert_eq!(linear.channel_weights(0, Some(4), n, &mut gradient), Err(Error::Shape));
    assert_eq!(linear.channel_weights(0, None, 0, &mut gradient), Err(Error::Shape));
    assert_eq!(linear.logits(&pooled[1..], &mut logits), Err(Error::Shape));
    assert_eq!(head::LinearHead::new(maps, None).unwrap_err(), Error::Shape);
    assert_eq!(head::LinearHead::new(matrix, Some(&bias[1..])).unwrap_err(), Error::Shape);
    assert_eq!(head::contributions(ossms.maps(), &map[1..], &mut row, &mut got), Err(Error::Shape));
    assert_eq!(head::contributions(ossms.maps(), &map, &mut row[1..], &mut got), Err(Error::Shape));
    assert_eq!(head::contributions(ossms.maps(), &map, &mut row, &mut got[1..]), Err(Error::Shape));
}

#[test]
fn int8_head_gives_the_bits_of_its_floats() {
    let mut random = Random(15);
    let bytes: Vec<i8> = (0..60).map(|_| (random.next() * 127.0) as i8).collect();
    let scales: Vec<f32> = (0..5).map(|_| random.next().abs()).collect();
    let floats: Vec<f32> = bytes.iter().enumerate().map(|(i, b)| f32::from(*b) * scales[i / 12]).collect();
    let quantisation = Quantisation::PerChannel { scales: &scales, zero_points: &[0; 5] };
    let of_bytes = head::LinearHead::new(Maps::i8(&bytes, Layout::chw(5, 1, 12), quantisation).unwrap(), None).unwrap();
    let of_floats = head::LinearHead::new(Maps::chw(&floats, 5, 1, 12).unwrap(), None).unwrap();
    let pooled = random.vec(12);
    let run = |head: &head::LinearHead| {
        let (mut logits, mut weights) = ([0.0; 5], [0.0; 12]);
        head.logits(&pooled, &mut logits).unwrap();
        head.channel_weights(3, Some(0), 49, &mut weights).unwrap();
        (logits.map(f32::to_bits), weights.map(f32::to_bits))
    };
    assert_eq!(run(&of_bytes), run(&of_floats));
}

#[test]
fn masks_row_by_row_for_a_scorer() {
    let ossms = [0.0, 1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0];
    let mut taps = [Tap::default(); 6];
    let bicubic = Bicubic::new(2, 2, 5, &mut taps).unwrap();
    let (mut scratch, mut row, mut scores) = ([0.0; scratch_len(2)], [0.0; 6], [0.0; 2]);
    let mut whole = resampled(&ossms[..4], [2, 2], [5, 6]);
    let mut range = Range::EMPTY;
    range.include(&whole);
    range.scale(&mut whole);
    let mut sums = Vec::new();
    let blurred =
        mask::scores(&ossms, &bicubic, &mut scratch, &mut row, &mut scores, |mask: Option<&Mask>, scratch, row| {
            let Some(mask) = mask else {
                return Ok::<f32, Error>(-1.0);
            };
            let mut rows = Vec::new();
            for y in 0..5 {
                mask.row(y, scratch, row)?;
                rows.extend_from_slice(row);
            }
            let sum = rows.iter().sum::<f32>();
            sums.push(rows);
            Ok(sum)
        })
        .unwrap();
    assert_eq!(blurred, -1.0);
    assert_eq!(sums[0], whole);
    assert_eq!(scores[0], whole.iter().sum::<f32>());
    let refuse = |_: Option<&Mask>, _: &mut [f32], _: &mut [f32]| Ok::<f32, Error>(f32::NAN);
    assert_eq!(mask::scores(&ossms, &bicubic, &mut scratch, &mut row, &mut scores, refuse), Err(Error::NonFinite));
    assert_eq!(mask::scores(&ossms[1..], &bicubic, &mut scratch, &mut row, &mut scores, refuse), Err(Error::Shape));
}

#[test]
fn more_channels_than_one_round() {
    let random = Random(16).vec(500);
    for count in [1, 63, 64, 65, 128, 200, 500] {
        let mut top = vec![0; count];
        channels::top_into(&random, &mut top).unwrap();
        assert_eq!(top, *channels::top::<500>(&random, count).unwrap(), "{count}");
    }
    // Equal weights keep their order across rounds.
    let mut top = [0; 150];
    channels::top_into(&[0.5; 150], &mut top).unwrap();
    assert!(top.iter().enumerate().all(|(k, c)| k == usize::from(*c)));
    let mut top = [9; 3];
    assert_eq!(channels::top_into(&[1.0, 2.0], &mut top), Err(Error::Channels));
    assert_eq!(channels::top_into(&[1.0, 2.0, 3.0, f32::NAN], &mut top), Err(Error::NonFinite));
    assert_eq!(channels::top_into(&[1.0], &mut []), Err(Error::Channels));
    assert_eq!(top, [9; 3]);
}

#[test]
fn one_value_of_a_map() {
    let chw = Random(17).vec(5 * 3 * 4);
    let hwc = hwc_of(&chw, 5);
    let (a, b) = (Maps::chw(&chw, 5, 3, 4).unwrap(), Maps::hwc(&hwc, 3, 4, 5).unwrap());
    for (index, value) in chw.iter().enumerate() {
        let (channel, y, x) = (index / 12, index % 12 / 4, index % 4);
        assert_eq!(a.value(channel, y, x), Some(*value));
        assert_eq!(b.value(channel, y, x), Some(*value));
    }
    assert_eq!((a.value(5, 0, 0), a.value(0, 3, 0), a.value(0, 0, 4)), (None, None, None));
    // No zero points are zero points of zero.
    let bytes = [1_i8, -2, 3, 4];
    let of = |zero_points| {
        let quantisation = Quantisation::PerChannel { scales: &[0.5, 2.0], zero_points };
        Maps::i8(&bytes, Layout::chw(2, 1, 2), quantisation)
    };
    for maps in [of(&[]).unwrap(), of(&[0, 0]).unwrap()] {
        assert_eq!([maps.value(0, 0, 1), maps.value(1, 0, 0)], [Some(-1.0), Some(6.0)]);
    }
    assert_eq!(of(&[0]).unwrap_err(), Error::Shape);
}

#[test]
fn an_explanation_is_its_stages() {
    let mut random = Random(18);
    let (c, n, classes, p, q) = (20, 12, 3, 9, 4);
    let (activations, weights, bias) = (random.vec(c * n), random.vec(classes * c), random.vec(classes));
    let maps = Maps::chw(&activations, c, 3, 4).unwrap();
    let matrix = Maps::chw(&weights, classes, 1, c).unwrap();
    let linear = head::LinearHead::new(matrix, Some(&bias)).unwrap();
    let len = head::workspace_len(n, c, p, q);
    let (mut workspace, mut selected) = (vec![f32::NAN; len], vec![0; p]);
    for (versus, sign) in [(None, SignRule::Score), (Some(0), SignRule::LargestEntry)] {
        let question = head::Question { class: 2, versus, components: q, sign };
        let got = head::explain(&linear, &maps, &question, &mut selected, &mut workspace).unwrap();

        let (mut pooled, mut logits, mut gradient) = (vec![0.0; c], vec![0.0; classes], vec![0.0; c]);
        head::pool(&maps, &mut pooled).unwrap();
        linear.logits(&pooled, &mut logits).unwrap();
        assert_eq!(got.score, logits[2] - versus.map_or(0.0, |versus| logits[versus]));
        linear.channel_weights(2, versus, n, &mut gradient).unwrap();
        let top = channels::top::<9>(&gradient, p).unwrap();
        assert_eq!(got.channels, &*top);
        let mut own = vec![0.0; decompose::workspace_len(n, p)];
        let parts = decompose::decompose(&maps, &gradient, &top, q, sign, &mut own).unwrap();
        let (mut predicted, mut aligned, mut measured) = (vec![0.0; q], vec![0.0; q], vec![0.0; q]);
        integrate::predicted(&parts, &mut predicted).unwrap();
        integrate::aligned_weights(&parts, &mut aligned).unwrap();
        let ossms = parts.rectify();
        let (mut row, mut map, mut saliency) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        head::centred_first_order(&maps, &gradient, &mut row, &mut map).unwrap();
        head::contributions(ossms.maps(), &map, &mut row, &mut measured).unwrap();
        integrate::sum(ossms.maps(), &aligned, &mut saliency).unwrap();
        assert_eq!(got.ossms.maps(), ossms.maps());
        assert_eq!(got.ossms.singular_values(), ossms.singular_values());
        assert_eq!((got.predicted, got.measured, got.weights), (&predicted[..], &measured[..], &aligned[..]));
        assert_eq!((got.saliency, got.centred_first_order), (&saliency[..], &map[..]));
    }

    // As many components as exist.
    let question = head::Question { class: 2, versus: None, components: p, sign: SignRule::Score };
    let mut larger = vec![0.0; head::workspace_len(n, c, p, p)];
    assert_eq!(head::explain(&linear, &maps, &question, &mut selected, &mut larger).unwrap().ossms.count(), p);
    // Every channel.
    let (mut all, mut larger) = (vec![0; c], vec![0.0; head::workspace_len(n, c, c, p)]);
    assert_eq!(head::explain(&linear, &maps, &question, &mut all, &mut larger).unwrap().channels.len(), c);

    let question = head::Question { class: 2, versus: Some(0), components: q, sign: SignRule::Score };
    workspace.fill(7.0);
    let mut refused = |question: head::Question, p: usize, len: usize| {
        let mut selected = vec![9; p];
        let error = head::explain(&linear, &maps, &question, &mut selected, &mut workspace[..len]).unwrap_err();
        assert!(workspace.iter().all(|v| *v == 7.0) && selected.iter().all(|c| *c == 9));
        error
    };
    assert_eq!(refused(head::Question { class: 3, ..question }, p, len), Error::Shape);
    assert_eq!(refused(head::Question { versus: Some(3), ..question }, p, len), Error::Shape);
    assert_eq!(refused(question, 0, len), Error::Channels);
    assert_eq!(refused(question, c + 1, len), Error::Channels);
    assert_eq!(refused(head::Question { components: 0, ..question }, p, len), Error::Components);
    assert_eq!(refused(head::Question { components: p + 1, ..question }, p, len), Error::Components);
    assert_eq!(refused(question, p, len - 1), Error::WorkspaceTooSmall);
}

/// With every component, the exact weights give back the first-order map; with fewer, what is left out is orthogonal to what is there.
#[test]
fn exact_weights_lose_nothing() {
    let mut random = Random(31);
    let (channels, side) = (40, 4);
    let activations = random.vec(channels * side * side);
    let weights = random.vec(channels);
    let maps = Maps::chw(&activations, channels, side, side).unwrap();
    let top: Vec<u16> = (0..channels as u16).collect();
    let mut workspace = vec![0.0; decompose::workspace_len(16, channels)];
    for (q, sign) in [(15, SignRule::Score), (15, SignRule::LargestEntry), (4, SignRule::Score)] {
        let parts = decompose::decompose(&maps, &weights, &top, q, sign, &mut workspace).unwrap();
        let mut part_weights = vec![0.0; q];
        integrate::exact_weights(&parts, &mut part_weights).unwrap();
        assert!(sign != SignRule::Score || part_weights.iter().all(|weight| *weight >= 0.0));
        let mut sum = [0.0; 16];
        integrate::sum(parts.maps(), &part_weights, &mut sum).unwrap();
        let largest = largest_magnitude(parts.centred_first_order());
        let left: Vec<f32> = parts.centred_first_order().iter().zip(sum).map(|(whole, sum)| whole - sum).collect();
        if q == 15 {
            assert!(largest_magnitude(&left) <= 1e-4 * largest, "{left:?}");
        } else {
            assert!(largest_magnitude(&left) > 1e-2 * largest);
            assert!(sums::dot(&left, &sum).abs() <= 1e-4 * sums::dot(&sum, &sum));
        }
        assert_eq!(integrate::exact_weights(&parts, &mut vec![0.0; q + 1]), Err(Error::Components));
    }
}

/// In float64: with every component of all channels the exact sum is the first-order map itself, whose mean over positions is not zero; the centred map
/// is that less its mean.
#[test]
fn the_exact_sum_is_the_uncentred_first_order_map() {
    // Rounding of a sum over so many channels, and of a decomposition, relative to the largest value.
    const TOLERANCE: f64 = 2e-6;
    let mut random = Random(33);
    let (channels, n) = (30, 20);
    let activations: Vec<f32> = random.vec(channels * n).iter().map(|value| value.max(0.0)).collect();
    let weights: Vec<f32> = random.vec(channels).iter().map(|value| value + 0.5).collect();
    let maps = Maps::chw(&activations, channels, 4, 5).unwrap();
    let want: Vec<f64> = (0..n)
        .map(|p| (0..channels).map(|c| f64::from(weights[c]) * f64::from(activations[c * n + p])).sum())
        .collect();
    let mean = want.iter().sum::<f64>() / n as f64;
    let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    assert!(mean.abs() > 0.1 * largest);
    let near = |got: &[f32], offset: f64| {
        got.iter().zip(&want).all(|(got, want)| (f64::from(*got) - (want - offset)).abs() <= TOLERANCE * largest)
    };
    let (mut row, mut map) = ([0.0; 20], [0.0; 20]);
    head::uncentred_first_order(&maps, &weights, &mut row, &mut map).unwrap();
    assert!(near(&map, 0.0));
    head::centred_first_order(&maps, &weights, &mut row, &mut map).unwrap();
    assert!(near(&map, mean));
    let found = head::first_order_mean(&maps, &weights).unwrap();
    assert!((f64::from(found) - mean).abs() <= TOLERANCE * largest);

    let top: Vec<u16> = (0..channels as u16).collect();
    let mut workspace = vec![0.0; decompose::workspace_len(n, channels)];
    let parts = decompose::decompose(&maps, &weights, &top, n - 1, SignRule::Score, &mut workspace).unwrap();
    let mut part_weights = vec![0.0; n - 1];
    integrate::exact_weights(&parts, &mut part_weights).unwrap();
    integrate::exact_sum(found, parts.maps(), &part_weights, &mut map).unwrap();
    // Every component is divided by its singular value: the smallest loses most.
    let values = parts.singular_values();
    let condition = f64::from(values[0] / values[n - 2]);
    let error = map.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
    assert!(error <= TOLERANCE * condition * largest, "{error:e}, condition {condition:e}");

    assert_eq!(head::first_order_mean(&maps, &weights[1..]), Err(Error::Shape));
    assert_eq!(head::uncentred_first_order(&maps, &weights[1..], &mut row, &mut map), Err(Error::Shape));
    assert_eq!(head::uncentred_first_order(&maps, &weights, &mut row[1..], &mut map), Err(Error::Shape));
    let huge = Maps::chw(&[3e38; 4], 2, 1, 2).unwrap();
    assert_eq!(head::first_order_mean(&huge, &[2.0, 2.0]), Err(Error::NonFinite));
    let (mut row, mut map) = ([0.0; 2], [0.0; 2]);
    assert_eq!(head::uncentred_first_order(&huge, &[1.0, 1.0], &mut row, &mut map), Err(Error::NonFinite));
}

/// Doubly stochastic and symmetric, its pattern that of the squared cosines, whatever fires: also where nothing does.
#[test]
fn affinity_moves_evidence_and_makes_none() {
    let mut random = Random(32);
    let (channels, height, width) = (12, 3, 5);
    let n = height * width;
    let mut activations: Vec<f32> = random.vec(channels * n).iter().map(|value| value.max(0.0)).collect();
    for channel in 0..channels {
        activations[channel * n + 7] = 0.0;
        activations[channel * n + 3] = 2.0 * activations[channel * n + 2];
    }
    let maps = Maps::chw(&activations, channels, height, width).unwrap();
    let (mut matrix, mut scratch) = (vec![9.0; n * n], vec![9.0; affinity_scratch_len(n)]);
    affinity(&maps, &mut matrix, &mut scratch).unwrap();
    for i in 0..n {
        let row: f32 = matrix[i * n..][..n].iter().sum();
        assert!((row - 1.0).abs() <= 1e-5, "{i}: {row}");
        assert!((0..n).all(|j| matrix[i * n + j] >= 0.0 && (matrix[i * n + j] - matrix[j * n + i]).abs() <= 1e-6));
    }
    // The silent position keeps to itself; two of one direction share alike with all others.
    assert!((matrix[7 * n + 7] - 1.0).abs() <= 1e-6);
    assert!((0..n).all(|j| (matrix[2 * n + j] - matrix[3 * n + j]).abs() <= 1e-5));
    // Off the diagonal, K_ij K_kl / (K_il K_kj) is free of the scaling.
    let cosine = |i: usize, j: usize| {
        let of = |a: usize, b: usize| {
            (0..channels).map(|c| f64::from(activations[c * n + a]) * f64::from(activations[c * n + b])).sum::<f64>()
        };
        (of(i, j) / (of(i, i) * of(j, j)).sqrt()).powi(2)
    };
    let entry = |i: usize, j: usize| f64::from(matrix[i * n + j]);
    let (found, want) = (
        entry(0, 4) * entry(1, 5) / entry(0, 5) / entry(1, 4),
        cosine(0, 4) * cosine(1, 5) / cosine(0, 5) / cosine(1, 4),
    );
    assert!((found / want - 1.0).abs() <= 1e-4, "{found} {want}");
    let map = random.vec(n);
    let mut shared = vec![0.0; n];
    share(&matrix, &map, &mut shared).unwrap();
    assert!((sums::mean(&shared) - sums::mean(&map)).abs() <= 1e-6);
    assert_eq!(share(&matrix, &map, &mut shared[1..]), Err(Error::Shape));
    assert_eq!(affinity(&maps, &mut matrix[1..], &mut scratch), Err(Error::Shape));
    assert_eq!(affinity(&maps, &mut matrix, &mut scratch[1..]), Err(Error::WorkspaceTooSmall));
    // No unit of the activations overflows or changes a bit.
    for unit in [2.0_f32.powi(120), 2.0_f32.powi(-100)] {
        let scaled: Vec<f32> = activations.iter().map(|value| value * unit).collect();
        let maps = Maps::chw(&scaled, channels, height, width).unwrap();
        let mut same = vec![9.0; n * n];
        affinity(&maps, &mut same, &mut scratch).unwrap();
        assert!(same.iter().zip(&matrix).all(|(a, b)| a.to_bits() == b.to_bits()), "{unit:e}");
    }
    let kept = matrix.clone();
    for bad in [f32::NAN, f32::INFINITY] {
        activations[channels * n - 1] = bad;
        let maps = Maps::chw(&activations, channels, height, width).unwrap();
        assert_eq!(affinity(&maps, &mut matrix, &mut scratch), Err(Error::NonFinite));
        assert_eq!(matrix, kept);
    }
}

/// Against the formula in f64: where the diagonal is one, balancing multiplies entry (i, j) by the roots of what it makes of the diagonal.
#[test]
fn local_affinity_is_its_formula() {
    let (c, h, w, sigma) = (5, 3, 4, 1.3);
    let n = h * w;
    let values: Vec<f32> = (0..c * n).map(|k| ((k * k * 7 + 3 * k) % 23) as f32 - 4.0).collect();
    let maps = Maps::chw(&values, c, h, w).unwrap();
    let (mut matrix, mut scratch) = (vec![0.0; n * n], vec![0.0; local_scratch_len(h, w)]);
    local_affinity(&maps, sigma, &mut matrix, &mut scratch).unwrap();
    let centred = |channel: usize, p: usize| {
        let map = &values[channel * n..(channel + 1) * n];
        f64::from(map[p]) - map.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64
    };
    let product = |i, j| (0..c).map(|k| centred(k, i) * centred(k, j)).sum::<f64>();
    for i in 0..n {
        for j in 0..n {
            let cosine = (product(i, j) / (product(i, i) * product(j, j)).sqrt()).max(0.0);
            let (dy, dx) = ((i / w).abs_diff(j / w) as f64, (i % w).abs_diff(j % w) as f64);
            let want = cosine.powi(2) * (-(dy * dy + dx * dx) / (2.0 * f64::from(sigma).powi(2))).exp();
            let got = f64::from(matrix[i * n + j]) / f64::from(matrix[i * n + i] * matrix[j * n + j]).sqrt();
            assert!((got - want).abs() < 1e-5, "({i}, {j}): {got} is not {want}");
        }
    }
    for sigma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(local_affinity(&maps, sigma, &mut matrix, &mut scratch), Err(Error::NonFinite));
    }
    assert_eq!(local_affinity(&maps, 1.0, &mut matrix[1..], &mut scratch), Err(Error::Shape));
}

/// One value is what a copy of its map has at that place, in any order and however it is stored; and there is none beyond the sizes.
#[test]
fn one_value_is_that_of_the_copied_map() {
    let (c, h, w) = (3, 2, 4);
    let signed: Vec<i8> = (0..c * h * w).map(|k| (k as i8).wrapping_mul(37)).collect();
    let unsigned: Vec<u8> = signed.iter().map(|v| *v as u8).collect();
    let quantisation = Quantisation::PerTensor { scale: 0.37, zero_point: 5 };
    for layout in [Layout::chw(c, h, w), Layout::hwc(h, w, c)] {
        let of_signed = Maps::i8(&signed, layout, quantisation).unwrap();
        let of_unsigned = Maps::u8(&unsigned, layout, quantisation).unwrap();
        for maps in [of_signed, of_unsigned] {
            for channel in 0..c {
                let mut map = vec![0.0; h * w];
                maps.read(channel, &mut map).unwrap();
                let seen: Vec<f32> = (0..h * w).map(|p| maps.value(channel, p / w, p % w).unwrap()).collect();
                assert_eq!(seen, map);
            }
            assert_eq!((maps.value(c, 0, 0), maps.value(0, h, 0), maps.value(0, 0, w)), (None, None, None));
            assert_eq!(maps.read(c, &mut vec![0.0; h * w]), Err(Error::Shape));
            assert_eq!(maps.mean(c), Err(Error::Shape));
        }
    }
}

/// A row of a larger tensor, read in place: rows lie further apart than they are long.
#[test]
fn rows_with_a_gap_between_them() {
    let padded = Random(40).vec(2 * 3 * 7);
    let maps = Maps::f32(&padded, Layout::strided([2, 3, 5], [21, 7, 1])).unwrap();
    for channel in 0..2 {
        let mut map = [0.0; 15];
        maps.read(channel, &mut map).unwrap();
        let want: Vec<f32> = (0..3).flat_map(|y| padded[channel * 21 + 7 * y..][..5].to_vec()).collect();
        assert_eq!(map[..], want);
        assert_eq!(maps.mean(channel).unwrap().to_bits(), sums::mean(&want).to_bits());
    }
    // Rows as far apart as they are long, and columns further.
    let count: [f32; 7] = std::array::from_fn(|k| k as f32);
    let mut map = [0.0; 4];
    Maps::f32(&count, Layout::strided([1, 2, 2], [7, 2, 4])).unwrap().read(0, &mut map).unwrap();
    assert_eq!(map, [0.0, 4.0, 2.0, 6.0]);
}

/// The documented number of floats, also where there are exactly as many channels as positions.
#[test]
fn the_workspace_is_the_documented_one() {
    for (n, p) in [(2, 1), (5, 4), (5, 5), (5, 6), (9, 9), (49, 48), (49, 49), (49, 100)] {
        let m = (n - 1_usize).next_multiple_of(4);
        let r = if p >= n { m } else { p };
        assert_eq!(decompose::workspace_len(n, p), (r + 36) * m + 3 * n, "{n}, {p}");
    }
}

#[test]
fn a_head_refuses_lengths_that_are_not_its_own() {
    let weights = Random(41).vec(3 * 4);
    let linear = head::LinearHead::new(Maps::chw(&weights, 3, 1, 4).unwrap(), None).unwrap();
    for (pooled, classes) in [(4, 2), (4, 4), (3, 3), (5, 3)] {
        let mut logits = vec![7.0; classes];
        assert_eq!(linear.logits(&[1.0; 5][..pooled], &mut logits), Err(Error::Shape));
        assert!(logits.iter().all(|logit| *logit == 7.0));
    }
    assert_eq!(linear.logit(0, &[1.0; 3]), Err(Error::Shape));
    assert_eq!(linear.logit(0, &[1.0; 5]), Err(Error::Shape));
    assert_eq!(linear.logit(3, &[1.0; 4]), Err(Error::Shape));
}

/// Values so large that a product with a tap might not be finite, though it is.
#[test]
fn large_maps_are_resampled() {
    let mut taps = [Tap::default(); 7];
    let bicubic = Bicubic::new(2, 3, 5, &mut taps).unwrap();
    let (mut scratch, mut row) = ([0.0; scratch_len(3)], [0.0; 7]);
    for y in 0..5 {
        bicubic.row(&[1.5e38; 6], y, &mut scratch, &mut row).unwrap();
        assert!(row.iter().all(|value| (value / 1.5e38 - 1.0).abs() < 1e-6), "{row:?}");
    }
}
