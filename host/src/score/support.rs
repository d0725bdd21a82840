//! Whether a model sees in a photo what a prompt asks for: the prompt's place among everything that the model knows.

use super::knowledge::{Knowledge, KnownWords, Limits, Words};
use super::{Class, Prompt};
use crate::encoders::image::ImageVectors;
use crate::error::Sorted as _;
use crate::{Error, Result};
use serde::Serialize;

/// How many classes are named.
const NAMED: usize = 3;

/// What follows from a prompt's place among what the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The model sees this here.
    Seen,
    /// It hardly does: a thing that is small or hidden gets so little, and so do most things that are not there.
    Doubtful,
    /// It does not: its map is about something else.
    NotSeen,
    /// It knows none of the words.
    UnknownWords,
}

impl Verdict {
    /// Between "the model" and the prompt.
    pub(crate) const fn found(self) -> &'static str {
        match self {
            Self::Seen => "sees",
            Self::Doubtful => "hardly sees",
            Self::NotSeen => "does not see",
            Self::UnknownWords => "knows no word of",
        }
    }
}

/// A class and its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenClass {
    /// Its name.
    pub name: String,
    /// softmax over the classes: the share that the photo gives to the class.
    pub share: f32,
}

/// The place of a prompt among what a model sees in a photo.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Support {
    /// Whether the map can be about the prompt; none where that is doubtful.
    pub supported: Option<bool>,
    /// What follows from the numbers below.
    pub verdict: Verdict,
    /// How far the words are known.
    pub words: Words,
    /// Words of the prompt that no class stands for.
    pub without_class: Vec<String>,
    /// sum_c m_c p_c, between 0 and 1: the share that the photo gives to what the prompt may mean. m is 1 for the classes of the prompt's thing, 1/k for those of
    /// the k-th meaning of its word; for a thing that has no class it is the prompt's evidence, scaled to a largest value of one, without what is below a
    /// 32nd of that. p is the softmax of the classes.
    pub share: f32,
    /// The share below which the model does not see it.
    pub least_share: f32,
    /// One more than the number of classes that the prompt does not mean and that have a larger share.
    pub rank: usize,
    /// How many classes there are.
    pub classes: usize,
    /// The classes that the prompt means most, three at most, the first the most.
    pub read_as: Vec<String>,
    /// How many classes the prompt may mean.
    pub meant: usize,
    /// The classes with the largest shares, whatever the prompt means.
    pub sees: Vec<SeenClass>,
}

impl Support {
    pub(super) fn new(knowledge: &Knowledge, text: &str, evidence: &[f32], logits: &[f32]) -> Result<Self> {
        super::same_length(&knowledge.score.name, logits, evidence).kind(Error::Model)?;
        let names = knowledge.names(logits.len())?;
        let shares = softmax(logits);
        let (KnownWords { words, without_class }, weights) = knowledge.meant(text, evidence)?;
        let meant: Vec<usize> = (0..weights.len()).filter(|&c| weights[c] > 0.0).collect();
        let share: f64 = meant.iter().map(|&c| f64::from(weights[c]) * shares[c]).sum();
        let above = (0..shares.len()).filter(|&c| weights[c] == 0.0 && shares[c] > share).count();
        let Limits { least_share, sure_share, least_share_without_class } = knowledge.limits;
        let (least, sure) = match words {
            Words::NoClass => (least_share_without_class, least_share_without_class),
            Words::HaveClass | Words::Unknown => (least_share, sure_share),
        };
        let verdict = match words {
            Words::Unknown => Verdict::UnknownWords,
            _ if share < f64::from(least) => Verdict::NotSeen,
            _ if share < f64::from(sure) => Verdict::Doubtful,
            _ => Verdict::Seen,
        };
        let supported = match verdict {
            Verdict::Seen => Some(true),
            Verdict::NotSeen | Verdict::UnknownWords => Some(false),
            Verdict::Doubtful => None,
        };
        let first_name = |c: usize| first_name(&names[c]);
        let largest = |values: &dyn Fn(usize) -> f64, among: &[usize]| {
            let mut order = among.to_vec();
            order.sort_by(|&a, &b| values(b).total_cmp(&values(a)));
            order.truncate(NAMED);
            order
        };
        let all: Vec<usize> = (0..shares.len()).collect();
        let read_as = largest(&|c| f64::from(weights[c] * evidence[c]), &meant);
        let sees = largest(&|c| shares[c], &all);
        Ok(Self {
            supported,
            verdict,
            words,
            without_class,
            share: share as f32,
            least_share: least,
            rank: above + 1,
            classes: shares.len(),
            read_as: read_as.into_iter().map(first_name).collect(),
            meant: meant.len(),
            sees: sees.into_iter().map(|c| SeenClass { name: first_name(c), share: shares[c] as f32 }).collect(),
        })
    }

    /// What a reader should know, in a sentence; none if the model sees what was asked for and knows every word. `reported` is the text's reported score.
    pub fn sentence(&self, prompt: &Prompt, reported: f32) -> Option<String> {
        let text = prompt.text();
        let score = &prompt.reported_name();
        let sees = quoted(self.sees.iter().map(|class| class.name.as_str()));
        let read_as = quoted(self.read_as.iter().map(String::as_str));
        let foreign = quoted(self.without_class.iter().map(String::as_str));
        match (self.verdict, self.words) {
            (Verdict::UnknownWords, _) => Some(format!(
                "the model knows no word of \"{text}\" ({score} {reported:.2}; it sees {sees}), so the map is not about it"
            )),
            (Verdict::NotSeen, Words::NoClass) => Some(format!(
                "the model has no class for {foreign}, reads \"{text}\" as {read_as}, and does not see that here ({score} {reported:.2}; it sees {sees}), so the map is \
                 not about it"
            )),
            (Verdict::NotSeen, _) => Some(format!(
                "the model does not see \"{text}\" here ({score} {reported:.2}; it sees {sees}), so the map is not about it"
            )),
            (Verdict::Doubtful, _) => Some(format!(
                "the model hardly sees \"{text}\" here ({score} {reported:.2}; it sees {sees}), so the map may be about something else"
            )),
            (Verdict::Seen, Words::NoClass) => Some(format!(
                "the model has no class for {foreign}: it reads \"{text}\" as {read_as}, and the map is about that"
            )),
            (Verdict::Seen, _) if !self.without_class.is_empty() => Some(format!(
                "no class of the model stands for {foreign}, so what this says of \"{text}\" is lost, or read as something else"
            )),
            _ => None,
        }
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// exp(l_c) / sum exp(l_c).
fn softmax(logits: &[f32]) -> Vec<f64> {
    let high = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let odds: Vec<f64> = logits.iter().map(|l| f64::from(l - high).exp()).collect();
    let total: f64 = odds.iter().sum();
    odds.into_iter().map(|odds| odds / total).collect()
}

impl Knowledge {
    /// The classes with the largest shares of a photo, at most [`super::SHOWN`], each by its first name.
    ///
    /// # Errors
    /// Image vectors of another model, or a list of classes that does not fit the network.
    pub fn likeliest(&self, vectors: &ImageVectors) -> Result<Vec<Class>> {
        let logits = self.score.vector(vectors)?;
        let (names, shares) = (self.names(logits.len())?, softmax(logits));
        let class = |number: usize| Class {
            number,
            name: first_name(&names[number]),
            logit: logits[number],
            probability: Some(shares[number]),
        };
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        Ok(order.into_iter().take(super::SHOWN).map(class).collect())
    }
}

/// The first of a class's names.
fn first_name(names: &str) -> String {
    names.split(',').next().unwrap_or_default().trim().to_owned()
}

impl Prompt {
    /// The text's place among what the model sees; none if nothing says what the model knows.
    ///
    /// # Errors
    /// Image vectors of another model, or a list of classes that does not fit the network.
    pub fn support(&self, vectors: &ImageVectors) -> Result<Option<Support>> {
        let Some(knowledge) = self.knowledge() else { return Ok(None) };
        let (evidence, logits) = (self.text_vector(&knowledge.score)?, knowledge.score.vector(vectors)?);
        Support::new(knowledge, self.text(), &evidence, logits).map(Some)
    }
}
