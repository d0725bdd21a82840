//! What there is to do: photos that exist, categories that the model knows, masks of a size that counts; and what was skipped.

use crate::Size;
use crate::args::EvalArgs;
use crate::dataset::{self, Annotated, Object, Truth};
use crate::encoders::text::TextTower;
use crate::model::Model;
use crate::photo::{Fit, Framing, Photo};
use crate::score::Prompt;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why something was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Problem {
    MissingPhoto,
    UndecodablePhoto,
    UnknownCategory,
    EmptyMask,
    Failed,
}

/// An annotation that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Skipped {
    pub(crate) problem: Problem,
    pub(crate) photo: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<String>,
    pub(crate) reason: String,
}

impl Skipped {
    /// In a line.
    pub(crate) fn line(&self) -> String {
        let category = self.category.as_ref().map_or(String::new(), |category| format!(", {category}"));
        format!("{}{category}: {}", self.photo, self.reason)
    }
}

/// Pairs that the protocol does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) by_category: usize,
    pub(crate) mask_too_small: usize,
    pub(crate) mask_too_large: usize,
}

impl LeftOut {
    /// In words.
    pub(crate) fn words(&self) -> String {
        format!(
            "{} by category, {} with too small a mask, {} with too large a one",
            self.by_category, self.mask_too_small, self.mask_too_large
        )
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

/// What came of one run over the photos.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) left_out: LeftOut,
    /// Photo and category of every pair that counts.
    pub(crate) pairs: BTreeSet<(String, String)>,
}

/// What is known of a pair before the network runs.
#[derive(PartialEq)]
pub(crate) enum Pair {
    Counts,
    LeftOut,
}

impl Found {
    /// Whether the mask is within the limits, and so the pair counts.
    pub(crate) fn judge(&mut self, args: &EvalArgs, mask: Option<f64>, photo: &str, category: &str) -> Pair {
        match mask {
            Some(share) if share < args.least_mask => self.left_out.mask_too_small += 1,
            Some(share) if share > args.most_mask => self.left_out.mask_too_large += 1,
            _ => {
                self.pairs.insert((photo.to_owned(), category.to_owned()));
                return Pair::Counts;
            }
        }
        Pair::LeftOut
    }
}

/// What of the photos and of the network is looked at.
pub(crate) struct View {
    /// Of the network's input, in pixels.
    pub(crate) side: usize,
    pub(crate) fit: Fit,
    margin: u32,
    pub(crate) layer: String,
    /// The score that is explained.
    pub(crate) explained: String,
}

impl View {
    pub(crate) fn new(args: &EvalArgs, model: &Model) -> Result<Self> {
        let (with, image) = (&args.methods, &model.manifest.image);
        let side = with.model.size.unwrap_or(image.size);
        model.manifest.check_side((side, side)).context("--size")?;
        Ok(Self {
            side,
            fit: with.model.fit.map_or(image.fit, |fit| fit.0),
            margin: args.margin,
            layer: with.tuning.layer.as_ref().unwrap_or(&image.default_layer).clone(),
            explained: with.tuning.score.as_ref().unwrap_or(&model.manifest.explain.explained).clone(),
        })
    }

    /// Height and width of a photo, and the part of it that the network sees.
    pub(crate) fn framing(&self, photo: &Photo) -> (Size, Framing) {
        let framing = Framing::new(self.fit, photo.size(), Size::square(self.side), self.margin as usize);
        (photo.size(), framing)
    }

    /// Where objects lie on the network's input; none if they have no masks.
    pub(crate) fn truth(&self, photo: &Photo, objects: &[Object]) -> Option<Truth> {
        let (size, framing) = self.framing(photo);
        let masks = objects.iter().all(|object| object.shape.is_some());
        masks.then(|| Truth::new(objects.iter(), framing, size, Size::square(self.side)))
    }
}

/// What a category's score is of: `template` around its words, all of which the model must know.
pub(crate) fn prompt_of(
    category: &str,
    template: &str,
    model: &Model,
    text: &TextTower,
    explained: &str,
) -> Result<Prompt> {
    let prompt = Prompt::new(model, text, &template.replace("{}", category), None, Some(explained))?;
    let unknown = prompt.warnings();
    ensure!(unknown.is_empty(), "{}", unknown.join("; "));
    Ok(prompt)
}

/// What there is to do: photos that exist, and their categories whose prompts can be encoded.
pub(crate) fn plan(
    args: &EvalArgs,
    listed: Vec<Annotated>,
    found: &mut Found,
    prompts: &mut BTreeMap<String, Prompt>,
    encode: impl Fn(&str) -> Result<Prompt>,
) -> Vec<Work> {
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    let mut work = Vec::new();
    for Annotated { photo, objects } in listed {
        let name = Path::new(&photo).file_name().map(PathBuf::from).unwrap_or_default();
        let places = [args.photos.join(&photo), args.photos.join(name)];
        let Some(path) = places.into_iter().find(|path| path.is_file()) else {
            let reason = format!("no such photo in `{}`", args.photos.display());
            found.skipped.push(Skipped { problem: Problem::MissingPhoto, photo, category: None, reason });
            continue;
        };
        let mut pairs: Vec<(String, Vec<Object>)> = Vec::new();
        for object in objects.iter().cloned() {
            match pairs.iter_mut().find(|(category, _)| *category == object.category) {
                Some((_, objects)) => objects.push(object),
                None => pairs.push((object.category.clone(), vec![object])),
            }
        }
        pairs.retain(|(category, objects)| {
            if args.leave_out.iter().any(|out| out.eq_ignore_ascii_case(category)) {
                found.left_out.by_category += 1;
                return false;
            }
            let mut skip = |problem, reason: String| {
                let (photo, category) = (photo.clone(), Some(category.clone()));
                found.skipped.push(Skipped { problem, photo, category, reason });
                false
            };
            if !prompts.contains_key(category) && !refused.contains_key(category) {
                match encode(category) {
                    Ok(prompt) => drop(prompts.insert(category.clone(), prompt)),
                    Err(error) => drop(refused.insert(category.clone(), format!("{error:#}"))),
                }
            }
            if let Some(reason) = refused.get(category) {
                return skip(Problem::UnknownCategory, reason.clone());
            }
            if objects.iter().all(|object| object.shape.as_ref().is_some_and(dataset::Shape::is_empty)) {
                return skip(Problem::EmptyMask, "the mask is empty: its polygons enclose nothing".into());
            }
            true
        });
        if !pairs.is_empty() {
            work.push(Work { photo, path, objects, pairs });
        }
    }
    work
}
