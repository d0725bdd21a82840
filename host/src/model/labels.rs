//! The names of a classifier's classes, as people keep them in files.

use crate::text;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;

/// One name a line, from a file that has a name on each line (blank lines do not count) or is JSON: a list of names, or an object from numbers to names or from names to
/// numbers, as `id2label` and `label2id` of Hugging Face have them. In place of a name a list of synonyms may stand, of which the last one counts, as in Keras'
/// `imagenet_class_index.json`. Lines that all begin with a number, such as `0 background`, are in the order of their numbers; numbers of WordNet are left out.
pub(super) fn one_a_line(bytes: &[u8]) -> Result<Vec<u8>> {
    let text = text::decoded(bytes.to_vec())?;
    let names: Vec<String> = match text.trim_start().chars().next() {
        Some('{' | '[') => {
            let value = serde_json::from_str(text.trim_start()).context("expected a name on each line, or JSON")?;
            of_json(&value)?
        }
        _ => of_lines(&text)?,
    };
    ensure!(!names.is_empty(), "expected the names of classes, found none");
    Ok(names.iter().map(|name| name.replace(['\n', '\r'], " ") + "\n").collect::<String>().into_bytes())
}

fn of_lines(text: &str) -> Result<Vec<String>> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for (begin, kind) in [("names:", "YAML"), ("item {", "a label map of TensorFlow")] {
        let found = lines.first().is_some_and(|line| line.starts_with(begin));
        ensure!(!found, "expected a name on each line, or JSON, found {kind}; write each name on a line of its own");
    }
    let names = match lines.iter().map(|line| numbered(line)).collect::<Option<Vec<_>>>() {
        Some(numbered) if numbered.len() > 1 && distinct(&numbered) => by_number(numbered).map_err(|reason| {
            anyhow!("{reason} at the beginning of a line; number them so, or, if numbers are parts of the names, write a list in JSON")
        })?,
        _ => lines.into_iter().map(str::to_owned).collect(),
    };
    let words: Option<Vec<String>> = names.iter().map(|name| without_wordnet(name)).collect();
    Ok(words.unwrap_or(names))
}

/// The number that a line begins with, and the rest.
fn numbered(line: &str) -> Option<(usize, String)> {
    let end = line.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, rest) = line.split_at(end);
    let name = rest.trim_start_matches([':', ',', ';', ' ', '\t']);
    let separate = name.len() < rest.len() && !name.is_empty();
    separate.then_some((number.parse().ok()?, name.trim_matches('"').to_owned()))
}

/// Whether no number is given twice: numbers that belong to names may be.
fn distinct(numbered: &[(usize, String)]) -> bool {
    let numbers: BTreeSet<usize> = numbered.iter().map(|(number, _)| *number).collect();
    numbers.len() == numbered.len()
}

/// The name without the number of a synset of WordNet before it, as in `n01440764 tench`; none if there is no such number.
fn without_wordnet(name: &str) -> Option<String> {
    let (number, rest) = name.split_once([' ', '\t', ','])?;
    let digits = number.strip_prefix('n')?;
    (digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| rest.trim().to_owned())
}

/// The names in the order of their numbers.
///
/// # Errors
/// A number that is missing, or there twice.
fn by_number(mut numbered: Vec<(usize, String)>) -> Result<Vec<String>> {
    numbered.sort();
    match numbered.iter().enumerate().find(|(at, (number, _))| at != number) {
        Some((at, (number, _))) if *number < at => {
            bail!("expected every number from 0 on once, found {number} twice")
        }
        Some((at, _)) => bail!("expected every number from 0 on once, found no {at}"),
        None => Ok(numbered.into_iter().map(|(_, name)| name).collect()),
    }
}

fn of_json(value: &Value) -> Result<Vec<String>> {
    match value {
        Value::Array(names) => names.iter().map(name).collect(),
        Value::Object(entries) => {
            if let Some(inner) = ["id2label", "label2id", "labels", "names"].iter().find_map(|key| entries.get(*key)) {
                return of_json(inner);
            }
            let numbered = entries.iter().map(|(key, value)| match (key.trim().parse::<usize>(), value.as_u64()) {
                (Ok(number), _) => Ok((number, name(value)?)),
                (Err(_), Some(number)) => Ok((number as usize, key.clone())),
                _ => bail!("expected the numbers of classes and their names, found \"{key}\": {value}"),
            });
            by_number(numbered.collect::<Result<_>>()?)
        }
        other => bail!("expected a list of names, or an object of numbers and names, found {other}"),
    }
}

fn name(value: &Value) -> Result<String> {
    match value {
        Value::String(name) => Ok(name.clone()),
        Value::Array(synonyms) => name(synonyms.last().context("expected a name, found an empty list")?),
        other => bail!("expected a name, found {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_names() {
        for text in [
            "tench\ngoldfish",
            "\u{feff}\n tench \r\n\r\ngoldfish\r\n\n",
            r#"["tench", "goldfish"]"#,
            r#"{"0": "tench", "1": "goldfish"}"#,
            r#"{"goldfish": 1, "tench": 0}"#,
            r#"{"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"]}"#,
            r#"{"id2label": {"0": "tench", "1": "goldfish"}}"#,
            "0 tench\n1 goldfish",
            "1: goldfish\n0: tench\n",
            "1,\"goldfish\"\n0,tench\n",
            "0\ttench\r\n\r\n1\tgoldfish",
            "n01440764 tench\nn01443537 goldfish",
            "1 n01443537 goldfish\n0 n01440764 tench",
        ] {
            assert_eq!(one_a_line(text.as_bytes()).unwrap(), b"tench\ngoldfish\n", "{text}");
        }
        let sixteen = "tench\ngoldfish".encode_utf16().flat_map(u16::to_le_bytes);
        let sixteen: Vec<u8> = [0xFF, 0xFE].into_iter().chain(sixteen).collect();
        assert_eq!(one_a_line(&sixteen).unwrap(), b"tench\ngoldfish\n");
        assert_eq!(one_a_line(b"b\xe9b\xe9\n").unwrap(), "bébé\n".as_bytes());
        // Numbers that are names, or parts of names.
        for names in ["0\n1\n2\n", "1 euro\n2 euro\n1 cent\n", "3D model\n2 cats\n", "7up\n", "n02 road\nn03 road\n"] {
            assert_eq!(one_a_line(names.as_bytes()).unwrap(), names.as_bytes());
        }
        let eleven: String = (0..11).map(|number| format!("\"{number}\": \"c{number}\",")).collect();
        let sorted = one_a_line(format!("{{{}}}", eleven.trim_end_matches(',')).as_bytes()).unwrap();
        assert!(sorted.ends_with(b"c9\nc10\n"), "by number, not by letter");
        for (wrong, reason) in [
            ("1 tench\n2 goldfish", "found no 0"),
            ("0 tench\n2 goldfish", "found no 1"),
            (r#"{"0": "a", "1": "b", "3": "c"}"#, "found no 2"),
            (r#"{"a": 0, "b": 0}"#, "found 0 twice"),
            ("names: [tench, goldfish]", "found YAML"),
            ("item { id: 1 name: \"tench\" }", "label map of TensorFlow"),
        ] {
            let error = format!("{:#}", one_a_line(wrong.as_bytes()).unwrap_err());
            assert!(error.contains(reason), "{wrong}: {error}");
        }
        for wrong in ["", "\n\n", "{}", "[1]", r#"{"a": "b"}"#, r#"{"0": "a", "2": "b"}"#, "[\"a\""] {
            assert!(one_a_line(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
