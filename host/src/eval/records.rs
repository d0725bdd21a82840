//! The measured values, one line for each map, so that a run that was stopped goes on where it was.

use crate::error::Sorted as _;
use crate::hash::sha256_hex;
use crate::methods::Method;
use crate::score::{Support, Verdict, Words};
use crate::{Error, Result, Size};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Everything that the numbers of a record depend on, beside its photo, category and method.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) schema_version: u32,
    /// Another version of the program may give other numbers.
    pub(super) program: &'static str,
    pub(super) model: String,
    pub(super) model_sha256: String,
    pub(super) layer: String,
    pub(super) explained: String,
    pub(super) reported: String,
    pub(super) faithful: bool,
    pub(super) size: Size,
    pub(super) fit: &'static str,
    pub(super) margin: usize,
    pub(super) prompt: String,
    /// Categories that have a prompt of their own, and that prompt.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) prompts: BTreeMap<String, String>,
    pub(super) annotations_sha256: Option<String>,
    pub(super) step: usize,
    pub(super) channels: Option<usize>,
    pub(super) components: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sign: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) one_sided: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) integrate: Option<&'static str>,
    pub(super) scales: Option<usize>,
    pub(super) affinity: Option<bool>,
    pub(super) refine: Option<bool>,
    pub(super) rise_masks: usize,
    pub(super) seed: u64,
}

impl Settings {
    /// A short hash, by which records of these settings are recognised.
    pub(super) fn hash(&self) -> Result<String> {
        let text = serde_json::to_string(self).map_err(anyhow::Error::from).kind(Error::Output)?;
        Ok(sha256_hex(text.as_bytes())[..16].to_owned())
    }
}

/// The value of a metric for one map: a number, the thresholds that hit, or nothing where it is not defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum MetricValue {
    Number(f64),
    Hits(Vec<u8>),
    Undefined(()),
}

pub(super) type Values = BTreeMap<String, MetricValue>;

/// A line of `records.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) settings: String,
    pub(super) photo: String,
    pub(super) category: String,
    pub(super) method: String,
    /// The share of the input that the mask covers; none without a mask.
    pub(super) mask: Option<f64>,
    /// What the model knows of the category on this photo; none if nothing says what it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) knows: Option<Knows>,
    pub(super) metrics: Values,
}

/// What the model knows of a category on a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Knows {
    /// It has classes for it, and sees it.
    Seen,
    /// It has classes for it, and hardly sees it.
    Doubtful,
    /// It has classes for it, and does not see it.
    NotSeen,
    /// It has no class for it, or knows none of the words.
    NoClass,
}

impl Knows {
    pub(super) const ALL: [Self; 4] = [Self::Seen, Self::Doubtful, Self::NotSeen, Self::NoClass];

    pub(super) fn of(support: &Support) -> Self {
        match (support.words, support.verdict) {
            (Words::NoClass | Words::Unknown, _) => Self::NoClass,
            (_, Verdict::Seen) => Self::Seen,
            (_, Verdict::Doubtful) => Self::Doubtful,
            (_, Verdict::NotSeen | Verdict::UnknownWords) => Self::NotSeen,
        }
    }

    /// Its name in files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Doubtful => "doubtful",
            Self::NotSeen => "not_seen",
            Self::NoClass => "no_class",
        }
    }

    /// What it means, in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Seen => "the model has classes for the category, and sees it on the photo",
            Self::Doubtful => "the model has classes for the category, and hardly sees it on the photo",
            Self::NotSeen => "the model has classes for the category, and does not see it on the photo",
            Self::NoClass => "the model has no class for the category",
        }
    }
}

type Key = (String, String, String);

/// The values of one map that were measured before.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) mask: Option<f64>,
    pub(super) knows: Option<Knows>,
    pub(super) values: Values,
}

/// The records of these settings, and the file that new ones are appended to.
pub(super) struct Records {
    file: Mutex<File>,
    pub(super) settings: String,
    known: BTreeMap<Key, Known>,
}

impl Records {
    /// Opens or creates the file, cuts off a last line that was not finished, and reads the rest.
    pub(super) fn open(path: &Path, settings: String) -> Result<Self> {
        let opened = || {
            let (file, text) = whole_lines(path)?;
            let mut records = Self { file: Mutex::new(file), settings, known: BTreeMap::new() };
            for (number, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
                let record = serde_json::from_slice(line).with_context(|| {
                    format!("line {}: expected a record; delete the file to start anew", number + 1)
                })?;
                records.learn(record);
            }
            Ok(records)
        };
        let result: anyhow::Result<Self> = opened();
        result.with_context(|| format!("records `{}`", path.display())).kind(Error::Output)
    }

    fn learn(&mut self, record: Record) {
        if record.settings == self.settings {
            let known = self.known.entry((record.photo, record.category, record.method)).or_default();
            known.mask = record.mask;
            known.knows = record.knows.or(known.knows);
            known.values.extend(record.metrics);
        }
    }

    /// Appends a record in one write.
    pub(super) fn append(&self, record: &Record) -> Result<()> {
        let write = || {
            let line = serde_json::to_string(record)? + "\n";
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(line.as_bytes()).context("records: cannot be written; is there space on the disk?")
        };
        write().kind(Error::Output)
    }

    pub(super) fn get(&self, photo: &str, category: &str, method: Method) -> Option<&Known> {
        self.known.get(&(photo.to_owned(), category.to_owned(), method.name().to_owned()))
    }
}

/// Unlocked by name: a program that another thread starts holds the open file, and with it the lock, for the moment until it runs.
impl Drop for Records {
    fn drop(&mut self) {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A lock that cannot be taken off goes with the file.
        let _ = file.unlock();
    }
}

/// The file, locked and positioned after its last whole line, and its whole lines.
fn whole_lines(path: &Path) -> anyhow::Result<(File, Vec<u8>)> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .context("cannot be opened; choose another --out")?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("another run is writing it; choose another --out"),
        // On file systems without locks nothing prevents two runs at once.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < text.len() {
        file.set_len(whole as u64)?;
        text.truncate(whole);
    }
    file.seek(SeekFrom::Start(whole as u64))?;
    Ok((file, text))
}
