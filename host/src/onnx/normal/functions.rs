//! Functions that a file brings along: each call becomes the nodes of the function.

use super::MADE;
use super::edit::rename_tensors;
use anyhow::{Context, Result, ensure};
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, NodeProto};

/// Calls within calls.
const DEEPEST: usize = 16;
/// Nodes that all calls together may become.
const MOST_NODES: usize = 40_000;

/// A function, and what it takes for attributes that a call does not give.
#[derive(Debug, Clone)]
pub struct Function {
    proto: FunctionProto,
    defaults: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct Functions {
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionProto>,
}

/// The part of a file's functions and calls that tract does not read.
#[derive(Clone, PartialEq, Message)]
struct Rest {
    #[prost(message, optional, tag = "7")]
    graph: Option<RestOfGraph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<RestOfFunction>,
}

#[derive(Clone, PartialEq, Message)]
struct RestOfFunction {
    #[prost(message, repeated, tag = "7")]
    nodes: Vec<RestOfNode>,
    #[prost(message, repeated, tag = "11")]
    defaults: Vec<AttributeProto>,
    #[prost(string, tag = "13")]
    overload: String,
}

#[derive(Clone, PartialEq, Message)]
struct RestOfGraph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<RestOfNode>,
}

#[derive(Clone, PartialEq, Message)]
struct RestOfNode {
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<RestOfAttribute>,
    #[prost(string, tag = "8")]
    overload: String,
}

#[derive(Clone, PartialEq, Message)]
struct RestOfAttribute {
    #[prost(message, optional, tag = "6")]
    graph: Option<RestOfGraph>,
}

/// The functions of a file. From now on those that differ in their overload alone have names of their own, and the calls of the graph have them, too.
///
/// # Errors
/// Bytes that are no ONNX file.
pub fn of(bytes: &[u8], graph: &mut GraphProto) -> Result<Vec<Function>> {
    let functions = Functions::decode(bytes).context("expected an ONNX file")?.functions;
    if functions.is_empty() {
        return Ok(Vec::new());
    }
    let rest = Rest::decode(bytes).context("expected an ONNX file")?;
    name_overloads(&mut graph.node, &rest.graph.unwrap_or_default().nodes);
    let of_one = |(mut proto, rest): (FunctionProto, RestOfFunction)| {
        name_overloads(&mut proto.node, &rest.nodes);
        proto.name = proto.name.map(|name| overloaded(&name, &rest.overload));
        Function { proto, defaults: rest.defaults }
    };
    Ok(functions.into_iter().zip(rest.functions).map(of_one).collect())
}

fn name_overloads(nodes: &mut [NodeProto], rest: &[RestOfNode]) {
    for (node, rest) in nodes.iter_mut().zip(rest) {
        node.op_type = overloaded(&node.op_type, &rest.overload);
        for (attribute, rest) in node.attribute.iter_mut().zip(&rest.attributes) {
            if let (Some(graph), Some(rest)) = (&mut attribute.g, &rest.graph) {
                name_overloads(&mut graph.node, &rest.nodes);
            }
        }
    }
}

fn overloaded(name: &str, overload: &str) -> String {
    if overload.is_empty() { name.to_owned() } else { format!("{name}:{overload}") }
}

/// Replaces calls by what they call.
pub fn inline(graph: &mut GraphProto, functions: &[Function]) -> Result<()> {
    if functions.is_empty() {
        return Ok(());
    }
    let named: HashMap<(&str, &str), &Function> = functions
        .iter()
        .map(|function| (&function.proto, function))
        .map(|(proto, function)| {
            ((proto.domain.as_deref().unwrap_or(""), proto.name.as_deref().unwrap_or("")), function)
        })
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
fn body(call: &NodeProto, function: &Function, number: usize) -> Vec<NodeProto> {
    let Function { proto: function, defaults } = function;
    let place = super::super::validate::name_of(call);
    // No two nodes have an output in common, as they may have a name.
    let output = call.output.iter().find(|output| !output.is_empty()).map_or(place, String::as_str);
    let outer: HashMap<&str, &str> = (function.input.iter().zip(&call.input))
        .chain(function.output.iter().zip(&call.output))
        .filter(|(_, outer)| !outer.is_empty())
        .map(|(inner, outer)| (inner.as_str(), outer.as_str()))
        .collect();
    let rename = |name: &str| match outer.get(name) {
        Some(outer) => (*outer).to_owned(),
        // An input that the caller leaves out.
        None if name.is_empty() || function.input.iter().any(|input| input == name) => String::new(),
        None => format!("{MADE}{output}/{name}"),
    };
    let given = |name: &str| call.attribute.iter().chain(defaults).find(|given| given.name == name);
    let mut nodes = function.node.clone();
    for (index, node) in nodes.iter_mut().enumerate() {
        node.name = format!("{place}.{number}.{index}");
        give_attributes(node, &given);
        rename_tensors(node, &rename);
    }
    nodes
}

/// Puts what the call gives, or what the function has for it, in the place of attributes that refer to the call's. Where there is neither, there is no attribute.
fn give_attributes<'a>(node: &mut NodeProto, given: &impl Fn(&str) -> Option<&'a AttributeProto>) {
    for mut attribute in std::mem::take(&mut node.attribute) {
        for inner in attribute.g.iter_mut().flat_map(|graph| &mut graph.node) {
            give_attributes(inner, given);
        }
        if attribute.ref_attr_name.is_empty() {
            node.attribute.push(attribute);
        } else if let Some(given) = given(&attribute.ref_attr_name) {
            node.attribute.push(AttributeProto { name: attribute.name, ..given.clone() });
        }
    }
}
