//! Constants that are held once, however many graphs have them: those of the same network at two sizes, and of the network from a layer on.

use std::sync::{Mutex, PoisonError, Weak};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::internal::*;

/// The tensor that another graph has already, such as that of the same network at another size, if it is bit for bit the same; else this one.
pub(super) fn shared(tensor: Arc<Tensor>) -> Arc<Tensor> {
    static KNOWN: Mutex<Vec<Weak<Tensor>>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|tensor| tensor.strong_count() > 0);
    if let Some(other) = known.iter().filter_map(Weak::upgrade).find(|other| same(other, &tensor)) {
        return other;
    }
    known.push(Arc::downgrade(&tensor));
    tensor
}

/// Whether two tensors are the same to the last bit. tract compares what it has packed by its bytes, and other numbers as numbers, among which two zeros are equal.
fn same(a: &Tensor, b: &Tensor) -> bool {
    if a.datum_type() != b.datum_type() || a.shape() != b.shape() {
        return false;
    }
    match (a.try_as_plain_ram(), b.try_as_plain_ram()) {
        (Ok(a), Ok(b)) => a.as_bytes() == b.as_bytes(),
        (Err(_), Err(_)) => a == b,
        _ => false,
    }
}

/// Shares the constants of a graph with other graphs, those that tract has packed included.
pub(super) fn share_constants(model: &mut TypedModel) {
    /// A tensor of fewer numbers is not worth the search. One that is packed has none by that count.
    const WORTH_SHARING: usize = 1000;
    for node in &mut model.nodes {
        let Some(constant) = node.op_as::<Const>() else { continue };
        let tensor = constant.val();
        if tensor.is_plain() && tensor.len() < WORTH_SHARING {
            continue;
        }
        let (tensor, fact) = (shared(Arc::clone(tensor)), node.outputs[0].fact.exotic_fact.clone());
        if let Ok(constant) = Const::new_with_opt_exotic_fact(Arc::clone(&tensor), fact) {
            node.op = Box::new(constant);
            node.outputs[0].fact.konst = Some(tensor);
        }
    }
}
