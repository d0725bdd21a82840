//! Every gradient rule against torch: `tests/gradients` holds small networks and what they must give.

use crate::common::{names, root};
use decomcam::onnx::gradient::append_gradient;
use decomcam::onnx::guard::contained;
use decomcam::onnx::kernels::{Kernels, optimise_with};
use decomcam::onnx::quantised::{self, Form, Pairs, Wanted};
use serde::Deserialize;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// Of the largest number of a tensor. Outputs and gradients of these small networks are sums of a few hundred products.
const ERROR: f32 = 1e-5;

#[derive(Deserialize)]
struct Reference {
    x_shape: Vec<usize>,
    layer_shape: Vec<usize>,
    x: Vec<f32>,
    layer: Vec<f32>,
    y: Vec<f32>,
    text: Vec<f32>,
    gradient: Vec<f32>,
}

/// The layer, the output, and the gradient of sum(text * output) at the layer.
fn compute(onnx: &[u8], reference: &Reference, pairs: Pairs, kernels: Kernels) -> anyhow::Result<[Vec<f32>; 3]> {
    let shape: Vec<Option<usize>> = reference.x_shape.iter().copied().map(Some).collect();
    let wanted = Wanted {
        input: "x",
        datum_type: f32::datum_type(),
        shape: &shape,
        outputs: &["layer", "y"],
        pairs,
        folder: None,
        form: Form::default(),
        readings: &[],
        beside: None,
    };
    // As `quantised::read`, but the layer stays in front of its rounding, where the reference has it.
    let mut model = quantised::read_with_pairs(onnx, &wanted)?;
    quantised::undo_pairs(&mut model, pairs)?;
    quantised::keep_outputs(&mut model)?;
    model.declutter()?;
    let (layer, y) = (model.outputs[0], model.outputs[1]);
    let shape = model.outlet_fact(layer)?.shape.as_concrete().map(<[usize]>::to_vec);
    anyhow::ensure!(shape.as_deref() == Some(&reference.layer_shape), "the layer has shape {shape:?}");
    let text = model.add_const("text", Tensor::from_shape(&[1, reference.text.len()], &reference.text)?)?;
    let products = model.wire_node("products", math::mul(), &[y, text])?[0];
    let score = model.wire_node("score", Reduce::new(tvec!(1), Reducer::Sum), &[products])?[0];
    let gradient = append_gradient(&mut model, score, layer)?;
    model.select_output_outlets(&[layer, y, gradient])?;
    optimise_with(&mut model, kernels)?;
    let plan = model.into_runnable()?;
    let values = plan.run(tvec!(Tensor::from_shape(&reference.x_shape, &reference.x)?.into()))?;
    let floats =
        |value: &TValue| -> anyhow::Result<Vec<f32>> { Ok(value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()) };
    Ok([floats(&values[0])?, floats(&values[1])?, floats(&values[2])?])
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let errors = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest);
    // Of a number and NaN, `max` is the number.
    errors.fold(0.0, |worst: f32, error| if worst >= error || worst.is_nan() { worst } else { error })
}

/// Runs every network of a folder of `tests`, of which there are so many.
fn check(folder: &str, count: usize) {
    let folder = root("tests").join(folder);
    let named = |extension: &str| -> Vec<String> {
        names(&folder).iter().filter_map(|name| name.strip_suffix(extension)).map(str::to_owned).collect()
    };
    let networks = named(".onnx");
    assert_eq!(networks, named(".json"), "every network has what it must give");
    assert_eq!(networks.len(), count);
    let (mut failures, mut worst) = (Vec::new(), 0.0_f32);
    for name in networks {
        let path = folder.join(format!("{name}.onnx"));
        let onnx = std::fs::read(&path).unwrap();
        let reference: Reference =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let pairs = if name.starts_with("quantised") { Pairs::Round } else { Pairs::Clamp };
        // With the operators of ours and without them.
        for kernels in [Kernels::Ours, Kernels::Tract] {
            match contained(|| compute(&onnx, &reference, pairs, kernels)) {
                Ok([layer, y, gradient]) => {
                    let expected = [&reference.layer, &reference.y, &reference.gradient];
                    let errors: Vec<f32> =
                        [&layer, &y, &gradient].iter().zip(expected).map(|(a, b)| error(a, b)).collect();
                    worst = errors.iter().fold(worst, |worst, error| worst.max(*error));
                    // A NaN fails.
                    if !errors.iter().all(|error| *error <= ERROR) {
                        failures.push(format!("{name}, {kernels:?}: layer, output and gradient are off by {errors:?}"));
                    }
                }
                Err(error) => failures.push(format!("{name}, {kernels:?}: {error:#}")),
            }
        }
    }
    println!("{count} networks, largest error {worst:.1e}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_rule_agrees_with_torch() {
    check("gradients", 157);
}

#[test]
fn every_dialect_and_number_format_agrees_with_torch() {
    check("dialects", 59);
}
