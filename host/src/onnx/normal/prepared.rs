//! What pictures a graph wants that prepares them itself.
//!
//! Preparation is an affine map of each channel, `y = gain x + shift`, however it is written: by constants, by a normalisation or a 1x1 convolution, one channel
//! after the other, with red and blue exchanged. The maps are followed from the input to whatever is no part of it; there y lies within a few units of zero.

use super::edit::{Asked, Constants};
use super::picture::Scale;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// A tensor whose channels are affine maps of the picture's.
#[derive(Debug, Clone, PartialEq)]
struct Prepared {
    /// Gain and shift of each channel.
    maps: Vec<[f64; 2]>,
    /// The channels' axis; none where there is one channel alone.
    axis: Option<usize>,
    /// Whether anything was done to the numbers.
    changed: bool,
    /// The smallest and the largest number that a clamp lets through, if the picture itself is clamped.
    clamp: [Option<f64>; 2],
}

/// What the numbers of a picture of so many channels along this axis are, if the graph prepares it.
pub(super) fn scale(graph: &GraphProto, input: &str, channels: usize, axis: usize) -> Option<Scale> {
    let constants = Constants::of(graph);
    let whole = Prepared { maps: vec![[1.0, 0.0]; channels], axis: Some(axis), changed: false, clamp: [None; 2] };
    let mut known = HashMap::from([(input.to_owned(), whole)]);
    for node in &graph.node {
        let reads: Vec<Option<&Prepared>> = node.input.iter().map(|input| known.get(input)).collect();
        let Some(at) = reads.iter().position(Option::is_some) else { continue };
        match followed(node, &reads, at, &constants) {
            Some(outputs) => known.extend(node.output.iter().cloned().zip(outputs)),
            None if matches!(node.op_type.as_str(), "Shape" | "Size") => (),
            // The first that is no preparation reads what is prepared.
            None => return reads[at].and_then(told),
        }
    }
    None
}

/// What becomes of a node's outputs.
fn followed(node: &NodeProto, reads: &[Option<&Prepared>], at: usize, constants: &Constants) -> Option<Vec<Prepared>> {
    let x = reads[at]?;
    let one = |prepared: Prepared| Some(vec![prepared]);
    // One number for each channel, or one for all.
    let given = |slot: usize| -> Option<Vec<f64>> {
        let numbers = constants.numbers(node.given(slot)?).ok()?;
        match numbers.len() {
            1 => Some(vec![numbers[0]; x.maps.len()]),
            length => (length == x.maps.len()).then_some(numbers),
        }
    };
    let each = |maps: Vec<[f64; 2]>| Prepared { maps, changed: true, ..x.clone() };
    let both = |of: &dyn Fn([f64; 2], f64) -> [f64; 2]| {
        let other = given(1 - at)?;
        one(each(x.maps.iter().zip(other).map(|(map, number)| of(*map, number)).collect()))
    };
    match node.op_type.as_str() {
        "Sub" if at == 0 => both(&|[gain, shift], number| [gain, shift - number]),
        "Add" => both(&|[gain, shift], number| [gain, shift + number]),
        "Mul" => both(&|[gain, shift], number| [gain * number, shift * number]),
        "Div" if at == 0 => both(&|[gain, shift], number| [gain / number, shift / number]),
        "Cast" | "Identity" | "Dropout" | "Resize" | "Pad" | "Round" => one(x.clone()),
        "Clip" => {
            let bound = |name: &str, slot: usize| {
                node.attribute(name)
                    .map(|bound| f64::from(bound.f))
                    .or_else(|| constants.number(node.given(slot)?).ok())
            };
            let clamp = if x.changed { x.clamp } else { [bound("min", 1), bound("max", 2)] };
            one(Prepared { clamp, ..x.clone() })
        }
        "Max" | "Min" => given(1 - at).map(|_| vec![x.clone()]),
        "BatchNormalization" => {
            let [scale, bias, mean, variance] = [given(1)?, given(2)?, given(3)?, given(4)?];
            let epsilon = f64::from(node.float("epsilon", 1e-5));
            let normal = |(channel, [gain, shift]): (usize, &[f64; 2])| {
                let by = scale[channel] / (variance[channel] + epsilon).sqrt();
                [gain * by, (shift - mean[channel]) * by + bias[channel]]
            };
            one(each(x.maps.iter().enumerate().map(normal).collect()))
        }
        "Conv" => one(each(mixed(x, node, constants)?)),
        "Transpose" => {
            let order = &node.attribute("perm")?.ints;
            let axis = x.axis.map(|axis| order.iter().position(|from| *from == axis as i64)).unwrap_or_default();
            (x.axis.is_none() || axis.is_some()).then(|| vec![Prepared { axis, ..x.clone() }])
        }
        "Gather" if at == 0 && is_axis(node.int("axis", 0), x) => {
            let indices = constants.get(node.given(1)?)?;
            let maps = chosen(x, constants.numbers(node.given(1)?).ok()?)?;
            let axis = if indices.dims.is_empty() { None } else { x.axis };
            one(Prepared { maps, axis, ..x.clone() })
        }
        "Slice" => one(Prepared { maps: sliced(x, node, constants)?, ..x.clone() }),
        "Split" if is_axis(node.int("axis", 0), x) && node.output.len() == x.maps.len() => {
            Some(x.maps.iter().map(|map| Prepared { maps: vec![*map], ..x.clone() }).collect())
        }
        "Unsqueeze" if x.axis.is_none() => {
            let axes = node.attribute("axes").map(|axes| axes.ints.clone());
            let axes = axes
                .or_else(|| Some(constants.numbers(node.given(1)?).ok()?.iter().map(|axis| *axis as i64).collect()));
            let [axis] = axes?[..] else { return None };
            one(Prepared { axis: Some(usize::try_from(axis).ok()?), ..x.clone() })
        }
        "Concat" if is_axis(node.int("axis", 0), x) => {
            let parts: Vec<&Prepared> = reads.iter().copied().collect::<Option<_>>()?;
            let maps = parts.iter().flat_map(|part| part.maps.iter().copied()).collect();
            one(Prepared { maps, changed: parts.iter().any(|part| part.changed), ..x.clone() })
        }
        _ => None,
    }
}

/// Whether an axis is the channels'; of four, where it is counted from the end.
fn is_axis(axis: i64, x: &Prepared) -> bool {
    let axis = if axis < 0 { axis + 4 } else { axis };
    x.axis.is_some_and(|channels| channels as i64 == axis)
}

fn chosen(x: &Prepared, indices: Vec<f64>) -> Option<Vec<[f64; 2]>> {
    let count = x.maps.len() as f64;
    let at = |index: f64| if index < 0.0 { index + count } else { index };
    indices.into_iter().map(|index| x.maps.get(at(index) as usize).copied()).collect()
}

/// Some channels, or all of them backwards; along other axes everything is a picture still.
fn sliced(x: &Prepared, node: &NodeProto, constants: &Constants) -> Option<Vec<[f64; 2]>> {
    let numbers = |name: &str, slot: usize| -> Option<Vec<f64>> {
        match node.attribute(name) {
            Some(given) => Some(given.ints.iter().map(|number| *number as f64).collect()),
            None => constants.numbers(node.given(slot)?).ok(),
        }
    };
    let (starts, ends) = (numbers("starts", 1)?, numbers("ends", 2)?);
    let axes = numbers("axes", 3).unwrap_or_else(|| (0..starts.len()).map(|axis| axis as f64).collect());
    let steps = numbers("steps", 4).unwrap_or_else(|| vec![1.0; starts.len()]);
    let Some(at) = axes.iter().position(|axis| is_axis(*axis as i64, x)) else { return Some(x.maps.clone()) };
    let count = x.maps.len() as f64;
    let inside = |index: f64| if index < 0.0 { index + count } else { index };
    let (start, step) = (inside(*starts.get(at)?), *steps.get(at)?);
    if step == -1.0 {
        return (start >= count - 1.0).then(|| x.maps.iter().rev().copied().collect());
    }
    let end = inside(*ends.get(at)?).clamp(0.0, count);
    (step == 1.0).then(|| x.maps.get(start.max(0.0) as usize..end as usize).map(<[_]>::to_vec))?
}

/// A 1x1 convolution that gives each channel one of the picture's.
fn mixed(x: &Prepared, node: &NodeProto, constants: &Constants) -> Option<Vec<[f64; 2]>> {
    let kernel = constants.get(node.given(1)?)?;
    let count = x.maps.len();
    if kernel.dims != [count as i64, count as i64, 1, 1] {
        return None;
    }
    let weights = constants.numbers(node.given(1)?).ok()?;
    let bias = node.given(2).map_or(Some(vec![0.0; count]), |bias| constants.numbers(bias).ok())?;
    let row = |(row, bias): (&[f64], f64)| -> Option<[f64; 2]> {
        let mut used = row.iter().zip(&x.maps).filter(|(weight, _)| **weight != 0.0);
        let (Some((weight, [gain, shift])), None) = (used.next(), used.next()) else { return None };
        Some([gain * weight, shift * weight + bias])
    };
    weights.chunks_exact(count).zip(bias).map(row).collect()
}

/// The numbers of which these maps make such as networks are fed with.
fn told(x: &Prepared) -> Option<Scale> {
    // A clamp says it outright.
    match x.clamp {
        [_, Some(most)] if (most - 255.0).abs() < 1.0 => return Some(Scale::Bytes),
        [Some(-1.0), Some(1.0)] => return Some(Scale::Halves),
        [None | Some(0.0), Some(1.0)] => return Some(Scale::Shares),
        _ => (),
    }
    if !x.changed {
        return None;
    }
    let mean = |of: usize| x.maps.iter().map(|map| map[of]).sum::<f64>() / x.maps.len().max(1) as f64;
    let (gain, shift) = (mean(0), mean(1));
    // A gain alone says nothing: the middle of what pictures hold has to come to lie near zero, from where it was.
    let from_shares = (gain / 2.0 + shift).abs() <= gain.abs() / 4.0;
    match gain.abs() {
        gain if (0.5..16.0).contains(&(255.0 * gain)) => Some(Scale::Bytes),
        1.0 if shift.abs() > 16.0 => Some(Scale::Bytes),
        gain if (200.0..300.0).contains(&gain) => Some(Scale::Shares),
        gain if (100.0..150.0).contains(&gain) && (100.0..150.0).contains(&shift) => Some(Scale::Halves),
        gain if (0.5..16.0).contains(&gain) && from_shares => Some(Scale::Shares),
        // From -1 to 1 to the means and deviations that photos have, of ImageNet's or CLIP's.
        gain if (1.7..2.6).contains(&gain) && (0.1..0.35).contains(&shift) => Some(Scale::Halves),
        _ => None,
    }
}
