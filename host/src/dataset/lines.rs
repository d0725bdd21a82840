//! JSON lines: `{"image": PATH, "objects": [{"category": WORDS, "polygon": [x, y, ...]}]}`, coordinates as shares of the photo.

use super::listed::Gathered;
use super::polygon::{polygon, shares, usable};
use super::{Object, Shape};
use crate::Size;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Line<'a> {
    image: String,
    #[serde(borrow)]
    objects: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct LineObject {
    category: String,
    polygon: Vec<f64>,
}

/// Whether a line is one of these.
pub(super) fn is_line(line: &str) -> bool {
    serde_json::from_str::<Line<'_>>(line).is_ok()
}

/// Every line that is not empty.
pub(super) fn read(text: &str, found: &mut Gathered) {
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = format!("line {}", number + 1);
        let read: Result<Line<'_>> = serde_json::from_str(line)
            .context("expected {\"image\": PATH, \"objects\": [{\"category\": WORDS, \"polygon\": [x, y, ...]}]}");
        match read {
            Ok(line) => {
                found.photo(&line.image);
                for raw in &line.objects {
                    match serde_json::from_str::<LineObject>(raw.get()) {
                        Ok(line_object) => {
                            let object = object(&line_object);
                            found.object(&at, &line.image, &line_object.category, object);
                        }
                        Err(error) => found.skip(&at, Some(&line.image), None, &error.into()),
                    }
                }
            }
            Err(error) => found.skip(&at, None, None, &error),
        }
    }
}

fn object(line: &LineObject) -> Result<Object> {
    let polygons = usable([polygon(&line.polygon)])?;
    shares(&line.polygon)?;
    let shape = Some(Shape::Polygons { polygons, of: Some(Size::square(1)) });
    Ok(Object { category: line.category.clone(), shape, crowd: false })
}
