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

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::math;

    /// y = x * (a * b), read twice, with a and b constants.
    fn network(length: usize) -> TypedModel {
        let mut network = TypedModel::default();
        let x = network.add_source("x", f32::fact([length])).unwrap();
        let values: Vec<f32> = (0..length).map(|at| at as f32).collect();
        let a = network.add_const("a", Tensor::from_shape(&[length], &values).unwrap()).unwrap();
        let b = network.add_const("b", Tensor::from_shape(&[length], &vec![2f32; length]).unwrap()).unwrap();
        // Wired the usual way, tract would compute it at once.
        let made = network.add_node("made", math::mul(), tvec!(f32::fact([length]))).unwrap();
        for (slot, constant) in [a, b].into_iter().enumerate() {
            network.add_edge(constant, InletId::new(made, slot)).unwrap();
        }
        let made = OutletId::from(made);
        let once = network.wire_node("once", math::mul(), &[x, made]).unwrap()[0];
        let twice = network.wire_node("twice", math::mul(), &[once, made]).unwrap()[0];
        network.outputs = vec![twice];
        network
    }

    #[test]
    fn what_follows_from_constants_is_a_constant_and_gives_the_same() {
        let length = 5;
        let mut folded = network(length);
        assert!(fold(&mut folded).unwrap());
        for name in ["once", "twice"] {
            let node = folded.node_by_name(name).unwrap();
            assert!(folded.outlet_fact(node.inputs[1]).unwrap().konst.is_some(), "{name}");
        }
        assert!(!fold(&mut folded).unwrap(), "a second time there is nothing left");
        let x = Tensor::from_shape(&[length], &vec![1f32; length]).unwrap();
        let run = |network: TypedModel| SimplePlan::new(network).unwrap().run(tvec!(x.clone().into())).unwrap();
        assert_eq!(run(folded)[0], run(network(length))[0]);
    }
}
