//! How a network of two towers in one file makes a number of its two embeddings: what it multiplies their cosine with.

use super::guard::{contained, finite};
use super::normal::Normal;
use super::running::run;
use super::{operators, validate};
use crate::random::Random;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use tract_onnx::pb;
use tract_onnx::tract_hir::internal::*;

/// Cosines at which the number is measured.
const COSINES: [f64; 5] = [-0.8, -0.3, 0.1, 0.5, 0.9];

/// Share of the number's range that may be left of what a line through it says.
const LEFT: f64 = 1e-3;

/// The factor of the cosine of two embeddings in an output such as `logits_per_image`, by measurement: the part of the network from the embeddings to the output is run for
/// vectors of known cosines. `length` is that of an embedding, which exporters often leave open. None if the number is not a factor times the cosine, plus a constant.
pub fn scale(onnx: &[u8], folder: Option<&Path>, embeddings: [&str; 2], length: usize, output: &str) -> Option<f32> {
    contained(|| measured(onnx, folder, embeddings, length, output))
        .ok()
        .filter(|scale| scale.is_finite() && *scale > 0.0)
}

fn measured(onnx: &[u8], folder: Option<&Path>, embeddings: [&str; 2], length: usize, output: &str) -> Result<f32> {
    let normal = Normal::read(onnx, folder)?;
    let graph = normal.graph();
    ensure!(length > 1, "expected embeddings of several numbers");
    let sources = embeddings.map(|name| behind_names(graph, name));
    let part = Part::of(&normal, &[sources[0], sources[1]], output, length)?;
    let mut random = Random::new(0);
    let first = unit((0..length).map(|_| random.uniform() - 0.5).collect());
    let other: Vec<f64> = (0..length).map(|_| random.uniform() - 0.5).collect();
    let along = dot(&first, &other);
    let across = unit(other.iter().zip(&first).map(|(other, first)| other - along * first).collect());
    let at = |cosine: f64| -> Vec<f64> {
        let sine = (1.0 - cosine * cosine).sqrt();
        first.iter().zip(&across).map(|(first, across)| cosine * first + sine * across).collect()
    };
    let numbers = COSINES.map(|cosine| part.number(&[&first, &at(cosine)]));
    let numbers: Vec<f64> = numbers.into_iter().collect::<Result<_>>()?;
    let last = COSINES.len() - 1;
    let scale = (numbers[last] - numbers[0]) / (COSINES[last] - COSINES[0]);
    let is_near = |a: f64, b: f64| (a - b).abs() <= LEFT * scale.abs();
    let on_line = |(cosine, number): (&f64, &f64)| is_near(numbers[0] + scale * (cosine - COSINES[0]), *number);
    ensure!(COSINES.iter().zip(&numbers).all(on_line), "expected a multiple of the cosine, found {numbers:?}");
    // A product of vectors is their cosine if they have length one, or if it is divided by their lengths.
    for (at_side, source) in sources.iter().enumerate() {
        let twice: Vec<f64> = first.iter().map(|value| 2.0 * value).collect();
        let longer = [0, 1].map(|side| if side == at_side { &twice } else { &first });
        let divided = is_near(part.number(&[longer[0], longer[1]])?, part.number(&[&first, &first])?);
        ensure!(divided || has_length_one(&normal, source, length), "expected embeddings of length one");
    }
    Ok(scale as f32)
}

/// The tensor that has this name as another one.
fn behind_names<'g>(graph: &'g pb::GraphProto, mut name: &'g str) -> &'g str {
    let of = |name: &str| graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
    // Each step goes one node back; a graph that goes round in a circle is refused later.
    for _ in 0..graph.node.len() {
        match of(name) {
            Some(node) if node.op_type == "Identity" && node.input.len() == 1 => name = &node.input[0],
            _ => break,
        }
    }
    name
}

/// Whether the last operator before a tensor makes vectors of length one of any others.
fn has_length_one(normal: &Normal, tensor: &str, length: usize) -> bool {
    let graph = normal.graph();
    let Some(node) = graph.node.iter().find(|node| node.output.iter().any(|output| output == tensor)) else {
        return false;
    };
    node.input.iter().filter(|input| !input.is_empty()).any(|input| {
        let vector: Vec<f64> = (0..length).map(|at| at as f64 - 1.7).collect();
        let found = contained(|| Part::of(normal, &[input], tensor, length)?.run(&[&vector]));
        found.is_ok_and(|found| (dot(&found, &found) - 1.0).abs() < LEFT)
    })
}

/// The part of a network that makes one tensor of others, each of 1 x length numbers.
struct Part {
    plan: Arc<TypedRunnableModel>,
    length: usize,
}

impl Part {
    fn of(normal: &Normal, from: &[&str], to: &str, length: usize) -> Result<Self> {
        let framework = operators::framework();
        let proto = normal.part(from, to, length);
        validate::check(&framework, proto.graph.as_ref().context("no graph")?)?;
        let parsed = framework.parse(&proto, None)?;
        ensure!(parsed.unresolved_inputs.is_empty(), "expected \"{to}\" to follow from {from:?} alone");
        let mut model = parsed.model;
        ensure!(model.inputs.len() == from.len(), "expected \"{to}\" to follow from all of {from:?}");
        for slot in 0..from.len() {
            model.set_input_fact(slot, f32::fact([1, length]).into())?;
        }
        model.select_outputs_by_name([to])?;
        if let Some(graph) = &proto.graph {
            validate::bound(&mut model, graph);
        }
        Ok(Self { plan: SimplePlan::new(model.into_typed()?)?, length })
    }

    fn run(&self, vectors: &[&Vec<f64>]) -> Result<Vec<f64>> {
        let tensor = |vector: &&Vec<f64>| -> Result<TValue> {
            let numbers: Vec<f32> = vector.iter().map(|value| *value as f32).collect();
            Ok(Tensor::from_shape(&[1, self.length], &numbers)?.into_tvalue())
        };
        let found = run(&self.plan, vectors.iter().map(tensor).collect::<Result<_>>()?)?;
        Ok(finite(&found[0])?.into_iter().map(f64::from).collect())
    }

    fn number(&self, vectors: &[&Vec<f64>]) -> Result<f64> {
        let found = self.run(vectors)?;
        ensure!(found.len() == 1, "expected one number, found {}", found.len());
        Ok(found[0])
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(mut vector: Vec<f64>) -> Vec<f64> {
    let length = dot(&vector, &vector).sqrt();
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}
