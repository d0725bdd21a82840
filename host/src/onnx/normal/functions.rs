//! Functions that a file brings along: each call becomes the nodes of the function.

use super::MADE;
use anyhow::{Context, Result, ensure};
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{FunctionProto, GraphProto, NodeProto};

/// Calls within calls.
const DEEPEST: usize = 16;
/// Nodes that all calls together may become.
const MOST_NODES: usize = 40_000;

/// The part of a file that tract does not read.
#[derive(Clone, PartialEq, Message)]
struct Functions {
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionProto>,
}

/// The functions of a file.
///
/// # Errors
/// Bytes that are no ONNX file.
pub fn of(bytes: &[u8]) -> Result<Vec<FunctionProto>> {
    Ok(Functions::decode(bytes).context("expected an ONNX file")?.functions)
}

/// Replaces calls by what they call.
pub fn inline(graph: &mut GraphProto, functions: &[FunctionProto]) -> Result<()> {
    if functions.is_empty() {
        return Ok(());
    }
    let named: HashMap<(&str, &str), &FunctionProto> = functions
        .iter()
        .map(|function| ((function.domain.as_deref().unwrap_or(""), function.name.as_deref().unwrap_or("")), function))
        .collect();
    for _ in 0..DEEPEST {
        let mut nodes = Vec::new();
        let mut called = false;
        for (number, node) in graph.node.iter().enumerate() {
            match named.get(&(node.domain.as_str(), node.op_type.as_str())) {
                Some(function) => {
                    called = true;
                    nodes.extend(body(node, function, number));
                }
                None => nodes.push(node.clone()),
            }
            ensure!(nodes.len() <= MOST_NODES, "its functions call each other more than {MOST_NODES} times");
        }
        graph.node = nodes;
        if !called {
            return Ok(());
        }
    }
    anyhow::bail!("its functions call each other {DEEPEST} deep or more; the file is damaged")
}

/// The nodes of one call, its tensors named after the caller's or for this call alone.
fn body(call: &NodeProto, function: &FunctionProto, number: usize) -> Vec<NodeProto> {
    let place = super::super::validate::name_of(call);
    let outer: HashMap<&str, &str> = (function.input.iter().zip(&call.input))
        .chain(function.output.iter().zip(&call.output))
        .map(|(inner, outer)| (inner.as_str(), outer.as_str()))
        .collect();
    let rename = |name: &String| match outer.get(name.as_str()) {
        Some(outer) => (*outer).to_owned(),
        // An input that the caller leaves out.
        None if name.is_empty() || function.input.contains(name) => String::new(),
        None => format!("{MADE}{place}/{number}/{name}"),
    };
    let mut nodes = Vec::with_capacity(function.node.len());
    for (index, inner) in function.node.iter().enumerate() {
        let mut node = inner.clone();
        node.name = format!("{place}.{number}.{index}");
        node.input = inner.input.iter().map(rename).collect();
        node.output = inner.output.iter().map(rename).collect();
        // Attributes that refer to the caller's.
        node.attribute = std::mem::take(&mut node.attribute)
            .into_iter()
            .filter_map(|attribute| {
                if attribute.ref_attr_name.is_empty() {
                    return Some(attribute);
                }
                let given = call.attribute.iter().find(|given| given.name == attribute.ref_attr_name)?;
                let mut given = given.clone();
                given.name = attribute.name;
                Some(given)
            })
            .collect();
        nodes.push(node);
    }
    nodes
}
