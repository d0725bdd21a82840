//! `If` whose condition is known: the branch that is taken.

use super::edit::Constants;
use anyhow::{Result, ensure};
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Branches within branches.
const DEEPEST: usize = 8;

/// Puts the nodes of the branch taken in the place of each `If` whose condition is a constant.
pub fn choose(graph: &mut GraphProto) -> Result<()> {
    for _ in 0..DEEPEST {
        let constants = Constants::of(graph);
        let taken: HashMap<usize, GraphProto> = (graph.node.iter().enumerate())
            .filter(|(_, node)| node.op_type == "If")
            .filter_map(|(at, node)| Some((at, branch(node, &constants)?)))
            .collect();
        if taken.is_empty() {
            return Ok(());
        }
        let mut nodes = Vec::new();
        for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
            let Some(branch) = taken.get(&at) else {
                nodes.push(node);
                continue;
            };
            ensure!(
                branch.output.len() == node.output.len(),
                "a branch has other outputs than its If; the file is damaged"
            );
            graph.initializer.extend(branch.initializer.iter().cloned());
            nodes.extend(branch.node.iter().cloned());
            for (inner, outer) in branch.output.iter().zip(&node.output) {
                nodes.push(NodeProto {
                    op_type: "Identity".into(),
                    name: format!("{}.{}", super::super::validate::name_of(&node), inner.name),
                    input: vec![inner.name.clone()],
                    output: vec![outer.clone()],
                    ..Default::default()
                });
            }
        }
        graph.node = nodes;
    }
    Ok(())
}

fn branch(node: &NodeProto, constants: &Constants) -> Option<GraphProto> {
    let condition = constants.number(node.input.first()?).ok()? != 0.0;
    let name = if condition { "then_branch" } else { "else_branch" };
    node.attribute.iter().find(|attribute| attribute.name == name)?.g.clone()
}
