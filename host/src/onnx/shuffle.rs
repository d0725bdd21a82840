//! The sanity check of Adebayo et al., NeurIPS 2018: an explanation that does not change when the network's weights do explains something else.

use crate::random::Random;
use tract_onnx::tract_core::model::order::eval_order_for_nodes;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::internal::*;

/// Numbers that a constant needs to count as weights, along two axes or more: a bias is none, and no gradient depends on it.
const LEAST: usize = 64;

/// Which weight tensors are shuffled, each within itself, and from what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shuffle {
    /// The last ones before the score's output, counted from it downwards.
    pub tensors: usize,
    /// The same seed gives the same order.
    pub seed: u64,
}

impl Shuffle {
    /// Shuffles the last weight tensors before the output `scored`.
    ///
    /// # Errors
    /// A graph that cannot be ordered.
    pub fn apply(self, network: &mut TypedModel, scored: OutletId) -> TractResult<()> {
        if self.tensors == 0 {
            return Ok(());
        }
        for (number, id) in weight_tensors(network, scored)?.into_iter().take(self.tensors).enumerate() {
            let node = &mut network.nodes[id];
            let Some(constant) = node.op_as::<Const>() else { continue };
            let shape = constant.val().shape().to_vec();
            let mut values = constant.val().try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            let mut random = Random::new(self.seed.wrapping_add(number as u64));
            for last in (1..values.len()).rev() {
                values.swap(last, random.below(last + 1));
            }
            let shuffled = Tensor::from_shape(&shape, &values)?.into_arc_tensor();
            node.outputs[0].fact = TypedFact::try_from(Arc::clone(&shuffled))?;
            node.op = Box::new(Const::new(shuffled)?);
        }
        Ok(())
    }
}

/// The nodes of all weight tensors before the output `scored`, the last one first.
///
/// # Errors
/// A graph that cannot be ordered.
pub fn weight_tensors(network: &TypedModel, scored: OutletId) -> TractResult<Vec<usize>> {
    let inputs: Vec<usize> = network.inputs.iter().map(|input| input.node).collect();
    let order = eval_order_for_nodes(&network.nodes, &inputs, &[scored.node], &[])?;
    let is_weights = |node: &usize| {
        let constant = network.nodes[*node].op_as::<Const>();
        constant.is_some_and(|constant| {
            let value = constant.val();
            let axes = value.shape().iter().filter(|len| **len > 1).count();
            value.datum_type() == f32::datum_type() && value.len() >= LEAST && axes > 1
        })
    };
    Ok(order.into_iter().rev().filter(is_weights).collect())
}
