//! YOLO's text files: one a photo, one object a line: the number of its class and then a box or a polygon, in shares of the photo.

use super::listed::Gathered;
use super::polygon::{corners, polygon, usable};
use super::{Object, Shape, text};
use crate::Size;
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
const LISTS: [&str; 3] = ["classes.txt", "obj.names", "labels.names"];

impl Yolo {
    /// Recognises one among the files of a directory: a YAML file with names, or a list of classes, beside text files of numbers.
    pub(super) fn of(root: &Path, files: &[PathBuf]) -> Result<Option<Self>> {
        let named =
            |file: &Path, names: &[&str]| names.iter().any(|name| file.file_name().is_some_and(|file| file == *name));
        let ends = |file: &Path, ending: &str| file.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending));
        let is_list = |file: &PathBuf| named(file, &LISTS) || ends(file, "names");
        let labels: Vec<PathBuf> = files
            .iter()
            .filter(|file| ends(file, "txt") && !is_list(file))
            .filter(|file| text::read(file).is_ok_and(|text| is_labels(&text)))
            .cloned()
            .collect();
        let yaml = files.iter().filter(|file| ends(file, "yaml") || ends(file, "yml"));
        for file in yaml {
            let text = text::read(file)?;
            if let Some((classes, points)) = described(&text) {
                return Ok(Some(Self { classes, root: root.into(), points, labels }));
            }
        }
        if labels.is_empty() {
            return Ok(None);
        }
        let Some(list) = files.iter().find(|file| is_list(file)) else {
            bail!("expected the names of YOLO's classes beside its labels: data.yaml or classes.txt; found neither");
        };
        let classes = text::read(list)?.lines().map(|line| line.trim().to_owned()).collect();
        Ok(Some(Self { classes, root: root.into(), points: false, labels }))
    }

    /// Reads all labels.
    pub(super) fn read(&self, found: &mut Gathered) -> Result<()> {
        ensure!(!self.labels.is_empty(), "expected YOLO's label files, lines of numbers, found none");
        for file in &self.labels {
            let name = file.strip_prefix(&self.root).unwrap_or(file);
            found.begin(name.display().to_string());
            // labels/train/0001.txt is of train/0001.
            let photo = name.strip_prefix("labels").unwrap_or(name).with_extension("").display().to_string();
            match text::read(file) {
                Ok(text) => self.read_labels(&text, &photo, found),
                Err(reason) => found.skip_file(&reason),
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
        Ok(Object { category, shape: Some(shape), crowd: false })
    }
}

/// A box from its middle.
fn bounds([x, y, width, height]: [f64; 4]) -> Result<Shape> {
    ensure!(width > 0.0 && height > 0.0, "a box: expected a width and a height above zero, found {width} and {height}");
    let [right, bottom] = [x + width / 2.0, y + height / 2.0];
    corners([x - width / 2.0, y - height / 2.0, right, bottom], Some(Size::square(1)))
}

/// Whether a text is empty, or its first line numbers only.
fn is_labels(text: &str) -> bool {
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.is_none_or(|line| {
        line.split_whitespace().count() >= 5 && line.split_whitespace().all(|word| word.parse::<f64>().is_ok())
    })
}

/// The classes that a YAML file names, and whether objects have key points.
fn described(text: &str) -> Option<(Vec<String>, bool)> {
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
