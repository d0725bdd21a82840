//! COCO's JSON: images, annotations and categories, as many tools write it.

use super::json::record;
use super::listed::Gathered;
use super::polygon::{BEYOND, corners, polygon, usable};
use super::{Object, Shape};
use crate::Size;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The three lists; records are read one by one, so that a bad one is skipped alone.
#[derive(Deserialize)]
struct Coco<'a> {
    #[serde(borrow)]
    images: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    categories: Option<Vec<&'a RawValue>>,
}

/// An id: numbers and words are the same if they look the same, 7.0 as 7.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(word) => Ok(Self(word.trim().to_owned())),
            Value::Number(number) => Ok(Self(match number.as_f64() {
                Some(float) if number.is_f64() => format!("{float}"),
                _ => number.to_string(),
            })),
            other => Err(serde::de::Error::custom(format_args!("expected an id, found {other}"))),
        }
    }
}

#[derive(Deserialize)]
struct Image {
    id: Id,
    #[serde(default)]
    file_name: Option<String>,
    #[serde(default)]
    coco_url: Option<String>,
    #[serde(default)]
    width: Value,
    #[serde(default)]
    height: Value,
}

impl Image {
    /// Its size, if the file knows it; else the photo's own will serve.
    fn size(&self) -> Option<Size> {
        let side = |value: &Value| value.as_f64().filter(|side| *side >= 1.0).map(|side| side.round() as usize);
        Some(Size::new(side(&self.height)?, side(&self.width)?))
    }

    fn name(&self) -> Result<&str> {
        let name = self.file_name.as_deref().or(self.coco_url.as_deref());
        name.filter(|name| !name.trim().is_empty()).context("expected a file_name, found none")
    }
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: Id,
    category_id: Id,
    #[serde(default)]
    segmentation: Value,
    #[serde(default)]
    bbox: Value,
    #[serde(default)]
    iscrowd: Value,
}

/// What ids stand for: a name, and more that is known of it.
struct Numbered<T> {
    /// What they number.
    kind: &'static str,
    of: HashMap<Id, Vec<(String, T)>>,
}

impl<T> Numbered<T> {
    fn of(kind: &'static str) -> Self {
        Self { kind, of: HashMap::new() }
    }

    /// An id that is given twice for the same name is one.
    fn insert(&mut self, id: Id, name: String, more: T) {
        let all = self.of.entry(id).or_default();
        if all.iter().all(|(known, _)| *known != name) {
            all.push((name, more));
        }
    }

    /// What an id stands for.
    ///
    /// # Errors
    /// An id that is not listed, or stands for several names, as in files that were joined without giving new ids.
    fn get(&self, id: &Id) -> Result<&(String, T)> {
        let kind = self.kind;
        match self.of.get(id).map(Vec::as_slice) {
            Some([one]) => Ok(one),
            Some([(first, _), (second, _), ..]) => {
                bail!("{kind} id {} stands for {first} and for {second}; give each an id of its own", id.0)
            }
            _ => bail!("expected {} {kind} of the list, found id {}", if kind == "image" { "an" } else { "a" }, id.0),
        }
    }
}

/// Reads a whole file.
///
/// # Errors
/// What is no JSON, and a missing list.
pub(super) fn read(text: &str, found: &mut Gathered) -> Result<()> {
    let Coco { images, annotations, categories } =
        serde_json::from_str(text).context("expected COCO's JSON: lists named images, annotations and categories")?;
    let needed = |name| format!("expected COCO's JSON: images, annotations and categories; found no list named {name}");
    let images = images.with_context(|| needed("images"))?;
    let annotations = annotations.with_context(|| needed("annotations"))?;
    let categories = categories.with_context(|| needed("categories"))?;

    let mut names: Numbered<()> = Numbered::of("category");
    for (number, raw) in categories.iter().enumerate() {
        match record::<Category>(raw) {
            Ok(category) => {
                found.category(&category.name);
                names.insert(category.id, category.name, ());
            }
            Err(reason) => found.skip(&format!("category {}", number + 1), None, None, &reason),
        }
    }
    let mut photos: Numbered<Option<Size>> = Numbered::of("image");
    for (number, raw) in images.iter().enumerate() {
        let image = record::<Image>(raw).and_then(|image| Ok((image.name()?.to_owned(), image)));
        match image {
            Ok((name, image)) => {
                found.photo(&name);
                let size = image.size();
                photos.insert(image.id, name, size);
            }
            Err(reason) => found.skip(&format!("image {}", number + 1), None, None, &reason),
        }
    }
    for (number, raw) in annotations.iter().enumerate() {
        let at = format!("annotation {}", number + 1);
        let annotation = match record::<Annotation>(raw) {
            Ok(annotation) => annotation,
            Err(reason) => {
                found.skip(&at, None, None, &reason);
                continue;
            }
        };
        match (photos.get(&annotation.image_id), names.get(&annotation.category_id)) {
            (Ok((photo, size)), Ok((category, ()))) => {
                found.object(&at, photo, category, annotation.object(category, *size));
            }
            (Err(reason), category) => found.skip(&at, None, category.ok().map(|(name, ())| name.as_str()), &reason),
            (Ok((photo, _)), Err(reason)) => found.skip(&at, Some(photo), None, &reason),
        }
    }
    Ok(())
}

impl Annotation {
    fn object(&self, category: &str, size: Option<Size>) -> Result<Object> {
        let shape = match shape(&self.segmentation, size)? {
            Some(shape) => shape,
            None => bounds(&self.bbox, size)?,
        };
        let crowd = match &self.iscrowd {
            Value::Bool(crowd) => *crowd,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(word) => !matches!(word.trim(), "" | "0" | "false" | "False"),
            _ => false,
        };
        Ok(Object { category: category.to_owned(), shape: Some(shape), crowd })
    }
}

fn numbers(list: &[Value]) -> Result<Vec<f64>> {
    // Some tools write numbers as words.
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    list.iter().map(|value| number(value).with_context(|| format!("expected a number, found {value}"))).collect()
}

/// Polygons, one polygon that is not in a list, run lengths, or a list of those; none if there is nothing of that.
fn shape(segmentation: &Value, of: Option<Size>) -> Result<Option<Shape>> {
    let list = match segmentation {
        Value::Null => return Ok(None),
        Value::Object(_) => return runs(segmentation).map(Some),
        Value::Array(list) if list.iter().all(|one| one.as_array().is_some_and(Vec::is_empty)) => return Ok(None),
        Value::Array(list) => list,
        other => bail!("segmentation: expected polygons or run lengths, found {other}"),
    };
    match &list[0] {
        Value::Number(_) => {
            let polygons = usable([polygon(&numbers(list)?)])?;
            Ok(Some(Shape::Polygons { polygons, of }))
        }
        Value::Object(_) => list.iter().map(runs).reduce(|a, b| union(a?, b?)).transpose(),
        _ => {
            let corners = list.iter().map(|list| {
                let list = list.as_array().with_context(|| format!("expected a polygon, found {list}"))?;
                polygon(&numbers(list)?)
            });
            Ok(Some(Shape::Polygons { polygons: usable(corners)?, of }))
        }
    }
}

fn union(a: Shape, b: Shape) -> Result<Shape> {
    match (a, b) {
        (Shape::Raster { size, mut inside }, Shape::Raster { size: other, inside: more }) if size == other => {
            inside.iter_mut().zip(more).for_each(|(a, b)| *a |= b);
            Ok(Shape::Raster { size, inside })
        }
        _ => bail!("segmentation: expected run lengths of one size, found several"),
    }
}

fn bounds(bbox: &Value, of: Option<Size>) -> Result<Shape> {
    let list = bbox.as_array().map_or(&[][..], Vec::as_slice);
    ensure!(!list.is_empty(), "expected a segmentation or a bbox, found neither");
    let [left, top, width, height] = numbers(list)?.try_into().ok().context("bbox: expected four numbers")?;
    ensure!(width > 0.0 && height > 0.0, "bbox: expected a width and a height above zero, found {width} and {height}");
    let far = |end: f64, side: usize| end > BEYOND * side as f64;
    if let Some(of) = of.filter(|of| far(left + width, of.width) || far(top + height, of.height)) {
        bail!(
            "bbox: expected left, top, width and height within a picture of {of} (height x width), found {left}, {top}, {width}, {height}, \
             which reaches beyond it; are these two corners, or is it another photo?"
        );
    }
    corners([left, top, left + width, top + height], of)
}

#[derive(Deserialize)]
struct Runs {
    counts: Counts,
    size: [usize; 2],
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Numbers(Vec<usize>),
    Packed(String),
}

/// Runs of outside and inside, column by column.
fn runs(segmentation: &Value) -> Result<Shape> {
    let Runs { counts, size: [height, width] } =
        Runs::deserialize(segmentation).context("segmentation: expected run lengths: counts and size")?;
    let runs = match counts {
        Counts::Numbers(runs) => runs,
        Counts::Packed(text) => unpacked(&text)?,
    };
    let pixels = height.checked_mul(width).filter(|pixels| *pixels <= crate::photo::MAX_PIXELS);
    let pixels = pixels.with_context(|| format!("expected the size of a photo, found {height} x {width}"))?;
    let total = runs.iter().try_fold(0usize, |total, run| total.checked_add(*run));
    ensure!(total == Some(pixels), "expected run lengths that add up to {height} x {width} pixels");
    let inside: Vec<bool> =
        runs.iter().enumerate().flat_map(|(at, run)| std::iter::repeat_n(at % 2 == 1, *run)).collect();
    ensure!(inside.contains(&true), "the run lengths enclose nothing");
    Ok(Shape::Raster { size: Size::new(height, width), inside })
}

/// As pycocotools packs run lengths: five bits a letter from `0` on, the sixth for more to come, each number from the fourth on as a difference to the
/// one two before.
fn unpacked(text: &str) -> Result<Vec<usize>> {
    let mut runs: Vec<i64> = Vec::new();
    let (mut value, mut shift) = (0i64, 0);
    for byte in text.bytes() {
        ensure!((48..112).contains(&byte) && shift < 60, "expected packed run lengths, found {text:?}");
        let bits = i64::from(byte - 48);
        value |= (bits & 31) << shift;
        shift += 5;
        if bits & 32 == 0 {
            if bits & 16 != 0 {
                value |= -1 << shift;
            }
            let before = if runs.len() > 2 { runs[runs.len() - 2] } else { 0 };
            runs.push(value.checked_add(before).context("a run length beyond all numbers")?);
            (value, shift) = (0, 0);
        }
    }
    runs.into_iter().map(usize::try_from).collect::<Result<_, _>>().context("a run length below zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lengths_are_unpacked_as_pycocotools_packs_them() {
        // Numbers above 15 and differences below zero.
        assert_eq!(unpacked("d0d03Ma0").unwrap(), [20, 20, 3, 17, 20]);
        assert!(unpacked("~").is_err());
        let runs = |counts| runs(&serde_json::json!({"counts": counts, "size": [8, 10]}));
        assert_eq!(runs(serde_json::json!("d0d03Ma0")).unwrap(), runs(serde_json::json!([20, 20, 3, 17, 20])).unwrap());
        assert!(runs(serde_json::json!([20, 20])).is_err() && runs(serde_json::json!([80])).is_err());
    }
}
