//! The decomposition on every kind of spectrum, against a float64 Jacobi SVD: what must hold whichever way the components were found.

use decomcam_core::{Maps, SignRule, decompose};

/// Bars, relative to the largest singular value s_1: singular values, lengths of components, X X' u - s^2 u (over s_1^3), and products (over s_1^2).
const VALUES: f64 = 2e-6;
const RESIDUAL: f64 = 1e-5;
const PRODUCTS: f64 = 5e-6;

struct Random(u64);

impl Random {
    /// Uniform in 0..1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A vector less its part along another.
fn reflect(a: &mut [Vec<f64>], v: &[f64]) {
    let scale = 2.0 / dot(v, v);
    for row in a {
        let along = scale * dot(row, v);
        row.iter_mut().zip(v).for_each(|(x, v)| *x -= along * v);
    }
}

fn transpose(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// `channels` maps of `positions`, each of mean zero, with these singular values.
fn with_spectrum(channels: usize, positions: usize, values: &[f64], random: &mut Random) -> Vec<Vec<f64>> {
    let mut a = vec![vec![0.0; positions - 1]; channels];
    values.iter().enumerate().for_each(|(k, value)| a[k][k] = *value);
    for _ in 0..4 {
        let v: Vec<f64> = (0..positions - 1).map(|_| random.normal()).collect();
        reflect(&mut a, &v);
        let v: Vec<f64> = (0..channels).map(|_| random.normal()).collect();
        a = transpose(&a);
        reflect(&mut a, &v);
        a = transpose(&a);
    }
    isometric(&a)
}

/// Rows of n - 1 entries as rows of n whose mean is zero, lengths and angles kept.
fn isometric(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let root = (rows[0].len() as f64 + 1.0).sqrt();
    rows.iter()
        .map(|row| {
            let sum: f64 = row.iter().sum();
            row.iter().map(|x| x - sum / (root * (root + 1.0))).chain([-sum / root]).collect()
        })
        .collect()
}

/// Singular values, descending, by one-sided Jacobi.
fn singular_values(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
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

/// The first `q` components of these maps are what they must be.
fn check(name: &str, maps: &[Vec<f64>], q: usize) {
    let (channels, positions) = (maps.len(), maps[0].len());
    let activations: Vec<f32> = maps.concat().iter().map(|x| *x as f32).collect();
    let x: Vec<Vec<f64>> = activations
        .chunks(positions)
        .map(|map| {
            let mean = map.iter().map(|a| f64::from(*a)).sum::<f64>() / positions as f64;
            map.iter().map(|a| f64::from(*a) - mean).collect()
        })
        .collect();
    let want = singular_values(x.clone());

    let view = Maps::chw(&activations, channels, 1, positions).unwrap();
    let all: Vec<u16> = (0..channels as u16).collect();
    let mut workspace = vec![f32::NAN; decompose::workspace_len(positions, channels)];
    let weights = vec![1.0; channels];
    let parts = decompose::decompose(&view, &weights, &all, q, SignRule::Score, &mut workspace).unwrap();
    let scale = want[0].max(f64::MIN_POSITIVE);
    assert_eq!(parts.singular_values().len(), (q + 1).min(channels.min(positions)), "{name}");
    for (k, (got, want)) in parts.singular_values().iter().zip(&want).enumerate() {
        let error = (f64::from(*got) - want).abs() / scale;
        assert!(error <= VALUES, "{name}: value {k} is {got:e}, not {want:e}");
    }
    let norm = want.iter().map(|s| s * s).sum::<f64>().sqrt();
    assert!((f64::from(parts.norm()) - norm).abs() <= 4.0 * VALUES * norm, "{name}: {} is not {norm}", parts.norm());

    let components: Vec<Vec<f64>> = parts.iter().map(|c| c.iter().map(|v| f64::from(*v)).collect()).collect();
    assert_eq!(components.len(), q);
    for (k, (component, s)) in components.iter().zip(&want).enumerate() {
        let length = dot(component, component).sqrt();
        assert!((length - s).abs() <= VALUES * scale, "{name}: component {k} is {length:e} long, not {s:e}");
        let loadings: Vec<f64> = x.iter().map(|map| dot(map, component)).collect();
        let residual: f64 = (0..positions)
            .map(|j| {
                let image: f64 = x.iter().zip(&loadings).map(|(map, loading)| map[j] * loading).sum();
                (image - s * s * component[j]).powi(2)
            })
            .sum();
        let residual = residual.sqrt() / scale.powi(3);
        assert!(residual <= RESIDUAL, "{name}: component {k}: {residual:e}");
        for other in &components[..k] {
            assert!(dot(component, other).abs() <= PRODUCTS * scale * scale, "{name}: component {k}");
        }
    }
}

/// Channels and positions: wide, square and tall; few columns, and numbers around multiples of four and of the block.
const SHAPES: [(usize, usize); 8] = [(1, 2), (5, 3), (3, 17), (12, 13), (13, 13), (33, 26), (20, 33), (70, 12)];

#[test]
fn every_kind_of_spectrum() {
    let mut random = Random(1);
    for (channels, positions) in SHAPES {
        let most = decompose::components_max(positions, channels);
        for q in [1, most.min(10), most] {
            let gap = |k: usize, step: f64| if k < q { 2.0 } else { 2.0 - step };
            let spectra: [(&str, Vec<f64>); 14] = [
                ("decaying slowly", (0..most).map(|k| 1.0 - 0.5 * k as f64 / most as f64).collect()),
                ("decaying fast", (0..most).map(|k| 10f64.powf(-0.5 * k as f64)).collect()),
                ("random", (0..most).map(|_| random.normal().abs()).collect()),
                ("all equal", vec![1.0; most]),
                ("one large", (0..most).map(|k| if k == 0 { 1.0 } else { 1e-3 }).collect()),
                ("one large, last", (0..most).map(|k| if k + 1 == most { 1.0 } else { 1e-3 }).collect()),
                (
                    "rank deficient",
                    (0..most).map(|k| if k < most.div_ceil(2) { 1.0 + k as f64 } else { 0.0 }).collect(),
                ),
                ("rank one", (0..most).map(|k| f64::from(u8::from(k == 0))).collect()),
                ("two clusters", (0..most).map(|k| if k < most / 2 { 2.0 } else { 1.0 }).collect()),
                ("in pairs", (0..most).map(|k| 1.0 + (k / 2) as f64).collect()),
                ("cluster at the end of the wanted", (0..most).map(|k| gap(k, 0.5)).collect()),
                ("nearly equal there", (0..most).map(|k| gap(k, 1e-3 * random.uniform())).collect()),
                ("equal to rounding there", (0..most).map(|k| gap(k, 1e-7 * random.uniform())).collect()),
                ("graded to 1e-12", (0..most).map(|k| 10f64.powf(-12.0 * k as f64 / most as f64)).collect()),
            ];
            for (name, values) in spectra {
                let maps = with_spectrum(channels, positions, &values, &mut random);
                check(&format!("{name}, {channels} x {positions}, Q {q}"), &maps, q);
            }
        }
    }
}

/// Maps that are a bidiagonal matrix already: the reduction leaves them as they are, and its last stage sees entries that no random matrix gives.
#[test]
fn bidiagonal_matrices() {
    let mut random = Random(2);
    for n in [2, 7, 16, 21] {
        for small in [1.0, 1e-3, 1e-7, 0.0] {
            let mut noise = || random.normal();
            let diagonals: [Vec<f64>; 6] = [
                vec![1.0; n],
                (0..n).map(|k| (k as f64 - n as f64 / 2.0).abs()).collect(),
                (0..n).map(|k| (k % 3) as f64).collect(),
                (0..n).map(|k| 1.0 + small * k as f64).collect(),
                (0..n).map(|k| 10f64.powi(-(k as i32 % 7))).collect(),
                (0..n).map(|_| noise()).collect(),
            ];
            for (kind, diagonal) in diagonals.iter().enumerate() {
                let mut rows = vec![vec![0.0; n]; n];
                for k in 0..n {
                    rows[k][k] = diagonal[k];
                    if k > 0 {
                        rows[k][k - 1] = small;
                    }
                }
                for q in [1, n.div_ceil(2), n] {
                    check(&format!("bidiagonal {n}, kind {kind}, below {small:e}, Q {q}"), &isometric(&rows), q);
                }
            }
        }
    }
}

/// What networks give: most values zero, equal maps, positions that never fire, each channel a position of its own.
#[test]
fn sparse_maps() {
    let mut random = Random(3);
    for (channels, positions) in [(40, 25), (100, 16), (9, 30)] {
        let q = decompose::components_max(positions, channels).min(10);
        let sparse: Vec<Vec<f64>> = (0..channels)
            .map(|_| (0..positions).map(|p| if p % 5 == 0 { 0.0 } else { (random.normal() - 0.7).max(0.0) }).collect())
            .collect();
        check("sparse", &sparse, q);
        let equal: Vec<Vec<f64>> = (0..channels).map(|c| sparse[c % 3].clone()).collect();
        check("three maps", &equal, q);
        let hot: Vec<Vec<f64>> =
            (0..channels).map(|c| (0..positions).map(|p| f64::from(u8::from(p == c % positions))).collect()).collect();
        check("one hot", &hot, q);
        let whole: Vec<Vec<f64>> =
            (0..channels).map(|_| (0..positions).map(|_| (3.0 * random.uniform()).floor()).collect()).collect();
        check("small whole numbers", &whole, q);
    }
}

/// Positions that never fire are columns of R that depend on each other exactly: when the empty rows of the factor are used up, what is left of a block is
/// not always rounding, however quiet it is.
#[test]
fn quiet_positions() {
    let mut random = Random(5);
    for quiet in [1e-2, 1e-3, 1e-4] {
        let maps: Vec<Vec<f64>> = (0..64)
            .map(|_| {
                let loud = (0..6).map(|_| random.normal()).collect::<Vec<_>>();
                let rest = (0..12).map(|_| quiet * random.normal()).collect::<Vec<_>>();
                [vec![0.0; 27], loud, rest].concat()
            })
            .collect();
        check(&format!("quiet {quiet:e}"), &maps, 18);
    }
}

/// Few components are found one way and many another: the first ones are the same.
#[test]
fn few_and_many_components_agree() {
    let mut random = Random(4);
    let (channels, positions) = (60, 41);
    let values: Vec<f64> = (0..40).map(|k| 0.9f64.powi(k)).collect();
    let maps: Vec<f32> =
        with_spectrum(channels, positions, &values, &mut random).concat().iter().map(|x| *x as f32).collect();
    let view = Maps::chw(&maps, channels, 1, positions).unwrap();
    let all: Vec<u16> = (0..60).collect();
    let solve = |q: usize| {
        let mut workspace = vec![0.0; decompose::workspace_len(positions, channels)];
        let rule = SignRule::LargestEntry;
        let parts = decompose::decompose(&view, &[1.0; 60], &all, q, rule, &mut workspace).unwrap();
        (parts.maps().to_vec(), parts.singular_values().to_vec(), parts.convergence().sweeps)
    };
    let (many, many_values, many_sweeps) = solve(40);
    assert!(many_sweeps > 4);
    for q in [1, 10, 23] {
        let (few, few_values, sweeps) = solve(q);
        // What is rotated is orthogonal but for rounding: the fast way was taken.
        assert!(sweeps <= 2, "{q}: {sweeps}");
        assert!(few.iter().zip(&many).all(|(a, b)| (a - b).abs() <= 1e-5), "{q}");
        assert!(few_values.iter().zip(&many_values).all(|(a, b)| (a - b).abs() <= 1e-6), "{q}");
    }
}
