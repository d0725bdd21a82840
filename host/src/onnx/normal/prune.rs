//! What a network needs for some of its tensors.

use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

/// Operators whose outputs after the first need not be there.
const OPTIONAL_OUTPUTS: [&str; 8] = [
    "BatchNormalization",
    "Dropout",
    "MaxPool",
    "LayerNormalization",
    "SkipLayerNormalization",
    "EmbedLayerNormalization",
    "Attention",
    "MultiHeadAttention",
];

/// Drops nodes, weights and inputs that none of the tensors wanted needs; these become the outputs.
pub fn keep(graph: &mut GraphProto, wanted: &[&str]) {
    let (needed, nodes) = leads(graph, wanted);
    let mut at = 0;
    graph.node.retain(|_| {
        at += 1;
        nodes.contains(&(at - 1))
    });
    for node in graph.node.iter_mut().filter(|node| OPTIONAL_OUTPUTS.contains(&node.op_type.as_str())) {
        // An output that nothing reads: a mask, or the mean that a normalisation has found. The first one stays.
        for output in node.output.iter_mut().skip(1) {
            if !needed.contains(output) {
                output.clear();
            }
        }
        while node.output.len() > 1 && node.output.last().is_some_and(String::is_empty) {
            node.output.pop();
        }
    }
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    graph.input.retain(|input| needed.contains(&input.name));
    graph.output =
        wanted.iter().map(|name| ValueInfoProto { name: (*name).to_owned(), ..Default::default() }).collect();
}

/// Names of all tensors that these need, themselves included.
pub fn needed(graph: &GraphProto, wanted: &[&str]) -> HashSet<String> {
    leads(graph, wanted).0
}

/// Names of the tensors and numbers of the nodes that some tensors need.
fn leads(graph: &GraphProto, wanted: &[&str]) -> (HashSet<String>, HashSet<usize>) {
    let producers: HashMap<&str, usize> = (graph.node.iter().enumerate())
        .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)))
        .collect();
    let mut needed: HashSet<String> = HashSet::new();
    let mut nodes: HashSet<usize> = HashSet::new();
    let mut open: Vec<&str> = wanted.to_vec();
    while let Some(name) = open.pop() {
        if !needed.insert(name.to_owned()) {
            continue;
        }
        let Some(&at) = producers.get(name) else { continue };
        if nodes.insert(at) {
            open.extend(read_by(&graph.node[at]));
        }
    }
    (needed, nodes)
}

/// What a node reads, its subgraphs included.
fn read_by(node: &NodeProto) -> Vec<&str> {
    let mut read: Vec<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        read.extend(graph.node.iter().flat_map(read_by));
        read.extend(graph.output.iter().map(|output| output.name.as_str()));
    }
    read
}
