//! Prompts, encoded once, and the scores of photos against them.

use super::classes::{Reading, Standing};
use super::{Knowledge, posterior};
use crate::encoders::image::ImageVectors;
use crate::encoders::text::{Several, TextTower, TextVectors};
use crate::error::Sorted as _;
use crate::model::{Manifest, Score, ScoreKind};
use crate::{Error, Result};
use anyhow::Context;
use serde::Serialize;
use std::sync::Arc;

/// What is asked about a photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question<'a> {
    /// What to explain: words, or a class of a classifier, by name or number.
    pub text: &'a str,
    /// Another text; the difference of the two scores is explained.
    pub versus: Option<&'a str>,
    /// The score that is explained; the model's own choice if not given.
    pub score: Option<&'a str>,
}

impl<'a> From<&'a str> for Question<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }
}

/// A question, encoded: a prompt, or one prompt against another, ready to be compared with photos.
#[derive(Debug)]
pub struct Prompt {
    text: Encoded,
    versus: Option<Encoded>,
    reported: Score,
    explained: Score,
    /// The text vector of the explained score, less that of `versus` if there is one.
    evidence: Vec<f32>,
    knowledge: Option<Arc<Knowledge>>,
    /// Of a classifier: the names of its classes, and how its numbers become probabilities.
    classes: Option<(Arc<[String]>, Reading)>,
}

#[derive(Debug)]
struct Encoded {
    typed: String,
    vectors: TextVectors,
}

/// A score of a photo.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreValue {
    /// The score's name in the manifest.
    pub name: String,
    /// Of the text.
    pub text: f32,
    /// Of the other text, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versus: Option<f32>,
    /// The score of the text, less that of the other text if there is one.
    pub value: f32,
}

/// The two numbers that an explanation is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// The score that the model is known by, such as a cosine.
    pub reported: ScoreValue,
    /// The score whose gradient is taken and whose differences are measured.
    pub explained: ScoreValue,
}

impl Scores {
    /// Both in one line, the explained one named as such.
    pub fn line(&self) -> String {
        let Self { reported, explained } = self;
        let line = format!("{} {:.3}", reported.name, reported.value);
        if reported.name == explained.name {
            line + " (explained)"
        } else {
            line + &format!(", explained: {} {:.3}", explained.name, explained.value)
        }
    }
}

impl Prompt {
    /// Encodes a question. `knowledge` is what the model knows, if that is said anywhere; `several` says what becomes of words that several classes match.
    ///
    /// # Errors
    /// A text without a known word, or an unknown score.
    pub fn new(
        manifest: &Manifest,
        tower: &TextTower,
        knowledge: Option<Arc<Knowledge>>,
        question: Question<'_>,
        several: Several,
    ) -> Result<Self> {
        let explained = manifest.score(question.score.unwrap_or(&manifest.explain.explained))?.clone();
        let reported = manifest.score(&manifest.explain.reported)?.clone();
        let encode = |typed: &str| -> Result<Encoded> {
            let vectors = tower.encode_as(typed, several)?;
            Ok(Encoded { typed: vectors.meant.clone(), vectors })
        };
        let text = encode(question.text)?;
        let versus = question.versus.map(encode).transpose()?;
        let evidence = match &versus {
            Some(versus) => text.vectors.for_score_versus(&versus.vectors, &explained)?,
            None => text.vectors.for_score(&explained)?,
        };
        let classes = match tower.labels() {
            Some(labels) => Some((labels, Reading::new(manifest, &explained)?)),
            None => None,
        };
        Ok(Self { text, versus, reported, explained, evidence, classes, knowledge })
    }

    /// What the model knows, if that is said anywhere.
    pub fn knowledge(&self) -> Option<&Knowledge> {
        self.knowledge.as_deref()
    }

    /// The text's vector for a score.
    pub(super) fn text_vector(&self, score: &Score) -> Result<Vec<f32>> {
        self.text.vectors.for_score(score)
    }

    /// The name of the reported score.
    pub(super) fn reported_name(&self) -> &str {
        &self.reported.name
    }

    /// The text vector of the explained score, which does not depend on the photo.
    pub fn evidence(&self) -> &[f32] {
        &self.evidence
    }

    /// Whether the gradient of the explained score depends on what the photo shows, beyond its image vector.
    pub fn depends_on_photo(&self) -> bool {
        self.explained.kind == ScoreKind::Posterior
    }

    /// The vector t for which the product of t and the image vector has the same gradient as the explained score. For a posterior it depends on the photo's
    /// vectors; if there are two sizes, on their mean.
    ///
    /// # Errors
    /// Image vectors of another model.
    pub fn target(&self, seen: &[&ImageVectors]) -> Result<Vec<f32>> {
        if !self.depends_on_photo() {
            return Ok(self.evidence.clone());
        }
        let logits = self.explained.mean_vector(seen)?;
        let shares = |encoded: &Encoded| -> Result<Vec<f32>> {
            Ok(posterior(&encoded.vectors.for_score(&self.explained)?, &logits)?.shares)
        };
        let mut target = shares(&self.text)?;
        if let Some(versus) = &self.versus {
            target.iter_mut().zip(shares(versus)?).for_each(|(ours, theirs)| *ours -= theirs);
        }
        Ok(target)
    }

    /// The score that is explained.
    pub fn explained(&self) -> &Score {
        &self.explained
    }

    /// The text as it was understood: of a classifier, the class's name.
    pub fn text(&self) -> &str {
        &self.text.typed
    }

    /// The other text, as it was understood.
    pub fn versus(&self) -> Option<&str> {
        self.versus.as_ref().map(|versus| versus.typed.as_str())
    }

    /// The question as a headline, in quotation marks.
    pub fn headline(&self) -> String {
        match self.versus() {
            Some(versus) => format!("\"{}\" and not \"{versus}\"", self.text()),
            None => format!("\"{}\"", self.text()),
        }
    }

    /// Where the class that is asked for stands among all; none unless the model is a classifier.
    ///
    /// # Errors
    /// Image vectors of another model.
    pub fn standing(&self, vectors: &ImageVectors) -> Result<Option<Standing>> {
        let Some((labels, reading)) = &self.classes else { return Ok(None) };
        let number = self.text.vectors.tokens.ids.first().and_then(|id| usize::try_from(*id).ok());
        let Some(number) = number else { return Ok(None) };
        Ok(Standing::of(number, reading.classes(labels, vectors)?))
    }

    /// Reported and explained score of a photo.
    ///
    /// # Errors
    /// Image vectors of another model.
    pub fn scores(&self, vectors: &ImageVectors) -> Result<Scores> {
        Ok(Scores { reported: self.value(&self.reported, vectors)?, explained: self.value(&self.explained, vectors)? })
    }

    /// The explained score alone.
    ///
    /// # Errors
    /// Image vectors of another model.
    pub fn explained_score(&self, vectors: &ImageVectors) -> Result<f32> {
        Ok(self.value(&self.explained, vectors)?.value)
    }

    /// The reported score alone.
    ///
    /// # Errors
    /// Image vectors of another model.
    pub fn reported_score(&self, vectors: &ImageVectors) -> Result<f32> {
        Ok(self.value(&self.reported, vectors)?.value)
    }

    fn value(&self, score: &Score, image: &ImageVectors) -> Result<ScoreValue> {
        let of = |encoded: &Encoded| score.value(image, &encoded.vectors.for_score(score)?);
        let text = of(&self.text)?;
        let versus = self.versus.as_ref().map(of).transpose()?;
        Ok(ScoreValue { name: score.name.clone(), text, versus, value: text - versus.unwrap_or(0.0) })
    }

    /// The probability per unit of the reported score, if the model states one: see [`Score::scale`].
    pub(super) fn scale(&self) -> Option<f32> {
        self.reported.scale
    }

    /// One warning for each prompt that has words the model does not know.
    pub fn warnings(&self) -> Vec<String> {
        [Some(&self.text), self.versus.as_ref()]
            .into_iter()
            .flatten()
            .filter(|encoded| !encoded.vectors.tokens.unknown_words.is_empty())
            .map(|encoded| {
                format!(
                    "the model does not know these words of \"{}\": {}; the score may be about something else",
                    encoded.typed,
                    encoded.vectors.tokens.unknown_words.join(", ")
                )
            })
            .collect()
    }
}

/// The class with the largest output.
///
/// # Errors
/// An image tower without the score's output.
pub fn predicted_class(vectors: &ImageVectors, score: &Score) -> Result<usize> {
    let outputs = score.vector(vectors)?;
    let best = outputs.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    Ok(best.context("the network has no class").kind(Error::Model)?.0)
}
