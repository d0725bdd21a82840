//! Networks of 16 bits: rounding, plans that do not fit together, kernels by their definition, any tables.

use crate::noise;
use decomcam_int8::fixed::Multiplier;
use decomcam_int8::int16::{Rescale, Sigmoid, Softmax, Work};
use decomcam_int8::{Convolution, Fault, Kernel as _, Mean, Move, Network, Operator, Place, Pool};

/// By its definition: half up, with the upper 16 bits of the multiplier, themselves half up but never 2^15.
#[test]
fn sums_of_64_bits_are_rounded_once() {
    let mut noise = noise();
    for _ in 0..20_000 {
        let x = (noise() << 24 ^ noise()) >> (17 + (noise() & 31));
        let multiplier = Multiplier {
            value: (1 << 30) + (noise() as i32 & 0x3fff_ffff),
            shift: (noise() % 39).unsigned_abs() as i32 - 31,
        };
        let value = ((i128::from(multiplier.value) + (1 << 15)) >> 16).min(0x7fff);
        let right = 15 - multiplier.shift;
        let expected = (i128::from(x) * value + (1 << (right - 1))) >> right;
        // Beyond these, it is what the reference leaves of it.
        if let Ok(expected) = i32::try_from(expected) {
            assert_eq!(multiplier.times_wide(x), expected, "{x} times {multiplier:?}");
        }
    }
    // Just below 2^31, where the upper half would be 2^15.
    for value in [0x7fff_0000, 0x7fff_8000, i32::MAX - 1, i32::MAX] {
        assert_eq!(Multiplier { value, shift: 0 }.times_wide(1 << 20), 0x7fff << 5);
    }
}

const POINT: Convolution<'static, i16, i64> = Convolution {
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
    low: -32768,
    high: 32767,
    weights: &[1, 2],
    bias: &[],
    multipliers: &[1 << 30],
    shifts: &[1],
};
const NARROW: Convolution<'static, i16, i32> = Convolution {
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
    low: -32768,
    high: 32767,
    weights: &[1, 2],
    bias: &[],
    multipliers: &[1 << 30],
    shifts: &[1],
};
const HALF: Multiplier = Multiplier { value: 1 << 30, shift: 0 };
const RESCALE: Rescale = Rescale { length: 4, zero: 0, output_zero: 0, above: HALF, below: HALF, low: -128, high: 127 };
const SIGMOID: Sigmoid<'static> = Sigmoid { length: 4, multiplier: 3, shift: 0, table: &[0; 256] };
const SOFTMAX: Softmax<'static> =
    Softmax { rows: 1, length: 4, multiplier: HALF, exp: &[0; 513], reciprocal: &[0; 513] };
const POOL: Pool<i16> = Pool {
    batch: 1,
    input: [2, 2, 1],
    output: [1, 1],
    window: [2, 2],
    stride: [1, 1],
    padding: [0, 0],
    lift: 0,
    low: -32768,
    high: 32767,
};
const MEAN: Mean = Mean { shape: [1, 2, 3], zero: 0, output_zero: 0, multiplier: HALF };

#[test]
fn a_plan_of_16_bits_that_does_not_fit_together_is_refused() {
    let network_of = |work: Work| {
        let operators = [Operator { inputs: [Place::Arena(0), Place::NONE], output: 100, work }];
        Network::new(&operators, 200).map(|network| network.run(&mut [0; 200]).unwrap())
    };
    for work in [
        Work::Convolution(POINT),
        Work::Convolution(Convolution { shifts: &[7], ..POINT }),
        Work::NarrowConvolution(Convolution { shifts: &[30], ..NARROW }),
        Work::Rescale(RESCALE),
        Work::Widen(Rescale { zero: -128, ..RESCALE }),
        Work::Narrow(Rescale { output_zero: 127, ..RESCALE }),
        Work::Logistic(SIGMOID),
        Work::Tanh(Sigmoid { shift: 31, ..SIGMOID }),
        Work::Softmax(SOFTMAX),
        Work::MaxPool(POOL),
        Work::Mean(MEAN),
    ] {
        network_of(work).unwrap_or_else(|fault| panic!("{work:?}: {fault}"));
    }
    for work in [
        Work::Convolution(Convolution { zero: 1, ..POINT }),
        Work::Convolution(Convolution { weights_zero: 1, ..POINT }),
        Work::Convolution(Convolution { output_zero: -1, ..POINT }),
        Work::Convolution(Convolution { shifts: &[8], ..POINT }),
        Work::Convolution(Convolution { bias: &[1, 2], ..POINT }),
        Work::NarrowConvolution(Convolution { shifts: &[31], ..NARROW }),
        Work::Depthwise(Convolution { low: 3, high: 2, ..POINT }),
        Work::Rescale(Rescale { zero: 1, ..RESCALE }),
        Work::Rescale(Rescale { above: Multiplier { value: 1, shift: 31 }, ..RESCALE }),
        Work::Widen(Rescale { output_zero: 1, ..RESCALE }),
        Work::Narrow(Rescale { high: 128, ..RESCALE }),
        Work::Narrow(Rescale { low: -129, ..RESCALE }),
        Work::Narrow(Rescale { length: 0, ..RESCALE }),
        Work::Logistic(Sigmoid { multiplier: 32_768, ..SIGMOID }),
        Work::Logistic(Sigmoid { multiplier: -1, ..SIGMOID }),
        Work::Tanh(Sigmoid { shift: 32, ..SIGMOID }),
        Work::Softmax(Softmax { length: 1 << 16, ..SOFTMAX }),
        Work::Softmax(Softmax { multiplier: Multiplier { value: 1 << 30, shift: 16 }, ..SOFTMAX }),
        Work::AveragePool(Pool { window: [1 << 8, 1 << 8], ..POOL }),
        Work::AveragePool(Pool { low: 1, high: 0, ..POOL }),
        Work::Mean(Mean { shape: [1, (1 << 15) + 1, 1], ..MEAN }),
        Work::Mean(Mean { zero: 1, ..MEAN }),
        Work::Fill { length: usize::MAX, value: 0 },
        Work::Fill { length: (1 << 29) + 1, value: 0 },
    ] {
        assert_eq!(network_of(work), Err(Fault::Operator(0)), "{work:?}");
    }
}

#[test]
fn lengths_are_bytes() {
    let copy = Move {
        shape: [1, 1, 1, 1, 2, 3],
        from: 0,
        from_strides: [0, 0, 0, 0, 3, 1],
        to: 1,
        to_strides: [0, 0, 0, 0, 3, 1],
    };
    for (work, bytes) in [
        (Work::Move(copy), ([12, 0], 14)),
        (Work::Widen(RESCALE), ([4, 0], 8)),
        (Work::Narrow(RESCALE), ([8, 0], 4)),
        (Work::Fill { length: 3, value: 1 }, ([0, 0], 6)),
        (Work::Convolution(POINT), ([16, 0], 8)),
    ] {
        assert_eq!(work.bytes(), Some(bytes), "{work:?}");
    }
    // One byte less is too few.
    let operators = [Operator { inputs: [Place::Arena(8), Place::NONE], output: 0, work: Work::Widen(RESCALE) }];
    assert!(Network::new(&operators, 12).is_ok());
    assert_eq!(Network::new(&operators, 11).map(drop), Err(Fault::Place(0)));
}

/// Sums pass 32 bits: of the wide convolution exactly, of the narrow one as the reference's wrap.
#[test]
fn convolutions_sum_in_64_bits_or_wrap_at_32() {
    let numbers: Vec<i8> = (0..1000).flat_map(|_| 32_767i16.to_le_bytes()).map(|byte| byte as i8).collect();
    let weights = [127i8; 1000];
    let exact = 1000 * 32_767 * 127i64;
    assert!(exact > i64::from(i32::MAX));
    let run = |work: Work| {
        let operators = [Operator { inputs: [Place::Constant(&numbers), Place::NONE], output: 1, work }];
        let mut arena = [0; 3];
        Network::new(&operators, 3).unwrap().run(&mut arena).unwrap();
        i16::from_le_bytes([arena[1] as u8, arena[2] as u8])
    };
    let wide = Convolution {
        input: [1, 1, 1000],
        output: [1, 1, 1],
        weights: &weights,
        bias: &[1 << 33],
        shifts: &[-18],
        ..POINT
    };
    // 2^14 of 2^15 is taken of the multiplier.
    let expected = ((exact + (1 << 33)) * (1 << 14) + (1 << 32)) >> 33;
    assert_eq!(i64::from(run(Work::Convolution(wide))), expected);
    let narrow = Convolution { input: [1, 1, 1000], output: [1, 1, 1], weights: &weights, shifts: &[-18], ..NARROW };
    let wrapped = exact as i32;
    let expected = decomcam_int8::fixed::shifted_right((wrapped + 1) >> 1, 18);
    assert_eq!(i32::from(run(Work::NarrowConvolution(narrow))), expected);
}

/// What a plan says may be wrong, but never a panic.
#[test]
fn any_table_gives_some_number() {
    let numbers: Vec<i8> =
        [-32768i16, -32767, -1, 0, 1, 32767].iter().flat_map(|x| x.to_le_bytes()).map(|byte| byte as i8).collect();
    for value in [i16::MIN, -1, 0, 1, i16::MAX] {
        let curve = [value; 513];
        let mixed: [i16; 513] = std::array::from_fn(|at| if at % 2 == 0 { value } else { i16::MIN });
        let table = [value as u16; 256];
        for shift in [-31, 0, 15] {
            let multiplier = Multiplier { value: i32::MAX, shift };
            for (exp, reciprocal) in [(&curve, &mixed), (&mixed, &curve)] {
                let softmax = Softmax { rows: 2, length: 3, multiplier, exp, reciprocal };
                let sigmoid = Sigmoid { length: 6, multiplier: 32_767, shift: 31, table: &table };
                for work in [
                    Work::Softmax(softmax),
                    Work::Logistic(sigmoid),
                    Work::Tanh(sigmoid),
                    Work::Tanh(Sigmoid { shift: 0, ..sigmoid }),
                ] {
                    let operators = [Operator { inputs: [Place::Constant(&numbers), Place::NONE], output: 0, work }];
                    Network::new(&operators, 12).unwrap().run(&mut [0; 12]).unwrap();
                }
            }
        }
    }
}
