//! What a `.tflite` network is made of, in the words for ONNX networks.

use super::file::File;
use super::integers::Integers;
use super::names;
use crate::error::Sorted as _;
use crate::onnx::inspect::{self, InspectOptions, Inspection};
use crate::{Error, Result};
use serde::Serialize;

/// What was found in a file.
#[derive(Debug, Serialize)]
pub struct Found {
    /// Its layers and its answer.
    #[serde(flatten)]
    pub network: Inspection,
    /// How pictures are prepared.
    pub preparation: String,
    /// Bytes that its tensors take on a board at once.
    pub arena: usize,
}

/// Inspects a file, and opens it.
///
/// # Errors
/// A file that is damaged, or holds what is not known.
pub fn inspect(bytes: &[u8], look: &InspectOptions) -> Result<(Found, Integers, Vec<u8>)> {
    let (integers, onnx) = Integers::open(bytes).kind(Error::Model)?;
    let mut network = inspect::inspect(&onnx, look)?;
    network.bytes = bytes.len();
    network.quantised = true;
    network.opsets = Vec::new();
    if let Ok(file) = File::read(bytes) {
        let description = file.description.trim();
        let writer = if description.is_empty() {
            "TensorFlow Lite".to_owned()
        } else {
            format!("TensorFlow Lite ({description})")
        };
        network.producer = writer;
        if let Some(input) = file.inputs.first() {
            network.input.datum_type = names::type_of(file.tensors[*input].kind);
            network.input.shape = file.tensors[*input].shape.iter().copied().map(Some).collect();
        }
        for output in &mut network.outputs {
            if let Some(named) = integers.tensor(&output.name) {
                output.datum_type = names::type_of(file.tensors[named.tensor].kind);
            }
        }
    }
    for layer in &mut network.layers {
        if let Some(named) = integers.tensor(&layer.name) {
            layer.operator.clone_from(&named.operator);
        }
    }
    let found = Found { network, preparation: integers.preparation().words, arena: integers.program().arena() };
    Ok((found, integers, onnx))
}

impl Found {
    /// The inspection in words.
    pub fn table(&self) -> String {
        format!(
            "{}\npreparation: {}\narena: {} bytes of tensors at once; activations are the board's own integers, gradients those of the same network in real numbers\n",
            self.network.told(None).trim_end(),
            self.preparation,
            self.arena
        )
    }
}
