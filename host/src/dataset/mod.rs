//! Which objects are where on which photos: annotations as many tools write them, or the names of folders.
//!
//! A file's form follows from its content. A record that cannot be used is skipped and named ([`Listed::skipped`]); the others count.

mod coco;
mod find;
mod folders;
mod lines;
mod listed;
pub mod plan;
mod polygon;
mod shape;
mod text;
mod voc;

pub use find::Photos;
pub use folders::by_folder;
pub use listed::{Listed, SkippedRecord};
pub use shape::{Annotated, Object, Shape, Truth};

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::{Context as _, bail, ensure};
use listed::Gathered;
use std::path::{Path, PathBuf};

/// Reads annotations: a file, or a directory of files.
///
/// | form | known by |
/// |---|---|
/// | COCO | JSON with `images`, `annotations` and `categories` |
/// | JSON lines | `{"image": PATH, "objects": [{"category": WORDS, "polygon": [x, y, ...]}]}` a line, coordinates as shares of the photo |
/// | Pascal VOC | XML with `<annotation>` as its root: one file, or a directory of them |
///
/// # Errors
/// [`Error::Dataset`]: what cannot be read or is none of these, and files without one usable record.
pub fn read(path: &Path) -> Result<Listed> {
    read_all(path).with_context(|| format!("annotations `{}`", path.display())).kind(Error::Dataset)
}

fn read_all(path: &Path) -> anyhow::Result<Listed> {
    let mut found = Gathered::default();
    if path.is_dir() {
        directory(path, &mut found)?;
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

/// A directory of files with one photo each; one that cannot be read is skipped.
fn directory(path: &Path, found: &mut Gathered) -> anyhow::Result<()> {
    let mut files = files_in(path)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml")));
    ensure!(!files.is_empty(), "expected XML files in this directory, found none");
    for path in files {
        found.begin(path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        if let Err(reason) = file(&path, found) {
            found.skip_file(&reason);
        }
    }
    Ok(())
}

fn file(path: &Path, found: &mut Gathered) -> anyhow::Result<()> {
    let text = text::read(path)?;
    match text.trim_start() {
        "" => bail!("expected annotations, found an empty file"),
        start if start.starts_with('<') => xml(&text, path, found),
        start if start.lines().next().is_some_and(lines::is_line) => {
            lines::read(&text, found);
            Ok(())
        }
        _ => coco::read(&text::plain_json(&text), found),
    }
}

fn xml(text: &str, path: &Path, found: &mut Gathered) -> anyhow::Result<()> {
    let document = roxmltree::Document::parse(text).context("expected XML")?;
    let root = document.root_element();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match root.tag_name().name() {
        "annotation" => voc::read(root, &stem, found),
        other => bail!("expected Pascal VOC's <annotation>, found <{other}>"),
    }
    Ok(())
}

/// What is in a directory, by name.
fn files_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    Ok(files)
}
