//! What an ONNX file must not do before tract sees it.
//!
//! A panic in tract becomes an error ([`contained`](crate::onnx::guard::contained)), but an allocation that fails and a stack
//! that overflows end the program, and a gigabyte that is granted is no error at all. [`check`] therefore refuses files
//! whose declarations contradict each other, [`bound`] stops shapes that multiply past memory before anything of that shape is
//! computed: tract evaluates what follows from constants while it infers shapes, so a file of 200 bytes may ask for all there is.

use super::normal::REFUSED;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tract_onnx::model::Onnx;
use tract_onnx::pb::{self, tensor_proto::DataLocation, tensor_proto::DataType};
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::source::Source;

/// Far more than networks have; some of tract's passes take time by the square of it, and none is as deep as the stack.
const MOST_NODES: usize = 20_000;
/// Of one tensor that is computed: half a gigabyte of f32.
const MOST_NUMBERS: u64 = 1 << 27;
/// Of all tensors that are computed, which bounds the time that evaluating constants takes. ViT-L/14 at 336 pixels has 1 << 30.
const MOST_NUMBERS_IN_ALL: u64 = 1 << 33;
/// Operators whose lengths are values of their inputs from this one on, as tract names them. Not those that slice: "to the end" is a
/// number beyond it.
const LENGTHS_FROM_INPUT: [(&str, usize); 7] = [
    ("ConstantOfShape", 0),
    ("MultiBroadcastTo", 1),
    ("Pad", 1),
    ("Range", 0),
    ("Reshape", 1),
    ("Resize", 1),
    ("Tile", 1),
];
/// Operators whose numbers are others each time.
const RANDOM: [&str; 6] =
    ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];
/// The expressions that name open lengths are parsed by recursion.
const LONGEST_DIMENSION: usize = 128;

/// Refuses a graph that is not what ONNX allows, in ways that tract does not look at.
///
/// # Errors
/// The first tensor whose size is not that of its data, name that is given twice, unknown operator, subgraph, or cycle.
pub fn check(framework: &Onnx, graph: &pb::GraphProto) -> Result<()> {
    check_tensors(graph, None)?;
    for node in &graph.node {
        let place = || format!("node \"{}\"", name_of(node));
        if let Some(refusal) = node.doc_string.strip_prefix(REFUSED) {
            bail!("{refusal}");
        }
        ensure!(
            !RANDOM.contains(&node.op_type.as_str()),
            "{}: expected a network that answers the same each time, found operator {}, which draws random numbers, as networks do while they are trained; export it \
             after model.eval()",
            place(),
            node.op_type
        );
        ensure!(
            framework.op_register.0.contains_key(&node.op_type) && is_known(&node.domain),
            "{}: expected an operator that is known, found {}{}",
            place(),
            node.op_type,
            cause(&node.domain)
        );
        for attribute in &node.attribute {
            // What is inside would have to be checked and bounded likewise, and no gradient gets through.
            ensure!(
                attribute.g.is_none() && attribute.graphs.is_empty(),
                "{}: expected a network without subgraphs, found operator {}; simplify the network while exporting",
                place(),
                node.op_type
            );
            check_numbers(attribute).with_context(place)?;
        }
    }
    check_names(graph)?;
    check_order(graph)
}

/// Refuses tensors whose size is not that of their data, before anything reads them.
///
/// # Errors
/// The first such tensor, and too many nodes.
pub fn check_tensors(graph: &pb::GraphProto, folder: Option<&Path>) -> Result<()> {
    ensure!(graph.node.len() <= MOST_NODES, "expected at most {MOST_NODES} nodes, found {}", graph.node.len());
    for input in &graph.input {
        check_dimensions(input)?;
    }
    for tensor in &graph.initializer {
        check_tensor(tensor, folder).with_context(|| format!("weight \"{}\"", tensor.name))?;
    }
    for node in &graph.node {
        for tensor in node.attribute.iter().flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors)) {
            check_tensor(tensor, folder).with_context(|| format!("node \"{}\"", name_of(node)))?;
        }
    }
    check_names(graph)
}

fn is_known(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx" | "com.microsoft" | "com.microsoft.experimental")
}

/// Why an operator is not known, and what to do.
fn cause(domain: &str) -> String {
    match domain {
        "" | "ai.onnx" => "; export the network with operators of opset 9 to 24".into(),
        "com.microsoft.nchwc" => {
            ": the file was optimised by ONNX Runtime for one kind of processor; use the original file, or save it at the basic level".into()
        }
        "com.microsoft" => " of ONNX Runtime: use the file that it was made from, or save it at the basic level".into(),
        other => format!(" of domain {other}; export the network with ONNX's own operators"),
    }
}

/// A node's name, or that of its first output: exporters may leave the node's own out.
pub(crate) fn name_of(node: &pb::NodeProto) -> &str {
    let output = node.output.first().map_or("", String::as_str);
    if node.name.is_empty() { output } else { &node.name }
}

fn check_dimensions(info: &pb::ValueInfoProto) -> Result<()> {
    let Some(pb::type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Ok(());
    };
    for axis in tensor.shape.iter().flat_map(|shape| &shape.dim) {
        match &axis.value {
            Some(pb::tensor_shape_proto::dimension::Value::DimParam(name)) => ensure!(
                name.len() <= LONGEST_DIMENSION,
                "input \"{}\": expected lengths of at most {LONGEST_DIMENSION} letters, found {}",
                info.name,
                name.len()
            ),
            Some(pb::tensor_shape_proto::dimension::Value::DimValue(length)) => ensure!(
                *length <= MOST_NUMBERS as i64,
                "input \"{}\": expected lengths of at most {MOST_NUMBERS}, found {length}",
                info.name
            ),
            None => (),
        }
    }
    Ok(())
}

/// tract 0.23.9 counts from the axis of a normalisation up to the last one, and 2^63 take for ever.
fn check_numbers(attribute: &pb::AttributeProto) -> Result<()> {
    let most = match attribute.name.as_str() {
        "axis" | "axes" => 64,
        // "To the end" is a number beyond it.
        "starts" | "ends" | "value_int" | "value_ints" => return Ok(()),
        _ => MOST_NUMBERS,
    };
    for number in attribute.ints.iter().chain([&attribute.i]) {
        ensure!(
            number.unsigned_abs() <= most,
            "attribute \"{}\": expected at most {most}, found {number}; the file is damaged",
            attribute.name
        );
    }
    Ok(())
}

/// A tensor must hold as many numbers as it says.
fn check_tensor(tensor: &pb::TensorProto, folder: Option<&Path>) -> Result<()> {
    let size = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Uint8 | DataType::Int8 | DataType::Bool | DataType::Uint4 | DataType::Int4) => 1,
        Ok(DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16) => 2,
        Ok(DataType::Uint32 | DataType::Int32 | DataType::Float) => 4,
        Ok(DataType::Uint64 | DataType::Int64 | DataType::Double) => 8,
        other => anyhow::bail!(
            "expected numbers of 4 to 64 bits, found {}",
            other.map_or_else(|_| format!("type {}", tensor.data_type), |kind| format!("{kind:?}"))
        ),
    };
    // The product of the lengths other than zero must fit, too: tract multiplies them in its own order.
    let numbers = tensor.dims.iter().try_fold(1usize, |numbers, &length| {
        numbers.checked_mul(usize::try_from(length).ok()?.max(1)).filter(|&numbers| numbers <= isize::MAX as usize / 8)
    });
    let numbers = if tensor.dims.contains(&0) { numbers.map(|_| 0) } else { numbers };
    // Two numbers of four bits in a byte.
    let packed = matches!(DataType::try_from(tensor.data_type), Ok(DataType::Uint4 | DataType::Int4));
    let numbers = if packed { numbers.map(|numbers| numbers.div_ceil(2)) } else { numbers };
    let bytes = numbers.and_then(|numbers| numbers.checked_mul(size));
    let (numbers, bytes) =
        numbers.zip(bytes).with_context(|| format!("expected a shape that fits memory, found {:?}", tensor.dims))?;
    let (found, expected, unit) = if !tensor.raw_data.is_empty() {
        (tensor.raw_data.len(), bytes, "bytes")
    } else if tensor.data_location == Some(DataLocation::External as i32) {
        return check_external(tensor, bytes, folder);
    } else {
        let found = [
            tensor.float_data.len(),
            tensor.int32_data.len(),
            tensor.int64_data.len(),
            tensor.double_data.len(),
            tensor.uint64_data.len(),
        ];
        (found.into_iter().max().unwrap_or(0), numbers, "numbers")
    };
    ensure!(
        found == expected,
        "expected {expected} {unit} for its shape {:?}, found {found}; the file is damaged",
        tensor.dims
    );
    Ok(())
}

/// tract sees to it that the file lies in the folder and is long enough.
fn check_external(tensor: &pb::TensorProto, bytes: usize, folder: Option<&Path>) -> Result<()> {
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
    let location = entry("location").context("its data are said to lie in another file that is not named")?;
    let folder = folder.with_context(|| {
        format!("its data lie in another file, \"{location}\"; without a folder to look in, or with a manifest, all of a network has to be in one file: export it anew")
    })?;
    let path = super::normal::data_file(folder, location)?;
    // Opening a pipe would wait for ever.
    let length =
        std::fs::metadata(&path).ok().filter(|found| found.is_file()).map(|found| found.len()).with_context(|| {
            format!("{}: expected a file with its data, because the network names it; fetch it too", path.display())
        })?;
    let offset = entry("offset").map_or(Ok(0), str::parse::<u64>).context("the offset of its data")?;
    let said = entry("length").map(str::parse::<u64>).transpose().context("the length of its data")?;
    let found = length.saturating_sub(offset).min(said.unwrap_or(u64::MAX));
    ensure!(
        found == bytes as u64,
        "{}: expected {bytes} bytes from {offset} on for its shape {:?}, found {found}; fetch the file again",
        path.display(),
        tensor.dims
    );
    Ok(())
}

/// Every tensor comes from one place, and outputs come from somewhere.
fn check_names(graph: &pb::GraphProto) -> Result<()> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    // Before IR version 4 weights were inputs, too.
    let inputs = graph.input.iter().map(|input| input.name.as_str()).filter(|name| !weights.contains(name));
    let computed = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).filter(|name| !name.is_empty());
    let mut names = HashSet::new();
    for name in graph.initializer.iter().map(|tensor| tensor.name.as_str()).chain(inputs).chain(computed) {
        ensure!(names.insert(name), "expected each tensor once, found \"{name}\" twice; the file is damaged");
    }
    for output in &graph.output {
        ensure!(
            names.contains(output.name.as_str()),
            "output \"{}\" is computed nowhere; the file is damaged",
            output.name
        );
    }
    Ok(())
}

/// No node waits for itself.
fn check_order(graph: &pb::GraphProto) -> Result<()> {
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut computed: HashSet<&str> = HashSet::new();
    for (id, node) in graph.node.iter().enumerate() {
        computed.extend(node.output.iter().map(String::as_str));
        for input in &node.input {
            readers.entry(input).or_default().push(id);
        }
    }
    let waits = |node: &pb::NodeProto| {
        node.input.iter().filter(|input| !input.is_empty() && computed.contains(&***input)).count()
    };
    let mut waiting: Vec<usize> = graph.node.iter().map(waits).collect();
    let mut ready: Vec<usize> = (0..waiting.len()).filter(|&id| waiting[id] == 0).collect();
    while let Some(id) = ready.pop() {
        for output in graph.node[id].output.iter().filter(|output| !output.is_empty()) {
            for &reader in readers.get(output.as_str()).into_iter().flatten() {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.push(reader);
                }
            }
        }
    }
    let stuck = waiting.iter().position(|&inputs| inputs > 0).map(|id| name_of(&graph.node[id]));
    ensure!(
        stuck.is_none(),
        "node \"{}\" lies on a cycle, or behind one; the file is damaged",
        stuck.unwrap_or_default()
    );
    Ok(())
}

/// Makes every operator of the graph check the shapes it infers before it computes anything.
pub fn bound(model: &mut InferenceModel, graph: &pb::GraphProto) {
    let in_all = Arc::new(AtomicU64::new(0));
    let axes: HashMap<&str, i64> =
        graph.node.iter().filter_map(|node| Some((node.output.first()?.as_str(), normalised_axis(node)?))).collect();
    let labels = std::mem::take(&mut model.outlet_labels);
    for node in &mut model.nodes {
        if !node.op_is::<tract_onnx::tract_core::ops::konst::Const>() && !node.op_is::<Source>() {
            let inner = node.op.clone();
            let axis = labels.get(&OutletId::from(node.id)).and_then(|label| axes.get(label.as_str()));
            let least_rank = axis.map_or(0, |axis| axis.min(&0).unsigned_abs());
            node.op = Box::new(Bounded { inner, least_rank, numbers: 0, in_all: Arc::clone(&in_all) });
        }
    }
    model.outlet_labels = labels;
}

/// The first axis that a normalisation goes over.
fn normalised_axis(node: &pb::NodeProto) -> Option<i64> {
    let axis = node.attribute.iter().find(|attribute| attribute.name == "axis");
    node.op_type.ends_with("Normalization").then(|| axis.map_or(-1, |axis| axis.i))
}

/// An operator that refuses to compute more than there is room for.
#[derive(Debug, Clone)]
struct Bounded {
    inner: Box<dyn InferenceOp>,
    /// Axes that its first input must have: tract 0.23.9 counts up to axis + rank, which below zero takes for ever.
    least_rank: u64,
    /// Counted for this node so far.
    numbers: u64,
    in_all: Arc<AtomicU64>,
}

impl Bounded {
    /// tract 0.23.9 infers shapes from the lower 32 bits of such numbers and computes with all 64.
    fn check_lengths(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        let name = self.inner.name();
        let Some((_, first)) = LENGTHS_FROM_INPUT.iter().find(|(operator, _)| *operator == name) else { return Ok(()) };
        let constants = inputs.iter().skip(*first).filter_map(|fact| fact.value.concretize());
        for constant in constants.filter(|constant| constant.datum_type().is_integer()) {
            let lengths = constant.cast_to::<i64>()?;
            for &length in lengths.try_as_plain_ram()?.as_slice::<i64>()? {
                ensure!(
                    length.unsigned_abs() <= MOST_NUMBERS,
                    "expected lengths of at most {MOST_NUMBERS}, found {length}; the file is damaged"
                );
            }
        }
        Ok(())
    }

    fn check(&mut self, outputs: &[InferenceFact]) -> TractResult<()> {
        for output in outputs {
            // Lengths below zero are what is left of sums beyond the largest one.
            let lengths = output.shape.dims().filter_map(|length| length.concretize()?.to_i64().ok());
            let numbers = lengths
                .fold(1u64, |numbers, length| numbers.saturating_mul(u64::try_from(length).unwrap_or(u64::MAX).max(1)));
            ensure!(
                numbers <= MOST_NUMBERS,
                "expected at most {MOST_NUMBERS} numbers in a tensor, found one of shape {:?}; the file is damaged, or the \
                 input too large",
                output.shape
            );
            if numbers > self.numbers {
                let in_all = self.in_all.fetch_add(numbers - self.numbers, Ordering::Relaxed);
                self.numbers = numbers;
                ensure!(
                    in_all <= MOST_NUMBERS_IN_ALL,
                    "expected at most {MOST_NUMBERS_IN_ALL} numbers in all tensors; the file is damaged, or the input too large"
                );
            }
        }
        Ok(())
    }
}

impl PartialEq for Bounded {
    fn eq(&self, _other: &Self) -> bool {
        false
    }
}

impl Eq for Bounded {}

impl Op for Bounded {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    fn as_typed(&self) -> Option<&dyn TypedOp> {
        self.inner.as_typed()
    }
}

impl EvalOp for Bounded {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.inner.eval_out_of_plan(inputs)
    }

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        self.inner.state(context)
    }
}

type Facts = TVec<InferenceFact>;

impl InferenceOp for Bounded {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        let found = self.infer_facts(inputs.clone(), outputs.clone(), observed.clone())?;
        // Only of constants anything is computed.
        if !found.0.iter().all(|fact| fact.value.is_concrete()) {
            return Ok(found);
        }
        for output in &found.1 {
            ensure!(
                output.shape.concretize().is_some(),
                "expected a shape that follows from constants, found {:?}; simplify the network while exporting",
                output.shape
            );
        }
        self.inner.infer(inputs, outputs, observed)
    }

    fn observe_outlets(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Vec<OutletId>> {
        self.inner.observe_outlets(model, node)
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        let rank = inputs.first().and_then(|input| input.shape.rank().concretize());
        if let Some(rank) = rank {
            ensure!(
                u64::try_from(rank).is_ok_and(|rank| rank >= self.least_rank),
                "expected at least {} axes to normalise, found {rank}; the file is damaged",
                self.least_rank
            );
        }
        self.check_lengths(&inputs)?;
        let found = self.inner.infer_facts(inputs, outputs, observed)?;
        self.check(&found.1)?;
        Ok(found)
    }

    fn incorporate(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Option<InferenceModelPatch>> {
        self.inner.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.inner.nboutputs()
    }

    fn as_op(&self) -> &dyn Op {
        self.inner.as_op()
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self.inner.as_op_mut()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        self.inner.to_typed(source, node, target, mapping)
    }
}
