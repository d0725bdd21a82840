//! What a model knows: its classes, and the words that it has classes for.

use super::kept;
use crate::encoders::text::singulars;
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
const BOUNDARIES: [&str; 21] = [
    "in", "on", "with", "but", "at", "by", "near", "under", "over", "behind", "beside", "between", "from", "to", "for",
    "next", "inside", "outside", "both", "either", "than",
];

/// What stands between one of these and the next is a thing of its own: "a cat and a dog" is about both.
const JOINS: [&str; 10] = ["and", "or", "nor", "&", "+", "/", ",", ";", "|", "plus"];

/// Words that a model of what is in a photo does not hear. What follows them is no other thing than without them.
const NEGATIONS: [&str; 7] = ["no", "not", "never", "without", "neither", "nor", "except"];

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
    /// The things that the prompt names and that have classes, each without its article.
    pub things: Vec<String>,
    /// Whether the prompt says more than that there is one thing: it names several, or negates something.
    pub composed: bool,
}

/// What a prompt means of a model's classes.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) known: KnownWords,
    /// How far it means each class, from 0 to 1.
    pub(super) weights: Vec<f32>,
    /// The same of each of the prompt's things.
    pub(super) things: Vec<Vec<f32>>,
}

/// A word of a prompt, or a mark between things.
#[derive(Clone, Copy, Debug)]
struct Word<'p> {
    /// A run of letters and digits, as classes are looked up by.
    piece: &'p str,
    /// The word that it is a piece of: `isn` belongs to `isn't`.
    whole: &'p str,
}

/// A thing of a prompt that has classes.
struct Thing<'v> {
    text: String,
    classes: Vec<&'v Vec<Run>>,
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

    /// What a prompt means of the classes that its text vector has `evidence` for: m_c is 1 for the classes of the first meaning of the word that a thing of the
    /// prompt is named by, and 1/k for those of the k-th; of several things the largest counts. Where no classes are listed for the words, m is the evidence over
    /// its largest value, without what is below a 32nd of that.
    ///
    /// # Errors
    /// A list that names more classes than there are.
    pub(super) fn meant(&self, prompt: &str, evidence: &[f32]) -> Result<Meant> {
        let (known, things) = self.words.reading(prompt);
        let things = things.iter().map(|thing| listed(&thing.classes, evidence.len()));
        let things: Vec<Vec<f32>> = things.collect::<Result<_>>()?;
        let mut weights = vec![0.0_f32; evidence.len()];
        for thing in &things {
            weights.iter_mut().zip(thing).for_each(|(all, own)| *all = all.max(*own));
        }
        if weights.iter().all(|m| *m == 0.0) {
            let (kept, highest) = (kept(evidence), evidence.iter().copied().fold(0.0, f32::max));
            weights = evidence.iter().map(|e| if kept(*e) { e / highest } else { 0.0 }).collect();
        }
        Ok(Meant { known, weights, things })
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

/// How far these meanings mean each of `count` classes.
fn listed(meanings: &[&Vec<Run>], count: usize) -> Result<Vec<f32>> {
    let mut weights = vec![0.0_f32; count];
    for Run { first, last, meaning } in meanings.iter().copied().flatten() {
        let classes = weights.get_mut(*first..=*last).with_context(|| {
            format!("the model's list of words names class {last}, expected numbers below {count}; correct the list")
        });
        classes.kind(Error::Model)?.iter_mut().for_each(|m| *m = m.max(1.0 / *meaning as f32));
    }
    Ok(weights)
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
    /// How the words are known, and the things that the prompt is about.
    fn reading(&self, prompt: &str) -> (KnownWords, Vec<Thing<'_>>) {
        let prompt = prompt.to_lowercase();
        let words = words(&prompt);
        let pieces: Vec<&str> = words.iter().map(|word| word.piece).collect();
        let known = self.known(&pieces);
        let content: Vec<usize> =
            (0..words.len()).filter(|&at| known[at].is_some() || says_something(words[at])).collect();
        let mut without_class: Vec<String> = Vec::new();
        for word in content.iter().filter(|at| known[**at].is_none()).map(|at| words[*at]) {
            // A boundary between two things is grammar; negation changes the meaning and is named.
            let named = is_negation(word) || !(BOUNDARIES.contains(&word.piece) || JOINS.contains(&word.piece));
            if named && !without_class.iter().any(|other| other == word.whole) {
                without_class.push(word.whole.to_owned());
            }
        }
        let spelt = |word: &str| self.spelt.contains(word) || singulars(word).any(|one| self.spelt.contains(&one));
        let is_word = |at: &usize| known[*at].is_some() || spelt(words[*at].piece);
        let phrases = phrases(&words, &known);
        let things: Vec<Thing<'_>> = phrases
            .iter()
            .map(|phrase| Thing { text: text(&words, phrase), classes: things(&words, &known, phrase) })
            .filter(|thing| !thing.classes.is_empty())
            .collect();
        let negated = (0..words.len()).any(|at| is_negation(words[at]) && known[at].is_none());
        let composed = !things.is_empty() && (phrases.len() > 1 || negated);
        let words = if !things.is_empty() {
            Words::HaveClass
        } else if content.iter().any(is_word) {
            Words::NoClass
        } else {
            Words::Unknown
        };
        let names = things.iter().map(|thing| thing.text.clone()).collect();
        (KnownWords { words, without_class, things: names, composed }, things)
    }

    /// For each word the classes of the sequence of words that it belongs to, if there is one that has classes; the longest sequences count first.
    fn known(&self, words: &[&str]) -> Vec<Option<&Vec<Run>>> {
        let mut known = vec![None; words.len()];
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=LONGEST.min(words.len() - at)).rev();
            // A single letter is no thing, though it may be the symbol of one.
            let letter = words[at].chars().count() == 1;
            let found = longest
                .filter(|length| *length > 1 || !letter)
                .find_map(|length| Some((length, self.classes(&words[at..at + length].join(" "))?)));
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

/// The words of a prompt in lower case, and the marks that stand between things.
fn words(prompt: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let whole = |c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '\u{2019}');
    for part in prompt.split_inclusive(whole) {
        let end = part.chars().next_back().filter(|c| whole(*c));
        let (part, end) = part.split_at(part.len() - end.map_or(0, char::len_utf8));
        let part = part.trim_matches(['\'', '\u{2019}']);
        let pieces = part.split(|c: char| !c.is_alphanumeric()).filter(|piece| !piece.is_empty());
        words.extend(pieces.map(|piece| Word { piece, whole: part }));
        words.extend(JOINS.contains(&end).then_some(Word { piece: end, whole: end }));
    }
    words
}

/// Whether a word says something of what a picture shows: not an article, a mark or a single letter.
fn says_something(word: Word<'_>) -> bool {
    let Word { piece, .. } = word;
    let long = piece.chars().count() > 1 && !EMPTY.contains(&piece);
    long || piece.chars().any(|c| c.is_ascii_digit())
}

fn is_negation(word: Word<'_>) -> bool {
    let short = ["n't", "n\u{2019}t"].iter().any(|end| word.whole.ends_with(end)) && word.piece.ends_with('n');
    short || NEGATIONS.contains(&word.piece)
}

/// What the prompt names, thing by thing: the words of each up to the first one such as "on", without those before its own. Names of classes are never divided.
fn phrases(words: &[Word<'_>], known: &[Option<&Vec<Run>>]) -> Vec<Vec<usize>> {
    let joins = |at: &usize| JOINS.contains(&words[*at].piece) && known[*at].is_none();
    let boundary =
        |at: &usize| known[*at].is_none() && (BOUNDARIES.contains(&words[*at].piece) || is_negation(words[*at]));
    let counts = |at: &usize| known[*at].is_some() || words[*at].piece == "of" || says_something(words[*at]);
    let all: Vec<usize> = (0..words.len()).collect();
    let parts = all.split(joins).map(|part| {
        let part = part.iter().copied().filter(counts);
        part.skip_while(|at| boundary(at) || words[*at].piece == "of").take_while(|at| !boundary(at)).collect()
    });
    parts.filter(|part: &Vec<usize>| !part.is_empty()).collect()
}

/// The classes of the things that a phrase is about: its last noun, or the last before and after an "of".
fn things<'v>(words: &[Word<'_>], known: &[Option<&'v Vec<Run>>], phrase: &[usize]) -> Vec<&'v Vec<Run>> {
    // "A dog running fast": what is done, and how, comes after the thing.
    let action = |at: &usize| {
        known[*at].is_none() && ["ing", "ed", "ly"].iter().any(|ending| words[*at].piece.ends_with(ending))
    };
    let nouns = phrase.split(|at| words[*at].piece == "of");
    nouns.filter_map(|noun| known[*noun.iter().rev().find(|at| !action(at))?]).collect()
}

/// The words of a phrase, from its first to its last.
fn text(words: &[Word<'_>], phrase: &[usize]) -> String {
    let (first, last) = (phrase[0], phrase[phrase.len() - 1]);
    let mut wholes: Vec<&str> = words[first..=last].iter().map(|word| word.whole).collect();
    wholes.dedup_by(|a, b| std::ptr::eq(*a, *b));
    wholes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(prompt: &str) -> (Words, Vec<String>) {
        let KnownWords { words, without_class, .. } = vocabulary().reading(prompt).0;
        (words, without_class)
    }

    fn vocabulary() -> Vocabulary {
        let lines = [
            "b\t7",
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
            scale_assumed: false,
            description: String::new(),
        };
        let limits = Limits { least_share: 0.0, sure_share: 0.0, least_share_without_class: 0.0 };
        let knowledge = Knowledge { score, classes: vec![], words: vocabulary(), limits };
        let evidence = [0.0, 0.0, 0.0, 0.01, 0.2, 0.0, 0.4, 0.0];
        let meant = |prompt: &str| knowledge.meant(prompt, &evidence).unwrap().weights;
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
    #[test]
    fn each_thing_of_a_prompt_is_one_of_its_own() {
        let read = |prompt: &str| {
            let known = vocabulary().reading(prompt).0;
            (known.things.join(" | "), known.composed, known.without_class.join(" "))
        };
        let of = |things: &str, composed: bool, named: &str| (things.to_owned(), composed, named.to_owned());
        assert_eq!(read("a dog"), of("dog", false, ""));
        assert_eq!(read("a red dog on a sofa"), of("red dog", false, "red"));
        for both in
            ["a dog and a pizza", "dog, pizza", "dogs & pizzas", "dog/pizza", "DOG or PIZZA", "both a dog + a pizza"]
        {
            let (things, composed, named) = read(both);
            assert_eq!((things.matches(" | ").count(), composed, &*named), (1, true, ""), "{both}: {things}");
        }
        assert_eq!(read("neither dog nor pizza"), of("dog | pizza", true, "neither nor"));
        assert_eq!(read("a dog without a pizza"), of("dog", true, "without"));
        assert_eq!(read("this isn't a dog"), of("dog", true, "isn't"));
        assert_eq!(read("don\u{2019}t, a dog"), of("dog", true, "don\u{2019}t"));
        assert_eq!(read("not a dog"), of("dog", true, "not"));
        assert_eq!(read("a raccoon and a dog"), of("dog", true, "raccoon"));
        // Marks, single letters and negation are no things.
        assert_eq!(read("<b>dog</b>"), of("dog", false, ""));
        assert_eq!(read("a raccoon, red"), of("", false, "raccoon red"));
        assert_eq!(read("a slice of pizza"), of("slice of pizza", false, "slice"));
        assert_eq!(read("cups and dogs"), of("cups | dogs", true, ""));
    }
}
