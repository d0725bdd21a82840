//! Where a network's answer is: which output scores classes, and the tensor before what saturates.
//!
//! The gradient of a probability that is nearly one is nearly zero, and says little of what spoke for the class: so a network that ends in a softmax or a sigmoid
//! is explained at what goes into it, and reported as what comes out.

use super::normal::{DYNAMIC, INWARDS, Reading, SWAP, UPSAMPLE, WIDE, in_words};
use crate::Size;
use anyhow::{Result, bail, ensure};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;

/// What the description of a clamp says that is the range of a network of integers, and no part of the score: its derivative is none where numbers reach the end.
pub const OF_RANGE: &str = "the range of the integers";

/// Nodes that are looked back through from an output.
const FARTHEST: usize = 64;

/// Tensors that are looked at between an output and the last matrices.
const MOST_TENSORS: usize = 4096;

/// What turns scores into probabilities at the end of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Squash {
    /// exp(x) over the sum of all.
    Softmax,
    /// x less the logarithm of that sum.
    LogSoftmax,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

/// What an output of a network is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// The graph's output.
    pub output: String,
    /// The tensor that is reported: the output, or what an ArgMax or TopK chooses from.
    pub reported: String,
    /// The tensor that is explained: the reported one, or what it was before a softmax, a sigmoid or a clamp.
    pub explained: String,
    /// What lies between the two, if it makes probabilities.
    pub squash: Option<Squash>,
    /// Whether the explained tensor comes from the network's last matrices by sums, shares and choices alone, so that a softmax of it says how likely classes are.
    pub logits: bool,
    /// What the last matrix turns into the explained tensor: the features of a classifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// Whether the output is a vector that is divided by its length, as those are that are compared by their cosine.
    #[serde(skip)]
    pub unit_length: bool,
}

/// Which node each tensor comes from.
struct Producers<'g> {
    nodes: HashMap<&'g str, &'g pb::NodeProto>,
    /// What the network is given: neither computed nor a constant.
    inputs: HashSet<&'g str>,
}

impl<'g> Producers<'g> {
    fn of(graph: &'g pb::GraphProto) -> Self {
        let nodes = graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)));
        let mut inputs: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        // Old files name their constants among the inputs.
        graph.initializer.iter().for_each(|constant| {
            inputs.remove(constant.name.as_str());
        });
        Self { nodes: nodes.collect(), inputs }
    }

    fn get(&self, tensor: &str) -> Option<&'g pb::NodeProto> {
        self.nodes.get(tensor).copied()
    }
}

impl End {
    /// Looks back from an output of the graph.
    pub fn of(graph: &pb::GraphProto, output: &str) -> Self {
        let producers = Producers::of(graph);
        let mut end = Self {
            output: output.into(),
            reported: output.into(),
            explained: output.into(),
            squash: None,
            logits: true,
            features: None,
            unit_length: has_unit_length(output, &producers),
        };
        let (mut at, mut rounded, mut clamped) = (output, false, false);
        for _ in 0..FARTHEST {
            let Some(mut node) = producers.get(at) else { break };
            let shares = node.input.first().and_then(|input| producers.get(input)).filter(|of| of.op_type == "Softmax");
            let logarithm = shares.filter(|_| node.op_type == "Log");
            node = logarithm.unwrap_or(node);
            let Some(input) = node.input.first() else { break };
            let squash = match node.op_type.as_str() {
                "Softmax" if logarithm.is_some() => Some(Squash::LogSoftmax),
                "Softmax" => Some(Squash::Softmax),
                "LogSoftmax" => Some(Squash::LogSoftmax),
                "Sigmoid" => Some(Squash::Sigmoid),
                _ => None,
            };
            at = input;
            match node.op_type.as_str() {
                "Identity" | "Cast" | "Dropout" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => (),
                "ArgMax" | "TopK" if end.squash.is_none() => {
                    end.reported = input.clone();
                    end.explained = input.clone();
                }
                "DequantizeLinear" => (),
                "QuantizeLinear" if clamped => (),
                "QuantizeLinear" => end.explained = input.clone(),
                // Any other clamp is part of the score.
                "Clip" if rounded || node.doc_string == OF_RANGE => end.explained = input.clone(),
                "Clip" => clamped = true,
                _ if squash.is_some() && end.squash.is_none() => {
                    end.squash = squash;
                    end.explained = input.clone();
                    clamped = false;
                }
                _ => break,
            }
            rounded = node.op_type == "QuantizeLinear";
        }
        end.features = features(&end.explained, &producers);
        end.logits = are_logits(&end.explained, &producers);
        end
    }
}

/// Whether nothing but sums, products with constants, means, choices and changes of shape lies between a tensor and the matrices that it is computed by, and these
/// do not multiply shares.
fn are_logits(tensor: &str, producers: &Producers) -> bool {
    let (mut seen, mut left) = (HashSet::from([tensor]), vec![tensor]);
    while let Some(tensor) = left.pop() {
        let Some(node) = producers.get(tensor) else { continue };
        let computed: Vec<&str> =
            node.input.iter().map(String::as_str).filter(|input| !is_constant(input, producers)).collect();
        let goes_on = match node.op_type.as_str() {
            "Gemm" | "MatMul" | "Conv" | "Einsum" | "ConvTranspose" => {
                if matches!(computed[..], [input] if are_shares(input, producers)) {
                    return false;
                }
                continue;
            }
            "Identity" | "Cast" | "Dropout" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Transpose"
            | "Slice" | "Split" | "Gather" | "GatherElements" | "GatherND" | "Concat" | "Expand" | "Tile" | "Pad"
            | "Resize" | "Upsample" | UPSAMPLE | "DepthToSpace" | "SpaceToDepth" | "Add" | "Sub" | "Sum" | "Mean"
            | "Neg" | "Where" | "ReduceMean" | "ReduceSum" | "ReduceMax" | "GlobalAveragePool" | "AveragePool"
            | "GlobalMaxPool" | "MaxPool" | "BatchNormalization" | "QuantizeLinear" | WIDE | DYNAMIC | SWAP
            | INWARDS | "DequantizeLinear" => true,
            "Mul" => computed.len() < 2,
            "Div" => computed.len() < 2 && node.input.get(1).is_some_and(|by| is_constant(by, producers)),
            _ => false,
        };
        if !goes_on || seen.len() > MOST_TENSORS {
            return false;
        }
        left.extend(computed.into_iter().filter(|input| seen.insert(input)));
    }
    true
}

/// Whether a tensor holds what a softmax gives, changed in nothing but its shape, or a mean of it.
fn are_shares(tensor: &str, producers: &Producers) -> bool {
    let mut at = tensor;
    for _ in 0..FARTHEST {
        let Some(node) = producers.get(at) else { return false };
        match node.op_type.as_str() {
            "Softmax" | "LogSoftmax" => return true,
            "Identity" | "Cast" | "Dropout" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Transpose"
            | "ReduceMean" | "QuantizeLinear" | WIDE | DYNAMIC | "DequantizeLinear" => {
                let Some(input) = node.input.first() else { return false };
                at = input;
            }
            _ => return false,
        }
    }
    false
}

/// Whether a tensor is computed from constants alone.
fn is_constant(tensor: &str, producers: &Producers) -> bool {
    let (mut seen, mut left) = (HashSet::from([tensor]), vec![tensor]);
    while let Some(tensor) = left.pop() {
        match producers.get(tensor) {
            Some(_) if seen.len() > FARTHEST => return false,
            Some(node) => left.extend(node.input.iter().map(String::as_str).filter(|input| seen.insert(input))),
            None if producers.inputs.contains(tensor) => return false,
            None => (),
        }
    }
    true
}

/// Whether a tensor is divided by its own length.
fn has_unit_length(tensor: &str, producers: &Producers) -> bool {
    let mut at = tensor;
    for _ in 0..FARTHEST {
        let Some(node) = producers.get(at) else { return false };
        let (Some(first), second) = (node.input.first(), node.input.get(1)) else { return false };
        match node.op_type.as_str() {
            "Identity" | "Cast" | "Dropout" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => at = first,
            "LpNormalization" => return true,
            "Div" => return second.is_some_and(|length| is_length_of(length, first, producers)),
            _ => return false,
        }
    }
    false
}

/// Whether a number is the length of a vector, or a little more so that it is not zero.
fn is_length_of(number: &str, vector: &str, producers: &Producers) -> bool {
    let mut at = number;
    for _ in 0..FARTHEST {
        let Some(node) = producers.get(at) else { return false };
        let Some(first) = node.input.first() else { return false };
        match node.op_type.as_str() {
            "ReduceL2" => return first == vector,
            "ReduceSumSquare" => return first == vector,
            "ReduceSum" => {
                let squared = producers.get(first.as_str());
                return squared.is_some_and(|node| {
                    matches!(node.op_type.as_str(), "Mul" | "Pow") && node.input.first().is_some_and(|of| of == vector)
                });
            }
            "Clip" | "Max" | "Add" | "Expand" | "Unsqueeze" | "Sqrt" | "Pow" | "Abs" | "Reshape" | "Identity"
            | "Cast" => at = first,
            _ => return false,
        }
    }
    false
}

/// What the matrix before a tensor multiplies, if there is one with nothing but a bias and changes of shape behind it.
fn features(tensor: &str, producers: &Producers) -> Option<String> {
    let mut at = tensor;
    for _ in 0..FARTHEST {
        let node = producers.get(at)?;
        match node.op_type.as_str() {
            "Gemm" | "MatMul" => return node.input.first().cloned(),
            "Identity" | "Cast" | "Dropout" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "QuantizeLinear"
            | "DequantizeLinear" | "Clip" => at = node.input.first()?,
            // Of a sum, the side that is computed by a matrix.
            "Add" => {
                let is_made =
                    |input: &&String| producers.get(input.as_str()).is_some_and(|node| node.op_type == "MatMul");
                at = node.input.iter().find(is_made)?;
            }
            _ => return None,
        }
    }
    None
}

/// An output that may score classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// What it is made of.
    #[serde(flatten)]
    pub end: End,
    /// Lengths of the reported tensor's axes; none where they are open.
    pub shape: Vec<Option<usize>>,
    /// How it is read, if it has a number for each class at many places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
    /// Of a detector whose boxes are another output: that output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<String>,
    /// The vector that stands for the picture: the output itself if it is an embedding, else the features that classes are told apart by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
}

impl Answer {
    /// Number of classes, of an output that is one row of scores; axes of length one do not count.
    pub fn classes(&self) -> Option<usize> {
        let lengths: Vec<usize> = self.shape.iter().copied().collect::<Option<_>>()?;
        let longer: Vec<usize> = lengths.into_iter().filter(|length| *length > 1).collect();
        match longer[..] {
            [] => Some(1),
            [classes] => Some(classes),
            _ => None,
        }
    }

    /// Number of classes, of a row of scores or of what is read off a segmentation or a detector.
    pub fn classes_read(&self) -> Option<usize> {
        let length = |at: usize| self.shape.get(at).copied().flatten();
        match self.reading {
            None => self.classes(),
            Some(Reading::Pixels { channels_last }) => length(if channels_last { 3 } else { 1 }),
            Some(Reading::Boxes { transposed, before, .. }) => {
                length(if transposed { 1 } else { 2 })?.checked_sub(before)
            }
        }
    }

    /// The tensor of 1 x classes that is reported.
    pub fn reported(&self) -> String {
        self.reading.map_or_else(|| self.end.reported.clone(), |_| Reading::name_of(&self.end.reported))
    }

    /// The tensor of 1 x classes that is explained.
    pub fn explained(&self) -> String {
        self.reading.map_or_else(|| self.end.explained.clone(), |_| Reading::name_of(&self.end.explained))
    }

    /// What has to be read off the network's tensors.
    pub fn readings(&self) -> Vec<(String, Reading)> {
        let mut readings: Vec<(String, Reading)> = Vec::new();
        for tensor in [&self.end.explained, &self.end.reported] {
            if let Some(reading) = self.reading.filter(|_| readings.iter().all(|(known, _)| known != tensor)) {
                readings.push((tensor.clone(), reading));
            }
        }
        readings
    }

    /// Places of boxes, four numbers each.
    pub fn is_places(&self) -> bool {
        let are_four = self.shape.len() == 3 && self.shape[2] == Some(4);
        self.is_called(&["box"]) || are_four && !self.is_called(&["logit", "score", "class", "prob", "conf"])
    }

    fn is_called(&self, words: &[&str]) -> bool {
        let names = [&self.end.output, &self.end.reported].map(|name| name.to_lowercase());
        words.iter().any(|word| names.iter().any(|name| name.contains(word)))
    }

    /// Whether it is a vector that stands for the picture, not a row of scores.
    pub fn is_embedding(&self) -> bool {
        self.end.unit_length || self.is_called(&["embed", "pooler", "hidden_state", "feature", "latent"])
    }
}

/// The output that scores classes: the one asked for; else one as long as the labels, one that is called logits or the like, or the only one there is.
///
/// # Errors
/// No such output, several that it could be, and embeddings, which have no classes.
pub fn class_answer<'a>(answers: &'a [Answer], wanted: Option<&str>, labels: Option<usize>) -> Result<&'a Answer> {
    if let Some(wanted) = wanted {
        let by_index = wanted.parse::<usize>().ok().and_then(|index| answers.get(index));
        let found = answers.iter().find(|answer| answer.end.output == wanted).or(by_index);
        let Some(found) = found else { bail!("no output \"{wanted}\"; there are: {}", listed(answers)) };
        return Ok(found);
    }
    let mut rows: Vec<&Answer> = answers.iter().filter(|answer| answer.classes().is_some()).collect();
    if rows.is_empty() {
        rows = answers.iter().filter(|answer| answer.reading.is_some() && !answer.is_places()).collect();
    }
    let candidates: Vec<&Answer> = rows.iter().copied().filter(|answer| !answer.is_embedding()).collect();
    ensure!(
        rows.is_empty() || !candidates.is_empty(),
        "its output is an embedding ({}), so this is a dual encoder, one half of it or both in one file, and not a classifier; give the folder with its config.json and tokenizer.json, or name an \
         output that scores classes with --output",
        listed(answers)
    );
    let named = |name: &str| answers.iter().any(|answer| answer.end.output == name);
    ensure!(
        !(named("image_embeds") && named("text_embeds")),
        "it holds both halves of a dual encoder; give the folder with its config.json and tokenizer.json instead of the file, or compare photos with --like"
    );
    let as_long = |answer: &&Answer| labels.is_some_and(|labels| answer.classes_read() == Some(labels));
    let called = |answer: &&Answer| answer.is_called(&["logit", "prob", "score", "class", "pred", "softmax"]);
    let is_features =
        |answer: &&Answer| answers.iter().any(|other| other.end.features.as_deref() == Some(&answer.end.output));
    let main = |answer: &&Answer| !answer.is_called(&["aux", "label", "index", "indices"]) && !is_features(answer);
    let filters: [&dyn Fn(&&Answer) -> bool; 3] = [&as_long, &called, &main];
    let mut left = candidates;
    for filter in filters {
        let fitting: Vec<&Answer> = left.iter().copied().filter(|answer| filter(answer)).collect();
        if !fitting.is_empty() {
            left = fitting;
        }
    }
    // A label and its probabilities, or values and their indices, are one answer.
    let first = left.first().copied();
    if let Some(first) = first.filter(|first| left.iter().all(|answer| answer.end.explained == first.end.explained)) {
        return Ok(first);
    }
    match first {
        None => bail!(
            "expected an output of 1 x classes, found {}; name the one to explain with --output if it can be read as scores",
            listed(answers)
        ),
        Some(_) => bail!(
            "several outputs could score classes: {}; name one with --output",
            left.iter().map(|answer| described(answer)).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// How a detector's output of these two lengths is read. `beside`: their places are another output's. Which of the two axes is that of the boxes is told by the number
/// of classes, by the number of cells of YOLO's grids on an `input` of this size, by COCO's 84 or 85 numbers, or by there being more boxes than numbers.
pub fn detector(first: usize, second: usize, beside: bool, classes: Option<usize>, input: Size) -> Reading {
    if beside {
        return Reading::Boxes { transposed: false, before: 0, objectness: false };
    }
    let is_numbers: [&dyn Fn(usize) -> bool; 2] =
        [&|length| classes.is_some_and(|classes| [classes + 4, classes + 5].contains(&length)), &|length| {
            [84, 85].contains(&length)
        }];
    let is_boxes = |length: usize| is_cells(length, input);
    let told = if is_numbers[0](first) != is_numbers[0](second) {
        Some(is_numbers[0](first))
    } else if is_boxes(first) != is_boxes(second) {
        Some(is_boxes(second))
    } else if is_numbers[1](first) != is_numbers[1](second) {
        Some(is_numbers[1](first))
    } else {
        None
    };
    let transposed = told.unwrap_or(first < second);
    let numbers = if transposed { first } else { second };
    // Four numbers of a place; older ones also say whether there is anything. COCO has 80 classes.
    let objectness = match classes {
        Some(classes) if is_numbers[0](numbers) => numbers == classes + 5,
        _ => numbers == 85 || (!transposed && numbers != 84),
    };
    Reading::Boxes { transposed, before: 4 + usize::from(objectness), objectness }
}

/// Whether so many boxes are those of YOLO's grids of 8 to 64 pixels, one or three to a cell.
fn is_cells(boxes: usize, input: Size) -> bool {
    let cells = |stride: usize| (input.height / stride) * (input.width / stride);
    let grids: [&[usize]; 4] = [&[8, 16, 32], &[8, 16, 32, 64], &[16, 32], &[8]];
    grids.iter().any(|strides| {
        let cells: usize = strides.iter().map(|stride| cells(*stride)).sum();
        [cells, 3 * cells].contains(&boxes) && boxes > 0
    })
}

fn described(answer: &Answer) -> String {
    format!("\"{}\" of {}", answer.end.output, in_words(&answer.shape))
}

fn listed(answers: &[Answer]) -> String {
    answers.iter().map(described).collect::<Vec<_>>().join(", ")
}
