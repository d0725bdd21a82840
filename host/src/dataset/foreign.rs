//! Annotations of tools whose form is not read: what they are called, so that a refusal can name them.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An object of a JSON file, whose values are not looked into.
pub(super) type Keys<'a> = BTreeMap<String, &'a RawValue>;

/// A refusal that says what was found.
pub(super) fn refusal(kind: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "expected annotations of objects as COCO, YOLO or Pascal VOC have them, found {kind}, which is not read; export them as one of these"
    )
}

/// The form of a list, by its first entry.
pub(super) fn of_list(first: &RawValue) -> Option<&'static str> {
    let keys = keys(first.get())?;
    match () {
        () if has(&keys, &["data", "annotations"]) || has(&keys, &["data", "completions"]) => {
            Some("Label Studio's JSON")
        }
        () if has(&keys, &["image_id", "category_id"]) => {
            Some("COCO's results, a list of detections that names neither photos nor categories")
        }
        () => None,
    }
}

/// The form of an object, by its keys.
pub(super) fn of_keys(own: &Keys<'_>) -> Option<&'static str> {
    let each_photo = own.values().next().and_then(|first| keys(first.get()));
    let begins = |key: &str| own.get(key).map_or("", |raw| raw.get());
    match () {
        () if own.contains_key("_via_img_metadata") => Some(VIA),
        () if each_photo.is_some_and(|photo| has(&photo, &["filename", "regions"])) => Some(VIA),
        () if own.contains_key("items") && begins("categories").starts_with('{') => Some("Datumaro's JSON"),
        () if has(own, &["objects", "size", "tags"]) => Some("Supervisely's JSON"),
        () if has(own, &["file_name", "objects"]) => Some("Hugging Face's metadata.jsonl"),
        () if begins("annotations").split('}').next().is_some_and(|first| first.contains("\"segments_info\"")) => {
            Some("COCO's panoptic segmentation, whose masks are pictures")
        }
        () => None,
    }
}

/// The form of lines of JSON, by the first of them.
pub(super) fn of_lines(text: &str) -> Option<&'static str> {
    of_keys(&keys(text.trim_start().lines().next()?)?)
}

/// Whether the columns are those of TensorFlow's object detection.
pub(super) fn is_tensorflow(text: &str) -> bool {
    let columns: Vec<&str> = text.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
    ["filename", "class", "xmin", "ymin", "xmax", "ymax"].iter().all(|column| columns.contains(column))
}

const VIA: &str = "the JSON of VGG Image Annotator (VIA)";

fn keys(text: &str) -> Option<Keys<'_>> {
    serde_json::from_str(text).ok()
}

fn has(keys: &Keys<'_>, names: &[&str]) -> bool {
    names.iter().all(|name| keys.contains_key(*name))
}
