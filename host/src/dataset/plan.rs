//! The plan of a run over a data set: photos that exist, categories that the model knows, masks of a size that counts; and what was skipped.

use super::{Annotated, Listed, Object, Photos, Shape, SkippedRecord, Truth};
use crate::error::Sorted as _;
use crate::explain::View;
use crate::model::Manifest;
use crate::photo::Photo;
use crate::score::{Prompt, Question, Words};
use crate::session::Session;
use crate::{Error, Result, Shard};
use anyhow::ensure;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which photos of a data set, and which of their objects.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Directory of the photos.
    pub photos: PathBuf,
    /// What is where; if not given, photos lie in folders named after what they show.
    pub annotations: Option<PathBuf>,
    /// Categories that are not counted.
    pub leave_out: Vec<String>,
    /// The text of a category, which the model's template goes around; `{}` stands for the category. "a {}", of a classifier "{}", if not given.
    pub prompt: Option<String>,
    /// Prompts of single categories, instead of the text above: category and prompt.
    pub prompts: BTreeMap<String, String>,
    /// Smallest mask that counts, as a share of the network's input.
    pub least_mask: f64,
    /// Largest mask that counts.
    pub most_mask: f64,
    /// Only the photos of this share, by their names in the annotations or below the directory.
    pub shard: Option<Shard>,
}

impl Selection {
    /// All annotated photos of a directory, masks of 2% to 70% of the input.
    pub fn new(photos: impl Into<PathBuf>, annotations: Option<PathBuf>) -> Self {
        Self {
            photos: photos.into(),
            annotations,
            leave_out: Vec::new(),
            prompt: None,
            prompts: BTreeMap::new(),
            least_mask: 0.02,
            most_mask: 0.7,
            shard: None,
        }
    }

    /// The text of a category, `{}` standing for it. A classifier's classes are known by their names alone.
    pub fn template(&self, manifest: &Manifest) -> &str {
        let usual = if manifest.classes.is_some() { "{}" } else { "a {}" };
        self.prompt.as_deref().unwrap_or(usual)
    }

    /// The text of one category: its own prompt if it has one, in whatever case its name is given.
    pub fn text_of(&self, category: &str, manifest: &Manifest) -> String {
        let own = self.prompts.iter().find(|(named, _)| same_name(named, category));
        own.map_or_else(|| self.template(manifest).replace("{}", category), |(_, prompt)| prompt.clone())
    }

    /// Refuses a selection that cannot be meant.
    ///
    /// # Errors
    /// No directory of photos, a prompt without exactly one `{}`, limits of masks the wrong way round.
    pub fn check(&self) -> Result<()> {
        self.has_photos().kind(Error::Dataset)?;
        self.can_be_meant().kind(Error::Options)
    }

    /// The photos and their objects.
    ///
    /// # Errors
    /// Annotations that cannot be read.
    pub(crate) fn read(&self) -> Result<Listed> {
        match &self.annotations {
            Some(path) => super::read(path),
            None => super::by_folder(&self.photos),
        }
    }

    /// Refuses what would have no effect on these annotations: a category to be left out, or to have a prompt of its own, that they do not have.
    ///
    /// # Errors
    /// [`Error::Options`], with the categories that there are.
    pub(crate) fn check_categories(&self, listed: &Listed) -> Result<()> {
        self.categories_known(listed).kind(Error::Options)
    }

    fn categories_known(&self, listed: &Listed) -> anyhow::Result<()> {
        let left_out = self.leave_out.iter().map(|category| ("--leave-out", category));
        let prompts = self.prompts.keys().map(|category| ("--prompt", category));
        for (option, category) in left_out.chain(prompts) {
            let known = listed.categories.iter().any(|known| same_name(known, category));
            ensure!(
                known,
                "{option}: no category of the annotations is called \"{category}\", so this would have no effect; expected one of: {}",
                listed.nearest(category).join(", ")
            );
        }
        Ok(())
    }

    fn has_photos(&self) -> anyhow::Result<()> {
        ensure!(
            self.photos.is_dir(),
            "--photos `{}`: expected a directory of photos, found none; check the path",
            self.photos.display()
        );
        Ok(())
    }

    fn can_be_meant(&self) -> anyhow::Result<()> {
        let prompt = self.prompt.as_deref().unwrap_or("{}");
        let empty = self.prompts.iter().find(|(category, prompt)| category.is_empty() || prompt.is_empty());
        ensure!(
            empty.is_none(),
            "--prompt: expected CATEGORY=WORDS, found \"{}={}\"",
            empty.map_or("", |(category, _)| category),
            empty.map_or("", |(_, prompt)| prompt)
        );
        ensure!(prompt.matches("{}").count() == 1, "--prompt: expected {{}} once, found \"{prompt}\"");
        ensure!(
            0.0 <= self.least_mask && self.least_mask <= self.most_mask,
            "--least-mask and --most-mask: expected shares of which the first is the smaller, found {} and {}",
            self.least_mask,
            self.most_mask
        );
        Ok(())
    }
}

/// How a run over a data set ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The tables, in words.
    pub text: String,
    /// What was skipped, a line each.
    pub skipped: Vec<String>,
    /// The files that name all that was skipped.
    pub skipped_in: &'static str,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// Why something was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The annotations name a photo that is not there.
    MissingPhoto,
    /// The photo cannot be decoded.
    UndecodablePhoto,
    /// The model does not know the category.
    UnknownCategory,
    /// The mask encloses nothing.
    EmptyMask,
    /// A record of the annotations that cannot be used.
    BadRecord,
    /// Something else failed.
    Failed,
}

/// An annotation that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// Why, for programs.
    pub problem: Problem,
    /// The photo.
    pub photo: String,
    /// The category, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Why, for people.
    pub reason: String,
}

impl Skipped {
    /// In a line.
    pub fn line(&self) -> String {
        let category = self.category.as_ref().map_or(String::new(), |category| format!(", {category}"));
        format!("{}{category}: {}", self.photo, self.reason)
    }
}

/// Pairs of photo and category that the protocol does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Of categories that were left out.
    pub by_category: usize,
    /// With a mask below the least share.
    pub mask_too_small: usize,
    /// With a mask above the greatest share.
    pub mask_too_large: usize,
}

impl LeftOut {
    /// In words.
    pub fn words(&self) -> String {
        format!(
            "{} by category, {} with too small a mask, {} with too large a one",
            self.by_category, self.mask_too_small, self.mask_too_large
        )
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.by_category + self.mask_too_small + self.mask_too_large
    }
}

/// A photo and its categories, in the order of the annotations.
pub(crate) struct Work {
    pub(crate) photo: String,
    pub(crate) path: PathBuf,
    /// Everything on the photo, counted or not.
    pub(crate) objects: Vec<Object>,
    pub(crate) pairs: Vec<(String, Vec<Object>)>,
}

/// What came of one run over the photos; threads share it.
#[derive(Debug, Default)]
pub(crate) struct Found(Mutex<Tally>);

/// The numbers of [`Found`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) left_out: LeftOut,
    /// Photo and category of every pair that counts.
    pub(crate) pairs: BTreeSet<(String, String)>,
    /// What was asked of the model for each category.
    pub(crate) prompts: BTreeMap<String, Encoded>,
}

/// What was asked of the model for a category, and what it took that for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Encoded {
    /// The prompt as it was understood: of a classifier, the names of the classes.
    text: String,
    /// How far the words are known; none if nothing says what the model knows.
    words: Option<Words>,
}

impl Found {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a mask of this share is within the limits, and so the pair counts.
    pub(crate) fn counts(&self, selection: &Selection, mask: Option<f64>, photo: &str, category: &str) -> bool {
        let mut tally = self.lock();
        match mask {
            Some(share) if share < selection.least_mask => tally.left_out.mask_too_small += 1,
            Some(share) if share > selection.most_mask => tally.left_out.mask_too_large += 1,
            _ => {
                tally.pairs.insert((photo.to_owned(), category.to_owned()));
                return true;
            }
        }
        false
    }

    /// Notes what is asked for a category.
    pub(crate) fn encoded(&self, category: &str, prompt: &Prompt) {
        let words = prompt.knowledge().map(|knowledge| knowledge.reading(prompt.text()).words);
        let encoded = Encoded { text: prompt.text().to_owned(), words };
        self.lock().prompts.insert(category.to_owned(), encoded);
    }

    /// Notes what could not be used; its pair no longer counts.
    pub(crate) fn skip(&self, problem: Problem, photo: &str, category: Option<&str>, reason: impl ToString) {
        let mut tally = self.lock();
        if let Some(category) = category {
            tally.pairs.remove(&(photo.to_owned(), category.to_owned()));
        }
        tally.skipped.push(Skipped {
            problem,
            photo: photo.to_owned(),
            category: category.map(str::to_owned),
            reason: reason.to_string(),
        });
    }

    /// Notes a record of the annotations that could not be used.
    fn skip_record(&self, record: &SkippedRecord) {
        self.lock().skipped.push(Skipped {
            problem: Problem::BadRecord,
            photo: record.photo.clone().unwrap_or_else(|| record.file.clone()),
            category: record.category.clone(),
            reason: record.line(),
        });
    }

    /// Photo and category of every pair that counts, so far.
    pub(crate) fn pairs(&self) -> BTreeSet<(String, String)> {
        self.lock().pairs.clone()
    }

    /// What was found, what was skipped in order.
    pub(crate) fn into_tally(self) -> Tally {
        let mut tally = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.skipped.sort();
        tally
    }
}

/// Where objects lie on the network's input; none if they have no masks.
///
/// # Errors
/// An object whose place cannot be one on this photo.
pub(crate) fn truth(view: &View, photo: &Photo, objects: &[Object]) -> anyhow::Result<Option<Truth>> {
    objects.iter().try_for_each(|object| object.check_on(photo.size()))?;
    let masks = objects.iter().all(|object| object.shape.is_some());
    Ok(masks.then(|| Truth::new(objects.iter(), view.framing(photo.size()), photo.size(), view.size())))
}

/// What a category's score is of: its prompt, all of whose words the model must know. Of a classifier, all classes that the words may mean, together.
///
/// # Errors
/// A word that the model does not know.
pub(crate) fn prompt_of(
    session: &Session,
    category: &str,
    selection: &Selection,
    score: Option<&str>,
) -> Result<Prompt> {
    let text = selection.text_of(category, &session.model().manifest);
    let prompt = session.prompt_of_any(Question { text: &text, versus: None, score })?;
    match prompt.warnings() {
        unknown if unknown.is_empty() => Ok(prompt),
        unknown => Err(anyhow::anyhow!("{}", unknown.join("; "))).kind(Error::Prompt),
    }
}

/// What there is to do: photos that exist, and their categories whose prompts can be encoded.
pub(crate) struct Plan {
    pub(crate) work: Vec<Work>,
    pub(crate) prompts: BTreeMap<String, Prompt>,
    pub(crate) found: Found,
    /// How many photos are of the share that was asked for, whatever becomes of them.
    pub(crate) held: usize,
}

impl Plan {
    /// Plans the listed photos; `encode` makes a category's prompt.
    pub(crate) fn new(selection: &Selection, listed: Listed, encode: impl Fn(&str) -> Result<Prompt>) -> Result<Self> {
        let photos = Photos::new(&selection.photos)?;
        let mut plan = Self { work: Vec::new(), prompts: BTreeMap::new(), found: Found::default(), held: 0 };
        let mut refused: BTreeMap<String, String> = BTreeMap::new();
        for record in &listed.skipped {
            plan.found.skip_record(record);
        }
        let held = |photo: &str| selection.shard.is_none_or(|shard| shard.holds(photo));
        for (Annotated { photo, objects }, path) in joined(listed.photos, &photos) {
            if !held(&photo) {
                continue;
            }
            plan.held += 1;
            let path = match path {
                Ok(path) => path,
                Err(missing) => {
                    plan.found.skip(Problem::MissingPhoto, &photo, None, missing);
                    continue;
                }
            };
            let mut pairs = by_category(&objects);
            pairs.retain(|(category, objects)| {
                plan.wants(selection, &photo, (category, objects), &mut refused, &encode)
            });
            if !pairs.is_empty() {
                plan.work.push(Work { photo, path, objects, pairs });
            }
        }
        Ok(plan)
    }

    /// Whether a pair is to be looked at; if not, why is noted. `refused` are categories without a prompt, and why.
    fn wants(
        &mut self,
        selection: &Selection,
        photo: &str,
        (category, objects): (&String, &[Object]),
        refused: &mut BTreeMap<String, String>,
        encode: impl Fn(&str) -> Result<Prompt>,
    ) -> bool {
        if selection.leave_out.iter().any(|out| same_name(out, category)) {
            self.found.lock().left_out.by_category += 1;
            return false;
        }
        if !self.prompts.contains_key(category) && !refused.contains_key(category) {
            match encode(category) {
                Ok(prompt) => drop(self.prompts.insert(category.clone(), prompt)),
                Err(error) => drop(refused.insert(category.clone(), error.to_string())),
            }
        }
        let empty = objects.iter().all(|object| object.shape.as_ref().is_some_and(Shape::is_empty));
        if let Some(reason) = refused.get(category) {
            self.found.skip(Problem::UnknownCategory, photo, Some(category), reason);
        } else if empty {
            let reason = "the mask is empty: its polygons enclose nothing";
            self.found.skip(Problem::EmptyMask, photo, Some(category), reason);
        }
        !refused.contains_key(category) && !empty
    }
}

/// Whether two names are of one category, in whatever case they are written.
fn same_name(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Photos and their files. Names that mean the same file are one photo, which has the first of these names and the objects of all, each once.
fn joined(listed: Vec<Annotated>, photos: &Photos) -> Vec<(Annotated, Result<PathBuf>)> {
    let mut joined: Vec<(Annotated, Result<PathBuf>)> = Vec::new();
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    for annotated in listed {
        let path = photos.find(&annotated.photo);
        let file = path.as_ref().ok().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        let place = file.map(|file| *places.entry(file).or_insert(joined.len()));
        match place.and_then(|place| joined.get_mut(place)) {
            Some((first, _)) => {
                let new: Vec<Object> =
                    annotated.objects.into_iter().filter(|object| !first.objects.contains(object)).collect();
                first.objects.extend(new);
            }
            None => joined.push((annotated, path)),
        }
    }
    joined
}

/// The objects of each category, in the order in which the categories come first.
fn by_category(objects: &[Object]) -> Vec<(String, Vec<Object>)> {
    let mut pairs: Vec<(String, Vec<Object>)> = Vec::new();
    for object in objects {
        match pairs.iter_mut().find(|(category, _)| *category == object.category) {
            Some((_, objects)) => objects.push(object.clone()),
            None => pairs.push((object.category.clone(), vec![object.clone()])),
        }
    }
    pairs
}
