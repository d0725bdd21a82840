//! CVAT's XML for images: shapes in pixels.

use super::listed::Gathered;
use super::polygon::{corners, polygon, usable};
use super::{Object, Shape};
use crate::Size;
use anyhow::{Context as _, Result, bail, ensure};
use roxmltree::Node;

/// Reads a whole file.
///
/// # Errors
/// A file of a video, whose frames have no names.
pub(super) fn read(root: Node<'_, '_>, found: &mut Gathered) -> Result<()> {
    let children = |name: &'static str| root.children().filter(move |child| child.has_tag_name(name));
    ensure!(
        children("image").next().is_some() || children("track").next().is_none(),
        "expected CVAT's XML for images, found that of a video, which names no photos; export the task as \"CVAT for images\""
    );
    for (number, track) in children("track").enumerate() {
        let reason = "a track of a video names no photos: it is left out; export the task as \"CVAT for images\"";
        found.skip(&format!("track {}", number + 1), None, track.attribute("label"), &anyhow::anyhow!(reason));
    }
    for (number, image) in children("image").enumerate() {
        let of = format!("image {}", number + 1);
        let Some(photo) = image.attribute("name").filter(|name| !name.is_empty()) else {
            found.skip(&of, None, None, &anyhow::anyhow!("expected a name, found none"));
            continue;
        };
        found.photo(photo);
        let side =
            |name: &str| number_of(image, name).ok().filter(|side| *side >= 1.0).map(|side| side.round() as usize);
        let size = side("height").zip(side("width")).map(|(height, width)| Size { height, width });
        for (number, node) in image.children().filter(|child| is_shape(*child)).enumerate() {
            let category = node.attribute("label").unwrap_or_default();
            found.object(&format!("{of}, shape {}", number + 1), photo, category, object(node, size));
        }
    }
    Ok(())
}

/// Tags and attributes of a photo are no shapes.
fn is_shape(node: Node<'_, '_>) -> bool {
    node.is_element() && node.attribute("label").is_some() && !node.has_tag_name("tag")
}

fn object(node: Node<'_, '_>, of: Option<Size>) -> Result<Object> {
    let number = |name| number_of(node, name);
    let shape = match node.tag_name().name() {
        "box" => turned([number("xtl")?, number("ytl")?, number("xbr")?, number("ybr")?], node, of)?,
        "polygon" => Shape::Polygons { polygons: usable([points(node).and_then(|points| polygon(&points))])?, of },
        "ellipse" => {
            let [x, y, rx, ry] = [number("cx")?, number("cy")?, number("rx")?, number("ry")?];
            let turn = |corner: [f64; 2]| rotated(corner, [x, y], node);
            let corners = (0..90).map(|corner| {
                let angle = std::f64::consts::TAU * f64::from(corner) / 90.0;
                turn([x + rx * angle.cos(), y + ry * angle.sin()])
            });
            Shape::Polygons { polygons: usable([Ok(corners.collect())])?, of }
        }
        "mask" => mask(node, of.context("a mask: expected the photo's width and height, found none")?)?,
        other @ ("polyline" | "points") => {
            bail!("expected a box, polygon, ellipse or mask, found <{other}>, which encloses nothing")
        }
        other => {
            bail!("expected a box, polygon, ellipse or mask, found <{other}>, which is not read; draw it as a polygon")
        }
    };
    let category = node.attribute("label").unwrap_or_default().to_owned();
    Ok(Object { category, shape: Some(shape), crowd: false })
}

/// A box, turned about its middle if it says so.
fn turned(bounds: [f64; 4], node: Node<'_, '_>, of: Option<Size>) -> Result<Shape> {
    let shape = corners(bounds, of)?;
    let [left, top, right, bottom] = bounds;
    let middle = [(left + right) / 2.0, (top + bottom) / 2.0];
    Ok(match shape {
        Shape::Polygons { mut polygons, of } => {
            polygons.iter_mut().flatten().for_each(|corner| *corner = rotated(*corner, middle, node));
            Shape::Polygons { polygons, of }
        }
        raster => raster,
    })
}

/// Clockwise, in degrees.
fn rotated([x, y]: [f64; 2], [mx, my]: [f64; 2], node: Node<'_, '_>) -> [f64; 2] {
    match number_of(node, "rotation") {
        Ok(degrees) => {
            let (sin, cos) = degrees.to_radians().sin_cos();
            [mx + cos * (x - mx) - sin * (y - my), my + sin * (x - mx) + cos * (y - my)]
        }
        Err(_) => [x, y],
    }
}

/// `x,y;x,y` as x, y, x, y.
fn points(node: Node<'_, '_>) -> Result<Vec<f64>> {
    let text = node.attribute("points").context("expected points, found none")?;
    let number = |word: &str| word.trim().parse().ok().with_context(|| format!("expected points, found `{word}`"));
    text.split([';', ',']).map(number).collect()
}

/// Run lengths of outside and inside, row by row within a box.
fn mask(node: Node<'_, '_>, size: Size) -> Result<Shape> {
    let side = |name| -> Result<usize> { Ok(number_of(node, name)?.max(0.0) as usize) };
    let (left, top, width, height) = (side("left")?, side("top")?, side("width")?, side("height")?);
    let within = |start: usize, side: usize, whole: usize| start.checked_add(side).is_some_and(|end| end <= whole);
    let photo = size.height.checked_mul(size.width).is_some_and(|pixels| pixels <= crate::photo::MAX_PIXELS);
    ensure!(
        photo && within(left, width, size.width) && within(top, height, size.height),
        "a mask: expected it within the photo of {size}, found {width} columns from {left} and {height} rows from {top}"
    );
    let runs = node.attribute("rle").context("a mask: expected run lengths, found none")?;
    let runs = runs.split(',').map(|word| {
        word.trim().parse::<usize>().ok().with_context(|| format!("a mask: expected run lengths, found `{word}`"))
    });
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let total = runs.iter().try_fold(0usize, |total, run| total.checked_add(*run));
    ensure!(
        total.is_some_and(|total| total <= width * height),
        "a mask: expected run lengths of at most {height} x {width} pixels"
    );
    let mut inside = vec![false; size.area()];
    let values = runs.iter().enumerate().flat_map(|(at, run)| std::iter::repeat_n(at % 2 == 1, *run));
    for (at, value) in values.enumerate() {
        inside[(left + at % width) * size.height + top + at / width] = value;
    }
    ensure!(inside.contains(&true), "a mask: the run lengths enclose nothing");
    Ok(Shape::Raster { size, inside })
}

fn number_of(node: Node<'_, '_>, name: &str) -> Result<f64> {
    let word = node.attribute(name).with_context(|| format!("expected {name}, found none"))?;
    word.trim().parse().ok().with_context(|| format!("{name}: expected a number, found `{word}`"))
}
