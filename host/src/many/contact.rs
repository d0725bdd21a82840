//! `index.html`: every photo with its map, what was found and whether the map passed its check, on one page that sorts them.

use super::{Kind, Read};
use crate::error::Sorted as _;
use crate::program::PROGRAM;
use crate::{Error, Result};
use minijinja::{Environment, context};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A photo on the page.
#[derive(Serialize)]
pub(super) struct Card {
    photo: String,
    sentence: String,
    /// The address of the map on the photo, if it was written.
    picture: Option<String>,
    /// Where a click leads.
    link: Option<String>,
    /// What photos are sorted by: the probability of a classifier's class, else the reported score.
    score: f64,
    score_name: String,
    pub(super) passed: Option<bool>,
    /// What hiding the brightest places takes away.
    lost: Option<f32>,
    warnings: Vec<String>,
    #[serde(skip)]
    pub(super) files: Vec<PathBuf>,
}

impl Card {
    pub(super) fn new(read: Read, kind: Kind) -> Self {
        let files = read.written.files();
        let find = |name: &str| files.iter().find(|file| file.ends_with(name)).map(|file| address(file));
        let only = files.first().map(|file| address(file));
        let (picture, link) = match kind {
            Kind::Folder => (find("overlay.png"), find("report.html")),
            Kind::Overlay => (only.clone(), only),
            Kind::Report | Kind::Json => (None, only),
        };
        let probability = read.classes.and_then(|classes| classes.explained.probability);
        let score_name = if probability.is_some() { "probability".to_owned() } else { read.scores.reported.name };
        Self {
            photo: read.photo.path,
            sentence: read.sentence,
            picture,
            link,
            score: probability.unwrap_or_else(|| f64::from(read.scores.reported.value)),
            score_name,
            passed: read.check.as_ref().map(|check| check.passed),
            lost: read.check.and_then(|check| check.lost),
            warnings: read.warnings,
            files,
        }
    }
}

/// A path as an address relative to the page.
fn address(path: &Path) -> String {
    let mut address = String::new();
    let parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    for (number, part) in parts.enumerate() {
        if number > 0 {
            address.push('/');
        }
        for byte in part.bytes() {
            match byte {
                byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => address.push(byte.into()),
                byte => {
                    let _ = write!(address, "%{byte:02X}");
                }
            }
        }
    }
    address
}

/// The page.
pub(super) fn page(cards: &[Card]) -> Result<String> {
    let render = || {
        let mut environment = Environment::new();
        environment.add_template("contact.css", include_str!("contact.css"))?;
        environment.add_template("contact.js", include_str!("contact.js"))?;
        // Its name says that what goes into it is escaped for HTML.
        environment.add_template("contact.html", include_str!("contact.html"))?;
        let checked = cards.iter().filter(|card| card.passed.is_some()).count();
        let passed = cards.iter().filter(|card| card.passed == Some(true)).count();
        environment.get_template("contact.html")?.render(context! { cards, checked, passed, program => PROGRAM })
    };
    render().map_err(|error: minijinja::Error| error.into()).kind(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_any_name() {
        assert_eq!(address(Path::new("a b/50%#1?.png")), "a%20b/50%25%231%3F.png");
        assert_eq!(address(Path::new("\u{e9}")), "%C3%A9");
    }
}
