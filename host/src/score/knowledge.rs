//! What a model knows: its classes, and the words that it has classes for.

use crate::error::Sorted as _;
use crate::model::{Model, Score};
use crate::{Error, Result};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use std::collections::HashSet;

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
    with_class: HashSet<String>,
    spelt: HashSet<String>,
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
                with_class: lines(&knowledge.words)?.into_iter().collect(),
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
        self.words.reading(prompt)
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

impl Vocabulary {
    fn reading(&self, prompt: &str) -> KnownWords {
        let prompt = prompt.to_lowercase();
        let words: Vec<&str> = prompt.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let known = self.known(&words);
        let says_something = |at: &usize| !EMPTY.contains(&words[*at]) && words[*at].chars().count() > 1;
        let content: Vec<usize> = (0..words.len())
            .filter(|at| known[*at] || says_something(at) || words[*at].chars().any(|c| c.is_ascii_digit()))
            .collect();
        let mut without_class: Vec<String> = Vec::new();
        for at in content.iter().filter(|at| !known[**at]) {
            // A boundary between two things is grammar; negation changes the meaning and is named.
            let named = !BOUNDARIES.contains(&words[*at]) || ["no", "not", "never", "without"].contains(&words[*at]);
            if named && !without_class.iter().any(|word| word == words[*at]) {
                without_class.push(words[*at].to_owned());
            }
        }
        let is_word = |at: &usize| known[*at] || self.spelt.contains(words[*at]);
        let words = if self.about_a_class(&words, &known) {
            Words::HaveClass
        } else if content.iter().any(is_word) {
            Words::NoClass
        } else {
            Words::Unknown
        };
        KnownWords { words, without_class }
    }

    /// For each word, whether it belongs to a sequence of words that has classes; the longest sequences count first.
    fn known(&self, words: &[&str]) -> Vec<bool> {
        let mut known = vec![false; words.len()];
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=LONGEST.min(words.len() - at)).rev();
            let found = longest.clone().find(|length| self.has_class(&words[at..at + length].join(" ")));
            match found {
                Some(length) => {
                    known[at..at + length].fill(true);
                    at += length;
                }
                None => at += 1,
            }
        }
        known
    }

    /// Whether these words, or the singular of the last of them, have classes.
    fn has_class(&self, words: &str) -> bool {
        let with = |words: &str| self.with_class.contains(words);
        let singular = |ending: &str, instead: &str| {
            words.strip_suffix(ending).is_some_and(|stem| stem.len() > 1 && with(&format!("{stem}{instead}")))
        };
        with(words)
            || [("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe")]
                .iter()
                .any(|(ending, instead)| singular(ending, instead))
    }

    /// Whether the thing that the words are about has classes: the last noun before the first word such as "on", or before or after an "of".
    fn about_a_class(&self, words: &[&str], known: &[bool]) -> bool {
        let empty = |at: &usize| EMPTY.contains(&words[*at]) && words[*at] != "of" && !known[*at];
        let boundary = |at: &usize| BOUNDARIES.contains(&words[*at]) && !known[*at];
        let first: Vec<usize> = (0..words.len())
            .filter(|at| !empty(at))
            .skip_while(|at| boundary(at) || words[*at] == "of")
            .take_while(|at| !boundary(at))
            .collect();
        // "A dog running fast": what is done, and how, comes after the thing.
        let action = |at: &usize| ["ing", "ed", "ly"].iter().any(|ending| words[*at].ends_with(ending)) && !known[*at];
        first.split(|at| words[*at] == "of").any(|phrase| {
            let noun = phrase.iter().rev().find(|at| !action(at));
            noun.is_some_and(|at| known[*at])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(prompt: &str) -> (Words, Vec<String>) {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let vocabulary = Vocabulary {
            with_class: set(&["dog", "sofa", "polar bear", "bear", "cup", "knife", "baseball", "pizza", "wolves"]),
            spelt: set(&["dog", "raccoon", "red", "two", "bat", "running", "happiness", "not", "man"]),
        };
        let KnownWords { words, without_class } = vocabulary.reading(prompt);
        (words, without_class)
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
        for foreign in ["a raccoon", "red", "happiness", "a raccoon on a sofa", "a baseball bat", "a man with a dog"] {
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
