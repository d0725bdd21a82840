//! Which tensors all of a network's output goes through.

use std::collections::{HashMap, HashSet};
use tract_onnx::tract_hir::internal::*;

/// The tensors that are the only way from the network's first input to an output: whatever the output knows of the picture has gone through each of them.
///
/// # Errors
/// None but tract's own on an inconsistent graph.
pub fn only_ways(network: &TypedModel, output: OutletId) -> TractResult<HashSet<OutletId>> {
    let Some(&picture) = network.inputs.first() else { return Ok(HashSet::new()) };
    let order = network.eval_order()?;
    // Numbers of a picture may be integers at first; whether something is larger than something else is no way, and neither is a shape.
    // To tract integers of 64 bits are what shapes are made of, but no shape is as a picture.
    let is_number = |outlet: &OutletId| {
        network.outlet_fact(*outlet).is_ok_and(|fact| {
            let whole = fact.datum_type == TDim::datum_type() && fact.rank() > 2;
            fact.konst.is_none() && (fact.datum_type.is_number() || whole)
        })
    };
    let mut from_picture = HashSet::from([picture.node]);
    for &id in &order {
        let mut inputs = network.node(id).inputs.iter().filter(|input| is_number(input));
        if inputs.any(|input| from_picture.contains(&input.node)) {
            from_picture.insert(id);
        }
    }
    let mut to_output = HashSet::from([output.node]);
    for &id in order.iter().rev() {
        if to_output.contains(&id) {
            to_output.extend(network.node(id).inputs.iter().filter(|input| is_number(input)).map(|input| input.node));
        }
    }
    let way: Vec<usize> = order.into_iter().filter(|id| from_picture.contains(id) && to_output.contains(id)).collect();
    let place: HashMap<usize, usize> = way.iter().copied().zip(0..).collect();
    let mut only = HashSet::new();
    // The last place that something before the present one is read at.
    let mut read_until = 0;
    for (at, &id) in way.iter().enumerate() {
        let node = network.node(id);
        if read_until <= at && node.outputs.len() == 1 {
            only.insert(OutletId::from(id));
        }
        let readers = node.outputs.iter().flat_map(|output| &output.successors);
        read_until = readers.filter_map(|reader| place.get(&reader.node)).copied().fold(read_until, usize::max);
    }
    Ok(only)
}
