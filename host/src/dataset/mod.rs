//! Which objects are where on which photos: annotations as many tools write them, or the names of folders.
//!
//! A file's form follows from its content. A record that cannot be used is skipped and named ([`Listed::skipped`]); the others count.

mod coco;
mod createml;
mod cvat;
mod find;
mod folders;
mod foreign;
mod json;
mod labelme;
mod lines;
mod listed;
mod openimages;
pub mod plan;
mod polygon;
mod shape;
mod voc;
mod yolo;

pub use find::Photos;
pub use folders::by_folder;
pub use listed::{Listed, SkippedRecord};
pub use shape::{Annotated, Object, Shape, Truth};

use crate::error::Sorted as _;
use crate::{Error, Result, text};
use anyhow::{Context as _, bail, ensure};
use listed::Gathered;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};
use yolo::Yolo;

/// Reads annotations: a file, or a directory of files and of further directories.
///
/// | form | known by |
/// |---|---|
/// | COCO | JSON with `images`, `annotations` and `categories` |
/// | LabelMe | JSON with `shapes`: one file a photo |
/// | CreateML | JSON: a list of objects with `image` and `annotations` |
/// | JSON lines | `{"image": PATH, "objects": [{"category": WORDS, "polygon": [x, y, ...]}]}` a line, coordinates as shares of the photo |
/// | Pascal VOC | XML with `<annotation>` as its root: one file a photo |
/// | CVAT for images | XML with `<annotations>` as its root |
/// | OpenImages | CSV whose columns are named `ImageID`, `LabelName`, `XMin` ...; `class-descriptions*.csv` beside it has the words |
/// | YOLO | a directory with `data.yaml` (or `classes.txt`) and text files of numbers, or that `data.yaml`: boxes and polygons |
///
/// # Errors
/// [`Error::Dataset`]: what cannot be read or is none of these, and files without one usable record.
pub fn read(path: &Path) -> Result<Listed> {
    read_all(path).with_context(|| format!("annotations `{}`", path.display())).kind(Error::Dataset)
}

fn read_all(path: &Path) -> anyhow::Result<Listed> {
    let mut found = Gathered::default();
    let ending = path.extension().unwrap_or_default();
    if path.is_dir() {
        directory(path, &mut found)?;
    } else if ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml") {
        let root = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        Yolo::described_by(path, root, &files_within(root)?)?.read(&mut found)?;
    } else {
        found.begin(path.display().to_string());
        file(path, &mut found)?;
    }
    let listed = found.done();
    match listed.skipped.first() {
        Some(first) if listed.photos.is_empty() => {
            bail!("expected at least one usable record, found none; the first: {}", first.line())
        }
        _ => Ok(listed),
    }
}

/// A directory of files; one that cannot be read is skipped.
fn directory(path: &Path, found: &mut Gathered) -> anyhow::Result<()> {
    let files = files_within(path)?;
    let yolo = Yolo::of(path, &files)?;
    let files: Vec<&PathBuf> = files.iter().filter(|file| may_be_annotations(file)).collect();
    ensure!(
        yolo.is_some() || !files.is_empty(),
        "expected XML, JSON or CSV files in this directory, or YOLO's text files; found none"
    );
    if let Some(yolo) = &yolo {
        yolo.read(found)?;
    }
    for file_path in files {
        found.begin(file_path.strip_prefix(path).unwrap_or(file_path).display().to_string());
        if yolo.is_some() {
            if holds_photos(file_path) {
                let beside = anyhow::anyhow!(
                    "annotations of another form beside YOLO's labels are left out; name the file that is to be read"
                );
                found.skip_file(&beside);
            }
        } else if let Err(reason) = file(file_path, found) {
            found.skip_file(&reason);
        }
    }
    Ok(())
}

/// Whether a file's name is one that annotations have.
fn may_be_annotations(file: &Path) -> bool {
    const ENDINGS: [&str; 4] = ["xml", "json", "jsonl", "csv"];
    let own = file.extension().unwrap_or_default();
    let words = file.file_name().is_some_and(|name| name.to_string_lossy().contains("class-descriptions"));
    ENDINGS.iter().any(|ending| own.eq_ignore_ascii_case(ending)) && !words
}

/// Whether a file holds annotations of photos.
fn holds_photos(path: &Path) -> bool {
    let mut found = Gathered::default();
    file(path, &mut found).is_ok() && !found.done().photos.is_empty()
}

fn file(path: &Path, found: &mut Gathered) -> anyhow::Result<()> {
    let text = text::read(path)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match text.trim_start() {
        "" => bail!("expected annotations, found an empty file"),
        start if start.starts_with('<') => xml(&text, &stem, found),
        start if start.starts_with(['{', '[']) => of_json(&text, &stem, found),
        _ if openimages::is_boxes(&text) => openimages::read(&text, path, found),
        _ if foreign::is_tensorflow(&text) => Err(foreign::refusal("TensorFlow's CSV (filename, class, xmin ...)")),
        _ => bail!(
            "expected COCO's, LabelMe's or CreateML's JSON, JSON lines, Pascal VOC's or CVAT's XML, OpenImages' CSV, or YOLO's directory; \
             found something else"
        ),
    }
}

fn xml(text: &str, stem: &str, found: &mut Gathered) -> anyhow::Result<()> {
    let document = roxmltree::Document::parse(text).context("expected XML")?;
    let root = document.root_element();
    match root.tag_name().name() {
        "annotation" => voc::read(root, stem, found),
        "annotations" => cvat::read(root, found)?,
        other => bail!("expected Pascal VOC's <annotation> or CVAT's <annotations>, found <{other}>"),
    }
    Ok(())
}

fn of_json(text: &str, stem: &str, found: &mut Gathered) -> anyhow::Result<()> {
    if text.lines().find(|line| !line.trim().is_empty()).is_some_and(lines::is_line) {
        lines::read(text, found);
        return Ok(());
    }
    let text = &*json::plain_json(text);
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) {
        if let Some(kind) = list.first().and_then(|first| foreign::of_list(first)) {
            return Err(foreign::refusal(kind));
        }
        ensure!(
            list.is_empty() || list.iter().any(|raw| createml::is_photo(raw)),
            "expected CreateML's JSON: a list of objects with image and annotations; found another list"
        );
        return createml::read(text, found);
    }
    let keys = serde_json::from_str::<foreign::Keys<'_>>(text);
    if let Some(kind) = keys.as_ref().map_or_else(|_| foreign::of_lines(text), foreign::of_keys) {
        return Err(foreign::refusal(kind));
    }
    match keys {
        Ok(keys) if keys.contains_key("shapes") => labelme::read(text, stem, found),
        Ok(keys) if ["images", "annotations", "categories"].iter().any(|key| keys.contains_key(*key)) => {
            coco::read(text, found)
        }
        Ok(keys) => {
            let keys: Vec<&str> = keys.keys().take(5).map(String::as_str).collect();
            bail!(
                "expected COCO's JSON (images, annotations, categories) or LabelMe's (shapes), found the keys {}",
                keys.join(", ")
            )
        }
        Err(_) if text.lines().skip(1).any(lines::is_line) => {
            lines::read(text, found);
            Ok(())
        }
        Err(error) => Err(error).context("expected JSON"),
    }
}

/// The files of a directory and of the directories within it, by name.
fn files_within(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(place) = waiting.pop() {
        for path in files_in(&place)? {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            // A linked directory might hold itself.
            if path.is_dir() && !path.is_symlink() && !hidden {
                waiting.push(path);
            } else if path.is_file() && !hidden {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What is in a directory, by name.
fn files_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    Ok(files)
}
