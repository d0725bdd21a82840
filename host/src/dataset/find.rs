//! Which file is meant by a photo's name in annotations.

use crate::error::Sorted as _;
use crate::photo::ENDINGS;
use crate::{Error, Result};
use anyhow::{Context as _, bail};
use std::collections::HashMap;
use std::path::PathBuf;

/// The photos of a directory and of the directories within it, to be found by the names that annotations have for them.
#[derive(Clone, Debug)]
pub struct Photos {
    directory: PathBuf,
    /// By the last part of their path without its ending, in small letters.
    by_stem: HashMap<String, Vec<Listed>>,
}

#[derive(Clone, Debug)]
struct Listed {
    path: PathBuf,
    /// The parts of its path below the directory, in small letters.
    parts: Vec<String>,
}

impl Photos {
    /// Lists a directory.
    ///
    /// # Errors
    /// [`Error::Dataset`] if it cannot be listed.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let mut by_stem: HashMap<String, Vec<Listed>> = HashMap::new();
        let mut waiting = vec![(directory.clone(), Vec::new())];
        while let Some((place, parts)) = waiting.pop() {
            for path in super::files_in(&place).kind(Error::Dataset)? {
                let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
                let parts = [&parts[..], std::slice::from_ref(&name)].concat();
                // A linked directory might hold itself.
                if path.is_dir() && !path.is_symlink() && !name.starts_with('.') {
                    waiting.push((path, parts));
                } else if path.is_file() {
                    by_stem.entry(without_ending(&name).to_owned()).or_default().push(Listed { path, parts });
                }
            }
        }
        Ok(Self { directory, by_stem })
    }

    /// The file that is meant. Names may be paths of another computer, Windows' or an address on the web, and lack the photo's ending or write it
    /// otherwise (`.JPG`): the last part has to be the same, and of several files the one counts whose directories are the same farthest up.
    ///
    /// # Errors
    /// [`Error::Dataset`] if there is no such file, or several that fit equally well.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        self.found(name).kind(Error::Dataset)
    }

    fn found(&self, name: &str) -> anyhow::Result<PathBuf> {
        // What is there as it stands needs no guess.
        let exact = self.directory.join(name);
        if !name.is_empty() && exact.is_file() {
            return Ok(exact);
        }
        let nowhere = || format!("no such photo in `{}`", self.directory.display());
        let address = name.split(['?', '#']).next().unwrap_or(name);
        let [whole, cut] = [name, address].map(parts);
        let found = self.of_parts(&whole).or_else(|| self.of_parts(&cut)).with_context(nowhere)?;
        match &found[..] {
            [one] => Ok(one.path.clone()),
            several => bail!(
                "several photos fit: {}; give the directory in the annotations",
                several.iter().take(3).map(|photo| photo.path.display().to_string()).collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Those that fit best, if any fits.
    fn of_parts(&self, parts: &[String]) -> Option<Vec<&Listed>> {
        let (last, above) = parts.split_last()?;
        let mut fitting: Vec<(Fit, &Listed)> = Vec::new();
        let stem = without_ending(last);
        for stem in [stem, last].into_iter().take(if stem == last { 1 } else { 2 }) {
            for photo in self.by_stem.get(stem).into_iter().flatten() {
                if let Some(fit) = Fit::of(last, above, photo) {
                    fitting.push((fit, photo));
                }
            }
        }
        let best = fitting.iter().map(|(fit, _)| *fit).max()?;
        Some(fitting.into_iter().filter(|(fit, _)| *fit == best).map(|(_, photo)| photo).collect())
    }
}

/// How well a file fits a name: the same ending first, then directories.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    same_ending: bool,
    /// How many are the same from the file upwards.
    directories: usize,
    /// How many are the same in this order, with others between them.
    in_order: usize,
}

impl Fit {
    fn of(last: &str, above: &[String], photo: &Listed) -> Option<Self> {
        let (name, directories) = photo.parts.split_last()?;
        let same = directories.iter().rev().zip(above.iter().rev()).take_while(|(a, b)| a == b).count();
        let same_ending = name == last;
        // Without its ending, or with another one of photos: `cat`, `cat.jpeg` for `cat.jpg`.
        let photos = |name: &str| ending(name).is_some_and(|ending| ENDINGS.contains(&ending));
        let stem = without_ending(name);
        let fits = same_ending || photos(name) && (stem == last || photos(last) && stem == without_ending(last));
        fits.then(|| Self { same_ending, directories: same, in_order: in_order(directories, above) })
    }
}

/// The length of the longest common subsequence.
pub(super) fn in_order<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut longest = vec![0; b.len() + 1];
    for one in a {
        let mut before = 0;
        for (at, other) in b.iter().enumerate() {
            let above = longest[at + 1];
            longest[at + 1] = if one == other { before + 1 } else { above.max(longest[at]) };
            before = above;
        }
    }
    longest[b.len()]
}

/// The parts of a path of any system, in small letters.
fn parts(name: &str) -> Vec<String> {
    name.split(['/', '\\'])
        .map(str::trim)
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .map(str::to_lowercase)
        .collect()
}

fn ending(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// The name without the ending of a photo; other dots belong to the name.
fn without_ending(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ending)) if ENDINGS.contains(&ending) && !stem.is_empty() => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_of_other_computers_are_found() {
        let place = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
        };
        for name in ["a.jpg", "train/0001.jpg", "val/0001.jpg", "b.v2.PNG", "c.png", "c.txt", "photos/d e.webp"] {
            put(name);
        }
        let photos = Photos::new(place.path()).unwrap();
        let cases = [
            ("a.jpg", "a.jpg"),
            ("A.JPG", "a.jpg"),
            ("a", "a.jpg"),
            ("a.jpeg", "a.jpg"),
            ("C:\\data\\a.jpg", "a.jpg"),
            ("..\\..\\label-studio\\media\\upload\\4\\a.jpg", "a.jpg"),
            ("https://example.org/x/a.jpg?size=large#top", "a.jpg"),
            ("/home/someone/data/val/0001.jpg", "val/0001.jpg"),
            ("images/train/0001", "train/0001.jpg"),
            ("b.v2", "b.v2.PNG"),
            ("b.v2.png", "b.v2.PNG"),
            ("c", "c.png"),
            ("photos/d e.webp", "photos/d e.webp"),
        ];
        for (name, path) in cases {
            assert_eq!(photos.find(name).unwrap(), place.path().join(path), "{name}");
        }
        assert!(photos.find("0001.jpg").unwrap_err().to_string().contains("several photos fit"));
        // Directories between those that are given.
        assert_eq!(photos.find("val/images/0001").unwrap(), place.path().join("val/0001.jpg"));
        let message = photos.find("0001").unwrap_err().to_string();
        assert_eq!(message.matches("0001.jpg").count(), 2, "each file once: {message}");
        for missing in ["", "e.jpg", "b", "a.txt", "c.txt.jpg"] {
            assert!(photos.find(missing).unwrap_err().to_string().contains("no such photo"), "{missing}");
        }
    }
}
