//! OpenImages' CSV: a box a line, in shares of the photo; categories by codes that another file puts into words.

use super::Object;
use super::listed::Gathered;
use super::polygon::{corners, shares};
use crate::{Size, text};
use anyhow::{Context as _, Result};
use std::collections::HashMap;
use std::path::Path;

/// The columns that are used, by their number.
struct Columns {
    photo: usize,
    label: usize,
    /// Left, top, right and bottom.
    bounds: [usize; 4],
    group: Option<usize>,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Option<Self> {
        let column = |name: &str| header.iter().position(|own| own.trim().eq_ignore_ascii_case(name));
        Some(Self {
            photo: column("ImageID")?,
            label: column("LabelName")?,
            bounds: [column("XMin")?, column("YMin")?, column("XMax")?, column("YMax")?],
            group: column("IsGroupOf"),
        })
    }
}

fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes())
}

/// Whether the first line names the columns.
pub(super) fn is_boxes(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    reader(line).headers().is_ok_and(|header| Columns::of(header).is_some())
}

/// Reads a whole file.
///
/// # Errors
/// What has no such columns.
pub(super) fn read(text: &str, path: &Path, found: &mut Gathered) -> Result<()> {
    let mut reader = reader(text);
    let columns = reader.headers().ok().and_then(Columns::of);
    let columns = columns.context("expected columns named ImageID, LabelName, XMin, XMax, YMin and YMax")?;
    let names = names_beside(path);
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let at = error.position().map_or_else(String::new, |place| format!("line {}", place.line()));
                found.skip(&at, None, None, &error.into());
                continue;
            }
        };
        let at = record.position().map_or_else(String::new, |place| format!("line {}", place.line()));
        let photo = record.get(columns.photo).unwrap_or_default().trim();
        if photo.is_empty() {
            found.skip(&at, None, None, &anyhow::anyhow!("expected an ImageID, found none"));
            continue;
        }
        found.photo(photo);
        let code = record.get(columns.label).unwrap_or_default().trim();
        let category = names.get(code).map_or(code, String::as_str);
        found.object(&at, photo, category, object(&record, &columns, category));
    }
    Ok(())
}

fn object(record: &csv::StringRecord, columns: &Columns, category: &str) -> Result<Object> {
    anyhow::ensure!(!category.is_empty(), "expected a LabelName, found none");
    anyhow::ensure!(
        !category.starts_with("/m/") && !category.starts_with("/g/"),
        "expected words for {category}: put class-descriptions-boxable.csv beside the annotations"
    );
    let number = |column: usize| -> Result<f64> {
        let word = record.get(column).unwrap_or_default().trim();
        word.parse().ok().with_context(|| format!("expected a number, found `{word}`"))
    };
    let [left, top, right, bottom] = columns.bounds;
    let bounds = [number(left)?, number(top)?, number(right)?, number(bottom)?];
    let shape = corners(bounds, Some(Size::square(1)))?;
    shares(&bounds)?;
    let crowd = columns.group.and_then(|column| record.get(column)).is_some_and(|word| word.trim() == "1");
    Ok(Object { category: category.to_owned(), shape: Some(shape), crowd })
}

/// The categories' words, from every file of `code,words` beside the annotations that is named as OpenImages names it.
fn names_beside(path: &Path) -> HashMap<String, String> {
    let mut names = HashMap::new();
    let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    for file in super::files_in(directory).unwrap_or_default() {
        let named = file.file_name().is_some_and(|name| name.to_string_lossy().contains("class-descriptions"));
        if let Some(text) = named.then(|| text::read(&file).ok()).flatten() {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            for record in reader.records().flatten() {
                if let (Some(code), Some(words)) = (record.get(0), record.get(1)) {
                    names.insert(code.trim().to_owned(), words.trim().to_owned());
                }
            }
        }
    }
    names
}
