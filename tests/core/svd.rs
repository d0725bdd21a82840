//! The Jacobi SVD: properties on random matrices of every size, matrices with known answers, and the cases that other libraries get wrong.

use decomcam_core::Error;
use decomcam_core::svd::{Convergence, orthogonalise, svd};

/// The documented accuracy: this many sqrt(larger side) 2^-23 of the largest singular value.
const C: f64 = 8.0;

fn tolerance(rows: usize, columns: usize) -> f64 {
    C * (rows.max(columns) as f64).sqrt() * f64::from(f32::EPSILON)
}

/// A small generator with a written-down state, so that a failure can be repeated.
struct Random(u64);

impl Random {
    /// Uniform in -1..1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A matrix of columns, the entries as the f32 that the SVD sees.
#[derive(Clone)]
struct Matrix {
    rows: usize,
    columns: Vec<Vec<f32>>,
}

impl Matrix {
    fn from_fn(rows: usize, columns: usize, mut f: impl FnMut(usize, usize) -> f64) -> Self {
        let columns = (0..columns).map(|j| (0..rows).map(|i| f(i, j) as f32).collect()).collect();
        Self { rows, columns }
    }

    /// Q1 diag(values) Q2' with random orthogonal Q1, Q2: reflections applied in f64 from both sides.
    fn with_singular_values(rows: usize, columns: usize, values: &[f64], random: &mut Random) -> Self {
        let mut a = vec![vec![0.0; columns]; rows];
        for (k, value) in values.iter().enumerate() {
            a[k][k] = *value;
        }
        for _ in 0..6 {
            let v: Vec<f64> = (0..rows).map(|_| random.next()).collect();
            let scale = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
            (0..columns).for_each(|j| {
                let along = scale * a.iter().zip(&v).map(|(row, v)| v * row[j]).sum::<f64>();
                a.iter_mut().zip(&v).for_each(|(row, v)| row[j] -= along * v);
            });
            let v: Vec<f64> = (0..columns).map(|_| random.next()).collect();
            let scale = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
            for row in &mut a {
                let along = scale * row.iter().zip(&v).map(|(x, v)| x * v).sum::<f64>();
                row.iter_mut().zip(&v).for_each(|(x, v)| *x -= along * v);
            }
        }
        Self::from_fn(rows, columns, |i, j| a[i][j])
    }

    fn random(rows: usize, columns: usize, random: &mut Random) -> Self {
        Self::from_fn(rows, columns, |_, _| random.next())
    }
}

struct Solved {
    /// U diag(s), column by column.
    scaled: Vec<Vec<f64>>,
    values: Vec<f64>,
    v: Vec<Vec<f64>>,
    convergence: Convergence,
}

fn solve(matrix: &Matrix) -> Solved {
    let n = matrix.columns.len();
    let mut columns = matrix.columns.concat();
    let mut values = vec![0.0; n];
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|k| v[k * n + k] = 1.0);
    let convergence = orthogonalise(&mut columns, matrix.rows, &mut values, Some((&mut v, n))).unwrap();
    let widen = |data: &[f32], len| data.chunks(len).map(|c| c.iter().map(|x| f64::from(*x)).collect()).collect();
    Solved {
        scaled: widen(&columns, matrix.rows),
        values: values.iter().map(|x| f64::from(*x)).collect(),
        v: widen(&v, n),
        convergence,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Reconstruction, orthonormality, order and convergence; returns the singular values.
fn check(name: &str, matrix: &Matrix) -> Vec<f64> {
    let (rows, n) = (matrix.rows, matrix.columns.len());
    let solved = solve(matrix);
    let tolerance = tolerance(rows, n);
    let largest = solved.values[0];
    assert!(solved.convergence.converged, "{name}: {:?}", solved.convergence);
    assert!(
        solved.values.windows(2).all(|w| w[0] >= w[1]) && solved.values[n - 1] >= 0.0,
        "{name}: order {:?}",
        solved.values
    );
    assert!(solved.values.iter().skip(rows).all(|v| *v <= tolerance * largest), "{name}: rank above {rows}");
    for j in 0..n {
        for i in 0..rows {
            let rebuilt: f64 = (0..n).map(|k| solved.scaled[k][i] * solved.v[k][j]).sum();
            let error = (rebuilt - f64::from(matrix.columns[j][i])).abs();
            assert!(error <= tolerance * largest, "{name}: entry ({i}, {j}) off by {error:e} of {largest:e}");
        }
        for k in 0..n {
            let want = f64::from(u8::from(j == k));
            let error = (dot(&solved.v[j], &solved.v[k]) - want).abs();
            assert!(error <= tolerance, "{name}: V'V ({j}, {k}) off by {error:e}");
            let want = if j == k { solved.values[j].powi(2) } else { 0.0 };
            let error = (dot(&solved.scaled[j], &solved.scaled[k]) - want).abs();
            // Vectors beyond the dimension, or below the documented 2^-96, are rounding and have no direction to keep.
            let noise = largest * if j.max(k) >= rows { tolerance * largest } else { largest * 2f64.powi(-96) };
            assert!(
                error <= tolerance * solved.values[j] * solved.values[k] + noise,
                "{name}: columns {j}, {k} not orthogonal, {error:e}"
            );
        }
    }
    solved.values
}

fn check_values(name: &str, matrix: &Matrix, want: &[f64]) {
    let got = check(name, matrix);
    let tolerance = tolerance(matrix.rows, matrix.columns.len()) * want[0];
    for (k, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{name}: value {k} is {got:e}, not {want:e}");
    }
}

#[test]
fn random_matrices_of_every_size_to_64() {
    let mut random = Random(1);
    for n in 1..=64 {
        check(&format!("{n} x {n}"), &Matrix::random(n, n, &mut random));
    }
    for (rows, columns) in [(1, 7), (7, 1), (2, 64), (64, 2), (49, 100), (100, 49), (13, 31), (64, 63)] {
        check(&format!("{rows} x {columns}"), &Matrix::random(rows, columns, &mut random));
    }
}

#[test]
fn known_spectra() {
    let mut random = Random(2);
    for n in [2, 3, 8, 17, 33, 49] {
        let spectra: [(&str, Vec<f64>); 5] = [
            ("linear", (0..n).map(|k| (n - k) as f64).collect()),
            ("repeated", (0..n).map(|k| if k < n / 2 { 2.0 } else { 1.0 }).collect()),
            ("all equal", vec![3.0; n]),
            ("geometric", (0..n).map(|k| 10f64.powf(-6.0 * k as f64 / n as f64)).collect()),
            ("rank one", (0..n).map(|k| f64::from(u8::from(k == 0))).collect()),
        ];
        for (name, values) in spectra {
            let matrix = Matrix::with_singular_values(n + 5, n, &values, &mut random);
            check_values(&format!("{name} {n}"), &matrix, &values);
        }
    }
}

#[test]
fn hilbert_matrix() {
    // numpy 2.1, float64: np.linalg.svd(1 / (np.add.outer(range(8), range(8)) + 1.), compute_uv=False)
    let want = [
        1.6959389969219498,
        0.2981252113169307,
        0.02621284357811905,
        0.0014676811774186,
        5.4369433697e-05,
        1.294332091e-06,
    ];
    check_values("Hilbert", &Matrix::from_fn(8, 8, |i, j| 1.0 / (i + j + 1) as f64), &want);
}

#[test]
fn kahan_matrix() {
    // Upper triangular, graded rows: determinant (product of singular values) is the product of the diagonal.
    let (s, c) = (0.6_f64.sin(), 0.6_f64.cos());
    let n = 12;
    let matrix = Matrix::from_fn(n, n, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Equal => s.powi(i as i32),
        std::cmp::Ordering::Less => -c * s.powi(i as i32),
        std::cmp::Ordering::Greater => 0.0,
    });
    let got: f64 = check("Kahan", &matrix).iter().map(|v| v.ln()).sum();
    let want: f64 = (0..n).map(|k| f64::from(matrix.columns[k][k]).ln()).sum();
    assert!((got - want).abs() < 1e-3, "{got} {want}");
}

#[test]
fn graded_columns_keep_relative_accuracy() {
    // Orthogonal columns of very different length: bidiagonalisation in f32 would lose all below 1e-7.
    let mut random = Random(3);
    let orthogonal = Matrix::with_singular_values(9, 6, &[1.0; 6], &mut random);
    let scales = [1.0, 1e-5, 1e-10, 1e-15, 1e-20, 1e-25];
    let matrix = Matrix::from_fn(9, 6, |i, j| f64::from(orthogonal.columns[j][i]) * scales[j]);
    for (got, want) in check("graded", &matrix).iter().zip(scales) {
        assert!((got / want - 1.0).abs() < 1e-5, "{got:e} is not {want:e}");
    }
}

#[test]
fn huge_and_tiny_scales() {
    let mut random = Random(4);
    let matrix = Matrix::random(6, 4, &mut random);
    let plain = solve(&matrix).values;
    for scale in [2f64.powi(-130), 2f64.powi(-100), 2f64.powi(-64), 2f64.powi(64), 2f64.powi(120)] {
        let scaled = Matrix::from_fn(6, 4, |i, j| f64::from(matrix.columns[j][i]) * scale);
        for (got, want) in solve(&scaled).values.iter().zip(&plain) {
            // At 2^-130 the entries themselves are subnormal and have 16 bits left.
            let limit = if scale < 2f64.powi(-126) { 1e-4 } else { 1e-6 };
            assert!((got / scale / want - 1.0).abs() < limit, "scale {scale:e}: {got:e} {want:e}");
        }
    }
}

/// nalgebra issue 1172: 231 of these 841 shapes were wrong there.
#[test]
fn all_ones_of_every_shape() {
    for rows in 2..=30 {
        for columns in 2..=30 {
            let mut want = vec![0.0; columns];
            want[0] = ((rows * columns) as f64).sqrt();
            check_values(&format!("ones {rows} x {columns}"), &Matrix::from_fn(rows, columns, |_, _| 1.0), &want);
        }
    }
}

/// nalgebra issues 983, 1368 and 1612: small and nearly diagonal matrices.
#[test]
fn small_and_nearly_diagonal() {
    check_values("identity", &Matrix::from_fn(4, 4, |i, j| f64::from(u8::from(i == j))), &[1.0; 4]);
    check_values("exchange", &Matrix::from_fn(2, 2, |i, j| f64::from(u8::from(i != j))), &[1.0; 2]);
    check_values("nilpotent", &Matrix::from_fn(2, 2, |i, j| f64::from(u8::from((i, j) == (0, 1)))), &[1.0, 0.0]);
    check_values("minus one", &Matrix::from_fn(1, 1, |_, _| -1.0), &[1.0]);
    for tiny in [1e-3, 1e-7, 1e-9, 1e-20, 1e-38] {
        let nearly = Matrix::from_fn(3, 3, |i, j| if i == j { 1.0 } else { tiny });
        check_values("near identity", &nearly, &[1.0 + 2.0 * tiny, 1.0 - tiny, 1.0 - tiny]);
    }
    let zero = check("zero", &Matrix::from_fn(5, 3, |_, _| 0.0));
    assert_eq!(zero, [0.0; 3]);
}

#[test]
fn fixed_size_interface() {
    let mut random = Random(5);
    fn one<const M: usize, const N: usize>(random: &mut Random, rank: usize) {
        let values: Vec<f64> = (0..rank).map(|k| 1.0 / (k + 1) as f64).collect();
        let matrix = Matrix::with_singular_values(M, N, &values, random);
        let mut a = [[0.0; N]; M];
        (0..M).for_each(|i| (0..N).for_each(|j| a[i][j] = matrix.columns[j][i]));
        let solved = svd(&a).unwrap();
        let tolerance = tolerance(M, N);
        for (i, row) in a.iter().enumerate() {
            for (j, entry) in row.iter().enumerate() {
                let rebuilt: f64 = (0..N)
                    .map(|k| {
                        f64::from(solved.u[k][i]) * f64::from(solved.singular_values[k]) * f64::from(solved.v[k][j])
                    })
                    .sum();
                assert!((rebuilt - f64::from(*entry)).abs() <= tolerance, "{M} x {N} rank {rank}");
            }
        }
        // U is orthonormal also where the singular value is zero.
        for p in 0..M.min(N) {
            for q in 0..M.min(N) {
                let product: f64 = (0..M).map(|i| f64::from(solved.u[p][i]) * f64::from(solved.u[q][i])).sum();
                let want = f64::from(u8::from(p == q));
                let near = solved.singular_values[p].min(solved.singular_values[q]) < 1e-5;
                let limit = if near { 0.05 } else { tolerance * 4.0 };
                assert!((product - want).abs() <= limit, "{M} x {N} rank {rank}: U'U ({p}, {q}) is {product}");
            }
        }
        assert!(solved.singular_values[M.min(N)..].iter().all(|v| *v == 0.0));
    }
    one::<3, 3>(&mut random, 3);
    one::<5, 2>(&mut random, 2);
    one::<2, 5>(&mut random, 2);
    one::<4, 4>(&mut random, 1);
    one::<49, 10>(&mut random, 10);
    let zero = svd(&[[0.0; 3]; 4]).unwrap();
    assert_eq!(zero.singular_values, [0.0; 3]);
    assert_eq!(zero.u[1][1], 1.0);
}

/// Found by fuzzing: two columns whose cosine stays at the rounding of its own sum, above sqrt(rows) 2^-23, however often they are rotated.
#[test]
fn rounding_of_a_cosine_is_not_rotated_for_ever() {
    let sparse = |entries: &[(usize, f64)], rest: f64| {
        let mut column = [rest; 25];
        entries.iter().for_each(|(row, value)| column[*row] = *value);
        column
    };
    let columns = [
        sparse(
            &[
                (0, -4.535901e27),
                (1, 7.952554e26),
                (3, -7.952553e26),
                (4, -1.5021489e27),
                (5, -1.5021489e27),
                (6, -1.5021489e27),
                (7, -3.1515675e27),
            ],
            6.774398e26,
        ),
        sparse(
            &[
                (0, -40444.92),
                (1, -40444.92),
                (2, 16417.08),
                (4, -114073.92),
                (5, -40444.92),
                (6, -40444.92),
                (7, 16417.08),
            ],
            13501.08,
        ),
        sparse(
            &[
                (0, -40415.76),
                (1, -40415.76),
                (2, 16446.24),
                (4, -114773.76),
                (5, -40415.76),
                (6, -40415.76),
                (7, 16446.24),
            ],
            13530.24,
        ),
        sparse(
            &[
                (0, -45518.758),
                (1, -45518.758),
                (2, 64560.242),
                (4, -45518.758),
                (5, -45518.758),
                (6, -45518.758),
                (7, 11343.24),
            ],
            8427.24,
        ),
        sparse(
            &[
                (0, -117631.44),
                (1, -42544.44),
                (2, 68263.56),
                (4, -42544.44),
                (5, -42544.44),
                (6, -42544.44),
                (7, 14317.56),
            ],
            11401.56,
        ),
        sparse(
            &[(0, -4801.68), (1, 1516.32), (3, -2857.68), (4, -4801.68), (5, -13144.68), (6, -4801.68), (7, 7429.32)],
            1192.32,
        ),
        sparse(
            &[(0, -5057.64), (1, 1260.36), (3, -3113.6401), (4, -5057.64), (5, -13400.64), (6, 1260.36), (7, 7254.36)],
            936.36,
        ),
        sparse(
            &[(0, -5057.64), (1, 1260.36), (3, -3113.6401), (4, -5057.64), (5, -13400.64), (6, 1260.36), (7, 7254.36)],
            936.36,
        ),
        sparse(
            &[
                (0, -5025.2397),
                (1, 1292.76),
                (3, -12234.24),
                (4, -5025.2397),
                (5, -5025.2397),
                (6, 1292.76),
                (24, 7286.7603),
            ],
            968.7601,
        ),
        sparse(
            &[(0, -4325.4), (1, 1992.6001), (3, -10967.4), (4, -4325.4), (5, -4325.4), (6, 1992.6001), (24, -10076.4)],
            1668.6001,
        ),
    ];
    let matrix = Matrix::from_fn(25, 10, |i, j| columns[j][i]);
    assert!(solve(&matrix).convergence.converged);
}

/// Found by fuzzing: entries in range whose singular value is not.
#[test]
fn a_singular_value_beyond_the_range_is_an_error() {
    let mut columns = [f32::MAX; 4];
    assert_eq!(orthogonalise(&mut columns, 2, &mut [0.0; 2], None), Err(Error::NonFinite));
    assert_eq!(svd(&[[f32::MAX; 2]; 2]).unwrap_err(), Error::NonFinite);
}

#[test]
fn bad_input_is_refused_untouched() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut columns = [1.0, 2.0, bad, 4.0];
        let mut values = [7.0; 2];
        assert_eq!(orthogonalise(&mut columns, 2, &mut values, None), Err(Error::NonFinite));
        assert_eq!((columns[0], columns[3], values), (1.0, 4.0, [7.0; 2]));
        assert_eq!(svd(&[[1.0, bad]]).unwrap_err(), Error::NonFinite);
    }
    let mut columns = [1.0; 4];
    assert_eq!(orthogonalise(&mut columns, 3, &mut [0.0; 2], None), Err(Error::Shape));
    assert_eq!(orthogonalise(&mut columns, 0, &mut [0.0; 2], None), Err(Error::Shape));
    assert_eq!(orthogonalise(&mut [], 2, &mut [], None), Err(Error::Shape));
    assert_eq!(orthogonalise(&mut columns, 2, &mut [0.0; 2], Some((&mut [0.0; 3], 2))), Err(Error::Shape));
    assert_eq!(orthogonalise(&mut columns, 2, &mut [0.0; 2], Some((&mut [], 0))), Err(Error::Shape));
    assert_eq!(columns, [1.0; 4]);
}

/// Issue 11, point 3: a wide matrix took the time of the square of its columns (8 x 64: 52 times its transpose).
#[test]
fn a_wide_matrix_is_the_transpose_of_a_tall_one() {
    let mut random = Random(77);
    let tall: [[f32; 8]; 64] = std::array::from_fn(|_| std::array::from_fn(|_| random.next() as f32));
    let wide: [[f32; 64]; 8] = std::array::from_fn(|i| std::array::from_fn(|j| tall[j][i]));
    let (of_tall, of_wide) = (svd(&tall).unwrap(), svd(&wide).unwrap());
    // The same rotations of the same vectors: the same bits, and the same time.
    assert_eq!(of_wide.singular_values[..8], of_tall.singular_values);
    assert_eq!(of_wide.singular_values[8..], [0.0; 56]);
    assert_eq!(of_wide.v[..8], of_tall.u);
    assert_eq!(of_wide.u[..8], of_tall.v);
    assert_eq!(of_wide.u[8..], [[0.0; 8]; 56]);
    assert_eq!(of_wide.convergence, of_tall.convergence);
    // The rest of V is completed.
    orthonormal(&of_wide.v);
}

fn orthonormal<const N: usize>(vectors: &[[f32; N]]) {
    let wide: Vec<Vec<f64>> = vectors.iter().map(|v| v.iter().map(|x| f64::from(*x)).collect()).collect();
    for (j, a) in wide.iter().enumerate() {
        for (k, b) in wide[..=j].iter().enumerate() {
            let error = (dot(a, b) - f64::from(u8::from(j == k))).abs();
            assert!(error <= tolerance(N, vectors.len()), "{j}, {k}: {error:e}");
        }
    }
}

/// Issue 11, point 3: divided by a length that had lost its digits, U was off by 0.11.
#[test]
fn singular_vectors_of_subnormal_matrices_are_orthonormal() {
    for unit in [1e-44, 1e-42, 1e-39, 1e-30, 1.0, 8e37] {
        let matrix = [[3.0, 1.0, 0.0], [1.0, 2.0, 1.0]].map(|row: [f32; 3]| row.map(|x| x * unit));
        let found = svd(&matrix).unwrap();
        orthonormal(&found.u[..2]);
        orthonormal(&found.v);
        let transposed: [[f32; 2]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| matrix[j][i]));
        let found = svd(&transposed).unwrap();
        orthonormal(&found.u);
        orthonormal(&found.v);
    }
    // Nothing at all: any basis will do.
    let zero = svd(&[[0.0; 5]; 3]).unwrap();
    assert_eq!(zero.singular_values, [0.0; 5]);
    orthonormal(&zero.u[..3]);
    orthonormal(&zero.v);
    let one = svd(&[[0.0, 2.0, 0.0, 0.0]; 4]).unwrap();
    assert_eq!(one.singular_values, [4.0, 0.0, 0.0, 0.0]);
    orthonormal(&one.u);
    orthonormal(&one.v);
}

/// Clusters of singular values that agree but for their last digits: within what LAPACK leaves, in units of sqrt(n) 2^-23 (sgesdd 0.74, sgejsv 0.69,
/// `tests/bench/lapack.py`). They are off by 1.5 where pairs are turned only above sqrt(n) 2^-23. The numbers of rotations are those of the last sweep.
#[test]
fn clusters_are_turned_to_the_end() {
    let mut random = Random(11);
    let mut rotations = 0;
    for n in [8, 8, 16, 16, 16, 32, 32, 32, 64] {
        let values: Vec<f64> = (0..n).rev().map(|k| 1.0 + k as f64 * f64::from(f32::EPSILON)).collect();
        let matrix = Matrix::with_singular_values(n, n, &values, &mut random);
        let solved = solve(&matrix);
        // The entries are rounded, by a matrix of norm 2 sqrt(n) 2^-24 / sqrt(12) at random: a fifth of the unit.
        let unit = (n as f64).sqrt() * f64::from(f32::EPSILON);
        let worst = solved.values.iter().zip(&values).fold(0.0_f64, |worst, (got, want)| worst.max((got - want).abs()));
        assert!(worst <= 0.75 * unit, "{n}: {} units", worst / unit);
        assert!(solved.convergence.rotations as usize <= n * (n - 1) / 2);
        rotations += solved.convergence.rotations;
    }
    assert!(rotations > 0);
}
