//! What was measured, a line a map, so that a run that was stopped goes on where it was.

use crate::methods::Method;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

/// What every number of a record depends on, beside its photo, category and method.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) schema_version: u32,
    pub(super) model: String,
    pub(super) model_sha256: String,
    pub(super) layer: String,
    pub(super) explained: String,
    pub(super) reported: String,
    pub(super) faithful: bool,
    pub(super) size: usize,
    pub(super) fit: &'static str,
    pub(super) margin: u32,
    pub(super) prompt: String,
    pub(super) annotations_sha256: Option<String>,
    pub(super) step: usize,
    pub(super) channels: Option<usize>,
    pub(super) components: Option<usize>,
    pub(super) scales: Option<u8>,
    pub(super) affinity: Option<bool>,
    pub(super) rise_masks: usize,
    pub(super) seed: u64,
}

/// A metric of one map: a number, or the thresholds that hit, or nothing where it is not defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Number(f64),
    Hits(Vec<u8>),
    Undefined(()),
}

pub(super) type Values = BTreeMap<String, Value>;

/// A line of `records.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) settings: String,
    pub(super) photo: String,
    pub(super) category: String,
    pub(super) method: String,
    /// The share of the input that the mask covers; none without masks.
    pub(super) mask: Option<f64>,
    pub(super) metrics: Values,
}

type Key = (String, String, String);

/// The records of these settings, and the file that new ones are appended to.
pub(super) struct Records {
    file: Mutex<File>,
    pub(super) settings: String,
    known: BTreeMap<Key, (Option<f64>, Values)>,
}

impl Records {
    /// Opens or makes the file, cuts off a last line that was not finished, and reads the rest.
    pub(super) fn open(path: &Path, settings: String) -> Result<Self> {
        let named = || format!("records `{}`", path.display());
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.as_mut().map_err(|error| anyhow::anyhow!("{error}"));
        let file = file.with_context(|| format!("{}: cannot be opened; choose another --out", named()))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!("{}: another run is writing it; choose another --out", named()),
            // Where there are no locks, two runs at once are the user's to avoid.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(named)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).with_context(named)?;
        }
        file.seek(SeekFrom::Start(whole as u64)).with_context(named)?;
        let mut records = Self { file: Mutex::new(file.try_clone()?), settings, known: BTreeMap::new() };
        for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                let record = serde_json::from_slice(line).with_context(|| {
                    format!("{}, line {}: expected a record; delete the file to start anew", named(), number + 1)
                })?;
                records.learn(record);
            }
        }
        Ok(records)
    }

    fn learn(&mut self, record: Record) {
        if record.settings == self.settings {
            let known = self.known.entry((record.photo, record.category, record.method)).or_default();
            known.0 = record.mask;
            known.1.extend(record.metrics);
        }
    }

    /// Appends a record in one write.
    pub(super) fn append(&self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record)? + "\n";
        let mut file = self.file.lock().expect("no worker panics while it holds the lock");
        file.write_all(line.as_bytes()).context("records: cannot be written; is there space on the disk?")
    }

    pub(super) fn get(&self, photo: &str, category: &str, method: Method) -> Option<&(Option<f64>, Values)> {
        self.known.get(&(photo.to_owned(), category.to_owned(), method.name().to_owned()))
    }
}
