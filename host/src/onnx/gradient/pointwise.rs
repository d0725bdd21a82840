//! Operators that work on each number by itself: arithmetic, clamps, activation functions.

use super::{Derivative, Saturation, Tape};
use crate::onnx::quantised::{Rounding, is_saturation};
use anyhow::{Context, ensure};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cast::{Cast, cast};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::math::{self, PowConst};
use tract_onnx::tract_core::ops::nn::{GeluApproximate, LeakyRelu, Reduce, Reducer};

/// The derivative of an operator of two tensors.
pub(super) fn of_two(name: &str) -> Option<Derivative> {
    Some(Derivative::By(match name {
        "Add" => add,
        "Sub" => sub,
        "Mul" => mul,
        "Div" => div,
        "Max" => max,
        "Min" => min,
        "Pow" => pow,
        "Eq" | "NE" | "GT" | "GTE" | "LT" | "LTE" => return Some(Derivative::Zero),
        _ => return None,
    }))
}

/// The derivative of a function of one number.
pub(super) fn of_one(op: &ElementWiseOp) -> Option<Derivative> {
    match op.0.name().as_str() {
        "Square" => Some(Derivative::By(square)),
        "Sqrt" => Some(Derivative::By(sqrt)),
        "Rsqrt" => Some(Derivative::By(rsqrt)),
        "Recip" => Some(Derivative::By(recip)),
        "Exp" => Some(Derivative::By(exp)),
        "Rounding" => Some(Derivative::By(rounding)),
        "Neg" => Some(Derivative::By(neg)),
        "Ceil" | "Floor" | "Round" | "RoundHalfToEven" | "Sign" | "Not" => Some(Derivative::Zero),
        _ => Curve::of(op).map(|_| Derivative::By(curve)),
    }
}

/// y = a + b: ds/da = g.
fn add(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a - b: ds/da = g, ds/db = -g.
fn sub(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = if slot == 0 { g } else { tape.scale(g, -1.)? };
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a b: ds/da = g b.
fn mul(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = tape.mul(g, node.inputs[1 - slot])?;
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a / b: ds/da = g / b, ds/db = -g y / b.
fn div(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let mut g = tape.wire("div", math::div(), &[g, node.inputs[1]])?;
    if slot == 1 {
        g = tape.mul(g, node.id.into())?;
        g = tape.scale(g, -1.)?;
    }
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a^b: ds/da = g b a^(b-1), ds/db = g y ln a.
fn pow(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let (base, exponent) = (node.inputs[0], node.inputs[1]);
    let factor = if slot == 0 {
        let one = tape.filled(1., exponent)?;
        let less = tape.wire("sub", math::sub(), &[exponent, one])?;
        let power = tape.wire("pow", math::pow(), &[base, less])?;
        tape.mul(power, exponent)?
    } else {
        let logarithm = tape.wire("ln", math::ln(), &[base])?;
        tape.mul(logarithm, node.id.into())?
    };
    let g = tape.mul(g, factor)?;
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = max(x, c) with constant c: ds/dx = g where x > c, else 0. Of two tensors, the larger gets g.
fn max(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    extremum(tape, node, slot, g, Pair::Wins, |bound| Pair::Gate { low: bound, high: f32::INFINITY })
}

/// y = min(x, c) with constant c: ds/dx = g where x < c, else 0. Of two tensors, the smaller gets g.
fn min(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    extremum(tape, node, slot, g, Pair::Loses, |bound| Pair::Gate { low: f32::NEG_INFINITY, high: bound })
}

/// A clamp passes g where it did not hold its input to the bound.
///
/// That is read off the value z behind all clamps that directly follow, not off x. z lies strictly inside every bound
/// of such a chain exactly if no clamp in it held the value, so the product of the chain's gates is its derivative.
fn extremum(
    tape: &mut Tape,
    node: &TypedNode,
    slot: usize,
    g: OutletId,
    chosen: Pair,
    gate: fn(f32) -> Pair,
) -> TractResult<OutletId> {
    let shape = tape.shape(node.id.into())?;
    let clamp = clamp_bound(tape.model, node).filter(|(variable, _)| *variable == slot);
    if let Some((_, bound)) = clamp
        && tape.shape(node.inputs[slot])? == shape
    {
        let is_relu = bound == 0.0 && matches!(gate(bound), Pair::Gate { low: 0.0, .. });
        if tape.saturation == Saturation::Passes && is_saturation(node) && !is_relu {
            return Ok(g);
        }
        let z = tape.behind_clamps(node);
        return tape.wire("gate", TypedBinOp(Box::new(gate(bound)), None), &[g, z]);
    }
    let ours = tape.broadcast(node.inputs[slot], &shape)?;
    let other = tape.broadcast(node.inputs[1 - slot], &shape)?;
    let share = tape.wire("share", TypedBinOp(Box::new(chosen), None), &[ours, other])?;
    let g = tape.mul(g, share)?;
    tape.unbroadcast(g, node.inputs[slot])
}

/// If the node is max(x, c) or min(x, c) with a constant c: which input is x, and c.
pub(super) fn clamp_bound(model: &TypedModel, node: &TypedNode) -> Option<(usize, f32)> {
    let op = node.op_as::<TypedBinOp>()?;
    if !matches!(op.0.name(), "Max" | "Min") {
        return None;
    }
    match (uniform(model, node.inputs[0]), uniform(model, node.inputs[1])) {
        (None, Some(bound)) => Some((0, bound)),
        (Some(bound), None) => Some((1, bound)),
        _ => None,
    }
}

/// The number that fills a constant tensor.
fn uniform(model: &TypedModel, tensor: OutletId) -> Option<f32> {
    model.outlet_fact(tensor).ok()?.uniform.clone()?.cast_to_scalar::<f32>().ok()
}

/// y = x^2: ds/dx = 2 g x.
fn square(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = tape.mul(g, node.inputs[0])?;
    tape.scale(g, 2.)
}

/// y = sqrt(x): ds/dx = g / (2 y). The length of a vector of zeros has the gradient zero, as in PyTorch: there the next rule multiplies with zeros.
fn sqrt(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    /// Less than the root of any number above zero.
    const SHORTEST: f32 = 1e-25;
    let mut length = OutletId::from(node.id);
    if is_sum_of_squares(tape.model, node.inputs[0]) {
        let shortest = tape.filled(SHORTEST, length)?;
        length = tape.wire("max", math::max(), &[length, shortest])?;
    }
    let g = tape.wire("div", math::div(), &[g, length])?;
    tape.scale(g, 0.5)
}

/// Whether a tensor is a sum of squares, or their mean.
fn is_sum_of_squares(model: &TypedModel, tensor: OutletId) -> bool {
    let node = model.node(tensor.node);
    let Some(reduce) = node.op_as::<Reduce>() else { return false };
    let summed = model.node(node.inputs[0].node);
    let is_square = summed.op_as::<ElementWiseOp>().is_some_and(|op| op.0.name() == "Square")
        || summed.op_as::<TypedBinOp>().is_some_and(|op| op.0.name() == "Mul") && summed.inputs[0] == summed.inputs[1];
    match reduce.reducer {
        Reducer::MeanOfSquares => true,
        Reducer::Sum => is_square,
        _ => false,
    }
}

/// y = 1 / sqrt(x): ds/dx = -g y^3 / 2.
fn rsqrt(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let y = OutletId::from(node.id);
    let square = tape.mul(y, y)?;
    let cube = tape.mul(square, y)?;
    let g = tape.mul(g, cube)?;
    tape.scale(g, -0.5)
}

/// y = 1 / x: ds/dx = -g y^2.
fn recip(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let y = OutletId::from(node.id);
    let square = tape.mul(y, y)?;
    let g = tape.mul(g, square)?;
    tape.scale(g, -1.)
}

/// y = e^x: ds/dx = g y.
fn exp(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    tape.mul(g, node.id.into())
}

/// y = -x: ds/dx = -g.
fn neg(tape: &mut Tape, _node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    tape.scale(g, -1.)
}

/// y = x, rounded to steps: ds/dx = g where x rounds into the range of the steps, else 0 (straight-through).
fn rounding(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<ElementWiseOp>().context("an ElementWiseOp")?;
    let rounding = op.0.downcast_ref::<Rounding>().context("a Rounding")?;
    let (mut low, mut high) = rounding.unsaturated();
    if tape.saturation == Saturation::Passes {
        high = f32::INFINITY;
        low = if rounding.starts_at_zero() { low } else { f32::NEG_INFINITY };
    }
    tape.wire("gate", TypedBinOp(Box::new(Pair::Gate { low, high }), None), &[g, node.inputs[0]])
}

/// y = f(x): ds/dx = g f'(x).
fn curve(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<ElementWiseOp>().context("an ElementWiseOp")?;
    let curve = Curve::of(op).context("a curve")?;
    tape.wire("slope", TypedBinOp(Box::new(Pair::Slope(curve)), None), &[g, node.inputs[0]])
}

/// y = a where the condition holds, else b: ds/da = g there, ds/db = g elsewhere.
pub(super) fn choice(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    ensure!(slot > 0, "the condition of a choice has no gradient");
    let zero = tape.filled(0., g)?;
    let values = if slot == 1 { [node.inputs[0], g, zero] } else { [node.inputs[0], zero, g] };
    let g = tape.wire("choice", Iff, &values)?;
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = x in another type of float: ds/dx = g in x's.
pub(super) fn float_cast(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let from = tape.model.outlet_fact(node.inputs[0])?.datum_type;
    let to = node.op_as::<Cast>().context("a Cast")?.to;
    ensure!(from.is_float() && to.is_float(), "a cast from {from:?} to {to:?} has no gradient");
    tape.wire("cast", cast(from), &[g])
}

/// A function of one number with a derivative to be computed from its argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Curve {
    Abs,
    Cos,
    Cosh,
    Erf,
    GeluExact,
    GeluTanh,
    HardSwish,
    LeakyRelu(f32),
    Ln,
    Power(f32),
    Sigmoid,
    Silu,
    Sin,
    Sinh,
    Softplus,
    Tan,
    Tanh,
    Atan,
}

impl Curve {
    fn of(op: &ElementWiseOp) -> Option<Self> {
        Some(match op.0.name().as_str() {
            "Abs" => Self::Abs,
            "Cos" => Self::Cos,
            "Cosh" => Self::Cosh,
            "Erf" => Self::Erf,
            "GeluExact" => Self::GeluExact,
            // The other form of tract's, with x^2, is nobody's GELU.
            "GeluApproximate" if !op.0.downcast_ref::<GeluApproximate>()?.fast_impl => Self::GeluTanh,
            "HardSwish" => Self::HardSwish,
            "LeakyRelu" => Self::LeakyRelu(op.0.downcast_ref::<LeakyRelu>()?.alpha),
            "Ln" => Self::Ln,
            "PowConst" => Self::Power(op.0.downcast_ref::<PowConst>()?.exponent),
            "Sigmoid" => Self::Sigmoid,
            "Silu" => Self::Silu,
            "Sin" => Self::Sin,
            "Sinh" => Self::Sinh,
            "Softplus" => Self::Softplus,
            "Tan" => Self::Tan,
            "Tanh" => Self::Tanh,
            "Atan" => Self::Atan,
            _ => return None,
        })
    }

    /// f'(x), in float64 so that its rounding is that of the result.
    fn slope(self, x: f32) -> f32 {
        let x = f64::from(x);
        let sigmoid = |x: f64| 1. / (1. + (-x).exp());
        let slope = match self {
            Self::Abs if x == 0. => 0.,
            Self::Abs => x.signum(),
            Self::Cos => -x.sin(),
            Self::Cosh => x.sinh(),
            Self::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            // Phi(x) + x phi(x), of the normal distribution.
            Self::GeluExact => {
                let phi = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * (-0.5 * x * x).exp();
                0.5 * (1. + libm::erf(x * FRAC_1_SQRT_2)) + x * phi
            }
            // 0.5 x (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
            Self::GeluTanh => {
                let root = SQRT_2 * 0.5 * FRAC_2_SQRT_PI;
                let tanh = (root * (x + 0.044715 * x * x * x)).tanh();
                0.5 * (1. + tanh) + 0.5 * x * (1. - tanh * tanh) * root * (1. + 3. * 0.044715 * x * x)
            }
            Self::HardSwish if x <= -3. => 0.,
            Self::HardSwish if x >= 3. => 1.,
            Self::HardSwish => (2. * x + 3.) / 6.,
            Self::LeakyRelu(_) if x > 0. => 1.,
            Self::LeakyRelu(alpha) => f64::from(alpha),
            Self::Ln => 1. / x,
            Self::Power(exponent) => f64::from(exponent) * x.powf(f64::from(exponent) - 1.),
            Self::Sigmoid => sigmoid(x) * sigmoid(-x),
            Self::Silu => sigmoid(x) * (1. + x * sigmoid(-x)),
            Self::Sin => x.cos(),
            Self::Sinh => x.cosh(),
            Self::Softplus => sigmoid(x),
            Self::Tan => 1. + x.tan().powi(2),
            Self::Tanh => 1. - x.tanh().powi(2),
            Self::Atan => 1. / (1. + x * x),
        };
        slope as f32
    }
}

/// A function of two numbers, a and b.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pair {
    /// a where low < b < high, else 0.
    Gate { low: f32, high: f32 },
    /// a f'(b)
    Slope(Curve),
    /// 1 where a > b, 1/2 where they are equal, else 0.
    Wins,
    /// 1 where a < b, 1/2 where they are equal, else 0.
    Loses,
    /// 1 where a = b, else 0.
    Equal,
}

impl Eq for Pair {}

impl Pair {
    fn of(&self, a: f32, b: f32) -> f32 {
        let share = |first: bool| if first { 1. } else { 0. };
        match *self {
            Self::Gate { low, high } => {
                if low < b && b < high {
                    a
                } else {
                    0.
                }
            }
            Self::Slope(curve) => a * curve.slope(b),
            Self::Wins | Self::Loses if a == b => 0.5,
            Self::Wins => share(a > b),
            Self::Loses => share(a < b),
            Self::Equal => share(a == b),
        }
    }
}

impl BinMiniOp for Pair {
    fn name(&self) -> &'static str {
        match self {
            Self::Gate { .. } => "Gate",
            Self::Slope(_) => "Slope",
            Self::Wins => "Wins",
            Self::Loses => "Loses",
            Self::Equal => "Equal",
        }
    }

    fn result_datum_type(&self, a: DatumType, b: DatumType) -> TractResult<DatumType> {
        ensure!(a == f32::datum_type() && b == a, "expected two tensors of f32, found {a:?} and {b:?}");
        Ok(a)
    }

    fn is_commutative(&self) -> bool {
        false
    }

    fn eval_in_a(&self, a: &mut Tensor, b: &Tensor) -> TractResult<()> {
        let b = b.broadcast_to_shape(a.shape())?;
        let mut a = a.try_as_plain_ram_mut()?;
        let b = b.try_as_plain_ram()?;
        for (a, &b) in a.as_slice_mut::<f32>()?.iter_mut().zip(b.as_slice::<f32>()?) {
            *a = self.of(*a, b);
        }
        Ok(())
    }

    fn eval_out_of_place(&self, out: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        let (a, b) = (a.broadcast_to_shape(out.shape())?, b.broadcast_to_shape(out.shape())?);
        let mut out = out.try_as_plain_ram_mut()?;
        let (a, b) = (a.try_as_plain_ram()?, b.try_as_plain_ram()?);
        let pairs = a.as_slice::<f32>()?.iter().zip(b.as_slice::<f32>()?);
        for (out, (&a, &b)) in out.as_slice_mut::<f32>()?.iter_mut().zip(pairs) {
            *out = self.of(a, b);
        }
        Ok(())
    }
}
