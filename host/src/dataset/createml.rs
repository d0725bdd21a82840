//! CreateML's JSON: a list of photos, boxes by their middle.

use super::Object;
use super::json::record;
use super::listed::Gathered;
use super::polygon::corners;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Photo<'a> {
    #[serde(alias = "imagefilename", alias = "filename")]
    image: String,
    #[serde(borrow, alias = "annotation")]
    annotations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Annotation {
    label: String,
    coordinates: Coordinates,
}

/// In pixels; x and y are the middle.
#[derive(Deserialize)]
struct Coordinates {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Whether a record of a list is of this form.
pub(super) fn is_photo(raw: &RawValue) -> bool {
    serde_json::from_str::<Photo<'_>>(raw.get()).is_ok()
}

/// Reads a whole file.
///
/// # Errors
/// What is no list.
pub(super) fn read(text: &str, found: &mut Gathered) -> Result<()> {
    let photos: Vec<&RawValue> = serde_json::from_str(text).context("expected CreateML's JSON: a list of photos")?;
    for (number, raw) in photos.iter().enumerate() {
        let of = format!("photo {}", number + 1);
        let photo: Photo<'_> = match serde_json::from_str(raw.get()) {
            Ok(photo) => photo,
            Err(error) => {
                found.skip(&of, None, None, &anyhow::Error::from(error).context("expected image and annotations"));
                continue;
            }
        };
        found.photo(&photo.image);
        for (number, raw) in photo.annotations.iter().enumerate() {
            let at = format!("{of}, annotation {}", number + 1);
            match record::<Annotation>(raw) {
                Ok(annotation) => {
                    found.object(&at, &photo.image, &annotation.label, annotation.object());
                }
                Err(reason) => found.skip(&at, Some(&photo.image), None, &reason),
            }
        }
    }
    Ok(())
}

impl Annotation {
    fn object(&self) -> Result<Object> {
        let Coordinates { x, y, width, height } = self.coordinates;
        ensure!(
            width > 0.0 && height > 0.0,
            "a box: expected a width and a height above zero, found {width} and {height}"
        );
        let shape = corners([x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0], None)?;
        Ok(Object { category: self.label.clone(), shape: Some(shape), crowd: false })
    }
}
