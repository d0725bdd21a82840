//! The cache, as Python's `huggingface_hub` lays it out: `models--OWNER--NAME` with `blobs`, named by their hashes, `snapshots/COMMIT`, whose files are links to blobs, and
//! `refs`, which say the commits of branches and tags.

use super::http::State;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// One model's part of the cache.
pub(super) struct Store {
    folder: PathBuf,
    locks: PathBuf,
}

/// Whether this can be a commit's name.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|letter| letter.is_ascii_hexdigit())
}

impl Store {
    pub(super) fn of(cache: &Path, name: &str) -> Self {
        let folder = format!("models--{}", name.replace('/', "--"));
        Self { locks: cache.join(".locks").join(&folder), folder: cache.join(folder) }
    }

    /// The commit that a revision was when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// Notes which commit a revision is.
    pub(super) fn name_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        self.put(&self.folder.join("refs").join(revision), commit)
    }

    /// Where a commit's files are.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(super) fn has(&self, commit: &str, file: &str) -> bool {
        self.snapshot(commit).join(file).is_file()
    }

    /// Whether it was noted that a commit has no such file.
    pub(super) fn is_known_missing(&self, commit: &str, file: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(file).is_file()
    }

    /// Notes that a commit has no such file.
    pub(super) fn note_missing(&self, commit: &str, file: &str) -> Result<()> {
        self.put(&self.folder.join(".no_exist").join(commit).join(file), "")
    }

    /// The networks of a commit that are here.
    pub(super) fn networks(&self, commit: &str) -> Vec<String> {
        let entries = fs::read_dir(self.snapshot(commit).join("onnx")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".onnx")).collect();
        names.sort();
        names
    }

    fn put(&self, path: &Path, text: &str) -> Result<()> {
        let parent = path.parent().unwrap_or(&self.folder);
        let put = || -> io::Result<()> {
            fs::create_dir_all(parent)?;
            let mut file = tempfile::NamedTempFile::new_in(parent)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.persist(path)?;
            Ok(())
        };
        put().with_context(|| format!("{}: could not write into the cache", path.display()))
    }

    /// Adds a file to a commit: `fill` completes the partial file whose path it gets, and returns once it is whole and right.
    pub(super) fn add(
        &self,
        commit: &str,
        file: &str,
        state: &State,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let blobs = self.folder.join("blobs");
        let blob = blobs.join(&state.hash);
        let path = self.snapshot(commit).join(file);
        let failed = |path: &Path| format!("{}: could not write into the cache", path.display());
        for folder in [&blobs, &self.locks, &path.parent().unwrap_or(&self.folder).to_owned()] {
            fs::create_dir_all(folder).with_context(|| failed(folder))?;
        }
        // Another process that fetches the same file, in Rust or Python, is waited for.
        let lock = self.locks.join(format!("{}.lock", state.hash));
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).with_context(|| failed(&lock))?;
        if !blob.is_file() {
            let partial = blobs.join(format!("{}.incomplete", state.hash));
            fill(&partial)?;
            fs::rename(&partial, &blob).with_context(|| failed(&blob))?;
        }
        link(&blob, &path, file).with_context(|| failed(&path))?;
        drop(lock);
        Ok(())
    }
}

/// Makes `path`, the place of `file` in a snapshot, lead to a blob.
fn link(blob: &Path, path: &Path, file: &str) -> io::Result<()> {
    if path.is_file() {
        return Ok(());
    }
    // One that leads nowhere.
    let _ = fs::remove_file(path);
    #[cfg(unix)]
    {
        let up: PathBuf = std::iter::repeat_n("..", 2 + file.matches('/').count()).collect();
        std::os::unix::fs::symlink(up.join("blobs").join(blob.file_name().unwrap_or_default()), path)
    }
    // Links need rights elsewhere; Python's cache then has the file itself in the snapshot.
    #[cfg(not(unix))]
    {
        let _ = file;
        fs::rename(blob, path)
    }
}
