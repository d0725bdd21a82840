//! Inputs besides the picture or the tokens.

use super::MADE;
use super::edit::int;
use super::prune;
use anyhow::{Result, bail, ensure};
use std::collections::HashSet;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

/// What a tokenizer says of each token besides its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside<'a> {
    /// 1 for a token of the text, 0 for one that fills it up.
    pub mask: &'a [i64],
    /// The number of the text that the token belongs to.
    pub kinds: &'a [i64],
}

/// What an input of a network of token ids is for, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfTokens {
    /// Which tokens are there to be read: [`Beside::mask`].
    Mask,
    /// [`Beside::kinds`].
    Kinds,
    /// 0, 1, 2, ...
    Positions,
}

impl OfTokens {
    /// By the name and the type of its numbers, as exporters of transformers' models have them.
    pub fn of(input: &ValueInfoProto) -> Option<Self> {
        let name = input.name.to_lowercase();
        let words = words(&input.name);
        let kind = DataType::try_from(element(input)).ok()?;
        let is_integer = matches!(kind, DataType::Int64 | DataType::Int32);
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let is = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
        if has(&["mask"]) {
            // PyTorch's own masks of padding, and those of Booleans, say which tokens are not to be read.
            let turned = has(&["pad", "masked", "causal"]) || kind == DataType::Bool && !has(&["attention_mask"]);
            return (!turned && names_mask(&words)).then_some(Self::Mask);
        }
        let follow =
            |first: &str, second: &str| words.windows(2).any(|pair| pair[0] == first && pair[1].starts_with(second));
        if is_integer && (follow("token", "type") || follow("type", "id") || is(&["segment", "segments"])) {
            return Some(Self::Kinds);
        }
        let counts = is(&["position", "positions", "pos"]);
        (is_integer && counts && !has(&["relative", "bias", "bucket", "past"])).then_some(Self::Positions)
    }
}

/// The words of a name, in small letters: it is split where something else than letters stands, and where a capital one follows a small one.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if !letter.is_alphabetic() || was_small && letter.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphabetic()) {
            word.extend(letter.to_lowercase());
        }
        was_small = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a word is that of a mask, or ends with it, as in "pixelmask".
fn names_mask(words: &[String]) -> bool {
    words.iter().any(|word| word.ends_with("mask") || word.ends_with("masks"))
}

/// Why an input is not filled.
fn unknown(input: &ValueInfoProto) -> anyhow::Error {
    anyhow::anyhow!(
        "input \"{}\": what it is to be filled with is not known; export the network without this input, or with a constant in its place",
        input.name
    )
}

/// Makes the inputs that something reads, besides the one of token ids, constants of as many numbers as there are tokens.
///
/// # Errors
/// An input whose meaning is not known.
pub fn fill_beside_tokens(graph: &mut GraphProto, main: &str, beside: &Beside) -> Result<()> {
    let count = beside.mask.len();
    let begins = beside.mask.first() != Some(&0);
    take_wide(graph, main);
    // Where all open axes have one name, that says nothing.
    let named = !graph.input.iter().any(|input| input.name == main && is_square(input));
    for input in take_others(graph, main) {
        if only_its_shape_is_read(graph, &input.name) {
            constant(graph, &input, &shape(&input), 0);
            continue;
        }
        let Some(meaning) = OfTokens::of(&input) else { return Err(unknown(&input)) };
        let values = match meaning {
            OfTokens::Mask => beside.mask.to_vec(),
            OfTokens::Kinds => beside.kinds.to_vec(),
            OfTokens::Positions => (0..count as i64).collect(),
        };
        ensure!(
            begins || meaning != OfTokens::Positions,
            "input \"{}\": where its positions begin is not known of texts that are filled up at their beginning; export the network without this input",
            input.name
        );
        let is_integer = matches!(element(&input), 6 | 7 | 9);
        ensure!(
            is_integer || values.iter().all(|value| *value == 1),
            "input \"{}\": expected integers for a mask of texts that are filled up, found other numbers, whose meaning is not known; export the network with a mask of integers",
            input.name
        );
        let shape = of_tokens(&input, count, meaning).and_then(|shape| {
            ensure!(!named || !is_square(&input), "input \"{}\": expected a number for each token, found one for each pair of tokens, whose meaning is not known; export the network without this input", input.name);
            Ok(shape)
        })?;
        numbers(graph, &input, &shape, &values);
    }
    Ok(())
}

/// The shape of an input that has a number for each token.
fn of_tokens(input: &ValueInfoProto, count: usize, meaning: OfTokens) -> Result<Vec<i64>> {
    let tokens = count as i64;
    let fits = |length: Option<i64>, wanted: i64| length.is_none_or(|length| length == wanted);
    match lengths(input)[..] {
        [batch, length] if fits(batch, 1) && fits(length, tokens) => Ok(vec![1, tokens]),
        [length] if fits(length, tokens) && meaning == OfTokens::Positions => Ok(vec![tokens]),
        ref other => bail!(
            "input \"{}\": expected 1 x {count} numbers, one for each token, found {}; export the network without this input",
            input.name,
            if other.is_empty() { "no lengths".to_owned() } else { in_words(other) }
        ),
    }
}

/// Whether both axes have one name, as those of a mask have that says which token sees which.
fn is_square(input: &ValueInfoProto) -> bool {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return false;
    };
    let axes: Vec<_> = tensor.shape.iter().flat_map(|shape| &shape.dim).collect();
    matches!(&axes[..], [a, b] if matches!(&a.value, Some(Value::DimParam(name)) if !name.is_empty()) && a.value == b.value)
}

/// Makes token ids of 32 bits ids of 64.
fn take_wide(graph: &mut GraphProto, main: &str) {
    let Some(input) = graph.input.iter_mut().find(|input| input.name == main) else { return };
    if element(input) != DataType::Int32 as i32 {
        return;
    }
    if let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        tensor.elem_type = DataType::Int64 as i32;
    }
    let narrow = format!("{MADE}{main}/narrow");
    for name in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|name| *name == main) {
        name.clone_from(&narrow);
    }
    let to = int("to", DataType::Int32 as i64);
    graph.node.insert(0, node("Cast", main, vec![main.to_owned()], narrow, vec![to]));
}

/// Makes the inputs that something reads, besides the picture, constants: ones for a mask of what is there to be read, zeros for what nothing but its shape is read of and
/// for what says that the network is in training.
///
/// # Errors
/// An input whose meaning is not known.
pub fn fill_beside_picture(graph: &mut GraphProto, main: &str) -> Result<()> {
    for input in take_others(graph, main) {
        let value = beside_picture(graph, &input).ok_or_else(|| unknown(&input))?;
        constant(graph, &input, &shape(&input), value);
    }
    Ok(())
}

/// What an input besides the picture is filled with, if that is known.
fn beside_picture(graph: &GraphProto, input: &ValueInfoProto) -> Option<i64> {
    let words = words(&input.name);
    let says = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if only_its_shape_is_read(graph, &input.name) || says(&["train", "training", "masked"]) {
        return Some(0);
    }
    (names_mask(&words) && !input.name.to_lowercase().contains("pad")).then_some(1)
}

/// Forgets the outputs that need an input besides the picture that is not known how to fill, such as what is said of a text, if there are others.
pub fn forget_outputs_of_others(graph: &mut GraphProto, main: &str) {
    let others = graph.input.iter().filter(|input| input.name != main && beside_picture(graph, input).is_none());
    let others: Vec<String> = others.map(|input| input.name.clone()).collect();
    if others.is_empty() {
        return;
    }
    let alone = |output: &&ValueInfoProto| {
        let needed = prune::needed(graph, &[&output.name]);
        !others.iter().any(|other| needed.contains(other))
    };
    let kept: Vec<ValueInfoProto> = graph.output.iter().filter(alone).cloned().collect();
    if !kept.is_empty() {
        graph.output = kept;
    }
}

/// Takes all inputs but `main` out of a graph; those that something reads.
fn take_others(graph: &mut GraphProto, main: &str) -> Vec<ValueInfoProto> {
    let read: HashSet<&str> = graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let (own, others): (Vec<_>, Vec<_>) = graph.input.iter().cloned().partition(|input| input.name == main);
    let others = others.into_iter().filter(|input| read.contains(input.name.as_str())).collect();
    graph.input = own;
    others
}

fn only_its_shape_is_read(graph: &GraphProto, input: &str) -> bool {
    let mut readers = graph.node.iter().filter(|node| node.input.iter().any(|name| name == input));
    readers.all(|node| node.op_type == "Shape" || node.op_type == "Size")
}

/// Its shape, with ones for open lengths.
fn shape(input: &ValueInfoProto) -> Vec<i64> {
    lengths(input).iter().map(|length| length.unwrap_or(1)).collect()
}

/// Makes an input a constant that is the same number everywhere.
fn constant(graph: &mut GraphProto, input: &ValueInfoProto, shape: &[i64], value: i64) {
    if shape.is_empty() {
        return numbers(graph, input, shape, &[value]);
    }
    let lengths = integers(format!("{MADE}{}/shape", input.name), &[shape.len() as i64], shape);
    let one = integers(format!("{MADE}{}/number", input.name), &[], &[value]);
    let same = format!("{MADE}{}/filled", input.name);
    let expand = node("Expand", &input.name, vec![one.name.clone(), lengths.name.clone()], same.clone(), vec![]);
    graph.initializer.extend([lengths, one]);
    cast(graph, input, same);
    graph.node.insert(0, expand);
}

/// Makes an input a constant of these numbers.
fn numbers(graph: &mut GraphProto, input: &ValueInfoProto, shape: &[i64], values: &[i64]) {
    let numbers = integers(format!("{MADE}{}/numbers", input.name), shape, values);
    let from = numbers.name.clone();
    graph.initializer.push(numbers);
    cast(graph, input, from);
}

/// Puts numbers of 64 bits in the place of an input, in the input's own type.
fn cast(graph: &mut GraphProto, input: &ValueInfoProto, from: String) {
    let to = int("to", i64::from(element(input)));
    graph.node.insert(0, node("Cast", &input.name, vec![from], input.name.clone(), vec![to]));
}

fn integers(name: String, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name,
        dims: dims.to_vec(),
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn node(
    op: &str,
    place: &str,
    input: Vec<String>,
    output: String,
    attribute: Vec<tract_onnx::pb::AttributeProto>,
) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("{place}.{op}"),
        input,
        output: vec![output],
        attribute,
        ..Default::default()
    }
}

/// An input of 1 x length floats.
pub fn row(name: &str, length: usize) -> ValueInfoProto {
    let axis = |length: usize| Dimension { value: Some(Value::DimValue(length as i64)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: vec![axis(1), axis(length)] });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..Default::default() }
}

/// Lengths of the axes; none where they are open.
pub fn lengths(input: &ValueInfoProto) -> Vec<Option<i64>> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Vec::new();
    };
    let axes = tensor.shape.iter().flat_map(|shape| &shape.dim);
    axes.map(|axis| match axis.value {
        Some(Value::DimValue(length)) if length > 0 => Some(length),
        _ => None,
    })
    .collect()
}

/// Lengths as messages have them: 1 x 3 x ?.
pub fn in_words<T: ToString>(lengths: &[Option<T>]) -> String {
    let length = |length: &Option<T>| length.as_ref().map_or("?".into(), T::to_string);
    lengths.iter().map(length).collect::<Vec<_>>().join(" x ")
}

/// The type of its numbers.
pub fn element(input: &ValueInfoProto) -> i32 {
    match input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type,
        None => 0,
    }
}
