//! The prompt's side: words to tokens, tokens to the vectors that pictures are scored against.

use crate::Error;
use crate::error::Sorted as _;
use crate::model::{AT_A_PLACE, Bytes, Model, OF_A_PICTURE, Score, ScoreKind, TextSide, TokenizerKind};
use crate::onnx::guard::{contained, finite};
use crate::onnx::inspect;
use crate::onnx::kernels::{self, Kernels};
use crate::onnx::normal::{Beside, OfTokens};
use crate::onnx::quantised::{self, Form, Pairs, Wanted};
use crate::onnx::running::run;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::internal::*;

/// Longest prompt that is accepted, in characters. Towers were trained on a few words.
pub const LONGEST_PROMPT: usize = 1000;

/// Words that say nothing about what a picture shows. Single letters say nothing either.
const EMPTY_WORDS: [&str; 8] = ["an", "the", "of", "in", "on", "with", "and", "photo"];

/// Cuts words into tokens: greedy longest-match WordPiece over the letters a to z.
///
/// The text is lower-cased and everything but runs of a to z is dropped. Of each run the longest token that begins it
/// is taken, then the longest one that continues it (marked `##` in the vocabulary), and so on. Where none fits, one
/// letter is skipped. A plural such as "kitties" that is no token is read as its singular, if that is one.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    ids: HashMap<String, i64>,
    longest: usize,
}

/// A prompt as the network reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids of the whole sentence, template included.
    pub ids: Vec<i64>,
    /// For each, 1 if it is read, 0 if it fills the sentence up and a network with a mask is told to leave it out.
    pub mask: Vec<i64>,
    /// For each, the number of the sentence that it belongs to, which networks of BERT's kind are told.
    pub kinds: Vec<i64>,
    /// Words of the prompt that the vocabulary does not know, in lower case, in order, each once. A word is known if it
    /// is one token, or if at least half of its letters fall into pieces of two letters or more.
    pub unknown_words: Vec<String>,
}

impl Tokens {
    /// Tokens that are all read, and all of one sentence.
    pub fn of(ids: Vec<i64>) -> Self {
        Self { mask: vec![1; ids.len()], kinds: vec![0; ids.len()], ids, unknown_words: Vec::new() }
    }
}

impl Tokenizer {
    /// Reads a vocabulary: one token a line, the line's number, from zero, being its id.
    ///
    /// # Errors
    /// Text that is not UTF-8, a vocabulary without tokens.
    pub fn new(vocabulary: &[u8]) -> Result<Tokenizer> {
        let text = std::str::from_utf8(vocabulary).context("expected a vocabulary in UTF-8")?;
        let ids: HashMap<String, i64> = text.lines().map(str::to_string).zip(0..).collect();
        let longest = ids.keys().map(String::len).max().unwrap_or(0);
        ensure!(longest > 0, "expected a vocabulary of one token a line, found no token");
        Ok(Tokenizer { ids, longest })
    }

    /// Puts a prompt into a template (where it says `{}`) and cuts the sentence into tokens.
    ///
    /// # Errors
    /// A prompt longer than [`LONGEST_PROMPT`], and a prompt without a single known word besides articles and
    /// prepositions.
    pub fn tokens(&self, template: &str, prompt: &str) -> Result<Tokens> {
        let length = prompt.chars().count();
        ensure!(
            length <= LONGEST_PROMPT,
            "the prompt has {length} characters; expected at most {LONGEST_PROMPT}: describe the object in a few words"
        );
        let mut known_words = 0;
        let mut unknown_words: Vec<String> = Vec::new();
        for word in prompt.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            if self.knows(word) {
                known_words += usize::from(word.len() > 1 && !EMPTY_WORDS.contains(&word));
            } else if !unknown_words.iter().any(|unknown| unknown == word) {
                unknown_words.push(word.to_string());
            }
        }
        ensure!(
            known_words > 0,
            "the prompt \"{prompt}\" holds no word this model knows; expected English words for things, such as \
             \"dog\" or \"coffee mug\": try a common name of the object"
        );
        let mut ids = Vec::new();
        for run in letter_runs(&template.replacen("{}", prompt, 1).to_lowercase()) {
            let singular = self.singular(run);
            self.cut(singular.as_deref().unwrap_or(run), |id, _| ids.push(id));
        }
        Ok(Tokens { unknown_words, ..Tokens::of(ids) })
    }

    fn knows(&self, word: &str) -> bool {
        if self.ids.contains_key(word) {
            return true;
        }
        // Letter by letter any string has tokens; a word's pieces are longer.
        let (mut letters, mut in_pieces) = (0, 0);
        for run in letter_runs(word) {
            self.cut(run, |_, piece| {
                letters += piece.len();
                in_pieces += if piece.len() > 1 { piece.len() } else { 0 };
            });
        }
        letters == word.len() && 2 * in_pieces >= letters && in_pieces > 0
    }

    /// The singular of a plural that no token stands for, if one stands for the singular and the plural does not begin with it: "kitties" is no kit.
    fn singular(&self, run: &str) -> Option<String> {
        let begins = |singular: &String| run.starts_with(singular.as_str());
        let unknown = !self.ids.contains_key(run);
        singulars(run).find(|singular| unknown && !begins(singular) && self.ids.contains_key(singular))
    }

    /// Calls `take` with the id and the letters of each token of a run of a to z.
    fn cut(&self, run: &str, mut take: impl FnMut(i64, &str)) {
        let mut start = 0;
        let mut token = String::with_capacity(self.longest);
        while start < run.len() {
            let longest = (run.len() - start).min(self.longest);
            let found = (1..=longest).rev().find_map(|length| {
                token.clear();
                if start > 0 {
                    token.push_str("##");
                }
                token.push_str(&run[start..start + length]);
                self.ids.get(&token).map(|&id| (id, length))
            });
            let length = match found {
                Some((id, length)) => {
                    take(id, &run[start..start + length]);
                    length
                }
                None => 1,
            };
            start += length;
        }
    }
}

/// What the last of these words may be the plural of.
pub(crate) fn singulars(words: &str) -> impl Iterator<Item = String> {
    let plurals = [("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe")];
    plurals.into_iter().filter_map(move |(ending, instead)| {
        let stem = words.strip_suffix(ending).filter(|stem| stem.len() > 1)?;
        Some(format!("{stem}{instead}"))
    })
}

fn letter_runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_lowercase()).filter(|run| !run.is_empty())
}

/// What turns a prompt into text vectors, ready to run: a text tower, or a classifier's list of classes.
#[derive(Debug)]
pub struct TextTower {
    source: Source,
    outputs: Vec<String>,
    origin: String,
}

#[derive(Debug)]
enum Source {
    Network(Box<Network>),
    Classes(Arc<[String]>),
}

/// A text tower's network, which is read anew for each number of tokens.
///
/// With an open number of tokens tract gets the shapes of what is computed from that number wrong, such as of a mask that says which token sees which, and refuses what
/// it could run. With the number known, nothing is left open. The plans share the table of words; the weights of products are laid out anew.
struct Network {
    side: TextSide,
    words: Words,
    onnx: Bytes,
    folder: Option<PathBuf>,
    /// The number of tokens that the file fixes, if it does.
    fixed: Option<usize>,
    /// Whether the network is told which tokens fill a prompt up, and which sentence each belongs to.
    told: [bool; 2],
    /// The latest plans, the latest last.
    plans: Mutex<Vec<Plan>>,
    built: AtomicUsize,
}

/// Plans that are kept. Prompts of more different numbers of tokens than that are rare; whoever has them waits for the network to be read again.
const MOST_PLANS: usize = 16;

/// Bytes of weights that kept plans may hold together. Each lays its weights out for its number of tokens: four plans of CLIP ViT-B's text tower have this many.
const MOST_BYTES: usize = 1 << 30;

/// The network for prompts of so many tokens, of which it is told this.
#[derive(Clone)]
struct Plan {
    length: usize,
    mask: Option<Vec<i64>>,
    kinds: Option<Vec<i64>>,
    plan: Arc<TypedRunnableModel>,
    /// Of its weights.
    bytes: usize,
}

/// How many of the oldest plans have to be forgotten before one more of `next` bytes is kept beside these.
fn surplus(kept: &[usize], next: usize) -> usize {
    let fits = |from: usize| {
        let rest = &kept[from..];
        rest.len() < MOST_PLANS && rest.iter().fold(next, |sum, bytes| sum.saturating_add(*bytes)) <= MOST_BYTES
    };
    (0..kept.len()).find(|from| fits(*from)).unwrap_or(kept.len())
}

/// Bytes of a network's weights.
fn weights(network: &TypedModel) -> usize {
    let constants = network.nodes.iter().filter_map(|node| node.op_as::<Const>());
    constants.map(|constant| constant.val().len().saturating_mul(constant.val().datum_type().size_of())).sum()
}

impl std::fmt::Debug for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Network").field("side", &self.side).field("words", &self.words).finish_non_exhaustive()
    }
}

/// A way of cutting words into tokens.
enum Words {
    Az(Tokenizer),
    #[cfg(feature = "tokenizers")]
    HuggingFace {
        tokenizer: Box<tokenizers::Tokenizer>,
        filling: Filling,
    },
}

/// How prompts are filled up, and how long they may be.
#[cfg(feature = "tokenizers")]
struct Filling {
    context: Option<usize>,
    pad: i64,
    first: bool,
    read: bool,
    longest: Option<usize>,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Az(_) => "Az",
            #[cfg(feature = "tokenizers")]
            Self::HuggingFace { .. } => "HuggingFace",
        })
    }
}

/// What the text tower says about a prompt.
#[derive(Debug, Clone)]
pub struct TextVectors {
    /// The prompt's tokens and its unknown words; of a classifier, the number of the class.
    pub tokens: Tokens,
    /// The prompt as it was understood: of a classifier, the class's name.
    pub meant: String,
    outputs: BTreeMap<String, Vec<f32>>,
}

impl TextVectors {
    /// Vectors that are no text's: of each output, what it is multiplied with.
    pub(crate) fn made(meant: String, outputs: BTreeMap<String, Vec<f32>>) -> Self {
        Self { tokens: Tokens::of(Vec::new()), meant, outputs }
    }
}

impl TextTower {
    /// Loads the text tower of a model, or its classes.
    ///
    /// # Errors
    /// A vocabulary or a network that cannot be read, a network without an output that a score needs.
    pub fn load(model: &Model) -> crate::Result<TextTower> {
        Self::loaded(model).kind(Error::Model)
    }

    fn loaded(model: &Model) -> Result<TextTower> {
        let file = |name: &str| format!("{name} of {}", model.origin());
        let mut outputs: Vec<String> = Vec::new();
        let of_prompts = |score: &&Score| score.text != AT_A_PLACE && score.text != OF_A_PICTURE;
        for score in model.manifest.scores.iter().filter(of_prompts) {
            if !outputs.contains(&score.text) {
                outputs.push(score.text.clone());
            }
        }
        if let Some(classes) = &model.manifest.classes {
            let origin = model.origin_of_names();
            let text = std::str::from_utf8(model.file(&classes.labels)?)
                .with_context(|| format!("{origin}: expected class names in UTF-8, one a line"))?;
            let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
            ensure!(!labels.is_empty(), "{origin}: expected class names, one a line, found none");
            return Ok(TextTower { source: Source::Classes(labels.into()), outputs, origin });
        }
        let text = model.manifest.text.as_ref().context("a manifest has text or classes")?;
        let vocabulary = model.file(&text.vocabulary)?;
        let words = match text.tokenizer {
            TokenizerKind::WordPieceAz => {
                Words::Az(Tokenizer::new(vocabulary).with_context(|| file(&text.vocabulary))?)
            }
            #[cfg(not(feature = "tokenizers"))]
            TokenizerKind::HuggingFace => bail!(
                "{}: this program was built without tokenizers of Hugging Face's; build it with the feature \"tokenizers\", or take another model",
                file(&text.vocabulary)
            ),
            #[cfg(feature = "tokenizers")]
            TokenizerKind::HuggingFace => {
                let mut tokenizer = tokenizers::Tokenizer::from_bytes(vocabulary).map_err(|error| {
                    anyhow::anyhow!(
                        "{}: expected a tokenizer.json of Hugging Face's, found {error}",
                        file(&text.vocabulary)
                    )
                })?;
                // What is cut off would be left out without a word: prompts that are too long are refused.
                let longest = tokenizer.get_truncation().map(|truncation| truncation.max_length);
                let unlimited = tokenizer.with_truncation(None).map(drop);
                unlimited.map_err(|error| anyhow::anyhow!("{}: {error}", file(&text.vocabulary)))?;
                if text.context.is_some() {
                    tokenizer.with_padding(None);
                }
                let filling = Filling {
                    context: text.context,
                    pad: text.pad,
                    first: text.pad_first,
                    read: text.read_padding,
                    longest: text.longest.into_iter().chain(longest).min(),
                };
                Words::HuggingFace { tokenizer: Box::new(tokenizer), filling }
            }
        };
        let onnx = Arc::clone(model.bytes(&text.file)?);
        let inputs = inspect::inputs(&onnx).with_context(|| file(&text.file))?;
        let ids = inputs.iter().find(|input| input.name == text.input);
        let fixed = ids.and_then(|ids| *ids.shape.get(1)?);
        if let (Some(fixed), Some(context)) = (fixed, text.context) {
            ensure!(
                fixed == context,
                "{}: expected an input \"{}\" of 1 x {context} token ids, found 1 x {fixed}; correct `context` in the manifest",
                file(&text.file),
                text.input
            );
        }
        let told =
            [OfTokens::Mask, OfTokens::Kinds].map(|asked| inputs.iter().any(|input| input.of_tokens == Some(asked)));
        let network = Network {
            side: text.clone(),
            words,
            onnx,
            folder: model.folder().map(PathBuf::from),
            fixed,
            told,
            plans: Mutex::default(),
            built: AtomicUsize::new(0),
        };
        Ok(TextTower { source: Source::Network(Box::new(network)), outputs, origin: file(&text.file) })
    }

    /// Turns a prompt into vectors: all outputs that the model's scores need.
    ///
    /// # Errors
    /// A prompt without a known word (see [`Tokenizer::tokens`]) or one that is too long; for a classifier, no class of that
    /// name or number; a network that fails or answers with something else than finite numbers.
    pub fn encode(&self, prompt: &str) -> crate::Result<TextVectors> {
        self.encode_as(prompt, Several::Refused)
    }

    /// The same; `several` says what becomes of words that several classes of a classifier match.
    ///
    /// # Errors
    /// Those of [`TextTower::encode`].
    pub fn encode_as(&self, prompt: &str, several: Several) -> crate::Result<TextVectors> {
        let network = match &self.source {
            Source::Classes(labels) => return self.class(labels, prompt, several).kind(Error::Prompt),
            Source::Network(network) => network,
        };
        let tokens = network.tokens(prompt).kind(Error::Prompt)?;
        let plan = network.plan(&tokens, &self.outputs).with_context(|| self.origin.clone()).kind(Error::Model)?;
        let values = contained(|| {
            let ids = Tensor::from_shape(&[1, tokens.ids.len()], &tokens.ids)?;
            run(&plan, tvec!(ids.into()))?.iter().map(finite).collect::<Result<Vec<_>>>()
        });
        let values = values.with_context(|| format!("{}: could not encode \"{prompt}\"", self.origin));
        let outputs = self.outputs.iter().cloned().zip(values.kind(Error::Prompt)?).collect();
        Ok(TextVectors { tokens, meant: prompt.to_owned(), outputs })
    }

    /// How often the network was read so far: once for each number of tokens, and again for one that was forgotten meanwhile.
    pub fn times_read(&self) -> usize {
        match &self.source {
            Source::Network(network) => network.built.load(Ordering::Relaxed),
            Source::Classes(_) => 0,
        }
    }

    /// The names of the classes, of a classifier.
    pub fn labels(&self) -> Option<Arc<[String]>> {
        match &self.source {
            Source::Classes(labels) => Some(Arc::clone(labels)),
            Source::Network(_) => None,
        }
    }

    fn class(&self, labels: &[String], prompt: &str, several: Several) -> Result<TextVectors> {
        let classes = find_classes(labels, prompt, several).with_context(|| self.origin.clone())?;
        let mut vector = vec![0.; labels.len()];
        classes.iter().for_each(|&index| vector[index] = 1.);
        let names: Vec<&str> = classes.iter().map(|&index| labels[index].as_str()).collect();
        Ok(TextVectors {
            tokens: Tokens::of(classes.iter().map(|&index| index as i64).collect()),
            meant: names.join(" or "),
            outputs: self.outputs.iter().map(|output| (output.clone(), vector.clone())).collect(),
        })
    }
}

/// What becomes of words that several classes of a classifier match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Several {
    /// They are refused, and the classes named.
    Refused,
    /// They stand for all of these classes together: the text vector is 1 at each of them.
    Together,
}

/// Whether the name of a class holds these words as whole words.
fn holds(label: &str, words: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    label
        .match_indices(words)
        .any(|(at, _)| !letter(label[..at].chars().next_back()) && !letter(label[at + words.len()..].chars().next()))
}

/// At most three names of classes, in quotation marks, that differ from a word by a slip of the pen: by one letter in four, the closest first.
fn similar(labels: &[String], wanted: &str) -> Vec<String> {
    let most = wanted.chars().count().div_ceil(4);
    let synonyms = labels.iter().flat_map(|label| label.split(',')).map(str::trim);
    let mut close: Vec<(usize, &str)> = synonyms
        .flat_map(|name| {
            [name]
                .into_iter()
                .chain(name.split_whitespace().filter(move |word| *word != name))
                .map(move |word| (word, name))
        })
        .map(|(word, name)| (slips(&word.to_lowercase(), wanted), name))
        .filter(|(slips, _)| *slips <= most)
        .collect();
    close.sort();
    let mut names: Vec<String> = Vec::new();
    for name in close.into_iter().map(|(_, name)| format!("\"{name}\"")) {
        if !names.contains(&name) && names.len() < 3 {
            names.push(name);
        }
    }
    names
}

/// How many letters have to be changed, left out or put in to make one word the other (Levenshtein's distance).
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (place, b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[b.len()]
}

/// The class of that number; or else those of that name or with that synonym; or else those whose names hold these words as whole words; or else those
/// whose names hold these letters. Several classes are an error unless they are wanted.
fn find_classes(labels: &[String], prompt: &str, several: Several) -> Result<Vec<usize>> {
    let wanted = prompt.trim().to_lowercase();
    if let Ok(index) = wanted.parse::<usize>() {
        ensure!(index < labels.len(), "no class {index}; expected 0 to {}, or a name", labels.len() - 1);
        return Ok(vec![index]);
    }
    ensure!(!wanted.is_empty(), "expected the name or the number of a class, found nothing");
    let matching = |matches: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..labels.len()).filter(|&index| matches(&labels[index].to_lowercase())).collect()
    };
    let exact = matching(&|label| label == wanted || label.split(',').any(|synonym| synonym.trim() == wanted));
    let words = if exact.is_empty() { matching(&|label| holds(label, &wanted)) } else { exact };
    let candidates = if words.is_empty() { matching(&|label| label.contains(&wanted)) } else { words };
    match candidates[..] {
        [_] => Ok(candidates),
        [_, ..] if several == Several::Together => Ok(candidates),
        [] => {
            let nameless = labels.iter().enumerate().all(|(number, label)| *label == number.to_string());
            ensure!(
                !nameless,
                "no class \"{prompt}\" among {} classes, which have numbers here and no names; give a number, or --labels with a file of their names",
                labels.len()
            );
            let meant = match &similar(labels, &wanted)[..] {
                [] => String::new(),
                similar => format!("; did you mean {}?", similar.join(", ")),
            };
            bail!("no class \"{prompt}\" among {} classes{meant}; give a part of its name, or its number", labels.len())
        }
        _ => {
            let named: Vec<String> =
                candidates.iter().take(5).map(|&index| format!("{index} ({})", labels[index])).collect();
            bail!(
                "\"{prompt}\" could be {} classes: {}{}; give the number",
                candidates.len(),
                named.join(", "),
                if candidates.len() > 5 { ", ..." } else { "" }
            )
        }
    }
}

impl Network {
    fn tokens(&self, prompt: &str) -> Result<Tokens> {
        let tokens = match &self.words {
            Words::Az(tokenizer) => tokenizer.tokens(&self.side.template, prompt)?,
            #[cfg(feature = "tokenizers")]
            Words::HuggingFace { tokenizer, filling } => cut(tokenizer, filling, &self.side.template, prompt)?,
        };
        if let Some(fixed) = self.fixed {
            ensure!(
                tokens.ids.len() == fixed,
                "the prompt \"{prompt}\" takes {} tokens, and the network's input \"{}\" is of {fixed}; set `context` and `pad` in the manifest, or export the network with an open number of tokens",
                tokens.ids.len(),
                self.side.input
            );
        }
        Ok(tokens)
    }

    /// The plan for these tokens, of which there is one for each number of tokens and for each mask, if the network takes one.
    fn plan(&self, tokens: &Tokens, outputs: &[String]) -> Result<Arc<TypedRunnableModel>> {
        let [mask, kinds] = self.told;
        let (mask, kinds) = (mask.then_some(&tokens.mask), kinds.then_some(&tokens.kinds));
        let length = tokens.ids.len();
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |plan: &Plan| (plan.length, plan.mask.as_ref(), plan.kinds.as_ref()) == (length, mask, kinds);
        if let Some(at) = plans.iter().position(is_it) {
            plans[at..].rotate_left(1);
            return plans.last().map(|plan| Arc::clone(&plan.plan)).context("no plan");
        }
        // All plans have about the same weights. What is forgotten is so before more is read.
        let forget = |plans: &mut Vec<Plan>, next: usize| {
            let kept: Vec<usize> = plans.iter().map(|plan| plan.bytes).collect();
            plans.drain(..surplus(&kept, next));
        };
        let like_the_last = plans.last().map_or(0, |plan| plan.bytes);
        forget(&mut plans, like_the_last);
        let plan = contained(|| {
            let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
            let wanted = Wanted {
                input: &self.side.input,
                datum_type: i64::datum_type(),
                shape: &[Some(1), Some(length)],
                outputs: &names,
                pairs: Pairs::Clamp,
                folder: self.folder.as_deref(),
                form: Form::default(),
                readings: &[],
                beside: Some(Beside { mask: &tokens.mask, kinds: &tokens.kinds }),
            };
            let mut network = quantised::read(&self.onnx, &wanted)?;
            let bytes = weights(&network);
            kernels::optimise_with(&mut network, Kernels::Tract)?;
            Ok((SimplePlan::new(network)?, bytes))
        });
        let (plan, bytes) = plan.with_context(|| {
            format!("expected an ONNX text tower that takes {length} tokens; fetch the model again, or export it anew")
        })?;
        self.built.fetch_add(1, Ordering::Relaxed);
        forget(&mut plans, bytes);
        plans.push(Plan { length, mask: mask.cloned(), kinds: kinds.cloned(), plan: Arc::clone(&plan), bytes });
        Ok(plan)
    }
}

/// A prompt as a tokenizer of Hugging Face's cuts it, filled up to the length that the network wants, if it wants one.
#[cfg(feature = "tokenizers")]
fn cut(tokenizer: &tokenizers::Tokenizer, filling: &Filling, template: &str, prompt: &str) -> Result<Tokens> {
    let length = prompt.chars().count();
    ensure!(
        length <= LONGEST_PROMPT,
        "the prompt has {length} characters; expected at most {LONGEST_PROMPT}: describe the object in a few words"
    );
    ensure!(prompt.chars().any(char::is_alphanumeric), "expected a prompt in words, found \"{prompt}\"");
    let sentence = template.replacen("{}", prompt, 1);
    let encoding = tokenizer
        .encode(sentence, true)
        .map_err(|error| anyhow::anyhow!("could not cut \"{prompt}\" into tokens: {error}"))?;
    let numbers = |numbers: &[u32]| numbers.iter().copied().map(i64::from).collect::<Vec<i64>>();
    let mut tokens = Tokens {
        ids: numbers(encoding.get_ids()),
        mask: numbers(encoding.get_attention_mask()),
        kinds: numbers(encoding.get_type_ids()),
        unknown_words: Vec::new(),
    };
    let found = tokens.ids.len();
    if let Some(most) = filling.context.into_iter().chain(filling.longest).min() {
        ensure!(
            found <= most,
            "the prompt \"{prompt}\" takes {found} tokens; expected at most {most}: describe the object in a few words"
        );
    }
    if let Some(context) = filling.context {
        let missing = context - found;
        for (numbers, pad) in [(&mut tokens.ids, filling.pad), (&mut tokens.mask, 0), (&mut tokens.kinds, 0)] {
            numbers.resize(context, pad);
            if filling.first {
                numbers.rotate_right(missing);
            }
        }
    }
    if filling.read {
        tokens.mask.fill(1);
    }
    Ok(tokens)
}

impl TextVectors {
    /// The text vector of a score, scaled to length one for a cosine.
    ///
    /// # Errors
    /// A score of another model.
    pub fn for_score(&self, score: &Score) -> crate::Result<Vec<f32>> {
        let found = self.outputs.get(&score.text).with_context(|| {
            format!("the text tower has no output \"{}\", which score \"{}\" needs", score.text, score.name)
        });
        let mut vector = found.kind(Error::Model)?.clone();
        if score.kind == ScoreKind::Cosine {
            let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            if length > 0. {
                vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
            }
        }
        Ok(vector)
    }

    /// The text vector that scores this prompt minus another one. Scores are linear in their text vector.
    ///
    /// # Errors
    /// A score of another model.
    pub fn for_score_versus(&self, other: &TextVectors, score: &Score) -> crate::Result<Vec<f32>> {
        let (ours, theirs) = (self.for_score(score)?, other.for_score(score)?);
        Ok(ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_forgotten_where_they_are_too_many_or_too_large() {
        assert_eq!((surplus(&[], 0), surplus(&[], usize::MAX)), (0, 0));
        assert_eq!((surplus(&[1; 15], 1), surplus(&[1; 16], 1)), (0, 1));
        let quarter = MOST_BYTES / 4;
        assert_eq!((surplus(&[quarter; 3], quarter), surplus(&[quarter; 4], quarter)), (0, 1));
        assert_eq!((surplus(&[1, quarter, 2], MOST_BYTES - 2), surplus(&[1, 1], 2 * MOST_BYTES)), (2, 2));
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_what_was_meant() {
        let labels = ["tabby, tabby cat", "tiger cat", "Egyptian cat", "lynx"].map(str::to_owned);
        let error = |prompt: &str| find_classes(&labels, prompt, Several::Refused).unwrap_err().to_string();
        assert!(error("tabbi").contains("did you mean \"tabby\", \"tabby cat\"?"), "{}", error("tabbi"));
        assert!(error("egiptian cat").contains("\"Egyptian cat\"") && !error("xylophone").contains("did you mean"));
        assert_eq!((slips("", "abc"), slips("kitten", "sitting"), slips("abc", "abc")), (3, 3, 0));
    }

    fn score(kind: ScoreKind) -> Score {
        let name = || "output".to_string();
        Score {
            name: name(),
            kind,
            image: name(),
            text: name(),
            scale: None,
            scale_assumed: false,
            description: name(),
        }
    }

    fn vectors(values: &[f32]) -> TextVectors {
        TextVectors {
            tokens: Tokens::of(vec![]),
            meant: String::new(),
            outputs: BTreeMap::from([("output".to_string(), values.to_vec())]),
        }
    }

    #[test]
    fn words_stand_for_the_classes_that_hold_them_as_whole_words() {
        let labels = ["tabby cat", "tiger cat, tiger", "catamaran", "dog", "hot dog"].map(str::to_owned);
        let found = |words: &str, several: Several| find_classes(&labels, words, several).ok();
        for (words, together, refused) in [
            ("dog", Some(vec![3]), true),
            ("hot dog", Some(vec![4]), true),
            ("cat", Some(vec![0, 1]), false),
            ("tiger", Some(vec![1]), true),
            ("catam", Some(vec![2]), true),
            ("ca", Some(vec![0, 1, 2]), false),
            ("2", Some(vec![2]), true),
            ("horse", None, true),
            ("", None, true),
        ] {
            assert_eq!(found(words, Several::Together), together, "{words}");
            let alone = together.filter(|_| refused);
            assert_eq!(found(words, Several::Refused), alone, "{words}");
        }
    }

    #[test]
    fn only_cosines_scale_their_vectors() {
        let (three, four) = (vectors(&[3., 0.]), vectors(&[6., 8.]));
        assert_eq!(four.for_score(&score(ScoreKind::Dot)).unwrap(), [6., 8.]);
        assert_eq!(four.for_score(&score(ScoreKind::Cosine)).unwrap(), [0.6, 0.8]);
        assert_eq!(vectors(&[0., 0.]).for_score(&score(ScoreKind::Cosine)).unwrap(), [0., 0.]);
        assert_eq!(four.for_score_versus(&three, &score(ScoreKind::Dot)).unwrap(), [3., 8.]);
        assert_eq!(three.for_score_versus(&four, &score(ScoreKind::Cosine)).unwrap(), [1. - 0.6, -0.8]);
        let other = Score { text: "elsewhere".to_string(), ..score(ScoreKind::Dot) };
        assert!(four.for_score(&other).unwrap_err().to_string().contains("elsewhere"));
    }
}
