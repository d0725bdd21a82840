//! One-sided parts.

use decomcam_core::Error;
use decomcam_core::sides::{SWEEP_CAP, one_sided};

/// Of the largest entry: rounding of 20 sweeps of rotations, 2^-24 each, and of the sums.
const TOLERANCE: f32 = 1.0 / (1 << 20) as f32;

fn weighted_sum(maps: &[f32], weights: &[f32]) -> Vec<f32> {
    let n = maps.len() / weights.len();
    (0..n).map(|at| weights.iter().enumerate().map(|(q, w)| w * maps[q * n + at]).sum()).collect()
}

fn below(maps: &[f32]) -> f64 {
    maps.iter().map(|value| f64::from(value.min(0.0)).powi(2)).sum()
}

/// Numbers from -1 to 1.
fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Blobs that do not overlap, mixed by rotations of random pairs.
fn mixed(blobs: usize, n: usize, seed: u64) -> Vec<f32> {
    let mut draw = random(seed);
    let mut maps: Vec<f32> =
        (0..blobs * n).map(|at| if at % n * blobs / n == at / n { 2.0 + draw() } else { 0.0 }).collect();
    for _ in 0..40 {
        let (p, q) = ((draw().abs() * blobs as f32) as usize % blobs, (draw().abs() * blobs as f32) as usize % blobs);
        let (sine, cosine) = draw().sin_cos();
        for at in (0..n).filter(|_| p != q) {
            let (a, b) = (maps[p * n + at], maps[q * n + at]);
            (maps[p * n + at], maps[q * n + at]) = (cosine * a + sine * b, cosine * b - sine * a);
        }
    }
    maps
}

#[test]
fn the_sum_and_the_energy_stay_and_less_is_below_zero() {
    for seed in 0..50 {
        let mut draw = random(seed);
        let (q, n) = (1 + seed as usize % 11, 5 + seed as usize * 7 % 60);
        let before: Vec<f32> = (0..q * n).map(|_| draw()).collect();
        let weights: Vec<f32> = (0..q).map(|_| draw()).collect();
        let (mut maps, mut turned) = (before.clone(), weights.clone());
        assert!(one_sided(&mut maps, &mut turned).unwrap() <= SWEEP_CAP);
        let energy = |maps: &[f32]| maps.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        assert!((energy(&maps) / energy(&before) - 1.0).abs() < f64::from(TOLERANCE) * q as f64);
        for (new, old) in weighted_sum(&maps, &turned).iter().zip(weighted_sum(&before, &weights)) {
            assert!((new - old).abs() < TOLERANCE * q as f32, "seed {seed}: {new} for {old}");
        }
        assert!(below(&maps) <= below(&before) + f64::from(TOLERANCE), "seed {seed}");
        let lengths: Vec<f64> = maps.chunks(n).map(energy).collect();
        assert!(lengths.is_sorted_by(|a, b| *a >= *b * (1.0 - f64::from(TOLERANCE))), "{lengths:?}");
    }
}

#[test]
fn mixed_blobs_come_apart() {
    for seed in 0..20 {
        let (blobs, n) = (2 + seed as usize % 4, 60);
        let mut maps = mixed(blobs, n, seed);
        let total: f64 = maps.iter().map(|value| f64::from(*value).powi(2)).sum();
        one_sided(&mut maps, &mut vec![1.0; blobs]).unwrap();
        assert!(below(&maps) < 1e-3 * total, "seed {seed}: {} of {total}", below(&maps));
    }
}

#[test]
fn results_scale_with_maps_and_weights() {
    let maps = mixed(4, 30, 7);
    let (mut expected, mut expected_weights) = (maps.clone(), vec![1.0, -2.0, 0.5, 3.0]);
    one_sided(&mut expected, &mut expected_weights).unwrap();
    for exponent in [-100, -60, 60, 100] {
        let factor = 2.0_f32.powi(exponent);
        let mut scaled: Vec<f32> = maps.iter().map(|value| value * factor).collect();
        let mut weights = vec![1.0 * factor, -2.0 * factor, 0.5 * factor, 3.0 * factor];
        one_sided(&mut scaled, &mut weights).unwrap();
        assert!(scaled.iter().zip(&expected).all(|(a, b)| *a == b * factor), "2^{exponent}");
        assert!(weights.iter().zip(&expected_weights).all(|(a, b)| *a == b * factor), "2^{exponent}");
    }
}

#[test]
fn what_does_not_fit_is_refused_untouched() {
    let mut maps = [1.0, 2.0, 3.0];
    assert_eq!(one_sided(&mut maps, &mut []), Err(Error::Shape));
    assert_eq!(one_sided(&mut maps, &mut [1.0, 2.0]), Err(Error::Shape));
    assert_eq!(one_sided(&mut [], &mut [1.0]), Err(Error::Shape));
    assert_eq!(one_sided(&mut maps, &mut [f32::NAN]), Err(Error::NonFinite));
    assert_eq!(maps, [1.0, 2.0, 3.0]);
    let mut broken = [1.0, f32::INFINITY];
    assert_eq!(one_sided(&mut broken, &mut [1.0, 1.0]), Err(Error::NonFinite));
    assert_eq!(broken, [1.0, f32::INFINITY]);
    let mut zeros = [0.0; 6];
    assert_eq!(one_sided(&mut zeros, &mut [1.0, 2.0]), Ok(1));
    assert_eq!(zeros, [0.0; 6]);
    // Two maps at the end of the range whose sum is beyond it.
    let most = f32::MAX;
    assert_eq!(one_sided(&mut [most, most, most, -most], &mut [1.0, 1.0]), Err(Error::NonFinite));
}

/// Two maps that are faint beside a third are turned as accurately as if they were alone.
#[test]
fn faint_maps_keep_their_sum() {
    for power in [0, 20, 35, 37, 50] {
        let t = 0.5_f32.powi(power);
        let mut maps = [1.0, 0.0, 0.0, 3.0 * t, -t, 0.0, 1.7 * t, 1.3 * t, 0.0];
        let mut weights = [0.0, 1.0, 0.5];
        let before = weighted_sum(&maps, &weights);
        one_sided(&mut maps, &mut weights).unwrap();
        let largest = before.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (after, before) in weighted_sum(&maps, &weights).iter().zip(&before) {
            assert!((after - before).abs() <= TOLERANCE * largest, "2^-{power}: {after:e}, expected {before:e}");
        }
    }
}
