//! Whose a file is: what this program wrote may be replaced; what a command reads, and what others wrote, may not.
//!
//! A file of ours is known by a mark near its beginning, which names the program: a field of JSON, a tag of a page, a text chunk of a picture. What has no place
//! for a mark is known by the lists that stand beside it: `explanation.json` and `frames.json` name their files.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::ensure;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What files of ours hold near their beginning.
const MARKS: [&[u8]; 4] = [
    b"\"program\": \"decomcam ",
    b"<meta name=\"generator\" content=\"decomcam ",
    b"Software\0decomcam ",
    b"Written by decomcam ",
];

/// How capsules begin.
const CAPSULE: &[u8] = b"DECOMCAM";

/// How far into a file a mark may stand.
const NEAR: u64 = 4096;

/// The files that hold lists of what was written beside them.
const LISTS: [&str; 2] = ["explanation.json", "frames.json"];

/// Whether a file says that this program wrote it.
pub fn is_marked(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(NEAR).read_to_end(&mut start));
    let marked = || MARKS.iter().any(|mark| start.windows(mark.len()).any(|bytes| bytes == *mark));
    read.is_ok() && (start.starts_with(CAPSULE) || marked())
}

/// The names of the files that earlier explanations say they wrote into a directory: names alone, never paths that lead elsewhere.
pub fn listed(directory: &Path) -> Vec<String> {
    LISTS.iter().flat_map(|list| listed_in(&directory.join(list))).collect()
}

/// The names of one list.
pub fn listed_in(list: &Path) -> Vec<String> {
    let report = std::fs::read(list).unwrap_or_default();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap_or_default();
    let files = report.get("files").and_then(|files| files.as_array()).into_iter().flatten();
    let alone = |name: &&str| Path::new(name).file_name().is_some_and(|last| last == *name);
    files.filter_map(|name| name.as_str()).filter(alone).map(str::to_owned).collect()
}

/// The files that a command reads.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    paths: BTreeSet<PathBuf>,
    /// Device and number, which links of either kind share.
    numbers: BTreeSet<(u64, u64)>,
}

impl Inputs {
    /// The files at these paths; what is no file, such as the name of a bundled model, does not count.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut inputs = Self::default();
        for path in paths {
            let path = path.as_ref();
            inputs.paths.extend(path.canonicalize().ok());
            inputs.numbers.extend(number(path));
        }
        inputs
    }

    /// Whether one of them is this file, by whatever path or link.
    pub fn hold(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|path| self.paths.contains(&path))
            || number(path).is_some_and(|number| self.numbers.contains(&number))
    }
}

#[cfg(unix)]
fn number(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn number(_: &Path) -> Option<(u64, u64)> {
    None
}

/// Refuses to replace a file that a command reads, or one that bears no mark of ours, unless it is known to be `ours` or the caller names it.
///
/// # Errors
/// [`Error::Options`].
pub fn check(path: &Path, inputs: &Inputs, ours: bool) -> Result<()> {
    let checked = || {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let shown = path.display();
        ensure!(
            !path.is_dir(),
            "cannot write `{shown}`: expected a file or nothing of that name, found a directory; choose another --out"
        );
        ensure!(
            !inputs.hold(path),
            "--out: `{shown}` is a file that this command reads, and would be overwritten; choose another --out"
        );
        ensure!(
            ours || is_marked(path),
            "--out: `{shown}` would be overwritten, and decomcam did not write it; choose another --out, or move that file away"
        );
        Ok(())
    };
    checked().kind(Error::Options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_a_list_are_known() {
        let place = tempfile::tempdir().unwrap();
        assert!(listed(place.path()).is_empty());
        let named = r#"{"files": ["mask.png", "../mask.png", "parts-2/x.png", "/x.png", "..", "", 3]}"#;
        std::fs::write(place.path().join("explanation.json"), named).unwrap();
        std::fs::write(place.path().join("frames.json"), r#"{"files": ["overlay.gif"]}"#).unwrap();
        assert_eq!(listed(place.path()), ["mask.png", "overlay.gif"]);
        std::fs::write(place.path().join("explanation.json"), "no JSON").unwrap();
        assert_eq!(listed(place.path()), ["overlay.gif"]);
    }

    #[test]
    fn what_is_read_is_known_by_every_path_and_link() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("photo"), "").unwrap();
        std::fs::write(at("other"), "").unwrap();
        std::fs::hard_link(at("photo"), at("hard")).unwrap();
        let inputs = Inputs::new([at("photo"), at("missing")]);
        assert!(inputs.hold(&at("photo")) && inputs.hold(&at("./photo")) && !inputs.hold(&at("other")));
        assert!(!inputs.hold(&at("missing")));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("photo", at("soft")).unwrap();
            assert!(inputs.hold(&at("hard")) && inputs.hold(&at("soft")));
        }
    }

    #[test]
    fn what_is_ours_may_be_replaced_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let free = |name: &str, inputs: &Inputs, ours: bool| check(&at(name), inputs, ours).is_ok();
        std::fs::write(at("notes"), "decomcam").unwrap();
        std::fs::write(at("page"), r#"<meta name="generator" content="decomcam 0.1.0">"#).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        let none = Inputs::default();
        assert!(free("nothing", &none, false) && free("page", &none, false) && free("notes", &none, true));
        assert!(!free("notes", &none, false) && !free("directory", &none, true));
        assert!(!free("page", &Inputs::new([at("page")]), true));
    }
}
