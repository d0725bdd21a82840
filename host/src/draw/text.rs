//! Words on pictures.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

pub(super) const TITLE: Font = Font { weight: FontWeight::Bold, height: RasterHeight::Size24 };
pub(super) const LABEL: Font = Font { weight: FontWeight::Bold, height: RasterHeight::Size20 };
pub(super) const BODY: Font = Font { weight: FontWeight::Regular, height: RasterHeight::Size20 };

/// Letters that are all equally wide.
#[derive(Clone, Copy)]
pub(super) struct Font {
    weight: FontWeight,
    height: RasterHeight,
}

impl Font {
    /// Pixels that a text takes.
    pub(super) fn width(self, text: &str) -> usize {
        text.chars().count() * self.step()
    }

    /// Pixels from one letter to the next.
    pub(super) fn step(self) -> usize {
        get_raster_width(self.weight, self.height)
    }

    /// Pixels from one line to the next.
    pub(super) fn line(self) -> usize {
        self.height() + 4
    }

    /// Pixels of a letter.
    pub(super) fn height(self) -> usize {
        self.height.val()
    }

    /// How much of each of a letter's pixels is ink, row by row, 0..=255; none for a letter that the font does not have.
    pub(super) fn coverage(self, letter: char) -> Option<impl Iterator<Item = &'static [u8]>> {
        get_raster(letter, self.weight, self.height).map(|raster| raster.rows())
    }

    /// The text on one line of so many pixels, its end replaced by `...` if it is too long.
    pub(super) fn shortened(self, text: &str, width: usize) -> String {
        let text = printable(text);
        if self.width(&text) <= width {
            return text;
        }
        let room = (width / self.step()).saturating_sub(3);
        let kept: String = text.chars().take(room).collect();
        format!("{}...", kept.trim_end())
    }

    /// The text on as many lines of so many pixels as it takes.
    pub(super) fn wrapped(self, text: &str, width: usize) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in printable(text).split(' ').filter(|word| !word.is_empty()) {
            let line = lines.last_mut().expect("one line from the start");
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if self.width(&longer) <= width || line.is_empty() {
                *line = longer;
            } else {
                lines.push(word.to_owned());
            }
        }
        lines.iter().map(|line| self.shortened(line, width)).collect()
    }
}

/// The text in letters that the font has: quotes and dashes plain, other scripts spelled in Latin letters, emoji by their names in brackets.
pub(super) fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            _ if letter.is_whitespace() || letter.is_control() => printed.push(' '),
            _ if BODY.coverage(letter).is_some() => printed.push(letter),
            _ => match (deunicode::deunicode_char(letter).map(str::trim), is_pictogram(letter)) {
                (Some(""), _) => {}
                (Some(name), true) => printed += &format!("[{name}]"),
                // A syllable of its own, as of Chinese.
                (Some(spelled), false) if is_ideograph(letter) => {
                    let before = if printed.is_empty() || printed.ends_with(' ') { "" } else { " " };
                    printed += &format!("{before}{spelled} ");
                }
                (Some(spelled), false) => printed += spelled,
                (None, _) => printed.push('?'),
            },
        }
    }
    printed
}

fn is_pictogram(letter: char) -> bool {
    matches!(letter, '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}')
}

fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}
