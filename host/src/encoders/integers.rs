//! Activations and outputs of an int8 network as the board has them: the integers' real numbers stand where the graph has floats that are near.
//!
//! The layer is replaced, so that what follows is computed from the board's numbers and the gradient is taken at them. Outputs give the board's numbers, too, and pass
//! the gradient on to the floats behind them.

use crate::onnx::exact::Instead;
use crate::tflite::Integers;
use anyhow::Context as _;
use tract_onnx::tract_hir::internal::*;

/// The network in integers as one node: a picture of channels x height x width in, tensors of these names out.
#[derive(Clone)]
struct Board {
    integers: Arc<Integers>,
    names: Vec<String>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Board").field("names", &self.names).finish_non_exhaustive()
    }
}

impl PartialEq for Board {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.integers, &other.integers) && self.names == other.names
    }
}

impl Eq for Board {}

impl Board {
    fn shape(&self, name: &str) -> TractResult<&[usize]> {
        Ok(&self.integers.tensor(name).with_context(|| format!("no tensor \"{name}\""))?.shape)
    }
}

impl Op for Board {
    fn name(&self) -> StaticName {
        "Board".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Board {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let picture = args_1!(inputs);
        let picture = picture.try_as_plain_ram()?;
        let tensors = self.integers.compute(picture.as_slice::<f32>()?, &self.names)?;
        let shaped =
            |(name, numbers): (&String, Vec<f32>)| Ok(Tensor::from_shape(self.shape(name)?, &numbers)?.into_tvalue());
        self.names.iter().zip(tensors).map(shaped).collect()
    }
}

impl TypedOp for Board {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.names.iter().map(|name| Ok(f32::fact(self.shape(name)?))).collect()
    }

    as_op!();
}

/// Gives these tensors, the network's first outputs, the board's numbers. The first `outputs` of them keep the floats behind them for gradients; the picture that the
/// integers are made of is the network's last output, and is one no more.
pub(super) fn make_exact(
    network: &mut TypedModel,
    integers: &Arc<Integers>,
    names: &[&str],
    outputs: usize,
) -> TractResult<()> {
    let picture = network.outputs.pop().context("no picture")?;
    let mut known: Vec<String> = Vec::new();
    for name in names {
        if integers.tensor(name).is_some() && !known.iter().any(|known| known == name) {
            known.push((*name).to_owned());
        }
    }
    let board = Board { integers: Arc::clone(integers), names: known.clone() };
    let exact = network.wire_node("decomcam.board", board, &[picture])?;
    for (at, name) in names.iter().enumerate() {
        let Some(place) = known.iter().position(|known| known == name) else { continue };
        let float = network.outputs[at];
        if float == exact[place] || network.node(float.node).op_is::<Instead>() {
            continue;
        }
        let readers = network.outlet_successors(float).to_vec();
        let instead = if at < outputs {
            network.wire_node(format!("decomcam.exact.{at}"), Instead, &[float, exact[place]])?[0]
        } else {
            exact[place]
        };
        for reader in readers {
            network.add_edge(instead, reader)?;
        }
        for output in network.outputs.iter_mut().filter(|output| **output == float) {
            *output = instead;
        }
    }
    Ok(())
}
