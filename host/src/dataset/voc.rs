//! Pascal VOC's XML: one photo a file, boxes whose pixels count from 1 and include both ends.

use super::Object;
use super::listed::Gathered;
use super::polygon::corners;
use crate::Size;
use anyhow::{Context as _, Result};
use roxmltree::Node;

/// Reads one photo; `stem` is the name of the file without its ending, and that of the photo if the file does not give one.
pub(super) fn read(root: Node<'_, '_>, stem: &str, found: &mut Gathered) {
    let photo = text(root, "filename").ok().filter(|name| !name.is_empty()).unwrap_or(stem);
    found.photo(photo);
    let size = child(root, "size").ok().and_then(size);
    for (number, node) in root.children().filter(|child| child.has_tag_name("object")).enumerate() {
        let category = text(node, "name").unwrap_or_default();
        found.object(&format!("object {}", number + 1), photo, category, object(node, size));
    }
}

/// What the file says of the photo's size, if it says anything: 0 x 0 stands for not known.
fn size(node: Node<'_, '_>) -> Option<Size> {
    let side = |name| number(node, name).ok().filter(|side| *side >= 1.0).map(|side| side.round() as usize);
    Some(Size::new(side("height")?, side("width")?))
}

fn object(node: Node<'_, '_>, size: Option<Size>) -> Result<Object> {
    let category = text(node, "name")?.to_owned();
    let bounds = child(node, "bndbox")?;
    let [left, top] = [number(bounds, "xmin")? - 1.0, number(bounds, "ymin")? - 1.0];
    let [right, bottom] = [number(bounds, "xmax")?, number(bounds, "ymax")?];
    let shape = corners([left, top, right, bottom], size).context("<bndbox>")?;
    Ok(Object { category, shape: Some(shape), crowd: false })
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Result<Node<'a, 'input>> {
    let found = node.children().find(|child| child.has_tag_name(name));
    found.with_context(|| format!("expected <{name}> in <{}>", node.tag_name().name()))
}

fn text<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str> {
    Ok(child(node, name)?.text().unwrap_or_default().trim())
}

fn number(node: Node<'_, '_>, name: &str) -> Result<f64> {
    let text = text(node, name)?;
    text.parse().with_context(|| format!("<{name}>: expected a number, found `{text}`"))
}
