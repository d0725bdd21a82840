//! Which photos are explained: files, folders with everything below them, patterns, lists of paths.

use super::Written;
use crate::error::Sorted as _;
use crate::photo::{is_named_as_photo, name_of};
use crate::{Error, Photo, Result, journal, owned};
use anyhow::{Context as _, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What standard input is called on the command line.
const STANDARD_INPUT: &str = "-";
/// What its photo is called.
const STDIN: &str = "standard input";

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

impl Source {
    /// A photo that the caller names.
    pub fn named(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), found: false }
    }

    /// Whether the photo comes from standard input.
    pub fn is_standard_input(path: &Path) -> bool {
        path == Path::new(STANDARD_INPUT)
    }

    /// What its photo is called, and known by in later runs.
    pub(super) fn name(&self) -> String {
        if Self::is_standard_input(&self.path) { STDIN.into() } else { name_of(&self.path) }
    }

    /// The name of its file without the ending. What would lead to another folder, as the stem of `...jpg`, is no name.
    pub(super) fn stem(&self) -> String {
        if Self::is_standard_input(&self.path) {
            return "stdin".into();
        }
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        stem.filter(|stem| !matches!(&**stem, "." | "..")).unwrap_or_else(|| "photo".into())
    }

    /// Reads and decodes it.
    ///
    /// # Errors
    /// [`Error::Photo`].
    pub fn open(&self) -> Result<Photo> {
        if Self::is_standard_input(&self.path) {
            Photo::read(STDIN, std::io::stdin().lock())
        } else {
            Photo::open(&self.path)
        }
    }
}

/// Photos that were found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The photos, each once.
    pub sources: Vec<Source>,
    /// Links to folders that were found in folders, and are not followed.
    pub links: Vec<PathBuf>,
    /// How many pictures in folders were left out because this program wrote them.
    pub left_out: usize,
}

/// The photos that these paths stand for, each once, in the order given; those of a folder and of a pattern such as `*.jpg` by name. In a folder and the folders below it
/// everything that is named as a photo, or begins as one, is one, also a link to a file that is not there; the rest, hidden files and folders, and pictures that this program wrote are
/// left out. Links to folders, which could lead in a circle, are not followed.
///
/// # Errors
/// [`Error::Photo`]: a folder that cannot be listed, a folder or a pattern without photos.
pub fn sources(given: &[PathBuf]) -> Result<Found> {
    let gather = || -> anyhow::Result<Found> {
        let mut search = Search::default();
        for path in given {
            if path.is_dir() {
                let before = search.found.sources.len() + search.found.left_out;
                search.within(path)?;
                let after = search.found.sources.len() + search.found.left_out;
                let linked = search.found.links.last().map_or_else(String::new, |link| {
                    format!(", but a link to a directory, which is not followed; name it: {}", link.display())
                });
                ensure!(after > before, "`{}`: expected photos in this directory, found none{linked}", path.display());
            } else if let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '[']) && !path.exists())
            {
                let matching = glob::glob(pattern)
                    .with_context(|| format!("`{pattern}`: expected a path or a pattern such as *.jpg"))?;
                let matching = matching.collect::<Result<Vec<_>, _>>()?;
                ensure!(
                    !matching.is_empty(),
                    "`{pattern}`: expected the path of a photo or a pattern that some match, found none"
                );
                let files = matching.into_iter().filter(|path| path.is_file());
                search.found.sources.extend(files.map(|path| Source { path, found: true }));
            } else {
                search.found.sources.push(Source::named(path));
            }
        }
        let mut found = search.found;
        ensure!(
            !found.sources.is_empty() || found.left_out == 0,
            "expected photos, found only {} pictures that decomcam wrote; name a picture to have it explained",
            found.left_out
        );
        let (mut seen, mut folders) = (BTreeSet::new(), BTreeMap::new());
        let mut is_new = |path: &Path| seen.insert(place_of(path, &mut folders));
        found.sources.retain(|source| is_new(&source.path));
        found.links.retain(|link| is_new(link));
        Ok(found)
    };
    gather().kind(Error::Photo)
}

/// Where a file is, by whatever path its folder was named. A link to a file is another photo than the file; folders that were looked up are kept in `folders`.
fn place_of(path: &Path, folders: &mut BTreeMap<PathBuf, PathBuf>) -> PathBuf {
    let (Some(folder), Some(name), false) = (path.parent(), path.file_name(), Source::is_standard_input(path)) else {
        return path.to_owned();
    };
    let folder = folders.entry(folder.to_owned()).or_insert_with(|| {
        let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        named.canonicalize().unwrap_or_else(|_| folder.to_owned())
    });
    folder.join(name)
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

/// What was found so far, and the files that lists in the folders name as written by this program.
#[derive(Default)]
struct Search {
    found: Found,
    ours: BTreeSet<PathBuf>,
}

impl Search {
    fn within(&mut self, folder: &Path) -> anyhow::Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        self.ours.extend(written(folder));
        for entry in entries {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.within(&path)?;
            } else if path.is_dir() {
                self.found.links.push(path);
            } else if entry.file_type()?.is_symlink() && !path.exists() {
                // That the file is not there is said when it is opened.
                self.found.sources.extend(is_named_as_photo(&path).then_some(Source { path, found: true }));
            } else if path.is_file() && (is_named_as_photo(&path) || begins_as_photo(&path)) {
                if self.ours.contains(&path) || owned::is_marked(&path) {
                    self.found.left_out += 1;
                } else {
                    self.found.sources.push(Source { path, found: true });
                }
            }
        }
        Ok(())
    }
}

/// The files that the lists in a folder name: of one explanation, of frames, of many photos.
fn written(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = owned::listed(folder).iter().map(|name| folder.join(name)).collect();
    // Without such a file, or with one of others, nothing is ours.
    let _ = journal::read(&folder.join(super::JOURNAL), |line, _| {
        let line: Written = serde_json::from_slice(line)?;
        files.extend(line.files().into_iter().map(|file| folder.join(file)));
        Ok(())
    });
    files
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
        let found = sources(&[place.path().into()]).unwrap().sources;
        let paths: Vec<&Path> = found.iter().map(|source| &*source.path).collect();
        assert_eq!(paths, ["a/c.webp", "a/explained/x.png", "b.JPG", "nameless", "out/y.png"].map(at));
        assert!(found.iter().all(|source| source.found));
        let twice = sources(&[at("b.JPG"), at("*.JPG"), at("missing.png")]).unwrap().sources;
        assert_eq!(twice.len(), 2, "each once; whether a named file exists is seen when it is opened");
        fs::create_dir(at("empty")).unwrap();
        assert!(matches!(sources(&[at("empty")]), Err(Error::Photo(_))));
        assert!(matches!(sources(&[at("*.gif")]), Err(Error::Photo(_))));
    }

    #[test]
    fn only_what_a_list_or_a_mark_names_is_left_out() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["a/mine.png", "a/overlay.png", "b/mine.png", "b/c/map.png", "d/mine.png", "d/overlay.gif"] {
            put(&at(name), b"?");
        }
        put(&at("a/explanation.json"), br#"{"files": ["overlay.png"]}"#);
        put(&at("b/explanations.jsonl"), b"{\"directory\": \"c\", \"files\": [\"map.png\"]}\n");
        put(&at("d/frames.json"), br#"{"files": ["overlay.gif"]}"#);
        put(&at("e/explanations.jsonl"), b"");
        put(&at("e/mine.png"), b"?");
        put(&at("f/marked.png"), b"\x89PNG\r\n\x1a\n tEXtSoftware\0decomcam 0");
        let found = sources(&[place.path().into()]).unwrap();
        let paths: Vec<&Path> = found.sources.iter().map(|source| &*source.path).collect();
        assert_eq!(paths, ["a/mine.png", "b/mine.png", "d/mine.png", "e/mine.png"].map(at));
        assert_eq!(found.left_out, 4);
        let only = sources(&[at("f")]).unwrap_err();
        assert!(only.to_string().contains("found only 1 pictures that decomcam wrote"), "{only}");
        assert_eq!(sources(&[at("f/marked.png")]).unwrap().sources.len(), 1, "what is named is explained");
    }

    #[test]
    fn a_photo_is_found_once_by_whatever_path() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["a/x.jpg", "a/y.jpg", "b/x.jpg"] {
            put(&at(name), b"?");
        }
        let given = ["a/../a/x.jpg", "a/x.jpg", "b/../a", "b/./x.jpg", "b/x.jpg", "a/*.jpg", "gone.jpg", "./gone.jpg"];
        let found = sources(&given.map(at)).unwrap().sources;
        let paths: Vec<&Path> = found.iter().map(|source| &*source.path).collect();
        assert_eq!(paths, ["a/../a/x.jpg", "b/../a/y.jpg", "b/./x.jpg", "gone.jpg"].map(at), "as it was first given");
        let input = sources(&["-", "./-"].map(PathBuf::from)).unwrap().sources;
        assert_eq!(input.len(), 2, "standard input and a file");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("x.jpg", at("a/z.jpg")).unwrap();
            assert_eq!(sources(&[at("a")]).unwrap().sources.len(), 3, "a link is a photo of its own");
        }
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
        let none = sources(&[at("photos")]).unwrap_err().to_string();
        assert!(none.contains("a link to a directory, which is not followed") && none.contains("linked"), "{none}");
        for (from, to) in [("gone.jpg", "nowhere.jpg"), ("gone.txt", "nowhere.txt"), ("a.png", "elsewhere/a.png")] {
            symlink(at(to), at("photos").join(from)).unwrap();
        }
        let found = sources(&[at("photos")]).unwrap();
        let paths: Vec<&Path> = found.sources.iter().map(|source| &*source.path).collect();
        assert_eq!(paths, [at("photos/a.png"), at("photos/gone.jpg")]);
        assert_eq!(found.links, [at("photos/linked")]);
        let gone = found.sources[1].open().unwrap_err().to_string();
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
