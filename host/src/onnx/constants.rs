//! What is computed from constants alone, computed once.
//!
//! tract does this too, but leaves out large constants that several nodes read, as the standardised weights of NFNet and BiT are: their kernels would be computed again in every
//! pass, and a computed kernel has no gradient rule.

use std::collections::HashMap;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::internal::*;

/// Numbers that one constant may grow to, where the constants that it is made of are not as many together: a file decides how large they get.
const LARGEST: usize = 1 << 20;

/// Replaces tensors that follow from constants alone by constants, where something else reads them. Says whether there was one.
///
/// # Errors
/// A graph that is no graph.
pub fn fold(network: &mut TypedModel) -> TractResult<bool> {
    let mut known: HashMap<OutletId, Arc<Tensor>> = HashMap::new();
    let mut readers: Vec<(OutletId, InletId)> = Vec::new();
    for id in network.eval_order()? {
        let node = network.node(id);
        let value =
            |outlet: &OutletId| known.get(outlet).cloned().or_else(|| network.outlet_fact(*outlet).ok()?.konst.clone());
        let inputs: Vec<Option<Arc<Tensor>>> = node.inputs.iter().map(value).collect();
        if !node.inputs.is_empty()
            && inputs.iter().all(Option::is_some)
            && !network.outputs.iter().any(|output| output.node == id)
        {
            let inputs: TVec<TValue> = inputs.into_iter().flatten().map(|value| value.into_tvalue()).collect();
            let most = inputs.iter().map(|value| value.volume()).sum::<usize>().max(LARGEST);
            let fits = node.outputs.iter().all(|output| volume(&output.fact).is_some_and(|volume| volume <= most));
            if fits && let Ok(Some(values)) = node.op.eval_out_of_plan(inputs) {
                let outlets = (0..values.len()).map(|slot| OutletId::new(id, slot));
                known.extend(outlets.zip(values.into_iter().map(|value| value.into_arc_tensor())));
            }
            continue;
        }
        let made = |outlet: &OutletId| known.contains_key(outlet) && !network.node(outlet.node).op_is::<Const>();
        let inputs = node.inputs.iter().enumerate().filter(|(_, outlet)| made(outlet));
        readers.extend(inputs.map(|(slot, outlet)| (*outlet, InletId::new(id, slot))));
    }
    let mut constants: HashMap<OutletId, OutletId> = HashMap::new();
    for (tensor, reader) in &readers {
        let constant = match constants.get(tensor) {
            Some(constant) => *constant,
            None => {
                network.add_const(format!("{}.constant", network.node(tensor.node).name), Arc::clone(&known[tensor]))?
            }
        };
        constants.insert(*tensor, constant);
        network.add_edge(constant, *reader)?;
    }
    Ok(!readers.is_empty())
}

fn volume(fact: &TypedFact) -> Option<usize> {
    fact.shape.as_concrete()?.iter().try_fold(1usize, |volume, length| volume.checked_mul(*length))
}
