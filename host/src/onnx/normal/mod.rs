//! Files as people have them, read into the one graph that the rest knows.
//!
//! Networks come in many number formats and dialects: halves, doubles, integers of four to sixteen bits, operators of ONNX Runtime, functions, pictures of one
//! channel or with the channels last. All of that is undone here, once, in the file's own terms, before tract sees it: what comes out has one input of
//! 1 x 3 x height x width in f32, numbers of 32 bits, and plain operators with `QuantizeLinear` -> `DequantizeLinear` pairs for what integers hold.
//!
//! Tensors that are made on the way have names that begin with [`MADE`]; all others keep theirs.

mod attention;
mod batch;
mod blocked;
mod branches;
mod dialect;
pub(in crate::onnx) mod edit;
mod functions;
mod fused;
mod inputs;
mod integers;
mod known;
mod numbers;
mod picture;
mod prepared;
mod prune;
mod readings;

pub use dialect::UPSAMPLE;
pub use edit::REFUSED;
pub use fused::{INWARDS, SWAP};
pub use inputs::{Beside, OfTokens, in_words};
pub use integers::{DYNAMIC, WIDE};
pub use numbers::inside as data_file;
pub use picture::{Channels, Form, Picture, Scale};
pub use readings::Reading;

use crate::kinds::kind_of;
use anyhow::{Context, Result, anyhow, ensure};
use prost::Message;
use std::path::Path;
use tract_onnx::pb;
use tract_onnx::prelude::Framework;

/// How names of tensors begin that are in no file.
pub const MADE: &str = "decomcam/";

/// A file in plain terms.
#[derive(Debug, Clone)]
pub struct Normal {
    /// The graph, with the file's own inputs.
    pub proto: pb::ModelProto,
}

/// What a file holds, as it stands.
///
/// # Errors
/// Bytes that are no ONNX file.
pub fn decoded(bytes: &[u8]) -> Result<pb::ModelProto> {
    ensure!(!bytes.is_empty(), "expected an ONNX file, found an empty one; get it again");
    let mut reader = bytes;
    tract_onnx::onnx().proto_model_for_read(&mut reader).map_err(|cause| match kind_of(bytes) {
        Some(kind) => anyhow!("expected an ONNX file, found {kind}"),
        None => anyhow!(
            "expected an ONNX file, found {} bytes that are of another kind, damaged or cut short ({cause:#}); get it again",
            bytes.len()
        ),
    })
}

/// A file without the numbers of its weights.
#[derive(Clone, PartialEq, Message)]
struct Ports {
    #[prost(message, optional, tag = "7")]
    graph: Option<PortsOfGraph>,
}

#[derive(Clone, PartialEq, Message)]
struct PortsOfGraph {
    #[prost(message, repeated, tag = "5")]
    weights: Vec<NameOfWeights>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<pb::ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NameOfWeights {
    #[prost(string, tag = "8")]
    name: String,
}

/// A file's inputs but its weights. Their numbers are passed over, not read.
///
/// # Errors
/// Bytes that are no ONNX file.
pub fn inputs(bytes: &[u8]) -> Result<Vec<pb::ValueInfoProto>> {
    let found = Ports::decode(bytes).ok().and_then(|file| file.graph);
    // What is wrong is said by whoever reads all of it.
    let mut graph = found.map_or_else(|| decoded(bytes).map(|_| PortsOfGraph::default()), Ok)?;
    let weights: std::collections::HashSet<&str> = graph.weights.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.inputs.retain(|input| !weights.contains(input.name.as_str()));
    Ok(graph.inputs)
}

impl Normal {
    /// Reads a file. `folder` is where weights may lie beside it.
    ///
    /// # Errors
    /// Bytes that are no ONNX file, weights that are missing or damaged, a part of ONNX Runtime's dialect that is not known.
    pub fn read(bytes: &[u8], folder: Option<&Path>) -> Result<Self> {
        let mut proto = decoded(bytes)?;
        let opset = opset(&proto);
        let graph = proto.graph.as_mut().context("the file holds no graph")?;
        // Quantisers leave shapes behind that contradict a pinned input.
        graph.value_info.clear();
        let weights: std::collections::HashSet<String> =
            graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
        // Before IR version 4 weights were inputs, too.
        graph.input.retain(|input| !weights.contains(&input.name));
        super::validate::check_tensors(graph, folder)?;
        numbers::load(graph, folder)?;
        let functions = functions::of(bytes, graph)?;
        functions::inline(graph, &functions)?;
        branches::choose(graph)?;
        // Those that the branches call.
        functions::inline(graph, &functions)?;
        numbers::widen(graph)?;
        batch::free(graph);
        blocked::dequantise(graph)?;
        fused::expand(graph, opset)?;
        integers::make_pairs(graph, opset)?;
        attention::expand(graph, opset)?;
        dialect::expand(graph, opset)?;
        Ok(Self { proto })
    }

    /// The graph.
    pub fn graph(&self) -> &pb::GraphProto {
        static EMPTY: std::sync::LazyLock<pb::GraphProto> = std::sync::LazyLock::new(Default::default);
        self.proto.graph.as_ref().unwrap_or(&EMPTY)
    }

    /// The input that takes a picture.
    ///
    /// # Errors
    /// No input that can, or several.
    pub fn picture(&self) -> Result<Picture> {
        Picture::of(self.graph())
    }

    /// Adds a tensor of 1 x classes that is read off a tensor: [`Reading::name_of`].
    pub fn read_off(&mut self, tensor: &str, reading: Reading) {
        let opset = opset(&self.proto);
        if let Some(graph) = &mut self.proto.graph {
            reading.add(graph, tensor, opset);
        }
    }

    /// The part that makes one tensor of others, which become inputs of 1 x length floats.
    pub fn part(&self, from: &[&str], to: &str, length: usize) -> pb::ModelProto {
        let graph = self.graph();
        let behind = |node: &&pb::NodeProto| !node.output.iter().any(|output| from.contains(&output.as_str()));
        let mut part = pb::GraphProto {
            node: graph.node.iter().filter(behind).cloned().collect(),
            input: from.iter().map(|name| inputs::row(name, length)).collect(),
            ..Default::default()
        };
        let needed = prune::needed(&part, &[to]);
        part.initializer = graph.initializer.iter().filter(|tensor| needed.contains(&tensor.name)).cloned().collect();
        prune::keep(&mut part, &[to]);
        pb::ModelProto {
            ir_version: self.proto.ir_version,
            opset_import: self.proto.opset_import.clone(),
            graph: Some(part),
            ..Default::default()
        }
    }

    /// Keeps what the tensors wanted need; they become the outputs.
    pub fn keep(&mut self, wanted: &[&str]) {
        if let Some(graph) = &mut self.proto.graph {
            prune::keep(graph, wanted);
        }
    }

    /// Makes the picture's input one of 1 x 3 x height x width in f32, with red, green and blue planes; and the inputs that something reads besides constants.
    ///
    /// # Errors
    /// Another input whose meaning is not known.
    pub fn take_picture(&mut self, picture: &Picture, form: &Form) -> Result<()> {
        let opset = opset(&self.proto);
        let Some(graph) = &mut self.proto.graph else { return Ok(()) };
        picture.adapt(graph, form, opset);
        inputs::fill_beside_picture(graph, &picture.name)
    }

    /// Makes the inputs that something reads, besides the one of token ids, what a tokenizer says of these tokens.
    ///
    /// # Errors
    /// Another input whose meaning is not known.
    pub fn take_tokens(&mut self, ids: &str, beside: &Beside) -> Result<()> {
        self.proto.graph.as_mut().map_or(Ok(()), |graph| inputs::fill_beside_tokens(graph, ids, beside))
    }

    /// Makes `input` the only one, which is neither a picture nor token ids.
    ///
    /// # Errors
    /// Another input whose meaning is not known.
    pub fn take_alone(&mut self, input: &str) -> Result<()> {
        self.proto.graph.as_mut().map_or(Ok(()), |graph| inputs::fill_beside_picture(graph, input))
    }

    /// Forgets the outputs that the picture alone does not make, if there are others.
    pub fn forget_outputs_of_others(&mut self, picture: &Picture) {
        if let Some(graph) = &mut self.proto.graph {
            inputs::forget_outputs_of_others(graph, &picture.name);
        }
    }
}

/// Version of ONNX's own operators.
pub(crate) fn opset(proto: &pb::ModelProto) -> i64 {
    let own = proto.opset_import.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx");
    own.map_or(0, |set| set.version)
}
