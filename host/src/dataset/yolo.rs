//! YOLO's text files: one a photo, one object a line: the number of its class and then a box or a polygon, in shares of the photo.

use super::listed::Gathered;
use super::polygon::{corners, polygon, shares, usable};
use super::{Object, Shape};
use crate::photo::{ENDINGS, is_named_as_photo};
use crate::{Size, text};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

/// A data set: the names of its classes, and its label files.
pub(super) struct Yolo {
    classes: Vec<String>,
    /// Where the labels' paths begin: what is above is no part of the photos' names.
    root: PathBuf,
    /// Whether further numbers in a line are key points.
    points: bool,
    labels: Vec<PathBuf>,
}

/// Names of files that hold one class a line.
const LISTS: [&str; 4] = ["classes.txt", "obj.names", "labels.names", "_darknet.labels"];

/// How the names of text files begin that come with data sets and hold no labels.
const NOTES: [&str; 5] = ["readme", "licence", "license", "requirements", "notes"];

impl Yolo {
    /// Recognises one among the files of a directory: a YAML file with names, or a list of classes, beside text files of numbers.
    ///
    /// # Errors
    /// Labels without the names of classes, or with several that differ.
    pub(super) fn of(root: &Path, files: &[PathBuf]) -> Result<Option<Self>> {
        let labels = labels_among(root, files);
        let mut described: Vec<(&PathBuf, Described)> = Vec::new();
        for file in files.iter().filter(|file| ends(file, "yaml") || ends(file, "yml")) {
            let text = text::read(file).with_context(|| file.display().to_string())?;
            described.extend(described_in(&text).map(|found| (file, found)));
        }
        if let Some((classes, points)) =
            foremost(described, |file| file.file_stem().is_some_and(|stem| stem == "data"))?
        {
            return Ok(Some(Self { classes, root: root.into(), points, labels }));
        }
        let lists: Vec<&PathBuf> = files.iter().filter(|file| is_list(file)).collect();
        let in_place = |file: &PathBuf| !lists.is_empty() && has_folder(root, file, "labels");
        if !labels.iter().any(|file| in_place(file) || text::read(file).is_ok_and(|text| is_of_numbers(&text))) {
            return Ok(None);
        }
        let mut named = Vec::new();
        for file in lists {
            let text = text::read(file).with_context(|| file.display().to_string())?;
            named.push((file, text.lines().map(|line| line.trim().to_owned()).collect()));
        }
        let classes: Option<Vec<String>> = foremost(named, |_| true)?;
        let classes = classes.context(
            "expected the names of YOLO's classes beside its labels: data.yaml or classes.txt; found neither",
        )?;
        Ok(Some(Self { classes, root: root.into(), points: false, labels }))
    }

    /// The one that a YAML file describes, its labels beside it.
    ///
    /// # Errors
    /// A file without the names of classes.
    pub(super) fn described_by(yaml: &Path, root: &Path, files: &[PathBuf]) -> Result<Self> {
        let (classes, points) = described_in(&text::read(yaml)?)
            .context("expected the names of YOLO's classes, as `names` in data.yaml, found none")?;
        Ok(Self { classes, root: root.into(), points, labels: labels_among(root, files) })
    }

    /// Reads all labels.
    pub(super) fn read(&self, found: &mut Gathered) -> Result<()> {
        ensure!(!self.labels.is_empty(), "expected YOLO's label files, lines of numbers, found none");
        self.classes.iter().filter(|name| !name.is_empty()).for_each(|name| found.category(name));
        for file in &self.labels {
            let name = file.strip_prefix(&self.root).unwrap_or(file);
            found.begin(name.display().to_string());
            let photo = photo_of(name);
            match text::read(file).and_then(lines_of_numbers) {
                Ok(text) => self.read_labels(&text, &photo, found),
                Err(reason) => found.skip("", Some(&photo), None, &reason),
            }
        }
        Ok(())
    }

    fn read_labels(&self, text: &str, photo: &str, found: &mut Gathered) {
        found.photo(photo);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let category = self.category(line).unwrap_or_default();
            found.object(&format!("line {}", number + 1), photo, category, self.object(line));
        }
    }

    fn category(&self, line: &str) -> Result<&str> {
        let number = line.split_whitespace().next().unwrap_or_default();
        let class = number.parse::<f64>().ok().filter(|class| class.fract() == 0.0 && *class >= 0.0);
        let class = class.with_context(|| format!("expected the number of a class first, found `{number}`"))? as usize;
        let name = self.classes.get(class).filter(|name| !name.is_empty());
        name.map(String::as_str)
            .with_context(|| format!("expected one of {} classes, found number {class}", self.classes.len()))
    }

    fn object(&self, line: &str) -> Result<Object> {
        let category = self.category(line)?.to_owned();
        let numbers = line.split_whitespace().skip(1).map(|word| {
            word.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .with_context(|| format!("expected numbers, found `{word}`"))
        });
        let numbers = numbers.collect::<Result<Vec<_>>>()?;
        let of = Some(Size::square(1));
        let shape = match numbers[..] {
            // A fifth number is how sure a network was.
            [x, y, width, height] | [x, y, width, height, _] => bounds([x, y, width, height])?,
            [x, y, width, height, ..] if self.points => bounds([x, y, width, height])?,
            [] => bail!("expected a box or a polygon, found nothing after the class"),
            _ => Shape::Polygons { polygons: usable([polygon(&numbers)])?, of },
        };
        // What follows a box are key points.
        shares(if self.points { &numbers[..numbers.len().min(4)] } else { &numbers })?;
        Ok(Object { category, shape: Some(shape), crowd: false })
    }
}

/// A box from its middle.
fn bounds([x, y, width, height]: [f64; 4]) -> Result<Shape> {
    ensure!(width > 0.0 && height > 0.0, "a box: expected a width and a height above zero, found {width} and {height}");
    let [right, bottom] = [x + width / 2.0, y + height / 2.0];
    corners([x - width / 2.0, y - height / 2.0, right, bottom], Some(Size::square(1)))
}

/// The classes and whether objects have key points.
type Described = (Vec<String>, bool);

fn ends(file: &Path, ending: &str) -> bool {
    file.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

fn is_list(file: &Path) -> bool {
    LISTS.iter().any(|name| file.file_name().is_some_and(|own| own == *name)) || ends(file, "names")
}

fn has_folder(root: &Path, file: &Path, folder: &str) -> bool {
    let below = file.strip_prefix(root).ok().and_then(Path::parent);
    below.is_some_and(|below| below.iter().any(|part| part == folder))
}

/// The files that are to hold labels: the texts below `labels`, beside photos of their names, or of numbers; and if there is no `labels`, every text but lists of
/// photos. What goes with a data set for people to read is none.
fn labels_among(root: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    let texts = || files.iter().filter(|file| ends(file, "txt") && !is_list(file));
    let sorted = texts().any(|file| has_folder(root, file, "labels"));
    let is_label = |file: &&PathBuf| {
        let has_photo = || ENDINGS.iter().any(|ending| file.with_extension(ending).is_file());
        let holds = |of: fn(&str) -> bool| text::read(file).is_ok_and(|text| of(&text));
        let other = || if sorted { holds(is_of_numbers) } else { !is_note(file) && !holds(is_of_photos) };
        has_photo() || has_folder(root, file, "labels") && !is_note(file) || other()
    };
    texts().filter(is_label).cloned().collect()
}

fn is_note(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    NOTES.iter().any(|note| name.starts_with(note))
}

/// Whether every line names a photo, as those of train.txt do.
fn is_of_photos(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    lines.peek().is_some() && lines.all(|line| is_named_as_photo(Path::new(line)))
}

/// Whether the first line is a class and a box or a polygon.
fn is_of_numbers(text: &str) -> bool {
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.is_some_and(|line| {
        line.split_whitespace().count() >= 5 && line.split_whitespace().all(|word| word.parse::<f64>().is_ok())
    })
}

/// A text of which a line begins with a number, or an empty one, which says that there is nothing on the photo.
fn lines_of_numbers(text: String) -> Result<String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    let first = lines.peek().map(|line| (*line).to_owned());
    let begins = |line: &str| line.split_whitespace().next().is_some_and(|word| word.parse::<f64>().is_ok());
    match first {
        Some(first) if !lines.any(begins) => {
            bail!(
                "expected lines of numbers with spaces between them: that of a class, and then a box or a polygon; found `{first}`"
            )
        }
        _ => Ok(text),
    }
}

/// The photo of a label file: `labels` stands for `images` wherever it stands, and at the beginning for nothing: labels/train/0001.txt is of train/0001.
fn photo_of(label: &Path) -> String {
    let name = label.strip_prefix("labels").unwrap_or(label).with_extension("");
    let parts = name.iter().map(|part| if part == "labels" { "images".as_ref() } else { part });
    parts.collect::<PathBuf>().display().to_string()
}

/// What the file says that counts: the one that is `preferred` and farthest up.
///
/// # Errors
/// Several such files that differ.
fn foremost<T: PartialEq>(all: Vec<(&PathBuf, T)>, preferred: impl Fn(&Path) -> bool) -> Result<Option<T>> {
    let rank = |file: &Path| (!preferred(file), file.iter().count());
    let Some(least) = all.iter().map(|(file, _)| rank(file)).min() else { return Ok(None) };
    let mut first = all.into_iter().filter(|(file, _)| rank(file) == least);
    let Some((file, found)) = first.next() else { return Ok(None) };
    if let Some((other, _)) = first.find(|(_, other)| *other != found) {
        bail!(
            "expected the names of YOLO's classes once, found `{}` and `{}`, which differ; name the YAML file that counts, or one data set's directory",
            file.display(),
            other.display()
        );
    }
    Ok(Some(found))
}

/// The classes that a YAML file names, and whether objects have key points.
fn described_in(text: &str) -> Option<Described> {
    let documents = YamlLoader::load_from_str(text).ok()?;
    let document = documents.first()?;
    let word = |yaml: &Yaml| match yaml {
        Yaml::String(word) | Yaml::Real(word) => word.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(yes) => yes.to_string(),
        _ => String::new(),
    };
    let classes = match &document["names"] {
        Yaml::Array(names) => names.iter().map(word).collect(),
        Yaml::Hash(names) => {
            let number = |yaml: &Yaml| word(yaml).trim().parse::<usize>().ok().filter(|number| *number < 1 << 20);
            let numbered: Vec<(usize, String)> =
                names.iter().filter_map(|(key, name)| Some((number(key)?, word(name)))).collect();
            let mut classes = vec![String::new(); numbered.iter().map(|(number, _)| number + 1).max().unwrap_or(0)];
            numbered.into_iter().for_each(|(number, name)| classes[number] = name);
            classes
        }
        _ => return None,
    };
    Some((classes, !document["kpt_shape"].is_badvalue()))
}
