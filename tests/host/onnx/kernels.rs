//! The operators of our own against plain loops and against tract's.

use crate::common::random::{self, Random};
use decomcam::onnx::kernels::{Kernels, optimise_with};
use decomcam::workers;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxesMapping, OutletId, TVec};
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::DataFormat;

/// A random whole number in `low..=high`.
fn whole(random: &mut Random, low: usize, high: usize) -> usize {
    (low + (random.uniform() * (high - low + 1) as f64) as usize).min(high)
}

fn tvec_of(lengths: &[usize]) -> TVec<usize> {
    lengths.into()
}

fn tensor(random: &mut Random, shape: &[usize]) -> Tensor {
    Tensor::from_shape(shape, &random::values(random, shape.iter().product())).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// The outputs with each set of operators, ours first, and which operators ran in ours.
fn outputs(model: &TypedModel, input: &Tensor) -> ([Vec<Vec<f32>>; 2], Vec<String>) {
    let mut names = Vec::new();
    let found = [Kernels::Ours, Kernels::Tract].map(|kernels| {
        let mut model = model.clone();
        optimise_with(&mut model, kernels).unwrap();
        if kernels == Kernels::Ours {
            names = model.nodes.iter().map(|node| node.op.name().into_owned()).collect();
        }
        let plan = model.into_runnable().unwrap();
        plan.run(tvec!(input.clone().into())).unwrap().iter().map(|output| floats(output)).collect()
    });
    (found, names)
}

/// Sums of `terms` products of numbers below one, in any order, in f32: each addition rounds a sum of at most `terms`.
fn tolerance(terms: usize) -> f64 {
    let terms = terms as f64 + 2.0;
    terms * terms * f64::from(f32::EPSILON)
}

fn assert_near(name: &str, found: &[f32], expected: &[f64], terms: usize) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        // A NaN fails.
        let near = (f64::from(*found) - expected).abs() <= tolerance(terms);
        assert!(near, "{name}: number {at}: expected {expected}, found {found}");
    }
}

/// What a random convolution is made of; pairs are height and width.
#[derive(Debug)]
struct Case {
    batch: usize,
    channels: usize,
    multiplier: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Case {
    /// Mostly the forms that have unrolled loops, at sizes around their tiles, and every other form as well.
    fn new(random: &mut Random) -> Self {
        let odd = |random: &mut Random| [1, 2, 4, 6, 9][whole(random, 0, 4)];
        let usual = |random: &mut Random| [3, 5, 7][whole(random, 0, 2)];
        let square = random.uniform() < 0.7;
        let kernel = if square { [usual(random); 2] } else { [odd(random), usual(random)] };
        let stride = if square { [whole(random, 1, 2); 2] } else { [whole(random, 1, 3), whole(random, 1, 3)] };
        let dilation = if random.uniform() < 0.7 { [1; 2] } else { [whole(random, 1, 3), whole(random, 1, 3)] };
        let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis]);
        let pad = |random: &mut Random| reach.map(|reach| whole(random, 0, reach.min(6)));
        let (before, after) = (pad(random), pad(random));
        let input = [0, 1].map(|axis| {
            let least = (reach[axis] + 1).saturating_sub(before[axis] + after[axis]).max(1);
            whole(random, least, least + 30)
        });
        let (batch, multiplier) = (whole(random, 1, 2), whole(random, 1, 2));
        Self { batch, channels: whole(random, 2, 4), multiplier, input, kernel, stride, dilation, before, after }
    }

    fn terms(&self) -> usize {
        self.kernel[0] * self.kernel[1] + 1
    }

    fn pool(&self, outputs: usize) -> PoolSpec {
        PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec_of(&self.kernel),
            padding: PaddingSpec::Explicit(tvec_of(&self.before), tvec_of(&self.after)),
            dilations: Some(tvec_of(&self.dilation)),
            strides: Some(tvec_of(&self.stride)),
            input_channels: self.channels,
            output_channels: outputs,
        }
    }
}

/// A convolution by a loop over everything, in f64. `x` is batch x channels x height x width.
fn convolved(case: &Case, output: [usize; 2], x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f64> {
    let ([h, width], channels) = (case.input, case.channels * case.multiplier);
    let mut y = Vec::new();
    for n in 0..case.batch {
        for c in 0..channels {
            let plane = &x[(n * case.channels + c / case.multiplier) * h * width..][..h * width];
            for oy in 0..output[0] {
                for ox in 0..output[1] {
                    let mut sum = f64::from(bias[c]);
                    for ky in 0..case.kernel[0] {
                        for kx in 0..case.kernel[1] {
                            let iy = oy * case.stride[0] + ky * case.dilation[0];
                            let ix = ox * case.stride[1] + kx * case.dilation[1];
                            let inside = iy >= case.before[0] && ix >= case.before[1];
                            if inside && iy - case.before[0] < h && ix - case.before[1] < width {
                                let value = plane[(iy - case.before[0]) * width + ix - case.before[1]];
                                let weight = w[(c * case.kernel[0] + ky) * case.kernel[1] + kx];
                                sum += f64::from(value) * f64::from(weight);
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

/// The transposed convolution, each input number spread over the outputs, in f64.
fn spread(case: &Case, output: [usize; 2], x: &[f32], w: &[f32]) -> Vec<f64> {
    let [h, width] = case.input;
    let area = output[0] * output[1];
    let mut y = vec![0.0; case.batch * case.channels * area];
    for (at, value) in x.iter().enumerate() {
        let (plane, iy, ix) = (at / (h * width), at / width % h, at % width);
        let c = plane % case.channels;
        for ky in 0..case.kernel[0] {
            for kx in 0..case.kernel[1] {
                let oy = (iy * case.stride[0] + ky * case.dilation[0]).checked_sub(case.before[0]);
                let ox = (ix * case.stride[1] + kx * case.dilation[1]).checked_sub(case.before[1]);
                if let (Some(oy), Some(ox)) = (oy, ox)
                    && oy < output[0]
                    && ox < output[1]
                {
                    let weight = w[(c * case.kernel[0] + ky) * case.kernel[1] + kx];
                    y[plane * area + oy * output[1] + ox] += f64::from(*value) * f64::from(weight);
                }
            }
        }
    }
    y
}

/// Appends min(max(x, low), high).
fn clamped(model: &mut TypedModel, x: OutletId, low: f32, high: f32) -> OutletId {
    let rank = model.outlet_fact(x).unwrap().rank();
    let bound = |value: f32| tensor0(value).broadcast_into_rank(rank).unwrap();
    let low = model.add_const("low", bound(low)).unwrap();
    let high = model.add_const("high", bound(high)).unwrap();
    let above = model.wire_node("above", math::max(), &[x, low]).unwrap()[0];
    model.wire_node("below", math::min(), &[above, high]).unwrap()[0]
}

fn concrete(model: &TypedModel, tensor: OutletId) -> Vec<usize> {
    model.outlet_fact(tensor).unwrap().shape.as_concrete().unwrap().to_vec()
}

#[test]
fn depthwise_convolutions_are_those_of_a_plain_loop() {
    let mut random = Random::new(14);
    for _ in 0..300 {
        let case = Case::new(&mut random);
        let channels = case.channels * case.multiplier;
        let mut model = TypedModel::default();
        let shape = [case.batch, case.channels, case.input[0], case.input[1]];
        let (x, w, b) = (
            tensor(&mut random, &shape),
            tensor(&mut random, &[channels, 1, case.kernel[0], case.kernel[1]]),
            tensor(&mut random, &[channels]),
        );
        let source = model.add_source("x", f32::fact(shape)).unwrap();
        let inputs = [source, model.add_const("w", w.clone()).unwrap(), model.add_const("b", b.clone()).unwrap()];
        let op = Conv {
            pool_spec: case.pool(channels),
            kernel_fmt: KernelFormat::OIHW,
            group: case.channels,
            q_params: None,
        };
        let mut y = model.wire_node("conv", op, &inputs).unwrap()[0];
        let output = concrete(&model, y);
        let clamp = random.uniform() < 0.5;
        if clamp {
            y = clamped(&mut model, y, -0.5, 0.75);
        }
        model.outputs = vec![y];
        let ([ours, tracts], names) = outputs(&model, &x);
        assert!(names.iter().any(|name| name == "decomcam.Depthwise"), "{case:?}: {names:?}");
        assert!(!clamp || names.len() == 2, "{case:?}: a clamp is part of the operator: {names:?}");
        let mut expected = convolved(&case, [output[2], output[3]], &floats(&x), &floats(&w), &floats(&b));
        if clamp {
            expected.iter_mut().for_each(|value| *value = value.clamp(-0.5, 0.75));
        }
        assert_near(&format!("{case:?}"), &ours[0], &expected, case.terms());
        assert_near(&format!("tract: {case:?}"), &tracts[0], &expected, case.terms());
    }
}

#[test]
fn the_way_back_through_a_depthwise_convolution_is_that_of_a_plain_loop() {
    let mut random = Random::new(41);
    let mut replaced = 0;
    for _ in 0..300 {
        let case = Case { multiplier: 1, ..Case::new(&mut random) };
        let beyond = case.stride.map(|stride| whole(&mut random, 0, stride - 1));
        let length = |axis: usize| {
            let reach = (case.input[axis] - 1) * case.stride[axis] + (case.kernel[axis] - 1) * case.dilation[axis] + 1;
            (reach + beyond[axis]).checked_sub(case.before[axis] + case.after[axis]).filter(|length| *length > 0)
        };
        if length(0).is_none() || length(1).is_none() {
            continue;
        }
        let mut model = TypedModel::default();
        let shape = [case.batch, case.channels, case.input[0], case.input[1]];
        let x = tensor(&mut random, &shape);
        let w = tensor(&mut random, &[case.channels, 1, case.kernel[0], case.kernel[1]]);
        let source = model.add_source("x", f32::fact(shape)).unwrap();
        let inputs = [source, model.add_const("w", w.clone()).unwrap(), model.add_const("b", tensor0(0f32)).unwrap()];
        let op = Deconv::new(case.pool(case.channels), KernelFormat::OIHW, tvec_of(&beyond), case.channels);
        let y = model.wire_node("deconv", op, &inputs).unwrap()[0];
        let output = concrete(&model, y);
        model.outputs = vec![y];
        let ([ours, tracts], names) = outputs(&model, &x);
        assert!(names.iter().any(|name| name == "decomcam.Depthwise"), "{case:?}: {names:?}");
        let expected = spread(&case, [output[2], output[3]], &floats(&x), &floats(&w));
        assert_near(&format!("{case:?}"), &ours[0], &expected, case.terms());
        assert_near(&format!("tract: {case:?}"), &tracts[0], &expected, case.terms());
        replaced += 1;
    }
    assert!(replaced > 200);
}

/// Weights both ways round, with and without a batch axis, bias, residual and clamp.
#[test]
fn pointwise_convolutions_are_those_of_a_plain_loop() {
    let mut random = Random::new(77);
    for _ in 0..200 {
        let (rows, depth) = (whole(&mut random, 1, 20), whole(&mut random, 1, 40));
        let (height, width) = (whole(&mut random, 4, 9), whole(&mut random, 4, 9));
        let batch = whole(&mut random, 1, 2);
        let turned = random.uniform() < 0.5;
        let [biased, added, clamp, drops] = [(); 4].map(|()| random.uniform() < 0.5);
        let drops = drops && batch == 1;
        let name =
            format!("{batch} x {rows} x {depth} x {height} x {width}, {turned} {biased} {added} {clamp} {drops}");
        let area = height * width;
        let x = tensor(&mut random, &[batch, depth, height, width]);
        let w = tensor(&mut random, &if turned { [depth, rows] } else { [rows, depth] });
        let b = tensor(&mut random, &if drops { vec![rows, 1, 1] } else { vec![1, rows, 1, 1] });
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact(x.shape())).unwrap();
        let weights = model.add_const("w", w.clone()).unwrap();
        let axes =
            AxesMapping::from_strs(&["nihw", if turned { "io" } else { "oi" }], &[if drops { "ohw" } else { "nohw" }]);
        let op = EinSum::new(axes.unwrap(), f32::datum_type());
        let mut y = model.wire_node("product", op, &[source, weights]).unwrap()[0];
        if biased {
            let bias = model.add_const("b", b.clone()).unwrap();
            y = model.wire_node("biased", math::add(), &[y, bias]).unwrap()[0];
        }
        let mut residual = vec![0.0; batch * rows * area];
        if added {
            // Computed from the input, as a residual is: its first channel, doubled, for every channel of the output.
            let shape = concrete(&model, y);
            let first = tract_onnx::tract_core::ops::array::Slice::new(1, 0, 1);
            let mut other = model.wire_node("first", first, &[source]).unwrap()[0];
            let two = model.add_const("two", tensor0(2f32).broadcast_into_rank(4).unwrap()).unwrap();
            other = model.wire_node("twice", math::mul(), &[other, two]).unwrap()[0];
            if drops {
                other =
                    model.wire_node("without", tract_onnx::tract_core::internal::AxisOp::Rm(0), &[other]).unwrap()[0];
            }
            let shape = shape.iter().map(|length| length.to_dim()).collect();
            let broadcast = tract_onnx::tract_core::ops::array::MultiBroadcastTo::new(shape);
            other = model.wire_node("repeated", broadcast, &[other]).unwrap()[0];
            y = model.wire_node("added", math::add(), &[y, other]).unwrap()[0];
            let values = floats(&x);
            for (at, residual) in residual.iter_mut().enumerate() {
                *residual = 2.0 * f64::from(values[at / (rows * area) * depth * area + at % area]);
            }
        }
        if clamp {
            y = clamped(&mut model, y, -0.5, 0.75);
        }
        model.outputs = vec![y];
        let ([ours, tracts], names) = outputs(&model, &x);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            assert!(names.iter().any(|name| name == "decomcam.Pointwise"), "{name}: {names:?}");
        }
        let (x, w, b) = (floats(&x), floats(&w), floats(&b));
        let expected: Vec<f64> = (0..batch * rows * area)
            .map(|at| {
                let (n, row, p) = (at / (rows * area), at / area % rows, at % area);
                let products = (0..depth).map(|k| {
                    let weight = if turned { w[k * rows + row] } else { w[row * depth + k] };
                    f64::from(weight) * f64::from(x[(n * depth + k) * area + p])
                });
                let bias = if biased { f64::from(b[row]) } else { 0.0 };
                let sum = products.sum::<f64>() + bias + residual[at];
                if clamp { sum.clamp(-0.5, 0.75) } else { sum }
            })
            .collect();
        assert_near(&name, &ours[0], &expected, depth + 3);
        assert_near(&format!("tract: {name}"), &tracts[0], &expected, depth + 3);
    }
}

/// One vector, weights both ways round and as either input, as a row or as channels of one position that may come or go, bias and clamp; large ones are shared
/// among threads.
#[test]
fn a_vector_times_a_matrix_is_that_of_a_plain_loop() {
    let mut random = Random::new(31);
    for round in 0..200 {
        let most = if round % 10 == 0 { 900 } else { 100 };
        let (rows, depth) = (whole(&mut random, 1, most), whole(&mut random, 1, most));
        let [turned, from_channels, to_channels, first, biased, clamp] = [(); 6].map(|()| random.uniform() < 0.5);
        let name = format!("{rows} x {depth}, {turned} {from_channels} {to_channels} {first} {biased} {clamp}");
        let shape = |length: usize, channels: bool| if channels { vec![1, length, 1, 1] } else { vec![1, length] };
        let x = tensor(&mut random, &shape(depth, from_channels));
        let w = tensor(&mut random, &if turned { [depth, rows] } else { [rows, depth] });
        let b = tensor(&mut random, &shape(rows, to_channels));
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact(x.shape())).unwrap();
        let weights = model.add_const("w", w.clone()).unwrap();
        let (from, to) = (if from_channels { "nihw" } else { "ni" }, if to_channels { "nohw" } else { "no" });
        let both = if turned { "io" } else { "oi" };
        let (factors, inputs) =
            if first { ([both, from], [weights, source]) } else { ([from, both], [source, weights]) };
        let axes = AxesMapping::from_strs(&factors, &[to]).unwrap();
        let op = EinSum::new(axes, f32::datum_type());
        let mut y = model.wire_node("product", op, &inputs).unwrap()[0];
        if biased {
            let bias = model.add_const("b", b.clone()).unwrap();
            y = model.wire_node("biased", math::add(), &[bias, y]).unwrap()[0];
        }
        if clamp {
            y = clamped(&mut model, y, -0.5, 0.75);
        }
        model.outputs = vec![y];
        let threads = whole(&mut random, 1, 3);
        let ([ours, tracts], names) = workers::shared(threads, || outputs(&model, &x));
        assert_eq!(names.last().map(String::as_str), Some("decomcam.Linear"), "{name}");
        assert_eq!(names.len(), 2, "{name}: {names:?}");
        let (x, w, b) = (floats(&x), floats(&w), floats(&b));
        let expected: Vec<f64> = (0..rows)
            .map(|row| {
                let weight = |k: usize| if turned { w[k * rows + row] } else { w[row * depth + k] };
                let products = (0..depth).map(|k| f64::from(weight(k)) * f64::from(x[k]));
                let sum = products.sum::<f64>() + if biased { f64::from(b[row]) } else { 0.0 };
                if clamp { sum.clamp(-0.5, 0.75) } else { sum }
            })
            .collect();
        assert_near(&name, &ours[0], &expected, depth + 2);
        assert_near(&format!("tract: {name}"), &tracts[0], &expected, depth + 2);
    }
}

/// A 1x1 convolution that a depthwise one alone reads: held to the two by themselves, as they run where somebody else reads between them. Some rows at a time,
/// with many input channels; rows that are all padding; strides that leave rows out.
#[test]
fn an_expansion_and_its_filter_are_the_two_by_themselves_bit_for_bit() {
    let mut random = Random::new(21);
    for round in 0..120 {
        let depth = whole(&mut random, 1, if round % 3 == 0 { 500 } else { 30 });
        let case = Case { multiplier: 1, ..Case::new(&mut random) };
        let case = if round % 3 == 0 { Case { input: [whole(&mut random, 20, 60), 40], ..case } } else { case };
        let [height, width] = case.input;
        if height * width < 16 {
            continue;
        }
        let mut model = TypedModel::default();
        let shape = [case.batch, depth, height, width];
        let x = tensor(&mut random, &shape);
        let source = model.add_source("x", f32::fact(shape)).unwrap();
        let w = model.add_const("v", tensor(&mut random, &[case.channels, depth])).unwrap();
        let axes = AxesMapping::from_strs(&["nihw", "oi"], &["nohw"]).unwrap();
        let product = model.wire_node("product", EinSum::new(axes, f32::datum_type()), &[source, w]).unwrap()[0];
        let product = clamped(&mut model, product, 0.0, 6.0);
        let [kernel_height, kernel_width] = case.kernel;
        let w = tensor(&mut random, &[case.channels, 1, kernel_height, kernel_width]);
        let inputs = [
            product,
            model.add_const("w", w).unwrap(),
            model.add_const("b", tensor(&mut random, &[case.channels])).unwrap(),
        ];
        let pool_spec = case.pool(case.channels);
        let op = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: case.channels, q_params: None };
        let filtered = model.wire_node("conv", op, &inputs).unwrap()[0];
        let mut run = |outputs: Vec<OutletId>, expected: &str| {
            let mut model = model.clone();
            model.outputs = outputs;
            optimise_with(&mut model, Kernels::Ours).unwrap();
            let names: Vec<String> = model.nodes.iter().map(|node| node.op.name().into_owned()).collect();
            assert!(names.iter().any(|name| name == expected), "{case:?}: {names:?}");
            let plan = model.into_runnable().unwrap();
            let threads = whole(&mut random, 1, 3);
            let outputs = workers::shared(threads, || plan.run(tvec!(x.clone().into())).unwrap());
            floats(&outputs[0]).iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        let alone = run(vec![filtered, product], "decomcam.Depthwise");
        assert!(run(vec![filtered], "decomcam.Expanded") == alone, "{depth} channels to {case:?}");
    }
}

/// Layers that are large enough to be shared, by up to more threads than there are blocks of channels.
#[test]
fn no_bit_depends_on_the_number_of_threads() {
    let mut random = Random::new(9);
    let shape = [2, 6, 60, 61];
    let mut model = TypedModel::default();
    let source = model.add_source("x", f32::fact(shape)).unwrap();
    let case = Case {
        batch: 2,
        channels: 6,
        multiplier: 2,
        input: [60, 61],
        kernel: [5, 5],
        stride: [1, 1],
        dilation: [1, 1],
        before: [2, 2],
        after: [2, 2],
    };
    let w = model.add_const("w", tensor(&mut random, &[12, 1, 5, 5])).unwrap();
    let b = model.add_const("b", tensor(&mut random, &[12])).unwrap();
    let conv = Conv { pool_spec: case.pool(12), kernel_fmt: KernelFormat::OIHW, group: 6, q_params: None };
    let planes = model.wire_node("conv", conv, &[source, w, b]).unwrap()[0];
    let w = model.add_const("v", tensor(&mut random, &[26, 12])).unwrap();
    let axes = AxesMapping::from_strs(&["nihw", "oi"], &["nohw"]).unwrap();
    let product = model.wire_node("product", EinSum::new(axes, f32::datum_type()), &[planes, w]).unwrap()[0];
    model.outputs = vec![planes, product];
    optimise_with(&mut model, Kernels::Ours).unwrap();
    let plan = model.into_runnable().unwrap();
    let x = tensor(&mut random, &shape);
    let run = |threads: usize| -> Vec<Vec<f32>> {
        workers::shared(threads, || {
            let outputs = plan.run(tvec!(x.clone().into())).unwrap();
            outputs.iter().map(|output| floats(output)).collect()
        })
    };
    let alone = run(1);
    for threads in [2, 3, 5, 8] {
        assert!(run(threads) == alone, "{threads} threads");
    }
}

/// The gradient of a clamp, or the user, may want the value before the clamp.
#[test]
fn a_clamp_whose_input_has_another_reader_stays_separate() {
    let mut random = Random::new(3);
    let case = Case { batch: 1, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], ..Case::new(&mut random) };
    let case = Case { before: [1, 1], after: [1, 1], multiplier: 1, ..case };
    let mut model = TypedModel::default();
    let shape = [1, case.channels, case.input[0], case.input[1]];
    let (x, w) = (tensor(&mut random, &shape), tensor(&mut random, &[case.channels, 1, 3, 3]));
    let source = model.add_source("x", f32::fact(shape)).unwrap();
    let inputs = [source, model.add_const("w", w.clone()).unwrap(), model.add_const("b", tensor0(0f32)).unwrap()];
    let op = Conv {
        pool_spec: case.pool(case.channels),
        kernel_fmt: KernelFormat::OIHW,
        group: case.channels,
        q_params: None,
    };
    let before = model.wire_node("conv", op, &inputs).unwrap()[0];
    let after = clamped(&mut model, before, -0.1, 0.1);
    let negative = model.wire_node("negative", math::neg(), &[before]).unwrap()[0];
    model.outputs = vec![after, negative];
    let ([ours, tracts], names) = outputs(&model, &x);
    assert!(names.iter().any(|name| name == "decomcam.Depthwise"), "{names:?}");
    let expected = convolved(&case, case.input, &floats(&x), &floats(&w), &vec![0.0; case.channels]);
    let clamped: Vec<f64> = expected.iter().map(|value| value.clamp(-0.1, 0.1)).collect();
    let negative: Vec<f64> = expected.iter().map(|value| -value).collect();
    for found in [ours, tracts] {
        assert_near("clamped", &found[0], &clamped, 10);
        assert_near("before", &found[1], &negative, 10);
    }
}
