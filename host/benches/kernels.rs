//! The operators of our own beside tract's, layer by layer, in one run: `cargo bench -p decomcam --bench kernels`.
//!
//! Each pair must show ours well ahead. If it does not, the compiler has stopped unrolling a loop, and the sums no longer stay in registers.

use criterion::{Criterion, criterion_group, criterion_main};
use decomcam::onnx::kernels::{Kernels, optimise_with};
use decomcam::random::Random;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxesMapping, OutletId};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::DataFormat;

/// That of the command: pages that are fetched anew for each output would take longer than many a layer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Input channels, side of the input, side of the kernel, stride.
const DEPTHWISE: [[usize; 4]; 8] = [
    [96, 112, 3, 2],
    [144, 56, 3, 1],
    [144, 56, 5, 2],
    [240, 28, 5, 1],
    [480, 14, 3, 1],
    [672, 14, 5, 1],
    [1152, 7, 5, 1],
    [96, 56, 7, 1],
];

/// Input channels, expanded channels, side, and side of the kernel and stride of the depthwise convolution that alone reads them.
const EXPANDED: [[usize; 5]; 6] = [
    [16, 96, 224, 3, 2],
    [24, 144, 112, 3, 1],
    [24, 144, 112, 5, 2],
    [40, 240, 56, 5, 1],
    [112, 672, 28, 5, 1],
    [192, 1152, 14, 5, 1],
];

/// Output channels, input channels, side.
const POINTWISE: [[usize; 3]; 5] = [[96, 16, 112], [144, 24, 56], [240, 40, 28], [480, 80, 14], [192, 1152, 7]];

/// Outputs and inputs of a product with one vector.
const LINEAR: [[usize; 2]; 4] = [[1000, 1280], [1280, 1000], [32, 8], [240, 960]];

fn tensor(shape: &[usize]) -> Tensor {
    let mut random = Random::new(7);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * random.uniform() as f32 - 1.0).collect();
    Tensor::from_shape(shape, &values).expect("a tensor")
}

fn pair(
    criterion: &mut Criterion,
    name: &str,
    shape: [usize; 4],
    build: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) {
    let mut group = criterion.benchmark_group(name);
    for kernels in [Kernels::Tract, Kernels::Ours] {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact(shape)).expect("an input");
        let output = build(&mut model, source).expect("a layer");
        model.outputs = vec![output];
        optimise_with(&mut model, kernels).expect("a graph");
        let plan = model.into_runnable().expect("a plan");
        let input = tensor(&shape).into_tvalue();
        group.bench_function(format!("{kernels:?}"), |b| {
            b.iter(|| plan.run(tvec!(input.clone())).expect("a pass"));
        });
    }
    group.finish();
}

fn depthwise(
    model: &mut TypedModel,
    source: OutletId,
    [channels, kernel, stride]: [usize; 3],
) -> TractResult<OutletId> {
    let weights = model.add_const("w", tensor(&[channels, 1, kernel, kernel]))?;
    let bias = model.add_const("b", tensor(&[channels]))?;
    let pool_spec = PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(kernel, kernel),
        padding: PaddingSpec::SameUpper,
        dilations: None,
        strides: Some(tvec!(stride, stride)),
        input_channels: channels,
        output_channels: channels,
    };
    let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: channels, q_params: None };
    Ok(model.wire_node("conv", conv, &[source, weights, bias])?[0])
}

fn pointwise(model: &mut TypedModel, source: OutletId, [rows, depth]: [usize; 2]) -> TractResult<OutletId> {
    let weights = model.add_const("w1", tensor(&[rows, depth]))?;
    let axes = AxesMapping::from_strs(&["nihw", "oi"], &["nohw"])?;
    let product = EinSum::new(axes, f32::datum_type());
    Ok(model.wire_node("product", product, &[source, weights])?[0])
}

/// Of one vector; weights rows x depth, or the other way round.
fn linear(model: &mut TypedModel, source: OutletId, [rows, depth]: [usize; 2], turned: bool) -> TractResult<OutletId> {
    let weights = model.add_const("w", tensor(&if turned { [depth, rows] } else { [rows, depth] }))?;
    let axes = AxesMapping::from_strs(&["nihw", if turned { "io" } else { "oi" }], &["nohw"])?;
    Ok(model.wire_node("product", EinSum::new(axes, f32::datum_type()), &[source, weights])?[0])
}

fn kernels(criterion: &mut Criterion) {
    for [channels, side, kernel, stride] in DEPTHWISE {
        let name = format!("depthwise {channels} x {side} x {side}, kernel {kernel}, stride {stride}");
        pair(criterion, &name, [1, channels, side, side], |model, source| {
            depthwise(model, source, [channels, kernel, stride])
        });
    }
    for [rows, depth, side] in POINTWISE {
        let name = format!("pointwise {depth} to {rows} channels of {side} x {side}");
        pair(criterion, &name, [1, depth, side, side], |model, source| pointwise(model, source, [rows, depth]));
    }
    for [rows, depth] in LINEAR {
        for turned in [false, true] {
            let name = format!("linear {depth} to {rows}, {}", if turned { "by columns" } else { "by rows" });
            pair(criterion, &name, [1, depth, 1, 1], |model, source| linear(model, source, [rows, depth], turned));
        }
    }
    for [depth, rows, side, kernel, stride] in EXPANDED {
        let name = format!("expanded {depth} to {rows} channels of {side} x {side}, kernel {kernel}, stride {stride}");
        pair(criterion, &name, [1, depth, side, side], |model, source| {
            let expanded = pointwise(model, source, [rows, depth])?;
            depthwise(model, expanded, [rows, kernel, stride])
        });
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
