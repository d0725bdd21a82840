//! How a folder of Hugging Face's says that prompts are filled up: what `tokenizer_config.json`, `special_tokens_map.json` and `tokenizer.json` say, in the order in which
//! transformers' tokenizers heed them.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Beside the tokenizer itself, and read if they are there.
pub(super) const FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// Lengths from here on stand for none: transformers writes 10^30.
const NO_LENGTH: f64 = 1e6;

/// What a folder says of padding.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Padding {
    /// Id of the token that fills up.
    pub(super) id: Option<i64>,
    /// Whether it stands before the prompt.
    pub(super) first: bool,
    /// Whether networks are not told of it, and read it as they read the prompt.
    pub(super) read: bool,
    /// Most tokens of a prompt.
    pub(super) longest: Option<usize>,
}

/// The part of `tokenizer.json` that says which tokens are special.
#[derive(Debug, Default, Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    padding: Option<Stored>,
}

#[derive(Debug, Deserialize)]
struct Added {
    id: i64,
    content: String,
}

#[derive(Debug, Deserialize)]
struct Stored {
    pad_id: Option<i64>,
    direction: Option<String>,
}

/// The part that says which number an ordinary token has, by one of the two ways in which models of tokens write it.
#[derive(Debug, Deserialize)]
struct Model {
    model: Vocabulary,
}

#[derive(Debug, Deserialize)]
struct Vocabulary {
    vocab: Listed,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Listed {
    ByName(HashMap<String, i64>),
    InOrder(Vec<(String, f64)>),
}

impl Padding {
    /// Of a folder whose `tokenizer.json` holds these bytes.
    pub(super) fn of(folder: &Path, tokenizer: &[u8]) -> Result<Self> {
        let [config, special] = FILES.map(|name| optional(folder, name));
        let (config, special) = (config?, special?);
        let place = || folder.join("tokenizer.json").display().to_string();
        let file: Tokenizer = serde_json::from_slice(tokenizer)
            .with_context(|| format!("{}: expected a tokenizer of Hugging Face's; fetch the file again", place()))?;
        // transformers reads the older file only where the newer one does not list the special tokens itself.
        let by_config = text_of(&config["pad_token"]);
        let by_map = text_of(&special["pad_token"]);
        let name = if config["added_tokens_decoder"].is_object() { by_config.or(by_map) } else { by_map.or(by_config) };
        let id = match name {
            Some(name) => Some(id_of(name, &file, &config, tokenizer).with_context(|| {
                format!(
                    "{}: expected the token \"{name}\", which {} says prompts are filled up with",
                    place(),
                    FILES[0]
                )
            })?),
            None => file.padding.as_ref().and_then(|stored| stored.pad_id),
        };
        let stored = file.padding.as_ref().and_then(|stored| stored.direction.as_deref());
        let side = config["padding_side"].as_str().or(stored).unwrap_or("right");
        let told = config["model_input_names"].as_array();
        let longest = config["model_max_length"].as_f64().filter(|length| *length >= 1.0 && *length < NO_LENGTH);
        Ok(Self {
            id,
            first: side.eq_ignore_ascii_case("left"),
            read: told.is_some_and(|names| !names.iter().any(|name| name == "attention_mask")),
            longest: longest.map(|length| length as usize),
        })
    }
}

/// A file of JSON that need not be there.
fn optional(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(Value::Null);
    }
    super::hub::json(folder, name)
}

/// A token's text, which stands by itself or with what else is said of the token.
fn text_of(token: &Value) -> Option<&str> {
    token.as_str().or(token["content"].as_str())
}

fn id_of(name: &str, file: &Tokenizer, config: &Value, tokenizer: &[u8]) -> Option<i64> {
    let added = file.added_tokens.iter().find(|token| token.content == name).map(|token| token.id);
    let decoder = || {
        let mut entries = config["added_tokens_decoder"].as_object()?.iter();
        entries.find(|(_, token)| text_of(token) == Some(name))?.0.parse().ok()
    };
    let listed = || match serde_json::from_slice::<Model>(tokenizer).ok()?.model.vocab {
        Listed::ByName(ids) => ids.get(name).copied(),
        Listed::InOrder(tokens) => tokens.iter().position(|(token, _)| token == name).map(|at| at as i64),
    };
    added.or_else(listed).or_else(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const TOKENIZER: &str = r#"{"added_tokens": [{"id": 7, "content": "<pad>"}, {"id": 8, "content": "<end>"}],
        "padding": {"pad_id": 3, "direction": "Left"}, "model": {"type": "WordLevel", "vocab": {"a": 1, "filler": 2}}}"#;

    fn read(config: Option<&str>, special: Option<&str>, tokenizer: &str) -> Result<Padding> {
        let folder = TempDir::new().unwrap();
        for (name, text) in FILES.iter().zip([config, special]) {
            if let Some(text) = text {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
        }
        Padding::of(folder.path(), tokenizer.as_bytes())
    }

    #[test]
    fn the_token_is_found_where_transformers_finds_it() {
        let id = |config: Option<&str>, special: Option<&str>| read(config, special, TOKENIZER).unwrap().id;
        assert_eq!(id(None, None), Some(3), "what tokenizer.json stores");
        assert_eq!(id(Some(r#"{"pad_token": "<pad>"}"#), None), Some(7));
        assert_eq!(id(Some(r#"{"pad_token": {"content": "<end>", "lstrip": false}}"#), None), Some(8));
        assert_eq!(id(Some(r#"{"pad_token": "filler"}"#), None), Some(2), "an ordinary token");
        assert_eq!(id(None, Some(r#"{"pad_token": "<end>"}"#)), Some(8));
        let both = |config: &str| id(Some(config), Some(r#"{"pad_token": "<end>"}"#));
        assert_eq!(both(r#"{"pad_token": "<pad>"}"#), Some(8), "the older file, where the newer one lists no tokens");
        assert_eq!(both(r#"{"pad_token": "<pad>", "added_tokens_decoder": {}}"#), Some(7));
        let error = read(Some(r#"{"pad_token": "<nothing>"}"#), None, TOKENIZER).unwrap_err();
        assert!(format!("{error:#}").contains("<nothing>"), "{error:#}");
        let listed = r#"{"model": {"type": "Unigram", "vocab": [["a", 0.0], ["<pad>", -1.5]]}}"#;
        assert_eq!(read(Some(r#"{"pad_token": "<pad>"}"#), None, listed).unwrap().id, Some(1));
        assert_eq!(read(None, None, listed).unwrap(), Padding::default());
    }

    #[test]
    fn the_side_the_mask_and_the_length_are_read() {
        let config = r#"{"padding_side": "right", "model_max_length": 64, "model_input_names": ["input_ids"]}"#;
        let found = read(Some(config), None, TOKENIZER).unwrap();
        assert_eq!((found.first, found.read, found.longest), (false, true, Some(64)));
        let config = r#"{"model_max_length": 1000000000000000019884624838656, "model_input_names": ["input_ids", "attention_mask"]}"#;
        let found = read(Some(config), None, TOKENIZER).unwrap();
        assert_eq!((found.first, found.read, found.longest), (true, false, None));
    }
}
