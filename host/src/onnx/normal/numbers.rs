//! Numbers of other formats: halves, brain floats and doubles become f32, and data that lie in other files are read.

use super::edit::{self, Asked};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, type_proto};

/// Reads data that lie beside the file into the graph.
pub fn load(graph: &mut GraphProto, folder: Option<&Path>) -> Result<()> {
    for tensor in &mut graph.initializer {
        if tensor.data_location == Some(DataLocation::External as i32) && tensor.raw_data.is_empty() {
            let place = format!("weight \"{}\"", tensor.name);
            tensor.raw_data = external(tensor, folder).context(place)?;
            tensor.external_data.clear();
            tensor.data_location = None;
        }
    }
    Ok(())
}

/// The data of a tensor that lie in another file, once [`super::super::validate::check_tensors`] has seen that they do.
fn external(tensor: &TensorProto, folder: Option<&Path>) -> Result<Vec<u8>> {
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
    let path = inside(folder.context("no folder")?, entry("location").context("no file is named")?)?;
    let read = || -> Result<Vec<u8>> {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(entry("offset").map_or(Ok(0), str::parse)?))?;
        let mut data = Vec::new();
        match entry("length").map(str::parse::<u64>).transpose()? {
            Some(length) => file.take(length).read_to_end(&mut data)?,
            None => file.read_to_end(&mut data)?,
        };
        Ok(data)
    };
    read().with_context(|| format!("{}: could not read the weights", path.display()))
}

/// A file of the folder, or of a folder in it, wherever links lead. In the cache of Hugging Face's hub, `MODEL/snapshots/COMMIT`, files are links into `MODEL/blobs`.
pub fn inside(folder: &Path, location: &str) -> Result<PathBuf> {
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(plain, "its data are said to lie in \"{location}\": expected a file beside the network, not elsewhere");
    let folder = folder.canonicalize().with_context(|| format!("{}: could not find the folder", folder.display()))?;
    let path = folder.join(location);
    let path = path.canonicalize().with_context(|| {
        format!("{}: expected a file with its data, because the network names it; fetch it too", path.display())
    })?;
    let snapshots = folder.ancestors().find(|above| above.ends_with("snapshots"));
    let in_blobs = snapshots.and_then(Path::parent).is_some_and(|model| path.starts_with(model.join("blobs")));
    ensure!(
        path.starts_with(&folder) || in_blobs,
        "{}: expected a file beside the network, found one elsewhere",
        path.display()
    );
    Ok(path)
}

/// Makes all floating-point numbers f32.
pub fn widen(graph: &mut GraphProto) -> Result<()> {
    for tensor in &mut graph.initializer {
        widen_tensor(tensor).with_context(|| format!("weight \"{}\"", tensor.name))?;
    }
    for input in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            && is_other_float(tensor.elem_type)
        {
            tensor.elem_type = DataType::Float as i32;
        }
    }
    for node in &mut graph.node {
        widen_node(node).with_context(|| format!("node \"{}\"", super::super::validate::name_of(node)))?;
    }
    Ok(())
}

fn widen_node(node: &mut NodeProto) -> Result<()> {
    let is_cast = matches!(node.op_type.as_str(), "Cast" | "EyeLike" | "RandomNormal" | "RandomUniform");
    for attribute in &mut node.attribute {
        if let Some(tensor) = &mut attribute.t {
            widen_tensor(tensor)?;
        }
        if is_cast && matches!(attribute.name.as_str(), "to" | "dtype") && is_other_float(attribute.i as i32) {
            attribute.i = i64::from(DataType::Float as i32);
        }
    }
    // ONNX's default is a zero of 32 bits, tract's one of 64.
    if node.op_type == "ConstantOfShape" && node.attribute.is_empty() {
        let zero = edit::floats(&[1], &[0.0]);
        node.attribute.push(AttributeProto {
            name: "value".to_owned(),
            r#type: AttributeType::Tensor as i32,
            t: Some(zero),
            ..Default::default()
        });
    }
    // A cast between numbers of 32 bits changes nothing, but what tract makes of one has no other use.
    if node.op_type == "Cast" && node.int("to", 0) == i64::from(DataType::Float as i32) {
        node.attribute.retain(|attribute| attribute.name == "to");
    }
    Ok(())
}

fn is_other_float(kind: i32) -> bool {
    matches!(DataType::try_from(kind), Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Double))
}

fn widen_tensor(tensor: &mut TensorProto) -> Result<()> {
    if !is_other_float(tensor.data_type) {
        return Ok(());
    }
    let values: Vec<f32> = edit::numbers(tensor)?
        .into_iter()
        .map(|value| {
            if value.is_finite() { value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32 } else { value as f32 }
        })
        .collect();
    let dims: Vec<usize> = tensor.dims.iter().map(|length| *length as usize).collect();
    *tensor = TensorProto { name: std::mem::take(&mut tensor.name), ..edit::floats(&dims, &values) };
    Ok(())
}
