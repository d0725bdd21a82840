//! Where the files of each photo go: a folder a photo, or one file a photo by a pattern.

use super::sources::Source;
use crate::error::Sorted as _;
use crate::owned::Inputs;
use crate::{Error, Result};
use anyhow::{bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What stands for a photo's name without its ending in a pattern.
const STEM: &str = "{stem}";

/// Where the files of many photos go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    root: PathBuf,
    /// Of a photo's folder or file below the root.
    pattern: String,
    kind: Kind,
}

/// What is written of a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All files, in a folder of its own.
    Folder,
    /// The map on the photo alone.
    Overlay,
    /// The page for the browser alone.
    Report,
    /// The numbers alone.
    Json,
}

impl Naming {
    /// Reads `--out`: a directory in which each photo gets a folder, or a pattern such as `maps/{stem}.png`, in which `{stem}` is the name of the photo's file
    /// without its ending. Of a pattern the ending decides what is written: `.png` the map on the photo, `.html` the page, `.json` the numbers, none a folder.
    ///
    /// # Errors
    /// [`Error::Options`]: another word in braces, another ending.
    pub fn new(out: &Path) -> Result<Self> {
        named(out).kind(Error::Options)
    }

    /// The directory that everything goes into.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What tells it from others of the same root: where a photo's folder or file is below it.
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What is written of each photo.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A name below the root for each source, no two the same, also where a file system takes capital and small letters for the same; `earlier` are names that photos got before,
    /// which they keep, and `others` are files that stay where they are.
    ///
    /// # Errors
    /// [`Error::Options`] if a photo would be overwritten.
    pub(super) fn names(
        &self,
        sources: &[Source],
        earlier: &BTreeMap<String, String>,
        others: &BTreeSet<PathBuf>,
    ) -> Result<Vec<String>> {
        let own = [super::JOURNAL, super::INDEX].map(str::to_owned);
        let others = others.iter().map(|file| file.to_string_lossy().into_owned());
        let names = own.into_iter().chain(others).chain(earlier.values().cloned());
        let mut taken: BTreeSet<String> = names.map(|name| name.to_lowercase()).collect();
        let mut names = Vec::with_capacity(sources.len());
        let mut next = BTreeMap::<String, usize>::new();
        for source in sources {
            let stem = source.stem();
            // Where the numbers of a stem begin that nobody has tried.
            let next = next.entry(stem.to_lowercase()).or_insert(1);
            let free = || loop {
                let numbered = if *next == 1 { stem.clone() } else { format!("{stem}-{next}") };
                *next += 1;
                let name = self.pattern.replace(STEM, &numbered);
                if taken.insert(name.to_lowercase()) {
                    break name;
                }
            };
            names.push(earlier.get(&source.name()).cloned().unwrap_or_else(free));
        }
        self.spares(&Inputs::new(sources.iter().map(|source| &source.path)), &names).kind(Error::Options)?;
        Ok(names)
    }

    fn spares(&self, photos: &Inputs, names: &[String]) -> anyhow::Result<()> {
        for name in names {
            let target = self.root.join(name);
            if photos.hold(&target) {
                bail!(
                    "--out: `{}` is one of the photos and would be overwritten; choose another directory, or a pattern such as {STEM}-map.png",
                    target.display()
                );
            }
        }
        Ok(())
    }
}

fn named(out: &Path) -> anyhow::Result<Naming> {
    let text = out.to_string_lossy();
    if !text.contains('{') {
        return Ok(Naming { root: out.to_owned(), pattern: STEM.to_owned(), kind: Kind::Folder });
    }
    ensure!(
        out.to_str().is_some(),
        "--out {text}: expected a pattern in UTF-8, found other bytes; choose another name"
    );
    let rest = text.replace(STEM, "");
    ensure!(
        text.contains(STEM) && !rest.contains(['{', '}']),
        "--out {text}: expected a directory, or a pattern such as maps/{STEM}.png; {STEM} is the name of the photo's file without its ending, and the only word in braces"
    );
    let at = text.find('{').unwrap_or_default();
    let (root, pattern) = match text[..at].rfind(['/', std::path::MAIN_SEPARATOR]) {
        Some(slash) => (&text[..slash.max(1)], &text[slash + 1..]),
        None => (".", &text[..]),
    };
    let pattern = pattern.trim_end_matches(['/', std::path::MAIN_SEPARATOR]);
    ensure!(
        !pattern.split(['/', std::path::MAIN_SEPARATOR]).any(|part| matches!(part, "." | "..")),
        "--out {text}: expected names behind {STEM}, found `.` or `..`, which would lead the files of all photos into one place; put it before {STEM} or leave it out"
    );
    let last = Path::new(pattern).file_name().map(|name| name.to_string_lossy().replace(STEM, "x")).unwrap_or_default();
    let kind = match Path::new(&last).extension().and_then(|ending| ending.to_str()).map(str::to_lowercase).as_deref() {
        None => Kind::Folder,
        Some("png") => Kind::Overlay,
        Some("html") => Kind::Report,
        Some("json") => Kind::Json,
        Some(other) => bail!(
            "--out {text}: expected the ending .png (the map on the photo), .html (the page), .json (the numbers), or none (a directory for each photo), found .{other}"
        ),
    };
    Ok(Naming { root: root.into(), pattern: pattern.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(out: &str) -> (PathBuf, String, Kind) {
        let Naming { root, pattern, kind } = Naming::new(Path::new(out)).unwrap();
        (root, pattern, kind)
    }

    #[test]
    fn a_pattern_says_where_and_what() {
        assert_eq!(named("maps"), ("maps".into(), STEM.into(), Kind::Folder));
        assert_eq!(named("maps/{stem}.png"), ("maps".into(), "{stem}.png".into(), Kind::Overlay));
        assert_eq!(named("{stem}-why.HTML"), (".".into(), "{stem}-why.HTML".into(), Kind::Report));
        assert_eq!(named("/a/{stem}/x.json"), ("/a".into(), "{stem}/x.json".into(), Kind::Json));
        assert_eq!(named("/{stem}/"), ("/".into(), "{stem}".into(), Kind::Folder));
        assert_eq!(named("../a/./{stem}.json"), ("../a/.".into(), "{stem}.json".into(), Kind::Json));
        for wrong in [
            "maps/{name}.png",
            "maps/{stem}.jpg",
            "{stem",
            "{stem}{}.png",
            "maps/{stem}/../x.json",
            "{stem}/./x.json",
            "{stem}/..",
        ] {
            assert!(matches!(Naming::new(Path::new(wrong)), Err(Error::Options(_))), "{wrong}");
        }
    }

    #[test]
    fn no_two_photos_share_a_name_and_earlier_ones_keep_theirs() {
        let source = |path: &str| Source { path: path.into(), found: false };
        let sources = ["a/Cat.jpg", "b/cat.jpg", "c/cat.png", "cat-2.jpg", "index.jpg"].map(source);
        let naming = Naming::new(Path::new("maps/{stem}.html")).unwrap();
        let names = naming.names(&sources, &BTreeMap::new(), &BTreeSet::new()).unwrap();
        assert_eq!(names, ["Cat.html", "cat-2.html", "cat-3.html", "cat-2-2.html", "index-2.html"]);
        let earlier = BTreeMap::from([("c/cat.png".to_owned(), "cat.html".to_owned())]);
        let none = BTreeSet::new();
        assert_eq!(naming.names(&sources[..3], &earlier, &none).unwrap(), ["Cat-2.html", "cat-3.html", "cat.html"]);
        let others = BTreeSet::from([PathBuf::from("cat.html")]);
        assert_eq!(naming.names(&sources[..1], &BTreeMap::new(), &others).unwrap(), ["Cat-2.html"]);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let sources = ["..jpg", "...jpg", "a/....jpg", ".jpg"].map(Source::named);
        let naming = Naming::new(Path::new("maps")).unwrap();
        let names = naming.names(&sources, &BTreeMap::new(), &BTreeSet::new()).unwrap();
        assert_eq!(names, ["photo", "photo-2", "...", ".jpg"]);
    }

    #[test]
    fn photos_are_not_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let photo = place.path().join("cat.png");
        std::fs::write(&photo, b"?").unwrap();
        let sources = [Source { path: photo, found: true }];
        let names = |pattern: &str| {
            let naming = Naming::new(&place.path().join(pattern)).unwrap();
            naming.names(&sources, &BTreeMap::new(), &BTreeSet::new())
        };
        assert!(matches!(names("{stem}.png"), Err(Error::Options(_))));
        assert!(names("{stem}-map.png").is_ok());
    }
}
