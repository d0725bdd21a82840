//! The names of a classifier's classes, as people keep them in files.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// One name a line, from a file that has a name on each line (blank lines do not count) or is JSON: a list of names, or an object from numbers to names or from names to
/// numbers, as `id2label` and `label2id` of Hugging Face have them. In place of a name a list of synonyms may stand, of which the last one counts, as in Keras'
/// `imagenet_class_index.json`.
pub(super) fn one_a_line(bytes: &[u8]) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let names: Vec<String> = match text.trim_start().chars().next() {
        Some('{' | '[') => {
            let value = serde_json::from_str(text).context("expected a name on each line, or JSON")?;
            of_json(&value)?
        }
        _ => text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect(),
    };
    ensure!(!names.is_empty(), "expected the names of classes, found none");
    Ok(names.iter().map(|name| name.replace(['\n', '\r'], " ") + "\n").collect::<String>().into_bytes())
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
            let mut numbered = numbered.collect::<Result<Vec<_>>>()?;
            numbered.sort();
            let gap = numbered.iter().enumerate().find(|(at, (number, _))| at != number);
            if let Some((at, _)) = gap {
                bail!("expected every number from 0 on once, found no {at}, or two");
            }
            Ok(numbered.into_iter().map(|(_, name)| name).collect())
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
        ] {
            assert_eq!(one_a_line(text.as_bytes()).unwrap(), b"tench\ngoldfish\n", "{text}");
        }
        let eleven: String = (0..11).map(|number| format!("\"{number}\": \"c{number}\",")).collect();
        let sorted = one_a_line(format!("{{{}}}", eleven.trim_end_matches(',')).as_bytes()).unwrap();
        assert!(sorted.ends_with(b"c9\nc10\n"), "by number, not by letter");
        for wrong in ["", "\n\n", "{}", "[1]", r#"{"a": "b"}"#, r#"{"0": "a", "2": "b"}"#, "[\"a\""] {
            assert!(one_a_line(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
