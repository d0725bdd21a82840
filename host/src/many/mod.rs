//! Many photos, each explained by [`Session::explain_on`]: the model is loaded once, each core has a photo of its own, and nothing of a photo stays in memory once it is done.
//!
//! | room | what |
//! |---|---|
//! | [`sources`] | paths, folders, patterns and lists become photos |
//! | [`naming`] | where the files of each photo go; no two photos share a name |
//! | `contact` | `index.html`: all photos on one page |
//!
//! What is said of each photo is appended to `explanations.jsonl` as soon as its files are complete. A run that was stopped at any moment therefore goes on where it was: a
//! photo whose line is there, with the same settings, the same pattern of names, the same bytes of the photo and all its files, is done; every other one is explained, and
//! if that fails, what an earlier run wrote of it is removed. At the end the lines are put into the order of the photos. Lines of other patterns are other runs' and stay:
//! `{stem}.png` and `{stem}.html` stand side by side.

mod contact;
pub mod naming;
pub mod sources;

pub use naming::{Kind, Naming};
pub use sources::{Source, list};

use crate::error::Sorted as _;
use crate::files::{self, Claim, Files};
use crate::hash::sha256_hex;
use crate::journal::{self, Journal};
use crate::owned::{self, Inputs};
use crate::program::PROGRAM;
use crate::progress::{Steps, Watch};
use crate::report::{self, Answer, ExplanationReport, Outputs};
use crate::score::Prompt;
use crate::timings::Timings;
use crate::{Error, Options, Photo, Result, Session, Shard, workers};
use contact::Card;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file with a line for each photo.
pub const JOURNAL: &str = "explanations.jsonl";
/// The page with all photos.
pub const INDEX: &str = "index.html";

/// Which photos are explained, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ManyOptions {
    /// Photos, folders and patterns.
    pub photos: Vec<PathBuf>,
    /// Where the files go; none if nothing is written.
    pub out: Option<Naming>,
    /// How each photo is explained.
    pub options: Options,
    /// What is written of each, and how it is drawn.
    pub outputs: Outputs,
    /// Only the photos of this share, by their paths as they were given or found.
    pub shard: Option<Shard>,
    /// Everything else that prompts depend on but the photo: a run goes on only where this was the same.
    pub question: String,
    /// Files that are read beside the photos, and so never replaced.
    pub read: Vec<PathBuf>,
}

impl ManyOptions {
    /// Photos whose files go to `out`, with every other choice left as it is usual.
    pub fn new(photos: Vec<PathBuf>, out: Option<Naming>) -> Self {
        Self {
            photos,
            out,
            options: Options::new(),
            outputs: Outputs::default(),
            shard: None,
            question: String::new(),
            read: Vec::new(),
        }
    }
}

/// What the caller is told while the work goes on, from any thread.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Pictures in folders are left out, because this program wrote them.
    LeftOut {
        /// How many.
        pictures: usize,
    },
    /// Of these photos so many may have been explained before.
    GoingOn {
        /// Photos that have a line already.
        before: usize,
        /// All photos.
        of: usize,
    },
    /// The directory holds photos that were explained with other settings: they are explained anew.
    Anew {
        /// How many.
        before: usize,
    },
    /// A photo is done, now or in an earlier run.
    Done {
        /// Its path.
        path: &'a str,
        /// What was found, in words.
        sentence: &'a str,
        /// Its line: JSON.
        line: &'a str,
        /// Whether that was in an earlier run.
        before: bool,
    },
    /// A photo failed; the others go on.
    Failed {
        /// Why, with its path.
        reason: &'a str,
    },
}

/// How a run over many photos ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// Photos that this run explained.
    pub explained: usize,
    /// Photos that an earlier run had explained.
    pub before: usize,
    /// Photos that failed.
    pub failed: usize,
    /// Of the photos that were explained now or before: how many were checked, and how many maps passed.
    pub checked: usize,
    /// Maps that passed their check.
    pub passed: usize,
    /// Each warning of this run once, with how many photos it is of and the first of them.
    pub warnings: Vec<(String, usize, String)>,
    /// The files with all photos.
    pub files: Vec<PathBuf>,
}

/// What gives the prompt of a photo.
pub type Ask<'a> = dyn Fn(&Photo) -> Result<Prompt> + Sync + 'a;

/// What is told of events.
pub type Tell<'a> = dyn Fn(Event<'_>) + Sync + 'a;

/// What is said of animations among many photos.
const ANIMATED: &str =
    "an animation, of which the first frame was explained; --frames explains the others, of one file";

/// Different warnings that an outcome names at most.
const WARNINGS: usize = 50;

/// A line of the journal.
#[derive(Serialize)]
struct Line<'a> {
    settings: &'a str,
    /// The pattern that gave the files their names; none if nothing is written.
    naming: Option<&'a str>,
    /// Where the files are, below the directory of the journal.
    directory: &'a str,
    #[serde(flatten)]
    report: &'a ExplanationReport,
}

/// What is read again of a line.
#[derive(Deserialize)]
struct Read {
    settings: String,
    naming: Option<String>,
    #[serde(flatten)]
    written: Written,
    sentence: String,
    photo: ReadPhoto,
    scores: ReadScores,
    classes: Option<ReadClasses>,
    check: Option<ReadCheck>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct ReadPhoto {
    path: String,
    sha256: String,
}

#[derive(Deserialize)]
struct ReadScores {
    reported: ReadScore,
}

#[derive(Deserialize)]
struct ReadScore {
    name: String,
    value: f32,
}

#[derive(Deserialize)]
struct ReadClasses {
    explained: ReadClass,
}

#[derive(Deserialize)]
struct ReadClass {
    probability: Option<f64>,
}

#[derive(Deserialize)]
struct ReadCheck {
    passed: bool,
    lost: Option<f32>,
}

/// What a line says of the files that were written.
#[derive(Deserialize)]
struct Written {
    directory: String,
    files: Vec<String>,
}

impl Written {
    /// The files, relative to the directory of the journal. A path that leads out of that directory is none of ours.
    fn files(&self) -> Vec<PathBuf> {
        let paths = self.files.iter().map(|file| Path::new(&self.directory).join(file));
        paths.filter(|path| is_below(path)).collect()
    }

    /// The name that [`Naming`] gave the photo; one that leads out of that directory is none.
    fn name(&self, kind: Kind) -> Option<String> {
        let name = match (kind, self.files.first()) {
            (Kind::Folder, _) | (_, None) => self.directory.clone(),
            (_, Some(file)) if self.directory.is_empty() => file.clone(),
            (_, Some(file)) => format!("{}/{file}", self.directory),
        };
        is_below(Path::new(&name)).then_some(name)
    }
}

/// Whether a path leads to somewhere below the directory that it is relative to.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// What a journal says of earlier runs.
#[derive(Default)]
struct Known {
    /// By path, what was explained with the settings and names of now.
    before: BTreeMap<String, Before>,
    /// By path, the names that these photos have.
    earlier: BTreeMap<String, String>,
    /// The lines that stay: these, and those of other names.
    kept: Vec<Range<u64>>,
    /// Files of lines that stay because their names follow another pattern.
    others: BTreeSet<PathBuf>,
    /// How many photos have the names of now and other settings, and their files.
    anew: usize,
    stale: Vec<PathBuf>,
}

impl Known {
    fn read(naming: &Naming, settings: &str) -> Result<Self> {
        let mut known = Self::default();
        let path = naming.root().join(JOURNAL);
        if !path.exists() {
            return Ok(known);
        }
        journal::read(&path, |line, at| {
            let read: Read = serde_json::from_slice(line)?;
            let files = read.written.files();
            let name = read.written.name(naming.kind()).filter(|_| read.settings == settings);
            if read.naming.as_deref() != Some(naming.pattern()) {
                known.others.extend(files);
                known.kept.push(at);
            } else if let Some(name) = name {
                known.earlier.insert(read.photo.path.clone(), name);
                known.before.insert(read.photo.path, Before { sha256: read.photo.sha256, files, line: at.clone() });
                known.kept.push(at);
            } else {
                known.anew += 1;
                known.stale.extend(files);
            }
            Ok(())
        })?;
        Ok(known)
    }

    /// Every file that the journal names.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.before.values().flat_map(|before| &before.files).chain(&self.others).chain(&self.stale)
    }

    /// Refuses to write over what is read, or what others wrote.
    fn check_free(&self, naming: &Naming, asked: &ManyOptions, (sources, names): (&[Source], &[String])) -> Result<()> {
        let inputs = Inputs::new(sources.iter().map(|source| &source.path).chain(&asked.read));
        let listed: BTreeSet<&PathBuf> = self.files().collect();
        let earlier: BTreeSet<&String> = self.earlier.values().collect();
        owned::check(&naming.root().join(INDEX), &inputs, !listed.is_empty())?;
        for name in names {
            let target = naming.root().join(name);
            match naming.kind() {
                Kind::Folder if earlier.contains(name) => {}
                Kind::Folder if target.is_dir() => {
                    report::check_free(&target, &inputs, &asked.options, &asked.outputs)?;
                }
                Kind::Folder => {}
                _ => owned::check(&target, &inputs, listed.contains(&PathBuf::from(name)))?,
            }
        }
        Ok(())
    }
}

/// A photo that an earlier run explained.
struct Before {
    sha256: String,
    files: Vec<PathBuf>,
    line: Range<u64>,
}

struct Run<'a> {
    session: &'a Session,
    asked: &'a ManyOptions,
    ask: &'a Ask<'a>,
    tell: &'a Tell<'a>,
    sources: Vec<Source>,
    /// Of each source the name of its folder or file, if files are written.
    names: Vec<String>,
    /// By path.
    before: BTreeMap<String, Before>,
    journal: Option<Journal>,
    settings: String,
    threads_each: usize,
    outcome: Mutex<Outcome>,
    /// The names of the photos that failed.
    failed: Mutex<BTreeSet<String>>,
}

/// Explains every photo, writes the files of each, and what is said of all: `explanations.jsonl` and `index.html`.
///
/// # Errors
/// What concerns all photos: none found, a directory that cannot be written to, a model that cannot be loaded, [`Error::Cancelled`]. A photo that cannot be read or explained is told of
/// and counted, and the others go on.
pub fn explain(session: &Session, asked: &ManyOptions, ask: &Ask<'_>, tell: &Tell<'_>) -> Result<Outcome> {
    let sources::Found { mut sources, mut left_out, links } = sources::sources(&asked.photos)?;
    let settings = settings(session, asked)?;
    // Held until everything is written.
    let _claim = asked.out.as_ref().map(|naming| Claim::of(naming.root())).transpose()?;
    let mut known = match &asked.out {
        Some(naming) => Known::read(naming, &settings)?,
        None => Known::default(),
    };
    let mut journal = None;
    let mut names = vec![String::new(); sources.len()];
    if let Some(naming) = &asked.out {
        // What an earlier run wrote among the photos is none of them.
        let written = Inputs::new(known.files().map(|file| naming.root().join(file)));
        let all = sources.len();
        sources.retain(|source| !source.found || !written.hold(&source.path));
        left_out += all - sources.len();
        names = naming.names(&sources, &known.earlier, &known.others)?;
        known.check_free(naming, asked, (&sources, &names))?;
        journal = Some(begun(naming, &settings, &mut known, tell)?);
    }
    if left_out > 0 {
        tell(Event::LeftOut { pictures: left_out });
    }
    // Names are given before the others are left out, so that the shares' files can lie in one folder.
    let named = sources.into_iter().zip(names);
    let held = |(source, _): &(Source, String)| asked.shard.is_none_or(|shard| shard.holds(&source.name()));
    let (sources, names): (Vec<Source>, Vec<String>) = named.filter(held).unzip();
    let Known { before, stale, .. } = known;
    let done = sources.iter().filter(|source| before.contains_key(&source.name())).count();
    if done > 0 {
        tell(Event::GoingOn { before: done, of: sources.len() });
    }
    let workers = session.threads().clamp(1, sources.len().max(1));
    let threads_each = session.threads().div_ceil(workers);
    let mut outcome = Outcome::default();
    outcome
        .warnings
        .extend(links.first().map(|first| (sources::LINKED.to_owned(), links.len(), first.display().to_string())));
    let outcome = Mutex::new(outcome);
    let failed = Mutex::default();
    let run =
        Run { session, asked, ask, tell, sources, names, before, journal, settings, threads_each, outcome, failed };
    let steps = Steps::new(session.watch(), "photos", run.sources.len())?;
    workers::each(run.sources.len(), workers, |at| {
        run.photo(at)?;
        steps.advance(1)
    })?;
    run.finish(stale)
}

/// Opens the journal. Lines of other settings are taken out at once: from now on their files may be replaced.
fn begun(naming: &Naming, settings: &str, known: &mut Known, tell: &Tell<'_>) -> Result<Journal> {
    let path = naming.root().join(JOURNAL);
    let journal = Journal::open(&path, |_, _| Ok(()))?;
    if known.anew == 0 {
        return Ok(journal);
    }
    tell(Event::Anew { before: known.anew });
    journal.into_sorted(&known.kept)?;
    let stale = std::mem::take(&mut known.stale);
    *known = Known { stale, ..Known::read(naming, settings)? };
    Journal::open(&path, |_, _| Ok(()))
}

/// The photos that paths stand for, each with a directory of its own below `out`, and how many pictures were left out because this program wrote them.
///
/// # Errors
/// Photos that are not found, and a directory that is one of the photos.
pub fn placed(photos: &[PathBuf], out: &Path) -> Result<(Vec<(Source, PathBuf)>, usize)> {
    let naming = Naming::new(out)?;
    let sources::Found { sources, left_out, .. } = sources::sources(photos)?;
    let names = naming.names(&sources, &BTreeMap::new(), &BTreeSet::new())?;
    Ok((sources.into_iter().zip(names).map(|(source, name)| (source, naming.root().join(name))).collect(), left_out))
}

/// A short hash of everything but the photo that an explanation depends on.
fn settings(session: &Session, asked: &ManyOptions) -> Result<String> {
    let request = asked.options.resolve(&session.model().manifest)?;
    let Outputs { style, threshold, arrays, command: _ } = &asked.outputs;
    let kind = asked.out.as_ref().map(Naming::kind);
    let (model, faithful) = (session.model().sha256(), session.model().pairs());
    let text = format!(
        "{PROGRAM} {model} {faithful:?} {:?} {request:?} {:?} {} {style:?} {threshold} {arrays:?} {kind:?}",
        session.view(),
        asked.options.names,
        asked.question
    );
    Ok(sha256_hex(text.as_bytes())[..16].to_owned())
}

impl Run<'_> {
    /// One photo. Errors are those that end the run.
    fn photo(&self, at: usize) -> Result<()> {
        let source = &self.sources[at];
        let path = source.name();
        if let Some(before) = self.before.get(&path)
            && self.is_done(source, before)
        {
            self.counted(|outcome| outcome.before += 1);
            if let Some(journal) = &self.journal {
                let line = journal.line(before.line.clone())?;
                (self.tell)(Event::Done { path: &path, sentence: "", line: &line, before: true });
            }
            return Ok(());
        }
        match self.explained(source, &self.names[at]) {
            Ok(()) => Ok(()),
            Err(error @ (Error::Output(_) | Error::Model(_) | Error::Cancelled)) => Err(error),
            Err(error) => {
                let reason = match &error {
                    Error::Photo(_) => error.to_string(),
                    _ => format!("photo `{path}`: {error}"),
                };
                self.counted(|outcome| outcome.failed += 1);
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
                (self.tell)(Event::Failed { reason: &reason });
                Ok(())
            }
        }
    }

    fn counted<T>(&self, count: impl FnOnce(&mut Outcome) -> T) -> T {
        count(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_done(&self, source: &Source, before: &Before) -> bool {
        let Some(naming) = &self.asked.out else { return false };
        !Source::is_standard_input(&source.path)
            && before.files.iter().all(|file| naming.root().join(file).is_file())
            && std::fs::read(&source.path).is_ok_and(|bytes| sha256_hex(&bytes) == before.sha256)
    }

    fn explained(&self, source: &Source, name: &str) -> Result<()> {
        let mut timings = Timings::default();
        let photo = timings.measure("read photo", || source.open())?;
        let prompt = (self.ask)(&photo)?;
        let quiet: &Watch<'_> = &|_| ControlFlow::Continue(());
        let explanation = self.session.explain_on(&photo, &prompt, &self.asked.options, (self.threads_each, quiet))?;
        timings.append(&explanation.timings);
        let answer = Answer {
            model: self.session.model(),
            photo: &photo,
            prompt: &prompt,
            explanation: &explanation,
            timings: &timings,
            outputs: &self.asked.outputs,
        };
        let (report, directory) = self.written(&answer, name)?;
        let naming = self.asked.out.as_ref().map(Naming::pattern);
        let line = Line { settings: &self.settings, naming, directory: &directory, report: &report };
        if let Some(journal) = &self.journal {
            journal.append(&line)?;
        }
        self.counted(|outcome| {
            outcome.explained += 1;
            if let Some(check) = &explanation.check {
                outcome.checked += 1;
                outcome.passed += usize::from(check.passed());
            }
            let animated = photo.animated.then(|| ANIMATED.to_owned());
            for warning in explanation.warnings.iter().chain(&animated) {
                match outcome.warnings.iter().position(|(known, ..)| known == warning) {
                    Some(at) => outcome.warnings[at].1 += 1,
                    None if outcome.warnings.len() < WARNINGS => {
                        outcome.warnings.push((warning.clone(), 1, photo.name.clone()));
                    }
                    None => {}
                }
            }
        });
        let line = serde_json::to_string(&line).map_err(Into::into).kind(Error::Output)?;
        (self.tell)(Event::Done { path: &photo.name, sentence: &answer.sentence(), line: &line, before: false });
        Ok(())
    }

    /// Writes the files of a photo. Returns what is said of it, and the directory of the files below that of all.
    fn written(&self, answer: &Answer<'_>, name: &str) -> Result<(ExplanationReport, String)> {
        let Some(naming) = &self.asked.out else { return Ok((answer.report(&[])?, String::new())) };
        let target = naming.root().join(name);
        if naming.kind() == Kind::Folder {
            let _claim = Claim::of(&target)?;
            return Ok((answer.write_and_report(&target)?.1, name.to_owned()));
        }
        let directory = Path::new(name).parent().unwrap_or(Path::new(""));
        files::prepare_directory(&naming.root().join(directory))?;
        Ok((answer.write_one(&target)?, directory.display().to_string()))
    }

    /// Sorts the lines, removes what other settings left and what is said of photos that are damaged now, and writes the page.
    fn finish(self, mut stale: Vec<PathBuf>) -> Result<Outcome> {
        let Self { asked, journal, sources, outcome, settings, failed, .. } = self;
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(naming) = &asked.out else { return Ok(outcome) };
        drop(journal);
        let mut cards = BTreeMap::new();
        let (mut others, mut of_others) = (Vec::new(), BTreeSet::new());
        let path = naming.root().join(JOURNAL);
        let journal = Journal::open(&path, |line, at| {
            let read: Read = serde_json::from_slice(line)?;
            if read.naming.as_deref() != Some(naming.pattern()) {
                of_others.extend(read.written.files());
                others.push(at);
            } else if failed.contains(&read.photo.path) {
                stale.extend(read.written.files());
            } else if read.settings == settings {
                cards.insert(read.photo.path.clone(), (at, Card::new(read, naming.kind())));
            }
            Ok(())
        })?;
        // In the order of the photos; then those of earlier runs that were not asked for now.
        let now = sources.iter().filter_map(|source| cards.remove(&source.name()));
        let mut sorted: Vec<(Range<u64>, Card)> = now.collect();
        sorted.extend(cards.into_values());
        let (mut lines, cards): (Vec<Range<u64>>, Vec<Card>) = sorted.into_iter().unzip();
        lines.extend(others);
        journal.into_sorted(&lines)?;
        let inputs = Inputs::new(sources.iter().map(|source| &source.path).chain(&asked.read));
        let current: BTreeSet<&PathBuf> = cards.iter().flat_map(|card| &card.files).chain(&of_others).collect();
        for file in stale.iter().filter(|file| !current.contains(file)) {
            let file = naming.root().join(file);
            if inputs.hold(&file) {
                continue;
            }
            // A file that is gone, or that somebody holds, is no failure of this run; a folder goes if nothing is left in it.
            let _ = std::fs::remove_file(&file);
            let _ = file.parent().filter(|folder| *folder != naming.root()).map(std::fs::remove_dir);
        }
        outcome.checked = cards.iter().filter(|card| card.passed.is_some()).count();
        outcome.passed = cards.iter().filter(|card| card.passed == Some(true)).count();
        let page = contact::page(&cards)?;
        // What was there was looked at before the work.
        let mut files = Files::new(naming.root()).sparing(inputs).replacing([INDEX]);
        files.add(INDEX, |out| out.write_all(page.as_bytes()))?;
        outcome.files = files.publish()?;
        outcome.files.push(path);
        Ok(outcome)
    }
}
