//! `If` whose condition is known: the branch that is taken.

use super::MADE;
use super::edit::rename_tensors;
use super::known::Known;
use anyhow::{Result, ensure};
use std::collections::HashSet;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Puts the nodes of the branch taken in the place of each `If` whose condition follows from the file's constants and the lengths that it fixes.
pub fn choose(graph: &mut GraphProto) -> Result<()> {
    if !graph.node.iter().any(|node| node.op_type == "If") {
        return Ok(());
    }
    let mut taken = names(graph);
    let mut known = Known::of(graph);
    let mut open: Vec<NodeProto> = std::mem::take(&mut graph.node);
    open.reverse();
    while let Some(node) = open.pop() {
        let Some(mut branch) = branch(&node, &known) else {
            known.follow(&node);
            graph.node.push(node);
            continue;
        };
        ensure!(
            branch.output.len() == node.output.len(),
            "node \"{}\": a branch has other outputs than its If; the file is damaged",
            super::super::validate::name_of(&node)
        );
        make_distinct(&mut branch, &node, &mut taken);
        for tensor in branch.initializer {
            known.add(&tensor);
            graph.initializer.push(tensor);
        }
        let outputs = branch.output.iter().zip(&node.output).map(|(inner, outer)| NodeProto {
            op_type: "Identity".into(),
            name: format!("{}.{}", super::super::validate::name_of(&node), inner.name),
            input: vec![inner.name.clone()],
            output: vec![outer.clone()],
            ..Default::default()
        });
        // A branch may hold another If: what it puts in its own place comes next.
        open.extend(outputs.rev());
        open.extend(branch.node.into_iter().rev());
    }
    Ok(())
}

fn branch(node: &NodeProto, known: &Known) -> Option<GraphProto> {
    if node.op_type != "If" {
        return None;
    }
    let name = if known.is_true(node.input.first()?)? { "then_branch" } else { "else_branch" };
    node.attribute.iter().find(|attribute| attribute.name == name)?.g.clone()
}

/// The tensors of a graph itself, without those of its branches.
fn names(graph: &GraphProto) -> HashSet<String> {
    let weights = graph.initializer.iter().map(|tensor| &tensor.name);
    let inputs = graph.input.iter().map(|input| &input.name);
    weights.chain(inputs).chain(graph.node.iter().flat_map(|node| &node.output)).cloned().collect()
}

/// Gives those tensors of a branch other names whose names are taken: branches need not differ from each other.
fn make_distinct(branch: &mut GraphProto, node: &NodeProto, taken: &mut HashSet<String>) {
    let own = names(branch);
    let place = node.output.iter().find(|output| !output.is_empty()).cloned().unwrap_or_default();
    let doubled: HashSet<String> = own.intersection(taken).filter(|name| !name.is_empty()).cloned().collect();
    let rename = |name: &str| if doubled.contains(name) { format!("{MADE}{place}/{name}") } else { name.to_owned() };
    taken.extend(own.iter().map(|name| rename(name)));
    branch.node.iter_mut().for_each(|node| rename_tensors(node, &rename));
    let outputs = branch.output.iter_mut().map(|output| &mut output.name);
    for name in outputs.chain(branch.initializer.iter_mut().map(|tensor| &mut tensor.name)) {
        *name = rename(name);
    }
}
