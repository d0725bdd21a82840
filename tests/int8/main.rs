//! The crate's own tests: rounding by its definition, plans that do not fit together, kernels by their definition. `tests/host/tflite.rs` holds every operator to
//! TensorFlow Lite Micro.

mod int16;

use decomcam_int8::fixed::{Multiplier, shifted_right};
use decomcam_int8::tables::{self, Quantised};
use decomcam_int8::{Bilinear, Convolution, Fault, Mean, Move, Nearest, Network, Operator, Place, Pool, Softmax, Work};

/// Numbers that are the same everywhere.
fn noise() -> impl FnMut() -> i64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 24) as i64
    }
}

#[test]
fn multipliers_are_the_nearest_to_a_real_number() {
    for (real, value, shift) in [
        (1.0, 1 << 30, 1),
        (0.5, 1 << 30, 0),
        (0.75, 3 << 29, 0),
        (-0.75, -(3 << 29), 0),
        // Rounds up to a power of two.
        (1.0 - 1e-12, 1 << 30, 1),
        (2f64.powi(-32), 1 << 30, -31),
        (2f64.powi(-33), 0, 0),
        (0.0, 0, 0),
        (1.9 * 2f64.powi(29), 2_040_109_466, 30),
    ] {
        assert_eq!(Multiplier::of(real), Some(Multiplier { value, shift }), "{real}");
    }
    for real in [2f64.powi(30), f64::INFINITY, f64::NAN] {
        assert_eq!(Multiplier::of(real), None, "{real}");
    }
}

/// Both roundings by their definition: half up after the product, half away from zero after the shift.
#[test]
fn products_are_rounded_twice() {
    let mut noise = noise();
    for _ in 0..20_000 {
        let (x, real) = (
            (noise() as i32) >> (noise() & 15),
            2f64.powi(-((noise() & 15) as i32)) * (1.0 + (noise() & 0xffff) as f64 / 65536.0),
        );
        let multiplier = Multiplier::of(real / 2.0).unwrap();
        let left = multiplier.shift.max(0);
        // Beyond these the shift to the left overflows, as it does in the reference.
        if i64::from(x) << left != i64::from(x << left) {
            continue;
        }
        let exact = i64::from(x << left) * i64::from(multiplier.value);
        let high = (exact + (1 << 30)).div_euclid(1 << 31);
        let right = (-multiplier.shift).max(0);
        let expected = (high.abs() as f64 / 2f64.powi(right) + 0.5).floor() as i64 * high.signum();
        assert_eq!(i64::from(multiplier.times(x)), expected, "{x} times {real}");
    }
    for (x, by, expected) in
        [(5, 1, 3), (-5, 1, -3), (6, 2, 2), (-6, 2, -2), (i32::MIN, 31, -1), (i32::MAX, 31, 1), (7, 0, 7)]
    {
        assert_eq!(shifted_right(x, by), expected);
    }
}

#[test]
fn functions_are_near_the_real_ones() {
    let steps = Quantised { scale: 0.05, zero_point: -10 };
    let real = |q: i32| f64::from(q + 10) * f64::from(0.05f32);
    let (logistic, tanh) = (tables::logistic(steps).unwrap(), tables::tanh(steps).unwrap());
    let to = Quantised { scale: 0.03, zero_point: -100 };
    let swish = tables::hard_swish(steps, to).unwrap();
    for q in -128..=127 {
        let (x, at) = (real(q), (q + 128) as usize);
        let near = |found: i8, expected: f64, levels: f64| {
            let expected = expected.clamp(-128.0, 127.0);
            assert!((f64::from(found) - expected).abs() <= levels, "{x}: {found} instead of {expected}");
        };
        // Half a level for the rounding, and what the approximations are off by.
        near(logistic[at], 256.0 / (1.0 + (-x).exp()) - 128.0, 0.6);
        near(tanh[at], 128.0 * x.tanh(), 0.6);
        near(swish[at], x * (x + 3.0).clamp(0.0, 6.0) / 6.0 / 0.03 - 100.0, 1.0);
    }
}

const POINT: Convolution<'static> = Convolution {
    batch: 1,
    input: [2, 2, 2],
    output: [2, 2, 1],
    window: [1, 1],
    stride: [1, 1],
    dilation: [1, 1],
    padding: [0, 0],
    zero: 0,
    weights_zero: 0,
    output_zero: 0,
    low: -128,
    high: 127,
    weights: &[1, 2],
    bias: &[],
    multipliers: &[1 << 30],
    shifts: &[1],
};

fn network_of(work: Work) -> Result<(), Fault> {
    let operators = [Operator { inputs: [Place::Arena(0), Place::NONE], output: 100, work }];
    Network::new(&operators, 200).map(|network| network.run(&mut [0; 200]).unwrap())
}

#[test]
fn a_plan_that_does_not_fit_together_is_refused() {
    network_of(Work::Convolution(POINT)).unwrap();
    let broken = [
        Convolution { weights: &[1, 2, 3], ..POINT },
        Convolution { weights: &[], ..POINT },
        Convolution { bias: &[1, 2], ..POINT },
        Convolution { multipliers: &[1, 2], ..POINT },
        Convolution { shifts: &[31], ..POINT },
        Convolution { shifts: &[], multipliers: &[], ..POINT },
        Convolution { stride: [0, 1], ..POINT },
        Convolution { dilation: [1, 0], ..POINT },
        Convolution { window: [0, 1], ..POINT },
        Convolution { output: [2, usize::MAX, 1], ..POINT },
        Convolution { input: [0, 2, 2], ..POINT },
        Convolution { padding: [usize::MAX, 0], ..POINT },
        Convolution { zero: 128, ..POINT },
        Convolution { weights_zero: -129, ..POINT },
        Convolution { low: 3, high: 2, ..POINT },
    ];
    for (at, work) in broken.into_iter().enumerate() {
        assert_eq!(network_of(Work::Convolution(work)), Err(Fault::Operator(0)), "{at}");
    }
    let pool = Pool {
        batch: 1,
        input: [2, 2, 1],
        output: [1, 1],
        window: [2, 2],
        stride: [1, 1],
        padding: [0, 0],
        lift: 0,
        low: -128,
        high: 127,
    };
    network_of(Work::MaxPool(pool)).unwrap();
    let mean = Mean { shape: [1, 2, 3], zero: 0, output_zero: 0, multiplier: Multiplier::ZERO };
    network_of(Work::Mean(mean)).unwrap();
    let copy = Move {
        shape: [1, 1, 1, 1, 2, 2],
        from: 3,
        from_strides: [0, 0, 0, 0, -2, -1],
        to: 0,
        to_strides: [0, 0, 0, 0, 2, 1],
    };
    network_of(Work::Move(copy)).unwrap();
    let nearest = Nearest { batch: 1, input: [2, 2, 1], rows: &[0, 1], columns: &[1] };
    network_of(Work::Nearest(nearest)).unwrap();
    for work in [
        Work::AveragePool(Pool { window: [1 << 20, 1 << 20], ..pool }),
        Work::MaxPool(Pool { stride: [0, 1], ..pool }),
        Work::AveragePool(Pool { lift: 129, ..pool }),
        Work::Mean(Mean { shape: [1, 0, 3], ..mean }),
        Work::Mean(Mean { multiplier: Multiplier { value: 1, shift: 31 }, ..mean }),
        Work::Move(Move { from: 2, ..copy }),
        Work::Move(Move { shape: [1, 1, 1, 1, 0, 2], ..copy }),
        Work::Move(Move { to_strides: [0, 0, 0, 0, usize::MAX, 1], ..copy }),
        Work::Nearest(Nearest { rows: &[2], ..nearest }),
        Work::Nearest(Nearest { columns: &[-1], ..nearest }),
        Work::Nearest(Nearest { rows: &[], ..nearest }),
        Work::Bilinear(Bilinear {
            batch: 1,
            input: [2, 2, 1],
            output: [1 << 20, 1],
            align_corners: false,
            half_pixels: false,
        }),
        // 5 x 1024 / 1035 is rounded up, so that the last place is 1034 x 5 / 1024 = 5.05.
        Work::Bilinear(Bilinear {
            batch: 1,
            input: [5, 1, 1],
            output: [1035, 1],
            align_corners: false,
            half_pixels: false,
        }),
        Work::Softmax(Softmax { rows: 1, length: 2, multiplier: Multiplier { value: 1 << 30, shift: -1 }, least: 0 }),
        Work::Fill { length: usize::MAX, value: 0 },
    ] {
        assert_eq!(network_of(work), Err(Fault::Operator(0)), "{work:?}");
    }
}

#[test]
fn an_operator_stays_in_the_arena_and_off_what_it_reads() {
    let fill = Work::Fill { length: 4, value: 7 };
    let table = tables::clamp(Quantised { scale: 1.0, zero_point: 0 }, 0.0, 1.0);
    let copy = Work::Table { length: 4, table: &table };
    for (from, output, work, expected) in [
        (0, 4, copy, Ok(())),
        (4, 0, copy, Ok(())),
        (0, 3, copy, Err(Fault::Place(0))),
        (3, 0, copy, Err(Fault::Place(0))),
        (5, 0, copy, Err(Fault::Place(0))),
        (usize::MAX, 0, copy, Err(Fault::Place(0))),
        (0, 5, fill, Err(Fault::Place(0))),
        (0, usize::MAX, fill, Err(Fault::Place(0))),
    ] {
        let operators = [Operator { inputs: [Place::Arena(from), Place::NONE], output, work }];
        assert_eq!(Network::new(&operators, 8).map(|_| ()), expected, "{from} {output}");
    }
    let constant = [Operator { inputs: [Place::Constant(&[1, 2, 3]), Place::NONE], output: 0, work: copy }];
    assert_eq!(Network::new(&constant, 8).map(|_| ()), Err(Fault::Place(0)));
    let operators = [Operator { inputs: [Place::NONE; 2], output: 4, work: fill }];
    let network = Network::new(&operators, 8).unwrap();
    let mut small = [1; 7];
    assert_eq!(network.run(&mut small), Err(Fault::Arena));
    assert_eq!(small, [1; 7]);
    let mut arena = [1; 9];
    network.run(&mut arena).unwrap();
    assert_eq!(arena, [1, 1, 1, 1, 7, 7, 7, 7, 1]);
}

/// A window that lies wholly outside the picture sums nothing.
#[test]
fn a_convolution_is_the_sum_over_its_window() {
    let mut noise = noise();
    let input: Vec<i8> = (0..5 * 4 * 3).map(|_| noise() as i8).collect();
    let weights: Vec<i8> = (0..2 * 3 * 3 * 3).map(|_| noise() as i8).collect();
    let work = Convolution {
        input: [5, 4, 3],
        output: [4, 3, 2],
        window: [3, 3],
        stride: [2, 2],
        padding: [2, 1],
        zero: 9,
        weights_zero: 5,
        output_zero: -3,
        weights: &weights,
        bias: &[100, -100],
        multipliers: &[1 << 30],
        shifts: &[-9],
        ..POINT
    };
    let operators = [Operator { inputs: [Place::Arena(0), Place::NONE], output: 60, work: Work::Convolution(work) }];
    let mut arena = [&input[..], &[0; 24]].concat();
    Network::new(&operators, arena.len()).unwrap().run(&mut arena).unwrap();
    for (at, found) in arena[60..].iter().enumerate() {
        let (y, x, o) = (at / 6, at / 2 % 3, at % 2);
        let mut sum = [100, -100][o];
        for (k, l, c) in (0..27).map(|tap| (tap / 9, tap / 3 % 3, tap % 3)) {
            let (row, column) = ((2 * y + k) as i32 - 2, (2 * x + l) as i32 - 1);
            if (0..5).contains(&row) && (0..4).contains(&column) {
                let seen = input[(row as usize * 4 + column as usize) * 3 + c];
                sum += (i32::from(seen) - 9) * (i32::from(weights[((o * 3 + k) * 3 + l) * 3 + c]) - 5);
            }
        }
        // A thousandth: 2^-10, half up and then half away from zero.
        let expected = shifted_right((sum + 1) >> 1, 9) - 3;
        assert_eq!(i32::from(*found), expected.clamp(-128, 127), "{at}");
    }
}
