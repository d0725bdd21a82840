//! A tensor's numbers from elsewhere: of a device that computes in integers, where the graph has floats that are near.

use tract_onnx::tract_hir::internal::*;

/// Of two tensors of one shape, the second comes out; the derivative goes to the first, as if nothing had changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instead;

impl Op for Instead {
    fn name(&self) -> StaticName {
        "Instead".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Instead {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (_, exact) = args_2!(inputs);
        Ok(tvec!(exact))
    }
}

impl TypedOp for Instead {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].shape == inputs[1].shape, "expected one shape, found {:?} and {:?}", inputs[0], inputs[1]);
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
