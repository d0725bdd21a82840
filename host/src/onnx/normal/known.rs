//! What follows from a file's constants and from the lengths that it fixes, as far as conditions ask for it: a few numbers, and lengths of axes.
//!
//! What a file declares of the tensors between its inputs and outputs is not believed: quantisers leave shapes behind that are no longer so.

use super::edit::{Asked, count, numbers};
use super::inputs::lengths;
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, type_proto};

/// Numbers of a tensor that are followed; shapes have fewer.
const MOST_NUMBERS: usize = 64;
/// Axes of a tensor that are followed.
const MOST_AXES: usize = 16;

/// Operators whose first output has the shape of their first input.
const OF_ONE_SHAPE: [&str; 36] = [
    "Abs",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "LRN",
    "Mish",
    "Neg",
    "Not",
    "PRelu",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Swish",
    "Tanh",
];

/// Lengths of axes; none where they are open.
type Lengths = Vec<Option<i64>>;
/// Numbers in the order in which they lie; none where they are not known.
type Numbers = Vec<Option<f64>>;

/// What is known of a graph's tensors by name.
pub struct Known {
    lengths: HashMap<String, Lengths>,
    numbers: HashMap<String, Numbers>,
}

impl Known {
    /// Of the inputs and weights of a graph.
    pub fn of(graph: &GraphProto) -> Self {
        let mut known = Self { lengths: HashMap::new(), numbers: HashMap::new() };
        for input in &graph.input {
            if let Some(type_proto::Value::TensorType(tensor)) =
                input.r#type.as_ref().and_then(|kind| kind.value.as_ref())
                && tensor.shape.is_some()
            {
                known.learn(&input.name, Some(lengths(input)), None);
            }
        }
        graph.initializer.iter().for_each(|tensor| known.add(tensor));
        known
    }

    /// Of one more weight.
    pub fn add(&mut self, tensor: &TensorProto) {
        self.add_as(&tensor.name, tensor);
    }

    fn add_as(&mut self, name: &str, tensor: &TensorProto) {
        let lengths = tensor.dims.iter().copied().map(Some).collect();
        let few = count(&tensor.dims).is_ok_and(|count| count <= MOST_NUMBERS);
        let values = few.then(|| numbers(tensor).ok()).flatten();
        self.learn(name, Some(lengths), values.map(|values| values.into_iter().map(Some).collect()));
    }

    /// Whether a condition holds.
    pub fn is_true(&self, name: &str) -> Option<bool> {
        match self.numbers.get(name)?[..] {
            [Some(number)] => Some(number != 0.0),
            _ => None,
        }
    }

    /// Of what a node makes. Nodes come in the order in which they run.
    pub fn follow(&mut self, node: &NodeProto) {
        let Ok(output) = node.out() else { return };
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return;
        }
        match node.attribute.first() {
            Some(value) if node.op_type == "Constant" => match (value.name.as_str(), &value.t) {
                ("value", Some(tensor)) => self.add_as(output, tensor),
                ("value_int", _) => self.learn(output, Some(vec![]), Some(vec![Some(value.i as f64)])),
                ("value_ints", _) => {
                    let values = value.ints.iter().map(|number| Some(*number as f64)).collect();
                    self.learn(output, Some(vec![Some(value.ints.len() as i64)]), Some(values));
                }
                _ => (),
            },
            _ => self.learn(output, self.lengths_of(node), self.numbers_of(node)),
        }
    }

    fn learn(&mut self, name: &str, lengths: Option<Lengths>, numbers: Option<Numbers>) {
        if let Some(lengths) = lengths.filter(|lengths| lengths.len() <= MOST_AXES) {
            self.lengths.insert(name.to_owned(), lengths);
        }
        if let Some(numbers) = numbers.filter(|numbers| numbers.len() <= MOST_NUMBERS) {
            self.numbers.insert(name.to_owned(), numbers);
        }
    }

    fn lengths_of(&self, node: &NodeProto) -> Option<Lengths> {
        let given = |at: usize| self.lengths.get(node.given(at)?);
        let input = given(0)?;
        let rank = input.len();
        Some(match node.op_type.as_str() {
            operator if OF_ONE_SHAPE.contains(&operator) => input.clone(),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual"
            | "And" | "Or" | "Xor" => broadcast(input, given(1)?),
            "Shape" => vec![Some(extent_of_shape(node, rank).len() as i64)],
            "Size" => vec![],
            "Conv" => {
                let weights = given(1)?;
                let kernel: Option<Vec<i64>> = weights.get(2..)?.iter().copied().collect();
                let mut found = vec![*input.first()?, *weights.first()?];
                found.extend(windows(node, input, &kernel?)?);
                found
            }
            "MaxPool" | "AveragePool" => {
                let mut found = input.get(..2)?.to_vec();
                found.extend(windows(node, input, &node.attribute("kernel_shape")?.ints)?);
                found
            }
            "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
                (0..rank).map(|axis| if axis < 2 { input[axis] } else { Some(1) }).collect()
            }
            operator if operator.starts_with("Reduce") => {
                let axes = self.axes(node, rank)?;
                let noop = axes.is_none() && node.int("noop_with_empty_axes", 0) == 1;
                let reduced = |axis: usize| !noop && axes.as_ref().is_none_or(|axes| axes.contains(&axis));
                let keeps = node.int("keepdims", 1) == 1;
                let kept = (0..rank).filter(|axis| keeps || !reduced(*axis));
                kept.map(|axis| if reduced(axis) { Some(1) } else { input[axis] }).collect()
            }
            "Flatten" => {
                let (before, after) = input.split_at_checked(place(node.int("axis", 1), rank + 1)?)?;
                vec![product(before), product(after)]
            }
            "Reshape" => {
                let wanted = self.numbers.get(node.given(1)?)?;
                let keeps_zero = node.int("allowzero", 0) == 0;
                let length = |(at, wanted): (usize, &Option<f64>)| match *wanted {
                    Some(0.0) if keeps_zero => input.get(at).copied().flatten(),
                    Some(length) if length >= 0.0 => Some(length as i64),
                    _ => None,
                };
                let mut found: Lengths = wanted.iter().enumerate().map(length).collect();
                let open: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_none()).collect();
                if let ([at], Some(all)) = (&open[..], product(input)) {
                    let rest = product(&found.iter().copied().filter(Option::is_some).collect::<Vec<_>>())?;
                    found[*at] = all.checked_div(rest);
                }
                found
            }
            "Transpose" => match node.attribute("perm") {
                Some(order) => {
                    let from = |axis: &i64| input.get(usize::try_from(*axis).ok()?).copied();
                    order.ints.iter().map(from).collect::<Option<Lengths>>()?
                }
                None => input.iter().rev().copied().collect(),
            },
            "Unsqueeze" => {
                let more = self.given_axes(node).filter(|more| more.len() <= MOST_AXES)?;
                let axes = places(&more, rank + more.len())?;
                let mut old = input.iter();
                (0..rank + more.len())
                    .map(|axis| if axes.contains(&axis) { Some(Some(1)) } else { old.next().copied() })
                    .collect::<Option<Lengths>>()?
            }
            "Squeeze" => match self.axes(node, rank)? {
                Some(axes) => (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| input[axis]).collect(),
                None if input.iter().all(Option::is_some) => {
                    input.iter().copied().filter(|length| *length != Some(1)).collect()
                }
                None => return None,
            },
            "Concat" => {
                let axis = place(node.int("axis", 0), rank)?;
                let mut found = input.clone();
                for at in 1..node.input.len() {
                    let other = given(at).filter(|other| other.len() == rank)?;
                    for (index, length) in found.iter_mut().enumerate() {
                        *length = match (*length, other[index]) {
                            (Some(a), Some(b)) if index == axis => a.checked_add(b),
                            _ if index == axis => None,
                            (length, other) => length.or(other),
                        };
                    }
                }
                found
            }
            "Gather" => {
                let axis = place(node.int("axis", 0), rank)?;
                [&input[..axis], given(1)?.as_slice(), &input[axis + 1..]].concat()
            }
            "Gemm" => {
                let other = given(1).filter(|other| other.len() == 2 && rank == 2)?;
                let (rows, columns) = (node.int("transA", 0) == 1, node.int("transB", 0) != 1);
                vec![input[usize::from(rows)], other[usize::from(columns)]]
            }
            "MatMul" => {
                let other = given(1).filter(|other| other.len() >= 2 && rank >= 2)?;
                let mut found = broadcast(&input[..rank - 2], &other[..other.len() - 2]);
                found.extend([input[rank - 2], other[other.len() - 1]]);
                found
            }
            _ => return None,
        })
    }

    fn numbers_of(&self, node: &NodeProto) -> Option<Numbers> {
        let numbers = |at: usize| self.numbers.get(node.given(at)?);
        let axes = |at: usize| Some(self.lengths.get(node.given(at)?)?.len());
        let each = |of: fn(f64) -> f64| Some(numbers(0)?.iter().map(|number| number.map(of)).collect());
        let pairs = |of: fn(f64, f64) -> f64| -> Option<Numbers> {
            let (a, b) = (numbers(0)?, numbers(1)?);
            let length = if b.len() == 1 { a.len() } else { b.len() };
            let in_step = a.len() == b.len() && axes(0)? <= 1 && axes(1)? <= 1;
            let found = |at: usize| Some(of(a[at % a.len()]?, b[at % b.len()]?));
            (in_step || a.len() == 1 || b.len() == 1).then(|| (0..length).map(found).collect())
        };
        match node.op_type.as_str() {
            "Shape" => {
                let lengths = self.lengths.get(node.given(0)?)?;
                Some(
                    lengths[extent_of_shape(node, lengths.len())]
                        .iter()
                        .map(|length| Some((*length)? as f64))
                        .collect(),
                )
            }
            "Size" => Some(vec![product(self.lengths.get(node.given(0)?)?).map(|size| size as f64)]),
            // Numbers stay in the order in which they lie.
            "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => numbers(0).cloned(),
            "Cast" => match i32::try_from(node.int("to", 0)).ok().and_then(|kind| DataType::try_from(kind).ok())? {
                DataType::Bool => each(|number| f64::from(number != 0.0)),
                DataType::Int64 | DataType::Int32 => each(f64::trunc),
                DataType::Float | DataType::Double => numbers(0).cloned(),
                _ => None,
            },
            "Not" => each(|number| f64::from(number == 0.0)),
            "Gather" => {
                let from = numbers(0).filter(|_| axes(0) == Some(1))?;
                let at = |index: &Option<f64>| from[place((*index)? as i64, from.len())?];
                Some(numbers(1)?.iter().map(at).collect())
            }
            "Concat" => {
                let mut found = Vec::new();
                for at in 0..node.input.len() {
                    found.extend(numbers(at).filter(|_| axes(at) == Some(1))?);
                }
                Some(found)
            }
            "Equal" => pairs(|a, b| f64::from(a == b)),
            "Greater" => pairs(|a, b| f64::from(a > b)),
            "GreaterOrEqual" => pairs(|a, b| f64::from(a >= b)),
            "Less" => pairs(|a, b| f64::from(a < b)),
            "LessOrEqual" => pairs(|a, b| f64::from(a <= b)),
            "And" => pairs(|a, b| f64::from(a != 0.0 && b != 0.0)),
            "Or" => pairs(|a, b| f64::from(a != 0.0 || b != 0.0)),
            "Add" => pairs(|a, b| a + b),
            "Sub" => pairs(|a, b| a - b),
            "Mul" => pairs(|a, b| a * b),
            _ => None,
        }
    }

    /// The axes that a node names, if they are known.
    fn given_axes(&self, node: &NodeProto) -> Option<Vec<i64>> {
        match (node.attribute("axes"), node.given(1)) {
            (Some(axes), _) => Some(axes.ints.clone()),
            (None, Some(axes)) => self.numbers.get(axes)?.iter().map(|axis| Some((*axis)? as i64)).collect(),
            (None, None) => Some(vec![]),
        }
    }

    /// Those of so many axes that a node names; none inside if it names none.
    fn axes(&self, node: &NodeProto, rank: usize) -> Option<Option<Vec<usize>>> {
        let axes = self.given_axes(node)?;
        if axes.is_empty() { Some(None) } else { Some(Some(places(&axes, rank)?)) }
    }
}

/// A number of so many; those below zero count from the end.
fn place(at: i64, count: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(count as i64)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < count)
}

fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    axes.iter().map(|axis| place(*axis, rank)).collect()
}

fn product(lengths: &[Option<i64>]) -> Option<i64> {
    lengths.iter().try_fold(1i64, |product, length| product.checked_mul((*length)?))
}

/// What `Shape` takes of so many lengths.
fn extent_of_shape(node: &NodeProto, rank: usize) -> std::ops::Range<usize> {
    let bound = |name: &str, default: i64| {
        let at = node.int(name, default);
        (if at < 0 { at.saturating_add(rank as i64) } else { at }).clamp(0, rank as i64) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", rank as i64));
    start..end.max(start)
}

fn broadcast(a: &[Option<i64>], b: &[Option<i64>]) -> Lengths {
    let rank = a.len().max(b.len());
    let of = |lengths: &[Option<i64>], axis: usize| match (axis + lengths.len()).checked_sub(rank) {
        Some(axis) => lengths[axis],
        None => Some(1),
    };
    (0..rank)
        .map(|axis| match (of(a, axis), of(b, axis)) {
            (Some(1), other) | (other, Some(1)) => other,
            // A length that is open is the same, or one.
            (Some(length), _) | (_, Some(length)) => Some(length),
            (None, None) => None,
        })
        .collect()
}

/// How often a window fits along each axis of a map.
fn windows(node: &NodeProto, input: &[Option<i64>], kernel: &[i64]) -> Option<Lengths> {
    let maps = input.get(2..).filter(|maps| maps.len() == kernel.len())?;
    let plain = matches!(node.text("auto_pad"), "" | "NOTSET") && node.int("ceil_mode", 0) == 0;
    let number = |name: &str, at: usize, default: i64| {
        let numbers = node.attribute(name).map(|numbers| &numbers.ints).filter(|numbers| !numbers.is_empty());
        numbers.map_or(Some(default), |numbers| numbers.get(at).copied()).map(i128::from)
    };
    let fits = |axis: usize| -> Option<i64> {
        let length = maps[axis].filter(|_| plain)?;
        let pads = number("pads", axis, 0)? + number("pads", axis + kernel.len(), 0)?;
        let (stride, dilation) = (number("strides", axis, 1)?, number("dilations", axis, 1)?);
        let window = dilation * (i128::from(kernel[axis]) - 1) + 1;
        let room = i128::from(length) + pads - window;
        i64::try_from(room.checked_div(stride)? + 1).ok().filter(|_| room >= 0)
    };
    Some((0..kernel.len()).map(fits).collect())
}
