//! Operators that no ONNX file has: what [`super::normal`] writes where ONNX has no words for it; and those that overflow where tract computes them.

use super::normal::{DYNAMIC, INWARDS, SWAP, UPSAMPLE, WIDE};
use super::quantised::Rounding;
use anyhow::Context;
use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_hir::internal::*;

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract's ONNX, and the operators of ours.
pub fn framework() -> Onnx {
    let mut framework = tract_onnx::onnx().with_ignore_value_info(true);
    framework.op_register.insert(SWAP, |_, _| Ok((expand(Move::Last), vec![])));
    framework.op_register.insert(INWARDS, |_, _| Ok((expand(Move::FirstInwards), vec![])));
    framework.op_register.insert(DYNAMIC, |_, _| Ok((expand(RoundDynamically), vec![])));
    framework.op_register.insert(WIDE, wide);
    framework.op_register.insert(UPSAMPLE, upsample);
    framework.op_register.insert("Softplus", |_, _| Ok((expand(Soft::Plus), vec![])));
    framework.op_register.insert("Mish", |_, _| Ok((expand(Soft::Mish), vec![])));
    framework
}

/// As opset 10 resizes.
fn upsample(context: &ParsingContext, node: &NodeProto) -> Built {
    let resize = context.framework.op_register.0.get("Resize").context("no Resize")?;
    resize(&ParsingContext { onnx_operator_set_version: 10, ..context.clone() }, node)
}

fn wide(_: &ParsingContext, node: &NodeProto) -> Built {
    let number = |name: &str| node.get_attr::<f32>(name);
    let rounding =
        Rounding::new(number("scale")?, number("zero")? as i32, number("low")? as i32, number("high")? as i32);
    Ok((expand(Round(rounding)), vec![]))
}

/// An axis moves to the place before the last, whatever their number.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// The last one: the last two change places.
    Last,
    /// The first one.
    FirstInwards,
}

impl Move {
    fn from(self, rank: usize) -> usize {
        match self {
            Self::Last => rank - 1,
            Self::FirstInwards => 0,
        }
    }
}

impl Expansion for Move {
    fn name(&self) -> StaticName {
        "Move".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].rank, &outputs[0].rank)?;
        solver.given(&inputs[0].shape, move |solver, shape| {
            let mut shape = shape;
            ensure!(shape.len() >= 2, "expected two axes or more, found {shape:?}");
            let rank = shape.len();
            let moved = shape.remove(self.from(rank));
            shape.insert(rank - 2, moved);
            solver.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let rank = model.outlet_fact(inputs[0])?.rank();
        ensure!(rank >= 2, "expected two axes or more");
        model.wire_node(prefix, AxisOp::Move(self.from(rank), rank - 2), inputs)
    }
}

fn same_rules<'r, 'p: 'r>(
    solver: &mut Solver<'r>,
    inputs: &'p [TensorProxy],
    outputs: &'p [TensorProxy],
) -> InferenceResult {
    check_input_arity(inputs, 1)?;
    check_output_arity(outputs, 1)?;
    solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
    solver.equals(&inputs[0].shape, &outputs[0].shape)
}

/// A pair of `QuantizeLinear` and `DequantizeLinear`.
#[derive(Debug, Clone)]
struct Round(Rounding);

impl Expansion for Round {
    fn name(&self) -> StaticName {
        "Rounding".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_rules(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, ElementWiseOp(Box::new(self.0.clone()), None), inputs)
    }
}

/// ln(1 + e^x). tract computes e^x itself, which is no number from 89 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Softplus;

impl ElementWiseMiniOp for Softplus {
    fn name(&self) -> String {
        "Softplus".to_string()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _datum_type: Option<DatumType>) -> TractResult<()> {
        let mut values = tensor.try_as_plain_ram_mut()?;
        for value in values.as_slice_mut::<f32>()? {
            *value = value.max(0.0) + (-value.abs()).exp().ln_1p();
        }
        Ok(())
    }
}

/// What ONNX makes of it.
#[derive(Debug, Clone)]
enum Soft {
    /// It alone.
    Plus,
    /// x tanh(ln(1 + e^x))
    Mish,
}

impl Expansion for Soft {
    fn name(&self) -> StaticName {
        match self {
            Self::Plus => "Softplus".into(),
            Self::Mish => "Mish".into(),
        }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_rules(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let softplus = || ElementWiseOp(Box::new(Softplus), None);
        match self {
            Self::Plus => model.wire_node(prefix, softplus(), inputs),
            Self::Mish => {
                let found = model.wire_node(format!("{prefix}.softplus"), softplus(), inputs)?;
                let gate = model.wire_node(format!("{prefix}.tanh"), math::tanh(), &found)?;
                model.wire_node(prefix, math::mul(), &[inputs[0], gate[0]])
            }
        }
    }
}

/// A pair whose range is that of the numbers themselves.
#[derive(Debug, Clone)]
struct RoundDynamically;

impl Expansion for RoundDynamically {
    fn name(&self) -> StaticName {
        "DynamicRounding".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        same_rules(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, DynamicRounding, inputs)
    }
}

/// q = round(x / s) + z in 0..=255, y = (q - z) s, where s and z follow from the smallest and the largest x and zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DynamicRounding;

impl DynamicRounding {
    fn round(values: &mut [f32]) {
        let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), value| (low.min(*value), high.max(*value)));
        let scale = (high - low) / 255.0;
        if scale == 0.0 || !scale.is_finite() {
            return;
        }
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
        for value in values {
            let rounded = ((*value / scale).round_ties_even() + zero).clamp(0.0, 255.0);
            *value = (rounded - zero) * scale;
        }
    }
}

impl Op for DynamicRounding {
    fn name(&self) -> StaticName {
        "DynamicRounding".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DynamicRounding {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut tensor = args_1!(inputs).into_tensor();
        if tensor.datum_type() == f32::datum_type() {
            Self::round(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for DynamicRounding {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_a_number_wherever_its_input_is() {
        let mut numbers = tensor1(&[-1e30f32, -100.0, -1.0, 0.0, 1.0, 100.0, 1e30]);
        Softplus.eval_in_place(&mut numbers, None).unwrap();
        let expected = [0.0f32, 0.0, 0.313_261_7, std::f32::consts::LN_2, 1.313_261_7, 100.0, 1e30];
        let found = numbers.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0)), "{found:?}");
    }

    #[test]
    fn the_range_of_dynamic_rounding_holds_zero() {
        let mut values = [1.0, 2.0, 255.0, 3.4];
        DynamicRounding::round(&mut values);
        assert_eq!(values, [1.0, 2.0, 255.0, 3.0]);
        let mut values = [-1.0f32, 0.0, 0.3];
        DynamicRounding::round(&mut values);
        let step = 1.3 / 255.0;
        assert!(
            values
                .iter()
                .zip([-1.0, 0.0, 0.3])
                .all(|(found, given): (&f32, f32)| (found - given).abs() <= step / 2.0 + 1e-6)
        );
        assert_eq!(values[1], 0.0);
    }
}
