//! The core against the released DecomCAM code and a float64 oracle, on real activations (see `tests/golden/README.md`).

use decomcam_core::{Components, Maps, ScoreFormula, SignRule, channels, decompose, integrate, mask::Range, resample};
use serde_json::Value;
use std::{fs, path::Path};

/// Bars, relative to the largest singular value, the largest component entry, and the saliency's range.
const SINGULAR_VALUES: f64 = 2e-6;
const COMPONENTS: f64 = 1e-5;
const WEIGHTS: f64 = 2e-6;
const SALIENCY: f64 = 1e-4;

const CASES: [&str; 3] = ["cat7_p100", "dog7_p500", "cat14_p100"];
const RULES: [(&str, SignRule); 2] =
    [("sklearn_1_4", SignRule::LargestEntry), ("sklearn_1_5", SignRule::LargestLoading)];
const FORMULAS: [(&str, ScoreFormula); 4] = [
    ("paper", ScoreFormula::Paper),
    ("notebook", ScoreFormula::Notebook),
    ("v1", ScoreFormula::V1),
    ("v25", ScoreFormula::V25),
];

/// A safetensors file: the length of a JSON header, the header, the numbers.
struct Golden {
    header: Value,
    numbers: Vec<u8>,
}

impl Golden {
    fn open(case: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{case}.safetensors"));
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
        Self { header: serde_json::from_slice(header).unwrap(), numbers: numbers.to_vec() }
    }

    fn sizes(&self, name: &str, field: &str) -> Vec<usize> {
        let sizes = self.header[name][field].as_array().unwrap_or_else(|| panic!("{name}: no {field}"));
        sizes.iter().map(|size| size.as_u64().unwrap() as usize).collect()
    }

    fn numbers<const BYTES: usize>(&self, name: &str) -> (Vec<usize>, Vec<[u8; BYTES]>) {
        let offsets = self.sizes(name, "data_offsets");
        (self.sizes(name, "shape"), self.numbers[offsets[0]..offsets[1]].as_chunks().0.to_vec())
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.numbers(name).1.into_iter().map(f32::from_le_bytes).collect()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.numbers(name).1.into_iter().map(f64::from_le_bytes).collect()
    }

    fn shape(&self, name: &str) -> [usize; 3] {
        self.numbers::<4>(name).0.try_into().unwrap()
    }

    fn top(&self) -> Vec<u16> {
        self.numbers("top_channels").1.into_iter().map(|b| i32::from_le_bytes(b) as u16).collect()
    }
}

fn largest_error(got: impl IntoIterator<Item = f32>, want: &[f64]) -> f64 {
    got.into_iter().zip(want).map(|(g, w)| (f64::from(g) - w).abs()).fold(0.0, f64::max)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// Runs `check` on every case with its weights, channels and the decomposition by `rule`.
fn each_decomposition(rule: SignRule, mut check: impl FnMut(&str, &Golden, Components)) {
    for case in CASES {
        let golden = Golden::open(case);
        let [c, h, w] = golden.shape("activations");
        let (activations, gradients) = (golden.f32("activations"), golden.f32("gradients"));
        let activations = Maps::chw(&activations, c, h, w).unwrap();
        let mut weights = vec![0.0; c];
        channels::weights(&Maps::chw(&gradients, c, h, w).unwrap(), &mut weights).unwrap();
        let top = channels::top::<500>(&weights, golden.top().len()).unwrap();
        let mut workspace = vec![0.0; decompose::workspace_len(h * w, top.len())];
        let parts = decompose::decompose(&activations, &weights, &top, 10, rule, &mut workspace).unwrap();
        check(case, &golden, parts);
    }
}

#[test]
fn channel_weights_and_order() {
    for case in CASES {
        let golden = Golden::open(case);
        let [c, h, w] = golden.shape("gradients");
        let gradients = golden.f32("gradients");
        let mut weights = vec![0.0; c];
        channels::weights(&Maps::chw(&gradients, c, h, w).unwrap(), &mut weights).unwrap();
        let want = golden.f64("channel_weights");
        assert!(
            largest_error(weights.iter().copied(), &want) <= 2.0 * f64::from(f32::EPSILON) * largest(&want),
            "{case}"
        );
        let top = channels::top::<500>(&weights, golden.top().len()).unwrap();
        assert_eq!(top.as_slice(), golden.top(), "{case}");
    }
}

#[test]
fn singular_values_and_components() {
    for (name, rule) in RULES {
        each_decomposition(rule, |case, golden, parts| {
            let want = golden.f64("singular_values");
            let error = largest_error(parts.singular_values()[..10].iter().copied(), &want) / want[0];
            let want = golden.f64(&format!("components.{name}"));
            let components = largest_error(parts.maps().iter().copied(), &want) / largest(&want);
            println!(
                "{case} {name}: singular values {error:.1e}, components {components:.1e}, {:?}",
                parts.convergence()
            );
            assert!(error <= SINGULAR_VALUES, "{case} {name}: {error:e}");
            assert!(components <= COMPONENTS, "{case} {name}: {components:e}");
        });
    }
}

#[test]
fn weights_of_every_formula() {
    for case in CASES {
        let golden = Golden::open(case);
        let blurred = golden.f32("score_blurred")[0];
        for (rule, _) in RULES {
            for (name, formula) in FORMULAS {
                let mut weights = [0.0; 10];
                integrate::score_weights(formula, &golden.f32(&format!("scores.{rule}")), blurred, &mut weights)
                    .unwrap();
                let want = golden.f64(&format!("weights.{name}.{rule}"));
                let error = largest_error(weights, &want) / largest(&want).max(1e-30);
                assert!(error <= WEIGHTS, "{case} {name} {rule}: {error:e}");
            }
        }
    }
}

#[test]
fn saliency_at_224() {
    const SIDE: usize = 224;
    for (name, rule) in RULES {
        each_decomposition(rule, |case, golden, parts| {
            let ossms = parts.rectify();
            let side = ossms.positions().isqrt();
            let blurred = golden.f32("score_blurred")[0];
            let scores = golden.f32(&format!("scores.{name}"));
            for (formula_name, formula) in FORMULAS {
                let want: Vec<f64> = if case == "cat7_p100" {
                    golden.f32(&format!("saliency.{formula_name}.{name}")).into_iter().map(f64::from).collect()
                } else if formula == ScoreFormula::V25 && rule == SignRule::LargestLoading {
                    golden.f32("released_code_v25_map").into_iter().map(f64::from).collect()
                } else {
                    continue;
                };
                let mut weights = [0.0; 10];
                integrate::score_weights(formula, &scores, blurred, &mut weights).unwrap();
                let mut small = vec![0.0; side * side];
                integrate::sum(ossms.maps(), &weights, &mut small).unwrap();
                let mut taps = [resample::Tap::default(); SIDE];
                let bicubic = resample::Bicubic::new(side, side, SIDE, &mut taps).unwrap();
                let mut scratch = vec![0.0; resample::scratch_len(side)];
                let mut map = vec![0.0; SIDE * SIDE];
                let mut range = Range::EMPTY;
                for (y, row) in map.chunks_exact_mut(SIDE).enumerate() {
                    bicubic.row(&small, y, &mut scratch, row).unwrap();
                    row.iter_mut().for_each(|v| *v = v.max(0.0));
                    range.include(row);
                }
                range.scale(&mut map);
                let error = largest_error(map, &want);
                println!("{case} {name} {formula_name}: saliency {error:.1e}");
                assert!(error <= SALIENCY, "{case} {name} {formula_name}: {error:e}");
            }
        });
    }
}
