//! JSON of annotations, as tools write it.

use anyhow::Result;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// JSON as Python writes it: `NaN` and `Infinity`, which JSON does not have, are read as `null`.
pub(super) fn plain_json(text: &str) -> Cow<'_, str> {
    const ODD: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !ODD.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let (mut rest, mut quoted) = (text, false);
    while let Some(letter) = rest.chars().next() {
        if !quoted && let Some(word) = ODD.iter().find(|word| rest.starts_with(**word)) {
            plain += "null";
            rest = &rest[word.len()..];
            continue;
        }
        let escaped = if quoted && letter == '\\' { rest[1..].chars().next() } else { None };
        quoted ^= letter == '"';
        let length = letter.len_utf8() + escaped.map_or(0, char::len_utf8);
        plain += &rest[..length];
        rest = &rest[length..];
    }
    Cow::Owned(plain)
}

/// A record of a JSON file.
pub(super) fn record<T: DeserializeOwned>(raw: &serde_json::value::RawValue) -> Result<T> {
    Ok(serde_json::from_str(raw.get())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_is_null_outside_of_words() {
        let text = r#"{"area": NaN, "name": "NaN \" NaN \\", "size": [-Infinity, Infinity], "é": 1}"#;
        assert_eq!(plain_json(text), r#"{"area": null, "name": "NaN \" NaN \\", "size": [null, null], "é": 1}"#);
        assert!(matches!(plain_json("{\"a\": 1}"), Cow::Borrowed(_)));
    }
}
