//! What a model knows: its classes, and the words that it has classes for.

use super::kept;
use crate::error::Sorted as _;
use crate::model::{Model, Score};
use crate::{Error, Result};
use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Words that say nothing about what a picture shows.
const EMPTY: [&str; 20] = [
    "a",
    "an",
    "the",
    "of",
    "some",
    "any",
    "this",
    "that",
    "its",
    "his",
    "her",
    "my",
    "your",
    "there",
    "is",
    "are",
    "photo",
    "photograph",
    "picture",
    "image",
];

/// What follows one of these words is not the thing itself: "a dog on a sofa" is about a dog.
const BOUNDARIES: [&str; 24] = [
    "in", "on", "with", "without", "and", "or", "but", "at", "by", "near", "under", "over", "behind", "beside",
    "between", "from", "to", "for", "next", "not", "no", "never", "inside", "outside",
];

/// Longest sequence of words that is looked up.
const LONGEST: usize = 5;

/// A model's classes and words.
#[derive(Debug)]
pub struct Knowledge {
    /// The score whose image output holds a number for each class, and whose text output holds how much each class fits a prompt.
    pub(super) score: Score,
    /// A name for each class.
    classes: Vec<String>,
    words: Vocabulary,
    pub(super) limits: Limits,
}

/// Shares of a photo that were measured: see [`crate::model::KnowledgeSide`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub(super) least_share: f32,
    pub(super) sure_share: f32,
    pub(super) least_share_without_class: f32,
}

/// Which words have classes, and which are words at all.
#[derive(Debug)]
struct Vocabulary {
    with_class: HashMap<String, Vec<Run>>,
    spelt: HashSet<String>,
}

/// Classes with consecutive numbers that a word has, and by which of its meanings: 1 is the most frequent one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    first: usize,
    last: usize,
    meaning: usize,
}

/// How far a model knows the words of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// It has classes for the thing.
    HaveClass,
    /// It has no class for the thing, and reads it as other classes.
    NoClass,
    /// None is a word that it knows.
    Unknown,
}

/// The words of a prompt, as a model knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownWords {
    /// How far they are known.
    pub words: Words,
    /// Words that no class stands for, in order, each once: they say nothing to the model, or something else.
    pub without_class: Vec<String>,
}

impl Knowledge {
    /// What a dual encoder's manifest says that it knows; none if it says nothing. What a classifier sees is [`super::Standing`]'s.
    ///
    /// # Errors
    /// Lists that cannot be read.
    pub fn of(model: &Model) -> Result<Option<Self>> {
        Self::read(model).kind(Error::Model)
    }

    fn read(model: &Model) -> anyhow::Result<Option<Self>> {
        let manifest = &model.manifest;
        let lines = |name: &str| -> anyhow::Result<Vec<String>> {
            let text = std::str::from_utf8(model.file(name)?);
            let text = text.with_context(|| format!("{name} of {}: expected lines in UTF-8", model.origin()))?;
            Ok(text.lines().map(|line| line.trim().to_owned()).collect())
        };
        let (Some(knowledge), Some(text)) = (&manifest.knowledge, &manifest.text) else { return Ok(None) };
        let spelt = lines(&text.vocabulary)?;
        Ok(Some(Self {
            score: manifest.score(&knowledge.score)?.clone(),
            classes: lines(&knowledge.classes)?,
            words: Vocabulary {
                with_class: lines(&knowledge.words)?
                    .iter()
                    .map(|line| with_classes(line, &knowledge.words))
                    .collect::<anyhow::Result<_>>()?,
                spelt: spelt.into_iter().filter(|word| word.len() > 1 && !word.starts_with("##")).collect(),
            },
            limits: Limits {
                least_share: knowledge.least_share,
                sure_share: knowledge.sure_share,
                least_share_without_class: knowledge.least_share_without_class,
            },
        }))
    }

    /// How the words of a prompt are known.
    pub fn reading(&self, prompt: &str) -> KnownWords {
        self.words.reading(prompt).0
    }

    /// What a prompt means of the classes that its text vector has `evidence` for: m_c is 1 for the classes of the first meaning of the word that the prompt is
    /// about, and 1/k for those of the k-th. Where no classes are listed for the words, m is the evidence over its largest value, without what is below a
    /// 32nd of that.
    ///
    /// # Errors
    /// A list that names more classes than there are.
    pub(super) fn meant(&self, prompt: &str, evidence: &[f32]) -> Result<(KnownWords, Vec<f32>)> {
        let (known, listed) = self.words.reading(prompt);
        let mut meant = vec![0.0_f32; evidence.len()];
        for Run { first, last, meaning } in listed.into_iter().flatten() {
            let classes = meant.get_mut(*first..=*last).with_context(|| {
                format!(
                    "the model's list of words names class {last}, expected numbers below {}; correct the list",
                    evidence.len()
                )
            });
            classes.kind(Error::Model)?.iter_mut().for_each(|m| *m = m.max(1.0 / *meaning as f32));
        }
        if meant.iter().all(|m| *m == 0.0) {
            let (kept, highest) = (kept(evidence), evidence.iter().copied().fold(0.0, f32::max));
            meant = evidence.iter().map(|e| if kept(*e) { e / highest } else { 0.0 }).collect();
        }
        Ok((known, meant))
    }

    /// The classes' names, as many as the score has numbers.
    ///
    /// # Errors
    /// Another number of names.
    pub(super) fn names(&self, count: usize) -> Result<&[String]> {
        let named = || {
            ensure!(
                self.classes.len() == count,
                "expected the names of {count} classes, found {}; correct the model's list of classes",
                self.classes.len()
            );
            Ok(&self.classes[..])
        };
        named().kind(Error::Model)
    }
}

/// A line of the list of words: the word and, after a tab if they are given, its classes as `12 151-268 934/2`.
fn with_classes(line: &str, file: &str) -> anyhow::Result<(String, Vec<Run>)> {
    let (word, runs) = line.split_once('\t').unwrap_or((line, ""));
    let run = |text: &str| {
        let (classes, meaning) = text.split_once('/').unwrap_or((text, "1"));
        let (first, last) = classes.split_once('-').unwrap_or((classes, classes));
        let run = Run { first: first.parse().ok()?, last: last.parse().ok()?, meaning: meaning.parse().ok()? };
        (run.first <= run.last && run.meaning > 0).then_some(run)
    };
    let Some(runs) = runs.split_whitespace().map(run).collect() else {
        bail!("{file}: expected a word, and after a tab its classes such as `12 151-268 934/2`, found {line:?}");
    };
    Ok((word.to_owned(), runs))
}

impl Vocabulary {
    /// How the words are known, and the classes of the things that the prompt is about.
    fn reading(&self, prompt: &str) -> (KnownWords, Vec<&Vec<Run>>) {
        let prompt = prompt.to_lowercase();
        let words: Vec<&str> = prompt.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let known = self.known(&words);
        let says_something = |at: &usize| !EMPTY.contains(&words[*at]) && words[*at].chars().count() > 1;
        let content: Vec<usize> = (0..words.len())
            .filter(|at| known[*at].is_some() || says_something(at) || words[*at].chars().any(|c| c.is_ascii_digit()))
            .collect();
        let mut without_class: Vec<String> = Vec::new();
        for at in content.iter().filter(|at| known[**at].is_none()) {
            // A boundary between two things is grammar; negation changes the meaning and is named.
            let named = !BOUNDARIES.contains(&words[*at]) || ["no", "not", "never", "without"].contains(&words[*at]);
            if named && !without_class.iter().any(|word| word == words[*at]) {
                without_class.push(words[*at].to_owned());
            }
        }
        let spelt = |word: &str| self.spelt.contains(word) || singulars(word).any(|one| self.spelt.contains(&one));
        let is_word = |at: &usize| known[*at].is_some() || spelt(words[*at]);
        let about = things(&words, &known);
        let words = if !about.is_empty() {
            Words::HaveClass
        } else if content.iter().any(is_word) {
            Words::NoClass
        } else {
            Words::Unknown
        };
        (KnownWords { words, without_class }, about)
    }

    /// For each word the classes of the sequence of words that it belongs to, if there is one that has classes; the longest sequences count first.
    fn known(&self, words: &[&str]) -> Vec<Option<&Vec<Run>>> {
        let mut known = vec![None; words.len()];
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=LONGEST.min(words.len() - at)).rev();
            let found =
                longest.clone().find_map(|length| Some((length, self.classes(&words[at..at + length].join(" "))?)));
            match found {
                Some((length, classes)) => {
                    known[at..at + length].fill(Some(classes));
                    at += length;
                }
                None => at += 1,
            }
        }
        known
    }

    /// The classes of these words, or of the singular of the last of them.
    fn classes(&self, words: &str) -> Option<&Vec<Run>> {
        self.with_class.get(words).or_else(|| singulars(words).find_map(|singular| self.with_class.get(&singular)))
    }
}

/// What the last of these words may be the plural of.
fn singulars(words: &str) -> impl Iterator<Item = String> {
    let plurals = [("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe")];
    plurals.into_iter().filter_map(move |(ending, instead)| {
        let stem = words.strip_suffix(ending).filter(|stem| stem.len() > 1)?;
        Some(format!("{stem}{instead}"))
    })
}

/// The classes of the things that the words are about: the last noun before the first word such as "on", or before and after an "of".
fn things<'a>(words: &[&str], known: &[Option<&'a Vec<Run>>]) -> Vec<&'a Vec<Run>> {
    let empty = |at: &usize| EMPTY.contains(&words[*at]) && words[*at] != "of" && known[*at].is_none();
    let boundary = |at: &usize| BOUNDARIES.contains(&words[*at]) && known[*at].is_none();
    let first: Vec<usize> = (0..words.len())
        .filter(|at| !empty(at))
        .skip_while(|at| boundary(at) || words[*at] == "of")
        .take_while(|at| !boundary(at))
        .collect();
    // "A dog running fast": what is done, and how, comes after the thing.
    let action =
        |at: &usize| ["ing", "ed", "ly"].iter().any(|ending| words[*at].ends_with(ending)) && known[*at].is_none();
    let phrases = first.split(|at| words[*at] == "of");
    phrases.filter_map(|phrase| known[*phrase.iter().rev().find(|at| !action(at))?]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(prompt: &str) -> (Words, Vec<String>) {
        let KnownWords { words, without_class } = vocabulary().reading(prompt).0;
        (words, without_class)
    }

    fn vocabulary() -> Vocabulary {
        let lines = [
            "dog\t3-5",
            "sofa\t6",
            "polar bear\t1",
            "bear\t1-2 6/2",
            "cup",
            "knife\t0",
            "baseball",
            "pizza\t7",
            "wolves",
        ];
        let spelt = ["dog", "raccoon", "red", "two", "bat", "running", "happiness", "not", "man"];
        Vocabulary {
            with_class: lines.iter().map(|line| with_classes(line, "words.txt").unwrap()).collect(),
            spelt: spelt.map(str::to_owned).into(),
        }
    }

    #[test]
    fn the_classes_of_what_a_prompt_is_about_are_meant() {
        let score = Score {
            name: String::new(),
            kind: crate::model::ScoreKind::Posterior,
            image: String::new(),
            text: String::new(),
            scale: None,
            description: String::new(),
        };
        let limits = Limits { least_share: 0.0, sure_share: 0.0, least_share_without_class: 0.0 };
        let knowledge = Knowledge { score, classes: vec![], words: vocabulary(), limits };
        let evidence = [0.0, 0.0, 0.0, 0.01, 0.2, 0.0, 0.4, 0.0];
        let meant = |prompt: &str| knowledge.meant(prompt, &evidence).unwrap().1;
        assert_eq!(meant("a polar bear"), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(meant("brown bears"), [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.0]);
        assert_eq!(meant("a dog on a sofa"), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        // What the words are read as, where no class is listed for them, or where the thing has none.
        for prompt in ["a cup", "a raccoon on a sofa"] {
            assert_eq!(meant(prompt), [0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0], "{prompt}");
        }
        assert!(knowledge.meant("a pizza", &evidence[..7]).unwrap_err().to_string().contains("class 7"));
        for line in ["a\tb", "a\t3-1", "a\t1/0", "a\t-1", "a\t1-2-3"] {
            assert!(with_classes(line, "words.txt").unwrap_err().to_string().contains("words.txt"), "{line}");
        }
    }

    #[test]
    fn the_thing_that_a_prompt_is_about_decides() {
        let know = |prompt: &str| reading(prompt).0;
        for known in [
            "a dog",
            "Dogs",
            "a red dog",
            "two polar bears",
            "a dog on a raccoon",
            "a dog running",
            "a photo of a dog",
            "knives",
            "a cup of happiness",
            "a slice of pizza",
            "no dog",
            "wolves",
            "a picture of a dog and a man",
        ] {
            assert_eq!(know(known), Words::HaveClass, "{known}");
        }
        for foreign in
            ["a raccoon", "raccoons", "red", "happiness", "a raccoon on a sofa", "a baseball bat", "a man with a dog"]
        {
            assert_eq!(know(foreign), Words::NoClass, "{foreign}");
        }
        for nothing in ["xqzt", "a blorp", "2 zzgh", "of the", ""] {
            assert_eq!(know(nothing), Words::Unknown, "{nothing}");
        }
    }

    #[test]
    fn words_without_a_class_are_named_once_and_grammar_is_not() {
        let named = |prompt: &str| reading(prompt).1.join(" ");
        assert_eq!(named("a red dog on a red sofa"), "red");
        assert_eq!(named("two dogs and not a raccoon"), "two not raccoon");
        assert_eq!(named("a photo of a polar bear"), "");
        assert_eq!(named("3 dogs"), "3");
    }
}
