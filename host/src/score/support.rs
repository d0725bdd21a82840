//! Whether a model sees in a photo what a prompt asks for: the prompt's place among everything that the model knows.

use super::knowledge::{Knowledge, Limits, Meant, Words};
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
    /// Of several things that the prompt names it sees some more than others: see [`Support::things`].
    Mixed,
    /// It knows none of the words.
    UnknownWords,
}

impl Verdict {
    fn of(share: f64, least: f32, sure: f32) -> Self {
        match share {
            share if share < f64::from(least) => Self::NotSeen,
            share if share < f64::from(sure) => Self::Doubtful,
            _ => Self::Seen,
        }
    }

    /// Between "the model" and what is asked for.
    const fn found(self) -> &'static str {
        match self {
            Self::Seen | Self::Mixed => "sees",
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

/// A thing that a prompt names, judged as if it were asked for alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThingSeen {
    /// Its words, without the article.
    pub text: String,
    /// The share that the photo gives to it: as [`Support::share`].
    pub share: f32,
    /// What follows from that.
    pub verdict: Verdict,
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
    /// The things with classes that the prompt names, each judged alone; the verdict is theirs where they agree.
    pub things: Vec<ThingSeen>,
    /// Whether the prompt says more than that there is one thing: it names several, or negates something, which the model does not hear.
    pub composed: bool,
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
        let Meant { known, weights, things } = knowledge.meant(text, evidence)?;
        let meant: Vec<usize> = (0..weights.len()).filter(|&c| weights[c] > 0.0).collect();
        let share_of = |weights: &[f32]| -> f64 { weights.iter().zip(&shares).map(|(m, p)| f64::from(*m) * p).sum() };
        let share = share_of(&weights);
        let above = (0..shares.len()).filter(|&c| weights[c] == 0.0 && shares[c] > share).count();
        let Limits { least_share, sure_share, least_share_without_class } = knowledge.limits;
        let (least, sure) = match known.words {
            Words::NoClass => (least_share_without_class, least_share_without_class),
            Words::HaveClass | Words::Unknown => (least_share, sure_share),
        };
        let listed = known.things.into_iter().zip(things).filter(|(_, weights)| weights.iter().any(|m| *m > 0.0));
        let things: Vec<ThingSeen> = listed
            .map(|(text, weights)| (text, share_of(&weights)))
            .map(|(text, share)| ThingSeen { text, share: share as f32, verdict: Verdict::of(share, least, sure) })
            .collect();
        let verdict = match &things[..] {
            _ if known.words == Words::Unknown => Verdict::UnknownWords,
            [first, rest @ ..] if rest.iter().any(|thing| thing.verdict != first.verdict) => Verdict::Mixed,
            [first, _, ..] => first.verdict,
            _ => Verdict::of(share, least, sure),
        };
        let supported = match verdict {
            Verdict::Seen => Some(true),
            Verdict::NotSeen | Verdict::UnknownWords => Some(false),
            Verdict::Doubtful | Verdict::Mixed => None,
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
            words: known.words,
            without_class: known.without_class,
            composed: known.composed && !things.is_empty(),
            things,
            share: share as f32,
            least_share: least,
            rank: above + 1,
            classes: shares.len(),
            read_as: read_as.into_iter().map(first_name).collect(),
            meant: meant.len(),
            sees: sees.into_iter().map(|c| SeenClass { name: first_name(c), share: shares[c] as f32 }).collect(),
        })
    }

    /// What the model says of what was asked for, to stand after "the model": `sees "a cat"`, or of several things `sees "cat" and does not see "dog"`.
    pub(crate) fn found(&self, asked: &str) -> String {
        match (self.verdict, self.words) {
            (Verdict::Seen | Verdict::NotSeen, Words::NoClass) => format!("has no class for {asked}"),
            _ if self.composed => self.thing_by_thing(),
            (verdict, _) => format!("{} {asked}", verdict.found()),
        }
    }

    /// What the model says of each thing that the prompt names.
    fn thing_by_thing(&self) -> String {
        let clauses = [Verdict::Seen, Verdict::Doubtful, Verdict::NotSeen].into_iter().filter_map(|verdict| {
            let things = self.things.iter().filter(|thing| thing.verdict == verdict);
            let things: Vec<String> = things.map(|thing| format!("\"{}\"", thing.text)).collect();
            let between = if verdict == Verdict::NotSeen { "or" } else { "and" };
            (!things.is_empty()).then(|| format!("{} {}", verdict.found(), listed(&things, between)))
        });
        listed(&clauses.collect::<Vec<_>>(), "and")
    }

    /// What the model reads a prompt as that it has no class for.
    pub(crate) fn reads_as(&self) -> String {
        quoted(self.read_as.iter().map(String::as_str))
    }

    /// What the model sees whatever was asked for.
    pub(crate) fn instead(&self) -> String {
        quoted(self.sees.iter().map(|class| class.name.as_str()))
    }

    /// What a reader should know of the words, whatever the map: those that the model has no class for, and what it makes of several things or of "not".
    pub(super) fn word_warnings(&self, text: &str) -> Vec<String> {
        let foreign = self.without_class.iter().map(String::as_str);
        let foreign = Some(quoted(foreign)).filter(|foreign| !foreign.is_empty());
        let read_as = self.reads_as();
        let mut warnings = Vec::new();
        match (self.words, self.verdict) {
            (Words::Unknown, _) => warnings.push(format!("the model knows no word of \"{text}\"")),
            (Words::NoClass, verdict) => {
                let here = if verdict == Verdict::NotSeen { ", and does not see that here" } else { "" };
                let (no_class, foreign) = ("the model has no class for", foreign.unwrap_or_else(|| format!("\"{text}\"")));
                warnings.push(format!("{no_class} {foreign}: it reads \"{text}\" as {read_as}{here}"));
            }
            (Words::HaveClass, _) => warnings.extend(foreign.map(|foreign| {
                format!("no class of the model stands for {foreign}, so what this says of \"{text}\" is lost, or read as something else")
            })),
        }
        if self.composed {
            let found = self.thing_by_thing();
            warnings.push(format!(
                "the model judges \"{text}\" by its things alone, whatever joins or negates them: it {found}"
            ));
        }
        warnings
    }

    /// What a reader should know before relying on the map: nothing if the model sees what was asked for and knows every word. `reported` is the text's reported score.
    pub fn warnings(&self, prompt: &Prompt, reported: f32) -> Vec<String> {
        let (text, score, sees) = (prompt.text(), prompt.reported_name(), self.instead());
        let said = format!("({score} {}; it sees {sees})", hundredths(reported));
        let mut warnings = self.word_warnings(text);
        let not_about_it = "so the map is not about it";
        match (self.verdict, self.words, warnings.first_mut()) {
            (Verdict::UnknownWords, _, Some(first)) | (Verdict::NotSeen, Words::NoClass, Some(first)) => {
                *first += &format!(" {said}, {not_about_it}");
            }
            (_, Words::NoClass, Some(first)) => *first += ", and the map is about that",
            (Verdict::NotSeen, ..) => {
                let found = self.found(&format!("\"{text}\""));
                warnings.insert(0, format!("the model {found} here {said}, {not_about_it}"));
            }
            (Verdict::Doubtful, ..) => {
                let found = self.found(&format!("\"{text}\""));
                warnings.insert(0, format!("the model {found} here {said}, so the map may be about something else"));
            }
            _ => {}
        }
        warnings
    }
}

/// A number with two decimals; what rounds to zero has no sign.
fn hundredths(value: f32) -> String {
    format!("{:.2}", (100.0 * value).round() / 100.0 + 0.0)
}

/// Words as a list in a sentence.
fn listed(words: &[String], between: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {between} {last}", first.join(", ")),
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
