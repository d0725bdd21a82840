//! LabelMe's JSON: one photo a file, shapes in pixels.

use super::json::record;
use super::listed::Gathered;
use super::polygon::{corners, polygon, usable};
use super::{Object, Shape};
use crate::Size;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct File<'a> {
    #[serde(rename = "imagePath", default)]
    path: Option<String>,
    #[serde(rename = "imageHeight", default)]
    height: Value,
    #[serde(rename = "imageWidth", default)]
    width: Value,
    #[serde(borrow)]
    shapes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Drawn {
    label: String,
    #[serde(default)]
    shape_type: Option<String>,
    points: Vec<[f64; 2]>,
    #[serde(default)]
    mask: Option<String>,
}

/// Reads one photo; `stem` names it if the file does not.
///
/// # Errors
/// What is no JSON of this form.
pub(super) fn read(text: &str, stem: &str, found: &mut Gathered) -> Result<()> {
    let file: File<'_> = serde_json::from_str(text).context("expected LabelMe's JSON: imagePath and shapes")?;
    let photo = file.path.as_deref().filter(|path| !path.is_empty()).unwrap_or(stem);
    found.photo(photo);
    let side = |value: &Value| value.as_f64().filter(|side| *side >= 1.0).map(|side| side.round() as usize);
    let size = side(&file.height).zip(side(&file.width)).map(|(height, width)| Size { height, width });
    for (number, raw) in file.shapes.iter().enumerate() {
        let at = format!("shape {}", number + 1);
        match record::<Drawn>(raw) {
            Ok(drawn) => {
                let shape = drawn.shape(size);
                let object =
                    shape.map(|shape| Object { category: drawn.label.clone(), shape: Some(shape), crowd: false });
                found.object(&at, photo, &drawn.label, object);
            }
            Err(reason) => found.skip(&at, Some(photo), None, &reason),
        }
    }
    Ok(())
}

impl Drawn {
    fn shape(&self, of: Option<Size>) -> Result<Shape> {
        let kind = self.shape_type.as_deref().unwrap_or("polygon");
        match (kind, &self.points[..]) {
            ("polygon", points) => Ok(Shape::Polygons { polygons: usable([polygon(points.as_flattened())])?, of }),
            ("rectangle", [a, b]) => corners(between(*a, *b), of),
            // Newer versions store all four corners, as X-AnyLabeling does of a turned box.
            ("rectangle" | "rotation", points @ [_, _, _, _]) => {
                Ok(Shape::Polygons { polygons: usable([polygon(points.as_flattened())])?, of })
            }
            ("circle", [centre, edge]) => {
                let radius = (centre[0] - edge[0]).hypot(centre[1] - edge[1]);
                Ok(Shape::Polygons { polygons: usable([Ok(circle(*centre, radius))])?, of })
            }
            ("mask", [a, b]) => {
                let mask = self.mask.as_deref().context("a mask: expected its picture, found none")?;
                raster(mask, between(*a, *b), of.context("a mask: expected imageHeight and imageWidth, found none")?)
            }
            ("rectangle" | "rotation" | "circle" | "mask", points) => {
                bail!("a {kind}: expected its corners, found {} points", points.len())
            }
            ("point" | "line" | "linestrip" | "points", _) => {
                bail!("expected a polygon, rectangle, circle or mask, found a {kind}, which encloses nothing")
            }
            _ => bail!(
                "expected a polygon, rectangle, circle or mask, found a {kind}, which is not read; draw it as a polygon"
            ),
        }
    }
}

/// Left, top, right and bottom of two corners in any order.
fn between(a: [f64; 2], b: [f64; 2]) -> [f64; 4] {
    [a[0].min(b[0]), a[1].min(b[1]), a[0].max(b[0]), a[1].max(b[1])]
}

fn circle([x, y]: [f64; 2], radius: f64) -> Vec<[f64; 2]> {
    const CORNERS: usize = 90;
    let corner = |number: usize| {
        let angle = std::f64::consts::TAU * number as f64 / CORNERS as f64;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    };
    (0..CORNERS).map(corner).collect()
}

/// A picture in base64 whose upper left corner lies at the given place.
fn raster(mask: &str, [left, top, ..]: [f64; 4], size: Size) -> Result<Shape> {
    let pixels = size.height.checked_mul(size.width).filter(|pixels| *pixels <= crate::photo::MAX_PIXELS);
    let pixels = pixels.context("a mask: expected a photo's size")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(mask).context("a mask: expected base64")?;
    let mut reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    limits.max_image_width = u32::try_from(size.width).ok();
    limits.max_image_height = u32::try_from(size.height).ok();
    reader.limits(limits);
    let picture = reader.decode().context("a mask: expected a PNG picture within the photo")?.into_luma8();
    let mut inside = vec![false; pixels];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let (row, column) =
            ((top.round() as i64).saturating_add(y.into()), (left.round() as i64).saturating_add(x.into()));
        if pixel.0[0] > 0 && (0..size.height as i64).contains(&row) && (0..size.width as i64).contains(&column) {
            inside[column as usize * size.height + row as usize] = true;
        }
    }
    anyhow::ensure!(inside.contains(&true), "a mask: expected some of the photo inside, found none");
    Ok(Shape::Raster { size, inside })
}
