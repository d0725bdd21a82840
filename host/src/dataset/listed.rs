//! What came of reading annotations, record by record.

use super::find::in_order;
use super::{Annotated, Object};
use crate::hash::sha256_hex;
use serde::Serialize;
use std::collections::HashMap;

/// What annotations say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Listed {
    /// The photos, in the order in which they were first named; what is said of one in several places is joined.
    pub photos: Vec<Annotated>,
    /// Records that could not be used, in the order of the files.
    pub skipped: Vec<SkippedRecord>,
    /// Every category that the files speak of, also those of which no object is left; each as it is first written.
    pub categories: Vec<String>,
}

impl Listed {
    /// A digest of what was understood, whatever the files are called and however they are laid out.
    pub fn sha256(&self) -> String {
        sha256_hex(format!("{:?}", self.photos).as_bytes())
    }

    /// Some of the categories, those that are written most like `name` first.
    pub(super) fn nearest(&self, name: &str) -> Vec<&str> {
        const SHOWN: usize = 10;
        let letters = |name: &str| name.to_lowercase().chars().collect::<Vec<char>>();
        let name = letters(name);
        let differing = |category: &&str| {
            let category = letters(category);
            name.len() + category.len() - 2 * in_order(&name, &category)
        };
        let mut categories: Vec<&str> = self.categories.iter().map(String::as_str).collect();
        categories.sort_by_key(differing);
        categories.truncate(SHOWN);
        categories
    }
}

/// A record that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SkippedRecord {
    /// The file that it stands in.
    pub file: String,
    /// Where in the file: `annotation 3`, `line 7`; empty for the whole file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// The photo that it is of, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photo: Option<String>,
    /// The category that it is of, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What was expected and what was found.
    pub reason: String,
}

impl SkippedRecord {
    /// In a line.
    pub fn line(&self) -> String {
        let of = [self.photo.as_deref(), self.category.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let at = if self.at.is_empty() { String::new() } else { format!(", {}", self.at) };
        let of = if of.is_empty() { of } else { format!(" ({of})") };
        format!("{}{at}{of}: {}", self.file, self.reason)
    }
}

/// Collects records while files are read.
#[derive(Default)]
pub(super) struct Gathered {
    photos: Vec<Annotated>,
    places: HashMap<String, usize>,
    skipped: Vec<SkippedRecord>,
    categories: Spellings,
    /// The file that is being read.
    file: String,
}

impl Gathered {
    /// A category that is listed, whether or not there is an object of it.
    pub(super) fn category(&mut self, name: &str) {
        self.categories.of(name);
    }

    /// From here on records are of this file.
    pub(super) fn begin(&mut self, file: impl Into<String>) {
        self.file = file.into();
    }

    /// A photo, listed once however often it is named.
    pub(super) fn photo(&mut self, name: &str) -> &mut Vec<Object> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                self.places.insert(name.to_owned(), self.photos.len());
                self.photos.push(Annotated { photo: name.to_owned(), objects: Vec::new() });
                self.photos.len() - 1
            }
        };
        &mut self.photos[place].objects
    }

    /// An object on a photo, or else the reason why it cannot be used.
    pub(super) fn object(&mut self, at: &str, photo: &str, category: &str, object: anyhow::Result<Object>) {
        match object {
            Ok(Object { category, .. }) if category.trim().is_empty() => {
                self.skip(at, Some(photo), None, &anyhow::anyhow!("expected a category, found an empty name"));
            }
            Ok(object) => self.photo(photo).push(object),
            Err(reason) => self.skip(at, Some(photo), Some(category), &reason),
        }
    }

    /// A record that cannot be used.
    pub(super) fn skip(&mut self, at: &str, photo: Option<&str>, category: Option<&str>, reason: &anyhow::Error) {
        let known = |word: Option<&str>| word.filter(|word| !word.is_empty()).map(str::to_owned);
        self.skipped.push(SkippedRecord {
            file: self.file.clone(),
            at: at.to_owned(),
            photo: known(photo),
            category: known(category),
            reason: format!("{reason:#}"),
        });
    }

    /// A whole file that cannot be used.
    pub(super) fn skip_file(&mut self, reason: &anyhow::Error) {
        self.skip("", None, None, reason);
    }

    /// What was collected. Names that differ in letters' case or in spaces around them are of one category.
    pub(super) fn done(mut self) -> Listed {
        for object in self.photos.iter_mut().flat_map(|photo| &mut photo.objects) {
            object.category = self.categories.of(&object.category);
        }
        self.skipped.iter().filter_map(|record| record.category.as_ref()).for_each(|category| {
            self.categories.of(category);
        });
        Listed { photos: self.photos, skipped: self.skipped, categories: self.categories.names }
    }
}

/// Names, each as it was first written.
#[derive(Default)]
struct Spellings {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Spellings {
    /// The name that stands for this one.
    fn of(&mut self, name: &str) -> String {
        let name = name.trim();
        let place = *self.places.entry(name.to_lowercase()).or_insert(self.names.len());
        if place == self.names.len() {
            self.names.push(name.to_owned());
        }
        self.names[place].clone()
    }
}
