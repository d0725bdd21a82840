//! Models, towers and gradients: numbers against finite differences and the plain forward pass, and what happens to bad
//! files and bad prompts.

use crate::common::random::{self, Random};
use crate::common::towers::{key, lite, tower};
use crate::common::{cat, root};
use anyhow::{Result, ensure};
use decomcam::Size;
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::encoders::text::{TextTower, Tokenizer};
use decomcam::model::{Manifest, Model, ModelOptions, Score, ScoreKind};
use decomcam::onnx::gradient::append_gradient;
use decomcam::onnx::quantised::{self, Form, Pairs, Wanted};
use std::path::PathBuf;
use tract_onnx::prelude::{Framework, InferenceModelExt};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer, Softmax, SoftmaxKind, sigmoid};
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, quantize_linear_u8};
use tract_onnx::tract_core::ops::source::TypedSource;

const SIDE: Size = Size::square(224);

/// A cat, resized and cut to a network's input, its contrast lowered to a fraction.
fn photo(Size { height, width }: Size, contrast: f32) -> Vec<f32> {
    let photo = image::open(cat()).unwrap();
    let photo = photo.resize_to_fill(width as u32, height as u32, image::imageops::FilterType::CatmullRom).to_rgb8();
    let normalised = |value: u8| contrast * (f32::from(value) - 127.) / 128.;
    (0..3).flat_map(|channel| photo.pixels().map(move |pixel| normalised(pixel.0[channel]))).collect()
}

/// A tensor of values in -1..1.
fn random_tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_shape(shape, &random::values(&mut Random::new(seed), shape.iter().product())).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    dot / norm(a.iter().map(|&a| f64::from(a))) / norm(b.iter().map(|&b| f64::from(b)))
}

// The gradients of the whole head.

fn image_network(model: &Model, outputs: &[&str]) -> TypedModel {
    let file = model.file(&model.manifest.image.file).unwrap();
    quantised::read(file, &wanted(outputs)).unwrap()
}

fn wanted<'a>(outputs: &'a [&'a str]) -> Wanted<'a> {
    const SHAPE: [Option<usize>; 4] = [Some(1), Some(3), Some(SIDE.height), Some(SIDE.width)];
    Wanted {
        input: "image",
        datum_type: f32::datum_type(),
        shape: &SHAPE,
        outputs,
        pairs: Pairs::Clamp,
        folder: None,
        form: Form::default(),
        readings: &[],
        beside: None,
    }
}

/// The part of the network from a layer to one output, as a function of the layer.
fn head(model: &Model, layer: &str, output: &str) -> impl Fn(&[f32]) -> Vec<f32> {
    let mut network = image_network(model, &[output, layer]);
    let layer = network.outputs[1];
    let fact = network.outlet_fact(layer).unwrap().clone();
    for input in std::mem::take(&mut network.node_mut(layer.node).inputs) {
        network.node_mut(input.node).outputs[input.slot].successors.retain(|reader| reader.node != layer.node);
    }
    network.node_mut(layer.node).op = Box::new(TypedSource::new(fact.clone()));
    network.inputs = vec![layer];
    network.outputs.truncate(1);
    network.compact().unwrap();
    let plan = network.into_optimized().unwrap().into_runnable().unwrap();
    let shape = fact.shape.as_concrete().unwrap().to_vec();
    move |values| {
        let layer = Tensor::from_shape(&shape, values).unwrap();
        floats(&plan.run(tvec!(layer.into())).unwrap()[0])
    }
}

fn score_in_f64(score: &Score, vector: &[f32], text: &[f32]) -> f64 {
    let dot: f64 = vector.iter().zip(text).map(|(&v, &t)| f64::from(v) * f64::from(t)).sum();
    match score.kind {
        ScoreKind::Dot | ScoreKind::Posterior => dot,
        ScoreKind::Cosine => dot / norm(vector.iter().map(|&v| f64::from(v))),
    }
}

/// Compares the slope along several directions with (s(A + hd) - s(A - hd)) / 2h, in units of the gradient's norm.
///
/// Directions are unit vectors with a large slope, so that every position and channel counts: the gradient itself and
/// random halves of it. At h = |A| / 5000, three things part the two numbers: f32 sums in the head (about 20 roundings
/// of 6e-8 on a score of about 0.1, over 2h: below 1e-4 of the gradient), curvature (below 1e-4), and clamps that
/// switch between A - hd and A + hd, whose slope jumps; the last is the largest, and 5e-3 leaves it room.
fn assert_gradient(model: &Model, layer: &str, score: &str) {
    const TOLERANCE: f64 = 5e-3;
    let score = model.manifest.score(score).unwrap();
    let text = TextTower::load(model).unwrap().encode("a tabby cat").unwrap().for_score(score).unwrap();
    let key = TowerKey { score: score.name.clone(), ..key(model, layer, SIDE) };
    let explained = ImageTower::load(model, &key).unwrap().explain(&photo(SIDE, 1.), &text).unwrap();
    let (activations, gradients) = (explained.seen.activations.values, explained.gradients);
    let head = head(model, layer, &score.image);
    let score_at = |step: f64, direction: &[f64]| {
        let moved: Vec<f32> =
            activations.iter().zip(direction).map(|(&a, d)| (f64::from(a) + step * d) as f32).collect();
        score_in_f64(score, &head(&moved), &text)
    };
    let length = norm(gradients.iter().map(|&g| f64::from(g)));
    assert!(length > 0., "{layer}, {}: the gradient is zero", score.name);
    let step = norm(activations.iter().map(|&a| f64::from(a))) / 5000.;
    let mut random = Random::new(7);
    for trial in 0..5 {
        let half: Vec<f64> =
            gradients.iter().map(|&g| if trial == 0 || random.uniform() > 0.5 { f64::from(g) } else { 0. }).collect();
        let half_length = norm(half.iter().copied());
        let direction: Vec<f64> = half.iter().map(|g| g / half_length).collect();
        let expected = (score_at(step, &direction) - score_at(-step, &direction)) / (2. * step);
        let found: f64 = gradients.iter().zip(&direction).map(|(&g, d)| f64::from(g) * d).sum();
        assert!(
            (found - expected).abs() <= TOLERANCE * length,
            "{layer}, {}, direction {trial}: expected slope {expected:e}, found {found:e}; |gradient| {length:e}",
            score.name
        );
    }
}

#[test]
fn gradients_at_the_last_layer_match_finite_differences() {
    assert_gradient(&lite(), "features", "evidence");
    assert_gradient(&lite(), "features", "cosine");
}

#[test]
fn gradients_at_an_inner_layer_match_finite_differences() {
    assert_gradient(&lite(), "block10", "evidence");
    assert_gradient(&lite(), "block10", "cosine");
}

/// The bundled model's embedding has length one already; the logits have not.
#[test]
fn gradients_of_cosines_account_for_the_length() {
    let cosine = |manifest: String| manifest.replacen("kind = \"dot\"", "kind = \"cosine\"", 1);
    let (_directory, model) = changed_model(cosine, |bytes| bytes, false);
    let model = model.unwrap();
    assert_eq!(model.manifest.score("evidence").unwrap().kind, ScoreKind::Cosine);
    assert_gradient(&model, "features", "evidence");
}

/// The evidence score is linear in the features behind an average, so all positions of a channel have one derivative,
/// and channels that are dead in this picture have theirs too.
#[test]
fn evidence_has_a_gradient_in_dead_channels() {
    let model = lite();
    let tower = tower(&model, "features", SIDE).unwrap();
    let text = TextTower::load(&model).unwrap().encode("a tabby cat").unwrap().for_score(tower.score()).unwrap();
    let explained = tower.explain(&photo(SIDE, 1.), &text).unwrap();
    let positions = explained.seen.activations.size.area();
    let mut dead = 0;
    let channels = explained.seen.activations.values.chunks(positions).zip(explained.gradients.chunks(positions));
    for (activations, gradients) in channels {
        assert!(gradients.iter().all(|gradient| gradient == &gradients[0]));
        if activations.iter().all(|&activation| activation == 0.) {
            assert!(gradients[0] != 0.);
            dead += 1;
        }
    }
    assert!(dead > 0, "expected a picture that leaves some channels dead");
}

// Rules one by one.

/// Checks d s / d x of s = sum(weights * y(x)) in every coordinate against central differences.
///
/// h = 1/128; y is of order 1 and its third derivatives of order 10, so s is off by about 1e-6 of rounding (over 2h:
/// 1e-4) and the difference quotient by h^2 / 6 * 10 = 1e-4.
fn assert_rule(name: &str, x: Tensor, build: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>) {
    const STEP: f32 = 1. / 128.;
    const TOLERANCE: f32 = 1e-3;
    let mut model = TypedModel::default();
    let source = model.add_source("x", f32::fact(x.shape())).unwrap();
    let y = build(&mut model, source).unwrap();
    let score = weighted_sum(&mut model, y);
    model.outputs = vec![score];
    let gradient = append_gradient(&mut model, score, source).unwrap();
    assert_eq!(model.outputs, [score], "{name}: the outputs changed");
    model.outputs.push(gradient);
    model.optimize().unwrap();
    let plan = model.into_runnable().unwrap();
    let run = |x: &[f32], shape: &[usize]| {
        let outputs = plan.run(tvec!(Tensor::from_shape(shape, x).unwrap().into())).unwrap();
        (floats(&outputs[0])[0], outputs[1].clone())
    };
    let values = floats(&x);
    let (_, gradient) = run(&values, x.shape());
    assert_eq!(gradient.shape(), x.shape(), "{name}");
    let gradient = floats(&gradient);
    assert!(gradient.iter().any(|&g| g.abs() > 0.05), "{name}: the gradient is too small to test anything");
    for at in 0..values.len() {
        let score_at = |step: f32| {
            let mut moved = values.clone();
            moved[at] += step;
            run(&moved, x.shape()).0
        };
        let expected = (score_at(STEP) - score_at(-STEP)) / (2. * STEP);
        assert!(
            (gradient[at] - expected).abs() <= TOLERANCE * (1. + expected.abs()),
            "{name}: derivative {at}: expected {expected}, found {}",
            gradient[at]
        );
    }
}

fn weighted_sum(model: &mut TypedModel, y: OutletId) -> OutletId {
    let shape = model.outlet_fact(y).unwrap().shape.as_concrete().unwrap().to_vec();
    let weights = model.add_const("weights", random_tensor(3, &shape)).unwrap();
    let products = model.wire_node("weighted", math::mul(), &[y, weights]).unwrap()[0];
    let axes = (0..shape.len()).collect();
    model.wire_node("score", Reduce::new(axes, Reducer::Sum), &[products]).unwrap()[0]
}

fn wire(model: &mut TypedModel, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
    let name = format!("node{}", model.nodes.len());
    Ok(model.wire_node(name, op, inputs)?[0])
}

fn constant(model: &mut TypedModel, tensor: Tensor) -> TractResult<OutletId> {
    let name = format!("node{}", model.nodes.len());
    model.add_const(name, tensor)
}

fn scalar(model: &mut TypedModel, value: f32, rank: usize) -> TractResult<OutletId> {
    constant(model, tensor0(value).broadcast_into_rank(rank)?)
}

/// Values from 0.5 to 1.5, away from the poles of division and roots.
fn positive(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = floats(&random_tensor(11, shape)).iter().map(|value| 1. + value / 2.).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn any(shape: &[usize]) -> Tensor {
    random_tensor(5, shape)
}

#[test]
fn rule_of_element_wise_products_and_sums() {
    type Operator = fn() -> Box<dyn TypedOp>;
    let binary: [(&str, Operator); 4] = [
        ("add", || Box::new(math::add())),
        ("sub", || Box::new(math::sub())),
        ("mul", || Box::new(math::mul())),
        ("div", || Box::new(math::div())),
    ];
    for (name, op) in binary {
        for (others, of) in [("same", [2, 3, 4]), ("broadcast", [1, 3, 1])] {
            assert_rule(&format!("{name}, left, {others}"), positive(&[2, 3, 4]), |model, x| {
                let other = constant(model, positive(&of))?;
                wire(model, op(), &[x, other])
            });
            assert_rule(&format!("{name}, right, {others}"), positive(&[2, 3, 4]), |model, x| {
                let other = constant(model, positive(&of))?;
                wire(model, op(), &[other, x])
            });
            assert_rule(&format!("{name}, repeated, {others}"), positive(&of), |model, x| {
                let other = constant(model, positive(&[2, 3, 4]))?;
                wire(model, op(), &[other, x])
            });
        }
        assert_rule(&format!("{name}, both"), positive(&[2, 3]), |model, x| {
            let root = wire(model, math::sqrt(), &[x])?;
            wire(model, op(), &[root, x])
        });
    }
}

#[test]
fn rule_of_powers() {
    assert_rule("square", any(&[2, 5]), |model, x| wire(model, math::square(), &[x]));
    assert_rule("sqrt", positive(&[2, 5]), |model, x| wire(model, math::sqrt(), &[x]));
    assert_rule("rsqrt", positive(&[2, 5]), |model, x| wire(model, math::rsqrt(), &[x]));
    assert_rule("recip", positive(&[2, 5]), |model, x| wire(model, math::recip(), &[x]));
}

/// The values are multiples of 0.1 and the bounds halfway between two, six steps of the difference away.
#[test]
fn rule_of_clamps() {
    let x = || {
        let values: Vec<f32> = (0..20).map(|i| ((i * 7 % 20) as f32 - 10.) / 10.).collect();
        Tensor::from_shape(&[4, 5], &values).unwrap()
    };
    assert_rule("max", x(), |model, x| {
        let bound = scalar(model, -0.25, 2)?;
        wire(model, math::max(), &[x, bound])
    });
    assert_rule("min, bound first", x(), |model, x| {
        let bound = scalar(model, 0.35, 2)?;
        wire(model, math::min(), &[bound, x])
    });
    for (low, high) in [(-0.45, 0.55), (-0.25, f32::MAX)] {
        assert_rule("max, then min", x(), |model, x| {
            let (low, high) = (scalar(model, low, 2)?, scalar(model, high, 2)?);
            let raised = wire(model, math::max(), &[x, low])?;
            let clamped = wire(model, math::min(), &[raised, high])?;
            wire(model, math::square(), &[clamped])
        });
        assert_rule("min, then max", x(), |model, x| {
            let (low, high) = (scalar(model, low, 2)?, scalar(model, high, 2)?);
            let lowered = wire(model, math::min(), &[x, high])?;
            wire(model, math::max(), &[lowered, low])
        });
    }
    for (low, high) in [(-0.35, 0.25), (0.25, -0.35)] {
        assert_rule("a clamp beside its input", x(), |model, x| {
            let (low, high) = (scalar(model, low, 2)?, scalar(model, high, 2)?);
            let raised = wire(model, math::max(), &[x, low])?;
            let clamped = wire(model, math::min(), &[raised, high])?;
            let squared = wire(model, math::square(), &[raised])?;
            wire(model, math::add(), &[squared, clamped])
        });
    }
}

#[test]
fn clamps_pass_nothing_on_their_bounds() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, 5])).unwrap();
    let (low, high) = (scalar(&mut model, 0., 2).unwrap(), scalar(&mut model, 6., 2).unwrap());
    let raised = wire(&mut model, math::max(), &[x, low]).unwrap();
    let y = wire(&mut model, math::min(), &[raised, high]).unwrap();
    let score = wire(&mut model, Reduce::new(tvec!(1), Reducer::Sum), &[y]).unwrap();
    let gradient = append_gradient(&mut model, score, x).unwrap();
    model.outputs = vec![gradient];
    let x = Tensor::from_shape(&[1, 5], &[-1f32, 0., 3., 6., 7.]).unwrap();
    let found = model.into_runnable().unwrap().run(tvec!(x.into())).unwrap();
    assert_eq!(floats(&found[0]), [0., 0., 1., 0., 0.]);
}

#[test]
fn rule_of_axes_and_sums() {
    assert_rule("add axis", any(&[2, 3]), |model, x| wire(model, AxisOp::Add(1), &[x]));
    assert_rule("remove axis", any(&[2, 1, 3]), |model, x| wire(model, AxisOp::Rm(1), &[x]));
    assert_rule("move axis up", any(&[2, 3, 4]), |model, x| wire(model, AxisOp::Move(0, 2), &[x]));
    assert_rule("move axis down", any(&[2, 3, 4]), |model, x| wire(model, AxisOp::Move(2, 0), &[x]));
    assert_rule("reshape", any(&[2, 6]), |model, x| {
        wire(model, AxisOp::Reshape(1, tvec!(6.to_dim()), tvec!(2.to_dim(), 3.to_dim())), &[x])
    });
    assert_rule("sum", any(&[2, 3, 4]), |model, x| wire(model, Reduce::new(tvec!(0, 2), Reducer::Sum), &[x]));
    for axes in [tvec!(1), tvec!(0, 1)] {
        assert_rule("softmax", any(&[3, 4]), |model, x| {
            wire(model, Softmax::new(axes.clone(), None, SoftmaxKind::Softmax), &[x])
        });
    }
}

#[test]
fn rule_of_sums_of_products() {
    for (formula, left, right) in [
        ("mk,kn->mn", vec![2, 3], vec![3, 4]),
        ("km,kn->nm", vec![3, 2], vec![3, 4]),
        ("bmk,bnk->bmn", vec![2, 3, 2], vec![2, 2, 2]),
        ("NIHW,OI->OHW", vec![1, 3, 2, 2], vec![4, 3]),
        ("IHW,OI->NOHW", vec![3, 2, 2], vec![4, 3]),
        ("mkba,kn->mn", vec![2, 3, 2, 2], vec![3, 4]),
    ] {
        for slot in 0..2 {
            let (x, other) = if slot == 0 { (&left, &right) } else { (&right, &left) };
            assert_rule(&format!("{formula}, input {slot}"), any(x), |model, x| {
                let other = constant(model, positive(other))?;
                let inputs = if slot == 0 { [x, other] } else { [other, x] };
                wire(model, EinSum::new(formula.parse()?, f32::datum_type()), &inputs)
            });
        }
    }
    assert_rule("product of two variables", any(&[3, 3]), |model, x| {
        let squared = wire(model, math::square(), &[x])?;
        wire(model, EinSum::new("mk,kn->mn".parse()?, f32::datum_type()), &[x, squared])
    });
}

#[test]
fn rule_of_convolutions() {
    struct Case {
        name: &'static str,
        format: DataFormat,
        input: &'static [usize],
        channels: (usize, usize),
        group: usize,
        kernel: [usize; 2],
        stride: usize,
        dilation: usize,
        before: [usize; 2],
        after: [usize; 2],
    }
    let plain = Case {
        name: "pointwise",
        format: DataFormat::NCHW,
        input: &[1, 3, 4, 5],
        channels: (3, 4),
        group: 1,
        kernel: [1, 1],
        stride: 1,
        dilation: 1,
        before: [0, 0],
        after: [0, 0],
    };
    let cases = [
        Case { name: "3 x 2 kernel, padded", kernel: [3, 2], before: [1, 0], after: [1, 1], ..plain },
        Case {
            name: "depthwise, stride 2, one-sided padding",
            input: &[1, 3, 6, 8],
            channels: (3, 3),
            group: 3,
            kernel: [3, 3],
            stride: 2,
            after: [1, 1],
            ..plain
        },
        Case {
            name: "depthwise without batch, uneven padding",
            format: DataFormat::CHW,
            input: &[2, 7, 6],
            channels: (2, 2),
            group: 2,
            kernel: [5, 5],
            stride: 2,
            before: [1, 2],
            after: [2, 1],
            ..plain
        },
        Case { name: "last rows and columns unread", input: &[1, 3, 8, 10], kernel: [3, 3], stride: 3, ..plain },
        Case {
            name: "two groups, dilated",
            input: &[1, 4, 7, 6],
            channels: (4, 6),
            group: 2,
            kernel: [3, 2],
            dilation: 2,
            before: [1, 1],
            after: [1, 1],
            ..plain
        },
        Case { name: "channels last", format: DataFormat::NHWC, input: &[1, 5, 4, 3], kernel: [2, 2], ..plain },
        plain,
    ];
    for case in cases {
        let (inputs, outputs) = case.channels;
        let pool = PoolSpec {
            data_format: case.format,
            kernel_shape: TVec::from_slice(&case.kernel),
            padding: PaddingSpec::Explicit(TVec::from_slice(&case.before), TVec::from_slice(&case.after)),
            dilations: Some(tvec!(case.dilation; 2)),
            strides: Some(tvec!(case.stride; 2)),
            input_channels: inputs,
            output_channels: outputs,
        };
        assert_rule(case.name, any(case.input), |model, x| {
            let kernel = positive(&[outputs, inputs / case.group, case.kernel[0], case.kernel[1]]);
            let kernel = constant(model, kernel)?;
            let bias = constant(model, positive(&[outputs]))?;
            wire(model, Conv::new(pool.clone(), KernelFormat::OIHW, case.group, None), &[x, kernel, bias])
        });
    }
}

#[test]
fn gradients_at_inner_tensors_stop_there() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, 3])).unwrap();
    let layer = wire(&mut model, math::exp(), &[x]).unwrap();
    let y = wire(&mut model, math::square(), &[layer]).unwrap();
    let score = wire(&mut model, Reduce::new(tvec!(1), Reducer::Sum), &[y]).unwrap();
    let gradient = append_gradient(&mut model, score, layer).unwrap();
    model.outputs = vec![layer, gradient];
    let x = Tensor::from_shape(&[1, 3], &[0f32, 1., -2.]).unwrap();
    let found = model.into_runnable().unwrap().run(tvec!(x.into())).unwrap();
    let expected: Vec<f32> = floats(&found[0]).iter().map(|layer| 2. * layer).collect();
    assert_eq!(floats(&found[1]), expected);
}

#[test]
fn a_gradient_without_a_rule_is_an_error_that_names_operator_and_node() {
    let failing = |build: &dyn Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>| {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, 4])).unwrap();
        let y = build(&mut model, x).unwrap();
        let score = weighted_sum(&mut model, y);
        format!("{:#}", append_gradient(&mut model, score, x).unwrap_err())
    };
    let inverse = failing(&|model, x| Ok(model.wire_node("back", math::asin(), &[x])?[0]));
    assert!(inverse.contains("Asin") && inverse.contains("back"), "{inverse}");
    let kernel = failing(&|model, x| {
        let kernel = wire(model, AxisOp::Add(1), &[x])?;
        let signal = model.add_const("signal", Tensor::zero::<f32>(&[1, 1, 8])?)?;
        let bias = model.add_const("bias", tensor0(0f32))?;
        let pool = PoolSpec { kernel_shape: tvec!(4), input_channels: 1, output_channels: 1, ..PoolSpec::default() };
        let conv = Conv { pool_spec: pool, kernel_fmt: KernelFormat::OIHW, group: 1, q_params: None };
        let y = model.wire_node("matched", conv, &[signal, kernel, bias])?[0];
        wire(model, AxisOp::Rm(1), &[y])
    });
    assert!(kernel.contains("matched") && kernel.contains("kernel"), "{kernel}");
    let nowhere = failing(&|model, _| model.add_source("other", f32::fact([1, 4])));
    assert!(nowhere.contains("does not depend on the layer"), "{nowhere}");
}

// The towers.

#[test]
fn activations_and_vectors_are_those_of_the_plain_forward_pass() {
    let model = lite();
    let image = photo(SIDE, 0.8);
    for layer in ["features", "block10"] {
        let tower = tower(&model, layer, SIDE).unwrap();
        let text = TextTower::load(&model).unwrap().encode("coffee mug").unwrap().for_score(tower.score()).unwrap();
        let explained = tower.explain(&image, &text).unwrap();
        let plain = image_network(&model, &["embedding", "logits", layer]).into_optimized().unwrap();
        let input = Tensor::from_shape(&[1, 3, SIDE.height, SIDE.width], &image).unwrap();
        let plain = plain.into_runnable().unwrap().run(tvec!(input.into())).unwrap();
        let seen = &explained.seen;
        let Size { height, width } = seen.activations.size;
        assert_eq!(plain[2].shape()[1..], [seen.activations.channels, height, width]);
        assert_eq!(seen.activations.values, floats(&plain[2]));
        assert_eq!(seen.vectors.get("embedding").unwrap(), floats(&plain[0]));
        assert_eq!(seen.vectors.get("logits").unwrap(), floats(&plain[1]));
        assert_eq!(tower.vectors(&image).unwrap(), seen.vectors);
    }
}

#[test]
fn threads_change_no_bit() {
    let model = lite();
    let tower = tower(&model, "features", SIDE).unwrap();
    let text = TextTower::load(&model).unwrap().encode("dog").unwrap().for_score(tower.score()).unwrap();
    let images: Vec<Vec<f32>> = [1., 0.9, 0.8, 0.6, 0.4, 0.2].map(|contrast| photo(SIDE, contrast)).to_vec();
    let alone: Vec<_> = images.iter().map(|image| tower.vectors(image).unwrap()).collect();
    let explained = tower.explain(&images[0], &text).unwrap();
    std::thread::scope(|scope| {
        let (tower, text, images) = (&tower, &text, &images);
        let other = scope.spawn(move || -> Vec<_> { images[..3].iter().map(|i| tower.vectors(i).unwrap()).collect() });
        let third = scope.spawn(move || tower.explain(&images[0], text).unwrap());
        let ours: Vec<_> = images[3..].iter().map(|image| tower.vectors(image).unwrap()).collect();
        assert_eq!(other.join().unwrap(), alone[..3]);
        assert_eq!(ours, alone[3..]);
        assert_eq!(third.join().unwrap(), explained);
    });
}

#[test]
fn other_sizes_work_and_height_comes_before_width() {
    let model = lite();
    let size = Size::new(160, 288);
    let tower = tower(&model, "block10", size).unwrap();
    let text = TextTower::load(&model).unwrap().encode("dog").unwrap().for_score(tower.score()).unwrap();
    let explained = tower.explain(&photo(size, 1.), &text).unwrap();
    let activations = &explained.seen.activations;
    assert_eq!((activations.channels, activations.size), (112, Size::new(10, 18)));
    assert_eq!(activations.values.len(), 112 * 10 * 18);
    assert_eq!(explained.gradients.len(), 112 * 10 * 18);
}

#[test]
fn impossible_requests_say_what_is_possible() {
    let model = lite();
    let message = |layer: &str, size| tower(&model, layer, size).unwrap_err().to_string();
    let unknown = message("block99", SIDE);
    for part in ["block99", "features (1280 channels, stride 32)", "block10 (112 channels, stride 16)"] {
        assert!(unknown.contains(part), "{unknown}");
    }
    for side in [(225, 224), (224, 0), (2080, 224), (224, usize::MAX), (16, 224)] {
        let message = message("features", Size::new(side.0, side.1));
        assert!(message.contains("multiple of 32"), "{message}");
    }
    assert!(message("features", Size::new(224, 100)).contains("width"));
    let beauty = TowerKey { score: "beauty".into(), ..key(&model, "features", SIDE) };
    let score = ImageTower::load(&model, &beauty).unwrap_err();
    assert!(format!("{score:#}").contains("cosine, evidence"), "{score:#}");

    let tower = tower(&model, "features", SIDE).unwrap();
    let short = tower.vectors(&[0.; 12]).unwrap_err();
    assert!(format!("{short:#}").contains("3 x 224 x 224"), "{short:#}");
    let text = tower.explain(&photo(SIDE, 1.), &[1.; 3]).unwrap_err();
    assert!(format!("{text:#}").contains("1000 numbers"), "{text:#}");
    let mut image = photo(SIDE, 1.);
    image[70_000] = f32::NAN;
    assert!(format!("{:#}", tower.vectors(&image).unwrap_err()).contains("finite"));
    let text = vec![f32::INFINITY; 1000];
    assert!(format!("{:#}", tower.explain(&photo(SIDE, 1.), &text).unwrap_err()).contains("text vector"));
}

#[test]
fn scores_are_linear_in_the_text() {
    let model = lite();
    let vectors = tower(&model, "features", SIDE).unwrap().vectors(&photo(SIDE, 1.)).unwrap();
    let tower = TextTower::load(&model).unwrap();
    let (cat, dog) = (tower.encode("cat").unwrap(), tower.encode("dog").unwrap());
    for score in model.manifest.scores.iter().filter(|score| score.kind != ScoreKind::Posterior) {
        let value = |text: &[f32]| score.value(&vectors, text).unwrap();
        let (ours, theirs) = (cat.for_score(score).unwrap(), dog.for_score(score).unwrap());
        let versus = cat.for_score_versus(&dog, score).unwrap();
        let tolerance = 4. * f32::EPSILON * (value(&ours).abs() + value(&theirs).abs()).max(1.);
        assert!((value(&versus) - (value(&ours) - value(&theirs))).abs() <= tolerance, "{}", score.name);
        let expected = score_in_f64(score, vectors.get(&score.image).unwrap(), &ours) as f32;
        assert!((value(&ours) - expected).abs() <= f32::EPSILON * expected.abs());
        assert!(score.value(&vectors, &[1.; 2]).is_err());
        if score.kind == ScoreKind::Cosine {
            assert!((norm(ours.iter().map(|&t| f64::from(t))) - 1.).abs() < 1e-6);
            assert!(value(&ours).abs() <= 1.);
        }
    }
}

// Quantised networks.

#[test]
fn clamps_stand_in_for_quantised_activations() {
    let model = lite();
    let file = model.file(&model.manifest.image.file).unwrap();
    let names = ["embedding", "logits", "features"];
    let run = |network: TypedModel| {
        let input = Tensor::from_shape(&[1, 3, SIDE.height, SIDE.width], &photo(SIDE, 1.)).unwrap();
        network.into_runnable().unwrap().run(tvec!(input.into())).unwrap()
    };
    let pairs = run(quantised::read_with_pairs(file, &wanted(&names)).unwrap());
    let mut network = quantised::read_with_pairs(file, &wanted(&names)).unwrap();
    assert!(quantised::undo_pairs(&mut network, Pairs::Clamp).unwrap() > 0);
    let clamps = run(network);
    for (name, (pairs, clamps)) in names.iter().zip(pairs.iter().zip(clamps.iter())) {
        let similarity = cosine(&floats(pairs), &floats(clamps));
        assert!((0.99..1.).contains(&similarity), "{name}: cosine {similarity}");
    }
}

#[test]
fn float_weights_are_those_that_tract_computes() {
    let model = lite();
    let mut file = model.file(&model.manifest.image.file).unwrap();
    let names = ["embedding", "features"];
    let ours = quantised::read_with_pairs(file, &wanted(&names)).unwrap();
    let plain = tract_onnx::onnx().with_ignore_value_info(true).model_for_read(&mut file).unwrap();
    let plain = plain.with_input_fact(0, f32::fact([1, 3, SIDE.height, SIDE.width]).into()).unwrap();
    let plain = plain.with_outputs_by_name(names).unwrap().into_typed().unwrap();
    let run = |network: TypedModel| {
        let input = Tensor::from_shape(&[1, 3, SIDE.height, SIDE.width], &photo(SIDE, 1.)).unwrap();
        network.into_runnable().unwrap().run(tvec!(input.into())).unwrap()
    };
    let (ours, plain) = (run(ours), run(plain));
    assert_eq!(floats(&ours[0]), floats(&plain[0]));
    assert_eq!(floats(&ours[1]), floats(&plain[1]));
}

/// x -> u8 -> x, with the pair replaced or, if by nothing, left to tract.
fn quantised_graph(
    values: &[f32],
    pairs: Option<Pairs>,
    between: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) -> Vec<f32> {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, values.len()])).unwrap();
    let wire_pair = |model: &mut TypedModel, x, scale: f32, zero_point: u8| {
        let quantised = wire(model, quantize_linear_u8(scale.recip(), zero_point), &[x]).unwrap();
        wire(model, DequantizeLinearF32::new(scale, i32::from(zero_point)), &[quantised]).unwrap()
    };
    let first = wire_pair(&mut model, x, 0.1, 100);
    let y = between(&mut model, first).unwrap();
    let last = wire_pair(&mut model, y, 1. / 256., 0);
    model.outputs = vec![last];
    if let Some(pairs) = pairs {
        assert_eq!(quantised::undo_pairs(&mut model, pairs).unwrap(), 2);
    }
    model.declutter().unwrap();
    let x = Tensor::from_shape(&[1, values.len()], values).unwrap();
    floats(&model.into_runnable().unwrap().run(tvec!(x.into())).unwrap()[0])
}

#[test]
fn a_clamp_saturates_where_the_integers_do() {
    // The first pair holds -10 to 15.5, the second 0 to 255/256.
    let values = [-30f32, -0.5, 0., 0.24, 0.8, 1.7, 40.];
    let identity = |_: &mut TypedModel, x| Ok(x);
    let clamped = quantised_graph(&values, Some(Pairs::Clamp), identity);
    assert_eq!(clamped, [0., 0., 0., 0.24, 0.8, 255. / 256., 255. / 256.]);
    let integers = quantised_graph(&values, None, identity);
    for (integer, clamp) in integers.iter().zip(clamped) {
        assert!((integer - clamp).abs() <= 0.05 + 1. / 512., "{integer} {clamp}");
    }
    assert_eq!(integers, quantised_graph(&values, Some(Pairs::Round), identity));
}

/// tract 0.23.9's declutter takes pair -> Softmax -> pair for a function of single numbers and makes it a table. The
/// pairs are replaced first, so it never sees them.
#[test]
fn a_softmax_between_pairs_stays_a_softmax() {
    let values = [0.1f32, 1.2, -0.7, 2.3, 0.4];
    let softmax = |model: &mut TypedModel, x| wire(model, Softmax::new(tvec!(1), None, SoftmaxKind::Softmax), &[x]);
    let exponentials: Vec<f32> = values.iter().map(|value| value.exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    for (pairs, error) in [(Pairs::Clamp, 1e-6), (Pairs::Round, 0.5 / 256. + 1e-6)] {
        let found = quantised_graph(&values, Some(pairs), softmax);
        for (found, exponential) in found.iter().zip(&exponentials) {
            assert!((found - exponential / sum).abs() <= error, "{pairs:?}");
        }
    }
}

/// Halves go to even, steps are those of the integers, and beyond their range there is nothing.
#[test]
fn rounding_is_what_the_integers_do() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, 8])).unwrap();
    let quantised = wire(&mut model, quantize_linear_u8(2., 10), &[x]).unwrap();
    model.outputs = vec![wire(&mut model, DequantizeLinearF32::new(0.5, 10), &[quantised]).unwrap()];
    assert_eq!(quantised::undo_pairs(&mut model, Pairs::Round).unwrap(), 1);
    let x = Tensor::from_shape(&[1, 8], &[0.25f32, 0.75, -0.25, 0.26, 1e9, -1e9, -5., f32::MAX]).unwrap();
    let found = floats(&model.into_runnable().unwrap().run(tvec!(x.into())).unwrap()[0]);
    assert_eq!(found, [0., 1., 0., 0.5, 122.5, -5., -5., 122.5]);
}

#[test]
fn clamps_that_cannot_bind_are_left_out() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, 2, 3])).unwrap();
    let pair = |model: &mut TypedModel, x, scale: f32| {
        let quantised = wire(model, quantize_linear_u8(scale.recip(), 0), &[x]).unwrap();
        wire(model, DequantizeLinearF32::new(scale, 0), &[quantised]).unwrap()
    };
    let relu = pair(&mut model, x, 0.1);
    let sum = wire(&mut model, Reduce::new(tvec!(2), Reducer::Sum), &[relu]).unwrap();
    let count = scalar(&mut model, 3., 3).unwrap();
    let mean = wire(&mut model, math::div(), &[sum, count]).unwrap();
    let narrower = pair(&mut model, mean, 0.05);
    model.outputs = vec![pair(&mut model, narrower, 0.2)];
    assert_eq!(quantised::undo_pairs(&mut model, Pairs::Clamp).unwrap(), 3);
    model.compact().unwrap();
    let named = |name: &str| model.nodes.iter().filter(|node| node.op.name() == name).count();
    assert_eq!((named("Max"), named("Min")), (1, 2));
}

/// x sigmoid(x) is never below -0.2785, and a clamp at -0.273 moves it by less than half a step of 0.021.
#[test]
fn clamps_that_move_less_than_rounding_are_left_out() {
    for (scale, max, min) in [(0.021f32, 1, 1), (0.01, 2, 2)] {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, 3])).unwrap();
        let pair = |model: &mut TypedModel, x, scale: f32, zero_point: u8| {
            let quantised = wire(model, quantize_linear_u8(scale.recip(), zero_point), &[x]).unwrap();
            wire(model, DequantizeLinearF32::new(scale, i32::from(zero_point)), &[quantised]).unwrap()
        };
        let x = pair(&mut model, x, 0.04, 128);
        let factor = wire(&mut model, sigmoid(), &[x]).unwrap();
        let silu = wire(&mut model, math::mul(), &[x, factor]).unwrap();
        model.outputs = vec![pair(&mut model, silu, scale, 13)];
        assert_eq!(quantised::undo_pairs(&mut model, Pairs::Clamp).unwrap(), 2);
        model.compact().unwrap();
        let named = |name: &str| model.nodes.iter().filter(|node| node.op.name() == name).count();
        assert_eq!((named("Max"), named("Min")), (max, min), "{scale}");
    }
}

#[test]
fn pairs_that_rescale_round() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1, 2])).unwrap();
    let quantised = wire(&mut model, quantize_linear_u8(10., 0), &[x]).unwrap();
    let rescaled = wire(&mut model, DequantizeLinearF32::new(0.2, 0), &[quantised]).unwrap();
    model.outputs = vec![rescaled];
    assert_eq!(quantised::undo_pairs(&mut model, Pairs::Clamp).unwrap(), 1);
    let x = Tensor::from_shape(&[1, 2], &[0.34f32, 100.]).unwrap();
    let found = floats(&model.into_runnable().unwrap().run(tvec!(x.into())).unwrap()[0]);
    assert!((found[0] - 0.6).abs() < 1e-6 && (found[1] - 51.).abs() < 1e-5, "{found:?}");
}

// The prompt.

fn tiny_tokenizer() -> Tokenizer {
    Tokenizer::new(b"[PAD]\na\nphoto\nof\ndog\n##fi\n##sh\ncat\n##s\nx\n##fish\nmug\n").unwrap()
}

#[test]
fn words_are_cut_into_the_longest_pieces() {
    let cut = |prompt: &str| tiny_tokenizer().tokens("a photo of {}", prompt).unwrap();
    assert_eq!(cut("dog").ids, [1, 2, 3, 4]);
    assert_eq!(cut("DOG, cat!").ids, [1, 2, 3, 4, 7]);
    assert_eq!(cut("dogfish").ids, [1, 2, 3, 4, 10]);
    assert_eq!(cut("dogs").ids, [1, 2, 3, 4, 8]);
    // Where nothing fits, one letter is skipped, and what follows still continues the word.
    assert_eq!(cut("cat dogqs").ids, [1, 2, 3, 7, 4, 8]);
    assert_eq!(tiny_tokenizer().tokens("{}", "mug").unwrap().ids, [11]);
}

#[test]
fn words_of_the_training_are_known() {
    let model = lite();
    let tokenizer = Tokenizer::new(model.file(&model.manifest.text.as_ref().unwrap().vocabulary).unwrap()).unwrap();
    for word in ["wok", "dachshund", "zebras", "siamang", "tabby", "cat"] {
        assert!(tokenizer.tokens("a photo of {}", word).unwrap().unknown_words.is_empty(), "{word}");
    }
    for word in ["qzxvw", "xq", "1234"] {
        assert!(tokenizer.tokens("a photo of {}", word).is_err(), "{word}");
    }
}

#[test]
fn unknown_words_are_listed() {
    let unknown = |prompt: &str| tiny_tokenizer().tokens("a photo of {}", prompt).unwrap().unknown_words;
    assert!(unknown("a dog").is_empty());
    assert!(unknown("dogs").is_empty(), "a plural of a known word is known");
    assert_eq!(unknown("dog zebra 2 xs zebra cät"), ["zebra", "2", "xs", "cät"]);
}

#[test]
fn prompts_without_a_known_word_are_refused() {
    for prompt in ["", "   ", "the", "a photo of", "zebra", "猫", "42", "x", "!?"] {
        let error = format!("{:#}", tiny_tokenizer().tokens("a photo of {}", prompt).unwrap_err());
        assert!(error.contains(&format!("\"{prompt}\"")) && error.contains("English"), "{error}");
    }
    let long = "dog ".repeat(1000);
    let error = format!("{:#}", tiny_tokenizer().tokens("{}", &long).unwrap_err());
    assert!(error.contains("4000 characters"), "{error}");
    assert!(Tokenizer::new(b"").is_err());
    assert!(Tokenizer::new(&[0xff, 0xfe]).is_err());
}

#[test]
fn prompts_of_one_thing_are_closer_than_prompts_of_two() {
    let model = lite();
    let tower = TextTower::load(&model).unwrap();
    let score = model.manifest.score(&model.manifest.explain.reported).unwrap();
    let vector = |prompt: &str| tower.encode(prompt).unwrap().for_score(score).unwrap();
    let cat = vector("cat");
    assert!(cosine(&cat, &vector("kitten")) > cosine(&cat, &vector("airplane")) + 0.1);
    assert!(cosine(&cat, &vector("a cat")) > 0.9);
    // Shorter and longer prompts than before, in one tower.
    assert_eq!(vector("a small striped cat on a red sofa in a room").len(), cat.len());
    assert_eq!(vector("cat"), cat);
}

// Files.

fn lite_directory() -> PathBuf {
    root("models/lite")
}

/// A copy of the model, with its manifest and its image tower changed and, if asked for, the hash of the tower
/// corrected.
fn changed_model(
    change_manifest: impl Fn(String) -> String,
    change_tower: impl Fn(Vec<u8>) -> Vec<u8>,
    correct_hash: bool,
) -> (tempfile::TempDir, Result<Model>) {
    use sha2::Digest;
    let directory = tempfile::tempdir().unwrap();
    for file in ["text.onnx", "vocab.txt", "classes.txt", "words.txt"] {
        std::fs::copy(lite_directory().join(file), directory.path().join(file)).unwrap();
    }
    let mut manifest = std::fs::read_to_string(lite_directory().join("model.toml")).unwrap();
    let tower = change_tower(std::fs::read(lite_directory().join("image.onnx")).unwrap());
    if correct_hash {
        let old = lite().manifest.image.sha256;
        let new: String = sha2::Sha256::digest(&tower).iter().map(|byte| format!("{byte:02x}")).collect();
        manifest = manifest.replace(&old, &new);
    }
    std::fs::write(directory.path().join("image.onnx"), tower).unwrap();
    std::fs::write(directory.path().join("model.toml"), change_manifest(manifest)).unwrap();
    let model = Model::from_dir(directory.path()).map_err(Into::into);
    (directory, model)
}

#[test]
fn bundled_models_are_intact() {
    for name in decomcam::model::bundled_names() {
        let model = Model::bundled(name).unwrap();
        model.verify().unwrap();
        assert_eq!(model.manifest.name, name);
        assert_eq!(model.sha256().len(), 64);
    }
    let unknown = format!("{:#}", Model::bundled("huge").unwrap_err());
    assert!(unknown.contains("huge") && unknown.contains("lite"), "{unknown}");
}

#[test]
fn a_directory_holds_the_same_model() {
    let model = Model::open(lite_directory().to_str().unwrap(), &ModelOptions::new()).unwrap();
    assert_eq!(model.sha256(), lite().sha256());
    assert_eq!(model.file("image.onnx").unwrap(), lite().file("image.onnx").unwrap());
    assert!(Model::open("lite", &ModelOptions::new()).is_ok());
    let neither = format!("{:#}", Model::open("no/such/model", &ModelOptions::new()).unwrap_err());
    assert!(neither.contains("no/such/model") && neither.contains("lite"), "{neither}");
}

#[test]
fn damaged_directories_are_refused_by_name() {
    let keep = |bytes: Vec<u8>| bytes;
    let (_directory, flipped) = changed_model(
        |manifest| manifest,
        |mut bytes| {
            bytes[1_000_000] ^= 1;
            bytes
        },
        false,
    );
    let flipped = format!("{:#}", flipped.unwrap_err());
    for part in ["image.onnx", "expected SHA-256", "found", "fetch"] {
        assert!(flipped.contains(part), "{flipped}");
    }
    let (directory, model) = changed_model(|manifest| manifest, keep, false);
    assert!(model.is_ok());
    std::fs::remove_file(directory.path().join("vocab.txt")).unwrap();
    let missing = format!("{:#}", Model::from_dir(directory.path()).unwrap_err());
    assert!(missing.contains("vocab.txt") && missing.contains("fetch"), "{missing}");
    std::fs::create_dir(directory.path().join("vocab.txt")).unwrap();
    assert!(Model::from_dir(directory.path()).is_err());
    std::fs::remove_file(directory.path().join("model.toml")).unwrap();
    let none = format!("{:#}", Model::from_dir(directory.path()).unwrap_err());
    assert!(none.contains("model.toml"), "{none}");

    for (from, to, part) in [
        ("file = \"image.onnx\"", "file = \"../image.onnx\"", "folders"),
        ("file = \"image.onnx\"", "file = \"/etc/passwd\"", "folders"),
        ("schema = 1", "schema = 2", "schema"),
        ("schema = 1", "schema = 1\ncolour = 3", "colour"),
        ("default_layer = \"features\"", "default_layer = \"nowhere\"", "nowhere"),
        ("explained = \"posterior\"", "explained = \"beauty\"", "beauty"),
        ("template = \"a photo of {}\"", "template = \"a photo\"", "template"),
        ("tokenizer = \"wordpiece-az\"", "tokenizer = \"bytes\"", "bytes"),
        ("size = 224", "size = 225", "multiple of 32"),
        ("kind = \"dot\"", "kind = \"dot\"\nscale = 2.0", "scale"),
        ("name = \"block10\"", "name = \"features\"", "twice"),
        ("channels = 1280", "channels = 0", "at least 1"),
        ("[127.0, 127.0, 127.0]", "[nan, 127.0, 127.0]", "mean"),
    ] {
        let text = std::fs::read_to_string(lite_directory().join("model.toml")).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "the manifest lacks {from}");
        let error = format!("{:#}", Manifest::parse(&changed).unwrap_err());
        assert!(error.contains(part), "{to}: {error}");
    }
}

/// Loads and runs a tower; a panic would end the test.
fn try_tower(model: &Model) -> Result<()> {
    let tower = tower(model, "features", SIDE)?;
    let found = tower.vectors(&photo(SIDE, 1.))?;
    ensure!(found.get("logits").is_some_and(|logits| logits.iter().all(|value| value.is_finite())));
    Ok(())
}

#[test]
fn damaged_towers_with_correct_hashes_fail_cleanly() {
    type Damage = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
    let replaced = |from: &'static [u8], to: &'static [u8]| -> Damage {
        assert_eq!(from.len(), to.len());
        Box::new(move |mut bytes| {
            for at in 0..bytes.len() - from.len() {
                if bytes[at..].starts_with(from) {
                    bytes[at..at + to.len()].copy_from_slice(to);
                }
            }
            bytes
        })
    };
    let cases: Vec<(&str, Damage)> = vec![
        ("empty", Box::new(|_| Vec::new())),
        ("garbage", Box::new(|_| (0..10_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect())),
        ("text", Box::new(|_| b"<html>404 not found</html>".to_vec())),
        ("first half", Box::new(|bytes| bytes[..bytes.len() / 2].to_vec())),
        ("all but the end", Box::new(|bytes| bytes[..bytes.len() - 100].to_vec())),
        ("unknown operator", replaced(b"Softmax", b"Softmix")),
        ("missing output", replaced(b"logits", b"lugits")),
        ("missing layer", replaced(b"features", b"feetures")),
        ("another input", replaced(b"image", b"imago")),
    ];
    for (name, damage) in cases {
        let (_directory, model) = changed_model(|manifest| manifest, damage, true);
        let error = format!("{:#}", try_tower(&model.unwrap()).expect_err(name));
        assert!(error.contains("image.onnx"), "{name}: {error}");
    }
    // Wrong numbers, not wrong structure: an error or an answer, never a panic.
    let mut random = Random::new(1);
    for _ in 0..12 {
        let places: Vec<f64> = (0..20).map(|_| random.uniform()).collect();
        let flip = move |mut bytes: Vec<u8>| {
            for place in &places {
                let at = (place * bytes.len() as f64) as usize;
                bytes[at] ^= 0x55;
            }
            bytes
        };
        let (_directory, model) = changed_model(|manifest| manifest, flip, true);
        let _ = try_tower(&model.unwrap());
    }
}

#[test]
fn a_manifest_that_contradicts_its_network_is_refused() {
    for (from, to, part) in [
        ("channels = 1280", "channels = 640", "640"),
        ("image = \"logits\"", "image = \"lotids\"", "lotids"),
        ("stride = 32", "stride = 16", "features"),
    ] {
        // A guide of finer positions would be contradicted first.
        let changed = |manifest: String| manifest.replacen(from, to, 1).replace("guide = \"block10\"\n", "");
        let (_directory, model) = changed_model(changed, |bytes| bytes, false);
        let error = format!("{:#}", try_tower(&model.unwrap()).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn panics_become_errors() {
    let error = decomcam::onnx::guard::contained::<()>(|| panic!("index out of bounds")).unwrap_err();
    assert!(format!("{error:#}").contains("index out of bounds"));
    assert!(std::panic::catch_unwind(|| decomcam::onnx::guard::contained(|| Ok(3)).unwrap()).is_ok());
}
