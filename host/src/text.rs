//! Files as text, whatever wrote them.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;

/// The text of a file, as [`decoded`] reads it.
pub(crate) fn read(path: &Path) -> Result<String> {
    decoded(fs::read(path).context("expected a text file that can be read")?)
}

/// Bytes as text: UTF-8, UTF-16 with a byte-order mark, or else Latin-1, which can decode anything.
pub(crate) fn decoded(bytes: Vec<u8>) -> Result<String> {
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
            let zero = bytes.contains(&0);
            ensure!(!zero, "expected text, found bytes of zero: is it UTF-16 without its mark? Save it as UTF-8");
            Ok(String::from_utf8(bytes)
                .unwrap_or_else(|error| error.as_bytes().iter().map(|b| char::from(*b)).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(decoded(vec![b'n', 0, b'o', 0]).unwrap_err().to_string().contains("UTF-16 without its mark"));
    }
}
