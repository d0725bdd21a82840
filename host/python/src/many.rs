//! Many photos: which they are and how they are divided, as the command finds and divides them.

use crate::errors::{OptionsError, raised};
use decomcam::many::sources;
use decomcam::photo::is_named_as_photo;
use decomcam::shard;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};

/// The photos that files, folders with everything below them and patterns stand for, each once; what is in `out` is left out, and links to folders, of which a warning tells.
#[pyfunction]
#[pyo3(signature = (paths, out=None))]
pub fn photos(py: Python<'_>, paths: Vec<PathBuf>, out: Option<PathBuf>) -> PyResult<Vec<PathBuf>> {
    let found = sources::sources(&paths).map_err(raised)?;
    for link in &found.links {
        let message = std::ffi::CString::new(format!("{}: {}", link.display(), sources::LINKED))?;
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), &message, 1)?;
    }
    let out = out.and_then(|out| out.canonicalize().ok());
    let within =
        |path: &Path| out.as_ref().is_some_and(|out| path.canonicalize().is_ok_and(|path| path.starts_with(out)));
    let named = |path: &PathBuf| paths.contains(path);
    Ok(found.sources.into_iter().map(|source| source.path).filter(|path| named(path) || !within(path)).collect())
}

/// Whether the ending of a file's name is one of a photo.
#[pyfunction]
pub fn named_as_photo(name: &str) -> bool {
    is_named_as_photo(Path::new(name))
}

/// The number, from 1 on, of the share that a photo of this name belongs to, as `--shard` divides them.
#[pyfunction]
pub fn share_of(name: &str, shares: u64) -> PyResult<u64> {
    shard::number_of(name, shares)
        .ok_or_else(|| OptionsError::new_err(format!("expected 1 to 1000000 shares, found {shares}")))
}
