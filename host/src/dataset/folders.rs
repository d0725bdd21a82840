//! Labels by folder.

use super::listed::Gathered;
use super::{Listed, Object, files_in};
use crate::error::Sorted as _;
use crate::photo::is_named_as_photo;
use crate::{Error, Result};
use anyhow::ensure;
use std::path::Path;

/// Labels by folder: every photo in `photos`/LABEL is of that category, `_` and `-` in LABEL standing for spaces. What is not named as a photo is left
/// out.
///
/// # Errors
/// [`Error::Dataset`] for a directory that cannot be listed or has no folders with photos.
pub fn by_folder(photos: &Path) -> Result<Listed> {
    folders(photos).kind(Error::Dataset)
}

fn folders(photos: &Path) -> anyhow::Result<Listed> {
    let mut found = Gathered::default();
    for folder in files_in(photos)?.into_iter().filter(|path| path.is_dir()) {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let label = name(&folder);
        let is_photo =
            |file: &&std::path::PathBuf| file.is_file() && is_named_as_photo(file) && !name(file).starts_with('.');
        for file in files_in(&folder)?.iter().filter(is_photo) {
            let category = label.replace(['_', '-'], " ");
            found.photo(&format!("{label}/{}", name(file))).push(Object { category, shape: None, crowd: false });
        }
    }
    let listed = found.done();
    ensure!(
        !listed.photos.is_empty(),
        "--photos `{}`: without --annotations, expected folders of photos, each named after what they show; found none",
        photos.display()
    );
    Ok(listed)
}
