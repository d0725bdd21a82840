//! Runs a plan of tract's, operator by operator.

use crate::arithmetic::processor::settle;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::internal::*;

/// The outputs of a plan.
///
/// # Errors
/// Those of the plan's operators.
pub fn run(plan: &Arc<TypedRunnableModel>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    run_with(plan, inputs, |_, _| None)
}

/// The same; what `instead` computes of a node's inputs, if anything, stands in the place of what the node's operator would.
///
/// # Errors
/// Those of `instead` and of the plan's operators.
pub fn run_with(
    plan: &Arc<TypedRunnableModel>,
    inputs: TVec<TValue>,
    mut instead: impl FnMut(&TypedNode, &TVec<TValue>) -> Option<TractResult<TVec<TValue>>>,
) -> TractResult<TVec<TValue>> {
    plan.spawn()?.run_plan_with_eval(inputs, |context, state, node, inputs| {
        let outputs = instead(node, &inputs).unwrap_or_else(|| eval(context, state, node, inputs));
        settle();
        outputs
    })
}
