//! Prompts, encoded once, and the scores of photos against them.

use super::classes::{Reading, Standing};
use super::place::{Place, Seen, Spot};
use super::{Knowledge, posterior};
use crate::encoders::image::ImageVectors;
use crate::encoders::text::{Several, TextTower, TextVectors};
use crate::error::Sorted as _;
use crate::model::{AT_A_PLACE, Manifest, OF_A_PICTURE, Score, ScoreKind};
use crate::photo::Photo;
use crate::{Error, Result};
use anyhow::{Context, anyhow};
use serde::Serialize;
use std::collections::BTreeMap;
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
#[derive(Clone, Debug)]
pub struct Prompt {
    text: Encoded,
    versus: Option<Encoded>,
    reported: Score,
    explained: Score,
    /// The text vector of the explained score, less that of `versus` if there is one; negated if the side is against.
    evidence: Vec<f32>,
    knowledge: Option<Arc<Knowledge>>,
    /// Of a classifier: the names of its classes, and how its numbers become probabilities.
    classes: Option<(Arc<[String]>, Reading)>,
    side: Side,
    /// The place that is asked about, if it is one.
    spot: Option<Spot>,
    /// The photo that is compared with, if it is one.
    likeness: Option<Likeness>,
}

/// Which evidence is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What raises the score.
    #[default]
    For,
    /// What lowers it: all scores are negated.
    Against,
}

/// The photo that another one is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Likeness {
    /// Its path, as given.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

#[derive(Clone, Debug)]
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
        let needs = match explained.text.as_str() {
            AT_A_PLACE => Some("a place: give --at, --within or --box"),
            OF_A_PICTURE => Some("another photo: give --like"),
            _ => None,
        };
        if let Some(needs) = needs {
            return Err(anyhow!("score \"{}\" needs {needs}", explained.name)).kind(Error::Options);
        }
        let encode = |typed: &str| -> Result<Encoded> {
            let vectors = tower.encode_as(typed, several)?;
            // A line break would divide the sentences that name the prompt.
            let words: Vec<&str> = vectors.meant.split_whitespace().collect();
            Ok(Encoded { typed: words.join(" "), vectors })
        };
        let text = encode(question.text)?;
        let versus = question.versus.map(encode).transpose()?;
        let evidence = match &versus {
            Some(versus) => text.vectors.for_score_versus(&versus.vectors, &explained)?,
            None => text.vectors.for_score(&explained)?,
        };
        let classes = match tower.labels().filter(|labels| labels.len() > 1) {
            Some(labels) => Some((labels, Reading::new(manifest, &explained)?)),
            None => None,
        };
        Ok(Self { classes, knowledge, ..Self::of(text, versus, [reported, explained], evidence) })
    }

    fn of(text: Encoded, versus: Option<Encoded>, [reported, explained]: [Score; 2], evidence: Vec<f32>) -> Self {
        Self {
            text,
            versus,
            reported,
            explained,
            evidence,
            classes: None,
            knowledge: None,
            side: Side::For,
            spot: None,
            likeness: None,
        }
    }

    /// Encodes a question about a class at one place of a photo, which is found in what the network `seen` said of the photo as it is. Without a text the class is
    /// the one with the largest number there.
    ///
    /// # Errors
    /// No such class, no such place, or a network that has no places.
    pub(crate) fn at(
        manifest: &Manifest,
        tower: &TextTower,
        question: Question<'_>,
        place: &Place,
        seen: &Seen<'_>,
    ) -> Result<Self> {
        let scores: Vec<&Score> = manifest.scores.iter().filter(|score| score.text == AT_A_PLACE).collect();
        let of = |tensor: &str| scores.iter().find(|score| score.image == tensor).copied().cloned();
        let scores = of(&seen.places.reported).zip(of(&seen.places.explained));
        let (reported, explained) = scores.context("the model has no scores at places").kind(Error::Model)?;
        let name = if question.text.is_empty() { seen.predicted(place)?.to_string() } else { question.text.to_owned() };
        let class_of = |typed: &str| -> Result<(usize, String)> {
            let vectors = tower.encode(typed)?;
            let class = vectors.tokens.ids.first().and_then(|id| usize::try_from(*id).ok());
            Ok((class.context("the model has no classes").kind(Error::Model)?, vectors.meant))
        };
        let (class, meant) = class_of(&name)?;
        let found = seen.find(place, class)?;
        let encoded = |class: usize, meant: String| Encoded {
            vectors: TextVectors::made(meant.clone(), BTreeMap::from([(AT_A_PLACE.to_owned(), found.evidence(class))])),
            typed: meant,
        };
        let text = encoded(class, meant);
        let versus = match question.versus {
            Some(versus) => {
                let (class, meant) = class_of(versus)?;
                Some(encoded(class, meant))
            }
            None => None,
        };
        let evidence = match &versus {
            Some(versus) => text.vectors.for_score_versus(&versus.vectors, &explained)?,
            None => text.vectors.for_score(&explained)?,
        };
        Ok(Self { spot: Some(found.spot), ..Self::of(text, versus, [reported, explained], evidence) })
    }

    /// The question how alike photos are to one, of which the network gave these vectors: the cosine of the two embeddings.
    ///
    /// # Errors
    /// A model without embeddings that could be compared.
    pub fn like(manifest: &Manifest, other: &Photo, vectors: &ImageVectors, score: Option<&str>) -> Result<Self> {
        let score = match score {
            Some(name) => Some(manifest.score(name)?).filter(|score| score.kind == ScoreKind::Cosine),
            None => manifest.scores.iter().find(|score| score.kind == ScoreKind::Cosine),
        };
        let score = score.with_context(|| {
            format!(
                "model \"{}\" has no vector that stands for a photo and could be compared; name one with --output, or take a dual encoder or another classifier",
                manifest.name
            )
        });
        let score = score.kind(Error::Options)?.clone();
        let outputs = BTreeMap::from([(score.text.clone(), score.vector(vectors)?.to_vec())]);
        let text = Encoded { typed: other.name.clone(), vectors: TextVectors::made(other.name.clone(), outputs) };
        let evidence = text.vectors.for_score(&score)?;
        let likeness = Likeness { path: other.name.clone(), sha256: other.sha256.clone() };
        Ok(Self { likeness: Some(likeness), ..Self::of(text, None, [score.clone(), score], evidence) })
    }

    /// The same question for one side.
    pub fn side(mut self, side: Side) -> Self {
        if side != self.side {
            self.evidence.iter_mut().for_each(|value| *value = -*value);
        }
        // Whether the model sees something is no question of what speaks against it.
        let knowledge = if side == Side::Against { None } else { self.knowledge.take() };
        Self { side, knowledge, ..self }
    }

    /// Which evidence is asked for.
    pub fn asked_side(&self) -> Side {
        self.side
    }

    /// The place that is asked about, if it is one.
    pub fn spot(&self) -> Option<&Spot> {
        self.spot.as_ref()
    }

    /// The photo that is compared with, if it is one.
    pub fn likeness(&self) -> Option<&Likeness> {
        self.likeness.as_ref()
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
        if self.side == Side::Against {
            target.iter_mut().for_each(|value| *value = -*value);
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
        let subject = match self.versus() {
            Some(versus) => format!("\"{}\" and not \"{versus}\"", self.text()),
            None => format!("\"{}\"", self.text()),
        };
        let against = if self.side == Side::Against { "against " } else { "" };
        let like = if self.likeness.is_some() { "likeness to " } else { "" };
        let place = self.spot.as_ref().map(Spot::words).unwrap_or_default();
        format!("{against}{like}{subject}{place}")
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
        let (sign, name) = match self.side {
            Side::For => (1.0, score.name.clone()),
            Side::Against => (-1.0, format!("minus {}", score.name)),
        };
        let text = sign * of(&self.text)?;
        let versus = self.versus.as_ref().map(of).transpose()?.map(|versus| sign * versus);
        Ok(ScoreValue { name, text, versus, value: text - versus.unwrap_or(0.0) })
    }

    /// The probability per unit of the reported score, if the model states one: see [`Score::scale`].
    pub(super) fn scale(&self) -> Option<f32> {
        self.reported.scale
    }

    /// What has to be said of a probability that is made with this scale.
    pub(super) fn scale_warning(&self) -> Option<String> {
        let scale = self.reported.scale.filter(|_| self.reported.scale_assumed)?;
        Some(format!(
            "the probabilities assume a scale of {scale}, which a CLIP has after its usual training: the files do not say what scale this model has; the scores and their order do not depend on it"
        ))
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
            .chain(self.spot.as_ref().and_then(Spot::warning))
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
