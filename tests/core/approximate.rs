//! The `micromath` mode: how far it strays from the exact one, as its documentation says.

use decomcam_core::{Error, Maps, SignRule, channels, decompose};

/// The core's own kernels, which are not public.
#[path = "../../core/src/maths.rs"]
#[allow(dead_code)]
mod maths;

/// Documented errors: of the square root and the exponential (relative), and of components (relative to the largest entry).
const SQRT: f32 = 5e-6;
const EXP: f32 = 3e-3;
const COMPONENTS: f64 = 2e-3;

#[test]
fn square_root_and_exponential() {
    let mut x = 1e-30f32;
    while x < 1e30 {
        let error = (maths::sqrt(x) / x.sqrt() - 1.0).abs();
        assert!(error <= SQRT, "sqrt({x:e}): {error:e}");
        x *= 1.01;
    }
    assert_eq!(maths::sqrt(0.0), 0.0);
    for k in -800..=0 {
        let x = k as f32 / 40.0;
        let error = (maths::exp(x) / x.exp() - 1.0).abs();
        assert!(error <= EXP, "exp({x}): {error:e}");
    }
}

#[test]
fn components_stay_close() {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let (c, n) = (100, 49);
    let activations: Vec<f32> = (0..c * n).map(|_| (next() - 0.6).max(0.0)).collect();
    let weights: Vec<f32> = (0..c).map(|_| next()).collect();
    let maps = Maps::chw(&activations, c, 7, 7).unwrap();
    let top = channels::top::<100>(&weights, c).unwrap();
    let mut workspace = vec![0.0; decompose::workspace_len(n, c)];
    let parts = decompose::decompose(&maps, &weights, &top, 10, SignRule::Score, &mut workspace).unwrap();
    // X X' u = s^2 u, in f64: what a component must satisfy whatever arithmetic found it.
    let x: Vec<Vec<f64>> = (0..c)
        .map(|k| {
            let map: Vec<f64> =
                activations[k * n..][..n].iter().map(|a| f64::from(*a) * f64::from(weights[k])).collect();
            let mean = map.iter().sum::<f64>() / n as f64;
            map.iter().map(|v| v - mean).collect()
        })
        .collect();
    for (component, s) in parts.iter().zip(parts.singular_values()) {
        let s = f64::from(*s);
        let largest = component.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        for position in 0..n {
            let image: f64 = x
                .iter()
                .map(|map| map[position] * map.iter().zip(component).map(|(a, b)| a * f64::from(*b)).sum::<f64>())
                .sum();
            let error = (image / (s * s) - f64::from(component[position])).abs() / largest;
            assert!(error <= COMPONENTS, "{error:e}");
        }
    }
}
