//! The measured values, one line for each map, so that a run that was stopped goes on where it was.

use crate::error::Sorted as _;
use crate::hash::sha256_hex;
use crate::journal::{self, Journal};
use crate::methods::Method;
use crate::score::{Support, Verdict, Words};
use crate::{Error, Result, Size};
use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Of the photo's bytes. A record of other bytes, or that does not say of which, does not count.
    #[serde(default)]
    pub(super) photo_sha256: String,
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
            (_, Verdict::Doubtful | Verdict::Mixed) => Self::Doubtful,
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
    photo_sha256: String,
    pub(super) mask: Option<f64>,
    pub(super) knows: Option<Knows>,
    pub(super) values: Values,
}

/// The records of these settings, and the file that new ones are appended to.
pub(super) struct Records {
    journal: Journal,
    pub(super) settings: String,
    known: BTreeMap<Key, Known>,
    /// What was appended since.
    fresh: Mutex<BTreeMap<Key, Values>>,
}

fn learn(known: &mut BTreeMap<Key, Known>, record: Record) {
    let known = known.entry((record.photo, record.category, record.method)).or_default();
    if known.photo_sha256 != record.photo_sha256 {
        *known = Known { photo_sha256: record.photo_sha256, ..Known::default() };
    }
    known.mask = record.mask.or(known.mask);
    known.knows = record.knows.or(known.knows);
    known.values.extend(record.metrics);
}

impl Records {
    /// Opens or creates the file, cuts off a last line that was not finished, and reads the rest.
    pub(super) fn open(path: &Path, settings: String) -> Result<Self> {
        let mut known = BTreeMap::<Key, Known>::new();
        let journal = Journal::open(path, |line, _| {
            let record: Record = serde_json::from_slice(line)?;
            if record.settings == settings {
                learn(&mut known, record);
            }
            Ok(())
        })?;
        Ok(Self { journal, settings, known, fresh: Mutex::default() })
    }

    /// Takes over the records of another run with the same settings: those that are not here yet.
    ///
    /// # Errors
    /// A file that cannot be read, or that has only records of other settings.
    pub(super) fn take_over(&mut self, path: &Path) -> Result<()> {
        let Self { journal, settings, known, .. } = self;
        let (mut same, mut others) = (0, 0);
        journal::read(path, |line, _| {
            let record: Record = serde_json::from_slice(line)?;
            if record.settings != *settings {
                others += 1;
                return Ok(());
            }
            same += 1;
            let here = known.get(&(record.photo.clone(), record.category.clone(), record.method.clone()));
            if !here.is_some_and(|here| record.metrics.keys().all(|metric| here.values.contains_key(metric))) {
                journal.append(&record)?;
                learn(known, record);
            }
            Ok(())
        })?;
        let some = || {
            ensure!(
                same > 0 || others == 0,
                "records `{}`: all {others} were measured with other settings, photos or another version of the program; give the options of that run",
                path.display()
            );
            Ok(())
        };
        some().kind(Error::Options)
    }

    /// Forgets what was measured of other bytes than a photo has now, and returns of how many photos. `now` gives the hash of a photo's bytes, or nothing
    /// where it cannot be read: that is told when the photo is opened.
    pub(super) fn forget_others(&mut self, now: &BTreeMap<&str, Option<String>>) -> usize {
        let mut changed = BTreeSet::new();
        self.known.retain(|(photo, ..), known| {
            let same = now.get(&**photo).is_none_or(|now| now.as_ref() == Some(&known.photo_sha256));
            if !same {
                changed.insert(photo.clone());
            }
            same
        });
        changed.len()
    }

    /// Whether something of a photo was measured before.
    pub(super) fn know(&self, photo: &str) -> bool {
        let first = (photo.to_owned(), String::new(), String::new());
        self.known.range(first..).next().is_some_and(|((known, ..), _)| known == photo)
    }

    /// Appends a record in one write.
    pub(super) fn append(&self, record: &Record) -> Result<()> {
        self.journal.append(record)?;
        let key = (record.photo.clone(), record.category.clone(), record.method.clone());
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.entry(key).or_default().extend(record.metrics.clone());
        Ok(())
    }

    /// One value of a map, whether it was measured before or now.
    pub(super) fn value(&self, photo: &str, category: &str, method: Method, metric: &str) -> Option<MetricValue> {
        let key = (photo.to_owned(), category.to_owned(), method.name().to_owned());
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fresh.get(&key).and_then(|values| values.get(metric));
        now.or_else(|| self.known.get(&key)?.values.get(metric)).cloned()
    }

    pub(super) fn get(&self, photo: &str, category: &str, method: Method) -> Option<&Known> {
        self.known.get(&(photo.to_owned(), category.to_owned(), method.name().to_owned()))
    }
}
