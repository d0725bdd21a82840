//! The core's decomposition against nalgebra's and faer's, one thread, f32: `cargo bench --manifest-path tests/bench/Cargo.toml`.
//!
//! Every contender starts from the same activations, weights and channels and ends with the first ten singular values and components (U s): gather,
//! weigh, centre, decompose. First a table: the contenders in turn, round after round, so that a busy machine hits all alike; the least time of each and
//! its errors against float64. Then criterion's statistics of the same functions.

use criterion::{BatchSize, Criterion};
use decomcam_core::{Maps, SignRule, decompose};
use faer::linalg::solvers::{SelfAdjointEigen, Svd};
use faer::{Mat, Par};
use nalgebra::DMatrix;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Components wanted.
const Q: usize = 10;
/// Time for one case of the table.
const ROUNDS: Duration = Duration::from_secs(2);

/// Activations of one layer, channels x height x width, all of whose channels are selected.
struct Case {
    name: String,
    shape: [usize; 3],
    activations: Vec<f32>,
    weights: Vec<f32>,
    channels: Vec<u16>,
}

/// The first singular values, and the components one after the other.
type Answer = (Vec<f64>, Vec<f64>);

impl Case {
    /// Like a trained network's: ReLU of a few smooth directions and noise, most of it zero, channels of very different strength.
    fn random(side: usize, channels: usize) -> Self {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let positions = side * side;
        const DIRECTIONS: usize = 12;
        let maps: Vec<Vec<f64>> = (0..DIRECTIONS)
            .map(|k| {
                let (y, x, phase) = (normal(), normal(), normal());
                let wave = |p: usize| (y * (p / side) as f64 + x * (p % side) as f64 + phase).sin();
                (0..positions).map(|p| wave(p) * 1.5 / (1.0 + k as f64).sqrt()).collect()
            })
            .collect();
        let mut activations = Vec::new();
        for _ in 0..channels {
            let strength = (0.8 * normal()).exp();
            let mix: Vec<f64> = (0..DIRECTIONS).map(|_| normal()).collect();
            for p in 0..positions {
                let value = mix.iter().zip(&maps).map(|(m, map)| m * map[p]).sum::<f64>() + 0.7 * normal() - 0.5;
                activations.push((strength * value.max(0.0)) as f32);
            }
        }
        let weights = (0..channels).map(|_| (0.01 * (0.5 * normal()).exp()) as f32).collect();
        let name = format!("{positions}x{channels}");
        Self { name, shape: [channels, side, side], activations, weights, channels: (0..channels as u16).collect() }
    }

    /// Real activations of EfficientNet-Lite0, see `tests/golden/README.md`.
    fn golden(name: &str) -> Self {
        let path = format!("{}/../golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let file = safetensors::SafeTensors::deserialize(&file).unwrap();
        let floats = |tensor: &str| -> Vec<f32> {
            file.tensor(tensor).unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let shape = file.tensor("activations").unwrap().shape().try_into().unwrap();
        let weights = file.tensor("channel_weights").unwrap();
        let weights = weights.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect();
        let top = file.tensor("top_channels").unwrap();
        let channels = top.data().as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as u16).collect();
        Self { name: name.into(), shape, activations: floats("activations"), weights, channels }
    }

    fn positions(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// Weighted activation of a selected channel at a position.
    fn entry(&self, position: usize, selected: usize) -> f32 {
        let channel = usize::from(self.channels[selected]);
        self.weights[channel] * self.activations[channel * self.positions() + position]
    }
}

fn core(case: &Case) -> Answer {
    let [c, h, w] = case.shape;
    let maps = Maps::chw(&case.activations, c, h, w).unwrap();
    let mut workspace = vec![0.0; decompose::workspace_len(h * w, case.channels.len())];
    let sign = SignRule::LargestEntry;
    let parts = decompose::decompose(&maps, &case.weights, &case.channels, Q, sign, &mut workspace).unwrap();
    let widen = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect();
    (widen(&parts.singular_values()[..Q]), widen(parts.maps()))
}

fn nalgebra(case: &Case) -> Answer {
    let mut x = DMatrix::from_fn(case.positions(), case.channels.len(), |p, c| case.entry(p, c));
    for mut column in x.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let svd = x.svd(true, false);
    let u = svd.u.unwrap();
    let s = &svd.singular_values;
    let component = |q: usize| (u.column(q) * s[q]).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    (s.iter().take(Q).map(|v| f64::from(*v)).collect(), (0..Q).flat_map(component).collect())
}

fn faer_matrix(case: &Case) -> Mat<f32> {
    let n = case.positions();
    let mean = |c: usize| (0..n).map(|p| case.entry(p, c)).sum::<f32>() / n as f32;
    let means: Vec<f32> = (0..case.channels.len()).map(mean).collect();
    Mat::from_fn(n, case.channels.len(), |p, c| case.entry(p, c) - means[c])
}

fn faer_svd(case: &Case) -> Answer {
    let svd = Svd::new_thin(faer_matrix(case).as_ref()).unwrap();
    let s: Vec<f64> = svd.S().column_vector().iter().take(Q).map(|v| f64::from(*v)).collect();
    let component = |q: usize| svd.U().col(q).iter().map(|v| f64::from(*v) * s[q]).collect::<Vec<f64>>();
    let components = (0..Q).flat_map(component).collect();
    (s, components)
}

/// X X' = U diag(s^2) U': half the digits of the small ones are lost.
fn faer_gram(case: &Case) -> Answer {
    let x = faer_matrix(case);
    let eigen = SelfAdjointEigen::new((&x * x.transpose()).as_ref(), faer::Side::Lower).unwrap();
    let last = case.positions() - 1;
    let s: Vec<f64> = (0..Q).map(|q| f64::from(eigen.S()[last - q].max(0.0).sqrt())).collect();
    let component = |q: usize| eigen.U().col(last - q).iter().map(|v| f64::from(*v) * s[q]).collect::<Vec<f64>>();
    let components = (0..Q).flat_map(component).collect();
    (s, components)
}

fn truth(case: &Case) -> Answer {
    let n = case.positions();
    let entry = |p: usize, c: usize| {
        let channel = usize::from(case.channels[c]);
        f64::from(case.weights[channel]) * f64::from(case.activations[channel * n + p])
    };
    let mean = |c: usize| (0..n).map(|p| entry(p, c)).sum::<f64>() / n as f64;
    let means: Vec<f64> = (0..case.channels.len()).map(mean).collect();
    let svd = Svd::new_thin(Mat::from_fn(n, means.len(), |p, c| entry(p, c) - means[c]).as_ref()).unwrap();
    let s: Vec<f64> = svd.S().column_vector().iter().take(Q).copied().collect();
    let component = |q: usize| svd.U().col(q).iter().map(|v| v * s[q]).collect::<Vec<f64>>();
    let components = (0..Q).flat_map(component).collect();
    (s, components)
}

/// Errors of values relative to the largest, and of components relative to the largest entry, signs aligned.
fn errors(answer: &Answer, truth: &Answer, positions: usize) -> (f64, f64) {
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
    let components = answer.1.chunks(positions).zip(truth.1.chunks(positions)).map(|(a, b)| {
        let turned: Vec<f64> = a.iter().map(|v| -v).collect();
        distance(a, b).min(distance(&turned, b))
    });
    let worst = components.fold(0.0, f64::max);
    (distance(&answer.0, &truth.0) / largest(&truth.0), worst / largest(&truth.1))
}

type Contender = (&'static str, fn(&Case) -> Answer);
const CONTENDERS: [Contender; 4] =
    [("decomcam", core), ("nalgebra svd", nalgebra), ("faer svd", faer_svd), ("faer X X' eigen", faer_gram)];

/// faer's matrix product leaves values in the upper halves of the vector registers. On this project's machines (Zen 4) that makes SSE code, whoever's,
/// 2.5 times slower until they are cleared.
fn clean_registers() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the processor has AVX.
        unsafe { std::arch::x86_64::_mm256_zeroupper() };
    }
}

fn table(case: &Case) {
    let truth = truth(case);
    let mut least = [Duration::MAX; CONTENDERS.len()];
    let start = Instant::now();
    while start.elapsed() < ROUNDS {
        for ((_, solve), least) in CONTENDERS.iter().zip(&mut least) {
            clean_registers();
            let begin = Instant::now();
            black_box(solve(black_box(case)));
            *least = begin.elapsed().min(*least);
        }
    }
    for ((name, solve), time) in CONTENDERS.iter().zip(least) {
        let (values, components) = errors(&solve(case), &truth, case.positions());
        let (time, ours) = (time.as_secs_f64() * 1e3, least[0].as_secs_f64() * 1e3);
        let case = &case.name;
        println!("{case:>10}  {name:<16} {time:8.3} ms  x {:6.2}  s {values:.1e}  (U s) {components:.1e}", time / ours);
    }
}

fn main() {
    faer::set_global_parallelism(Par::Seq);
    let mut cases: Vec<Case> =
        [(7, 100), (7, 500), (9, 500), (14, 100), (14, 500)].map(|(side, c)| Case::random(side, c)).into();
    cases.extend(["cat7_p100", "dog7_p500", "cat14_p100"].map(Case::golden));
    cases.iter().for_each(table);
    let mut criterion = Criterion::default().configure_from_args();
    for case in &cases {
        let mut group = criterion.benchmark_group(&case.name);
        for (name, solve) in CONTENDERS {
            group.bench_function(name, |b| {
                b.iter_batched(clean_registers, |()| solve(black_box(case)), BatchSize::PerIteration)
            });
        }
    }
    criterion.final_summary();
}
