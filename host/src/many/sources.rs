//! Which photos are explained: files, folders with everything below them, patterns, lists of paths.

use crate::error::Sorted as _;
use crate::photo::is_named_as_photo;
use crate::{Error, Photo, Result};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What standard input is called on the command line.
const STANDARD_INPUT: &str = "-";

/// What tells of a folder that a sequence of frames was explained into.
const FRAMES: &str = "frames.json";

/// What is said of links to folders among photos.
pub const LINKED: &str =
    "a link to a directory, which is not followed; name it beside the others to have its photos explained";

/// One photo that will be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the file is opened; `-` is standard input.
    pub path: PathBuf,
    /// Whether it was found in a folder, not named by the caller.
    pub(super) found: bool,
}

/// What paths stand for.
#[derive(Debug)]
pub struct Sources {
    /// The photos.
    pub photos: Vec<Source>,
    /// Links to folders that were found in folders, and are not followed.
    pub links: Vec<PathBuf>,
}

impl Source {
    /// A photo that the caller names.
    pub fn named(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), found: false }
    }

    /// Whether the photo comes from standard input.
    pub fn is_standard_input(path: &Path) -> bool {
        path == Path::new(STANDARD_INPUT)
    }

    /// The name of its file without the ending.
    pub(super) fn stem(&self) -> String {
        if Self::is_standard_input(&self.path) {
            return "stdin".into();
        }
        self.path.file_stem().map_or_else(|| "photo".into(), |stem| stem.to_string_lossy().into_owned())
    }

    /// Reads and decodes it.
    ///
    /// # Errors
    /// [`Error::Photo`].
    pub fn open(&self) -> Result<Photo> {
        if Self::is_standard_input(&self.path) {
            Photo::read("standard input", std::io::stdin().lock())
        } else {
            Photo::open(&self.path)
        }
    }
}

/// The photos that these paths stand for, each once, in the order given; those of a folder and of a pattern such as `*.jpg` by name. In a folder and the folders below it
/// everything that is named as a photo, or begins as one, is one, also a link to a file that is not there; the rest, hidden files and folders that an explanation was written into are
/// left out. What is in `out` is left out as well, and so are links to folders, which could lead in a circle.
///
/// # Errors
/// [`Error::Photo`]: a folder that cannot be listed, a folder or a pattern without photos.
pub fn sources(given: &[PathBuf], out: Option<&Path>) -> Result<Sources> {
    let out = out.and_then(|out| out.canonicalize().ok());
    let gather = || -> anyhow::Result<Sources> {
        let (mut all, mut links) = (Vec::new(), Vec::new());
        for path in given {
            if path.is_dir() {
                let before = all.len();
                within(path, out.as_deref(), &mut all, &mut links)?;
                let linked = links.last().map_or_else(String::new, |link| {
                    format!(", but a link to a directory, which is not followed; name it: {}", link.display())
                });
                ensure!(
                    all.len() > before,
                    "`{}`: expected photos in this directory, found none{linked}",
                    path.display()
                );
            } else if let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '[']) && !path.exists())
            {
                let matching = glob::glob(pattern)
                    .with_context(|| format!("`{pattern}`: expected a path or a pattern such as *.jpg"))?;
                let matching = matching.collect::<Result<Vec<_>, _>>()?;
                ensure!(
                    !matching.is_empty(),
                    "`{pattern}`: expected the path of a photo or a pattern that some match, found none"
                );
                all.extend(matching.into_iter().filter(|path| path.is_file()).map(|path| Source { path, found: true }));
            } else {
                all.push(Source::named(path));
            }
        }
        let mut seen = BTreeSet::new();
        all.retain(|source| seen.insert(source.path.clone()));
        links.retain(|link| seen.insert(link.clone()));
        Ok(Sources { photos: all, links })
    };
    gather().kind(Error::Photo)
}

/// The paths of a list, one a line, or with zero bytes between them as `find -print0` writes them. Blank lines do not count.
///
/// # Errors
/// [`Error::Photo`]: what cannot be read, is no text, or names nothing.
pub fn list(name: &str, mut from: impl Read) -> Result<Vec<PathBuf>> {
    let mut read = || -> anyhow::Result<Vec<PathBuf>> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).context("expected text, a path on each line")?;
        let text = text.trim_start_matches('\u{feff}');
        let separator = if text.contains('\0') { '\0' } else { '\n' };
        let paths =
            text.split(separator).map(|line| line.trim_end_matches('\r')).filter(|line| !line.trim().is_empty());
        let paths: Vec<PathBuf> = paths.map(PathBuf::from).collect();
        if paths.is_empty() {
            bail!("expected the path of a photo on each line, found none");
        }
        Ok(paths)
    };
    read().with_context(|| format!("list of photos `{name}`")).kind(Error::Photo)
}

fn within(folder: &Path, out: Option<&Path>, all: &mut Vec<Source>, links: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            let ours = path.join("explanation.json").exists()
                || path.join(FRAMES).exists()
                || path.join(super::JOURNAL).exists();
            if !ours && (out.is_none() || path.canonicalize().ok().as_deref() != out) {
                within(&path, out, all, links)?;
            }
        } else if path.is_dir() {
            links.push(path);
        } else if entry.file_type()?.is_symlink() && !path.exists() {
            // That the file is not there is said when it is opened.
            all.extend(is_named_as_photo(&path).then_some(Source { path, found: true }));
        } else if path.is_file() && (is_named_as_photo(&path) || begins_as_photo(&path)) {
            all.push(Source { path, found: true });
        }
    }
    Ok(())
}

/// Whether the first bytes are those of a format that is read.
fn begins_as_photo(path: &Path) -> bool {
    let mut start = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    read.is_ok_and(|read| Photo::is_begun_by(&start[..read]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_folder_holds_what_is_named_or_begins_as_a_photo() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["b.JPG", "a/c.webp", ".hidden.png", "notes.txt", "a/explained/x.png", "out/y.png"] {
            put(&at(name), b"?");
        }
        put(&at("nameless"), b"\x89PNG\r\n\x1a\n");
        put(&at("a/explained/explanation.json"), b"{}");
        let found = sources(&[place.path().into()], Some(&at("out"))).unwrap().photos;
        let paths: Vec<&Path> = found.iter().map(|source| &*source.path).collect();
        assert_eq!(paths, [at("a/c.webp"), at("b.JPG"), at("nameless")]);
        assert!(found.iter().all(|source| source.found));
        let twice = sources(&[at("b.JPG"), at("*.JPG"), at("missing.png")], None).unwrap().photos;
        assert_eq!(twice.len(), 2, "each once; whether a named file exists is seen when it is opened");
        let empty = sources(&[at("out"), at("a/explained/none")], Some(&at("out")));
        assert_eq!(empty.unwrap().photos.len(), 2, "the folder of the files is itself explained if it is named");
        fs::create_dir(at("empty")).unwrap();
        assert!(matches!(sources(&[at("empty")], None), Err(Error::Photo(_))));
        assert!(matches!(sources(&[at("*.gif")], None), Err(Error::Photo(_))));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_nowhere_are_photos_and_links_to_folders_are_named() {
        use std::os::unix::fs::symlink;
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        put(&at("elsewhere/a.png"), b"?");
        fs::create_dir(at("photos")).unwrap();
        symlink(at("elsewhere"), at("photos/linked")).unwrap();
        let none = sources(&[at("photos")], None).unwrap_err().to_string();
        assert!(none.contains("a link to a directory, which is not followed") && none.contains("linked"), "{none}");
        for (from, to) in [("gone.jpg", "nowhere.jpg"), ("gone.txt", "nowhere.txt"), ("a.png", "elsewhere/a.png")] {
            symlink(at(to), at("photos").join(from)).unwrap();
        }
        let found = sources(&[at("photos")], None).unwrap();
        let paths: Vec<&Path> = found.photos.iter().map(|source| &*source.path).collect();
        assert_eq!(paths, [at("photos/a.png"), at("photos/gone.jpg")]);
        assert_eq!(found.links, [at("photos/linked")]);
        let gone = found.photos[1].open().unwrap_err().to_string();
        assert!(gone.contains("found a link to") && gone.contains("nowhere.jpg"), "{gone}");
    }

    #[test]
    fn lists_have_a_path_a_line_or_zero_bytes_between() {
        let paths = |text: &str| list("list", text.as_bytes()).unwrap();
        assert_eq!(paths("a.jpg\r\n\n b c.png\n"), [PathBuf::from("a.jpg"), PathBuf::from(" b c.png")]);
        assert_eq!(paths("a\nb.jpg\0c.png\0"), [PathBuf::from("a\nb.jpg"), PathBuf::from("c.png")]);
        assert!(list("list", "\n\n".as_bytes()).is_err());
        assert!(list("list", &b"\xff\xfe"[..]).is_err());
    }
}
