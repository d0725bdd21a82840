//! Numbers and names as source code.

use serde::Serialize;
use std::fmt::Write as _;

/// Numbers on a line.
const A_LINE: usize = 16;

/// The same numbers in C and in Rust.
#[derive(Debug, Default, Serialize)]
pub(super) struct Source {
    c: String,
    rust: String,
}

impl Source {
    pub(super) fn of_bytes(numbers: &[i8]) -> Self {
        let text = lines_of(numbers);
        Self { c: text.clone(), rust: text }
    }

    pub(super) fn of_floats(numbers: &[f32]) -> Self {
        let rust = lines(numbers.iter().map(|number| format!("{number:?}")));
        Self { c: lines(numbers.iter().map(|number| float_c(*number))), rust }
    }

    pub(super) fn of_names(names: &[String]) -> Self {
        let mut source = Self::default();
        for name in names {
            let _ = writeln!(source.c, "    {},", quoted_c(name));
            let _ = writeln!(source.rust, "    {name:?},");
        }
        source
    }
}

/// Bytes in both languages.
pub(super) fn lines_of(numbers: &[i8]) -> String {
    lines(numbers.iter().map(i8::to_string))
}

/// A float in C.
pub(super) fn float_c(number: f32) -> String {
    format!("{number:?}f")
}

/// The bits of floats, in both languages.
pub(super) fn bits(numbers: &[f32]) -> String {
    lines(numbers.iter().map(|number| format!("0x{:08x}", number.to_bits())))
}

fn lines(numbers: impl Iterator<Item = String>) -> String {
    let numbers: Vec<String> = numbers.collect();
    numbers.chunks(A_LINE).map(|line| format!("    {},\n", line.join(", "))).collect()
}

/// In C every byte that is no plain letter stands as an octal number; so does a question mark, which may begin a trigraph.
fn quoted_c(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' | b'?' => format!("\\{byte:03o}"),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    format!("\"{}\"", text.bytes().map(byte).collect::<String>())
}

/// A name in a comment: what ends or continues a line, or ends a quotation, is shown as a question mark.
pub(super) fn words(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() || matches!(letter, '\\' | '`' | '"') { '?' } else { letter })
        .collect()
}
