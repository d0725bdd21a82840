//! Files as text, whatever wrote them.

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fs;
use std::path::Path;

/// The text of a file: UTF-8, UTF-16 with a byte-order mark, or else Latin-1, which can decode any file.
pub(super) fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).context("expected a text file that can be read")?;
    let sixteen = |from: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        ensure!(rest.is_empty(), "expected UTF-16, found an odd number of bytes: is the file cut short?");
        let units = pairs.iter().map(|pair| from(*pair));
        char::decode_utf16(units).collect::<Result<String, _>>().context("expected UTF-16")
    };
    match bytes.as_slice() {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Ok(String::from_utf8_lossy(rest).into_owned()),
        [0xFF, 0xFE, ..] => sixteen(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => sixteen(u16::from_be_bytes),
        _ => {
            Ok(String::from_utf8(bytes)
                .unwrap_or_else(|error| error.as_bytes().iter().map(|b| char::from(*b)).collect()))
        }
    }
}

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

    #[test]
    fn byte_order_marks_and_other_encodings() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("text");
        let utf16 = |from: fn(u16) -> [u8; 2], mark: [u8; 2]| -> Vec<u8> {
            mark.into_iter().chain("né".encode_utf16().flat_map(from)).collect()
        };
        let cases = [
            "né".as_bytes().to_vec(),
            [&[0xEF, 0xBB, 0xBF], "né".as_bytes()].concat(),
            utf16(u16::to_le_bytes, [0xFF, 0xFE]),
            utf16(u16::to_be_bytes, [0xFE, 0xFF]),
            vec![b'n', 0xE9],
        ];
        for bytes in cases {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap(), "né", "{bytes:?}");
        }
        fs::write(&path, [0xFF, 0xFE, b'n']).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("cut short"));
    }
}
