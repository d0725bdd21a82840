//! The canvas, and what is drawn on it: headlines, pictures, captions with bars, and the scale at the foot.

use super::colours::{AGAINST, Colour, DIM_INK, FAINT_INK, FOR, INK, PAPER, Style, TRACK, Tints, mixed};
use super::text::{BODY, Font, LABEL, TITLE, printable};
use crate::Size;
use image::{Rgb, RgbImage};

pub(super) const MARGIN: usize = 28;
pub(super) const GAP: usize = 24;
pub(super) const WIDEST_LABEL: usize = 340;
const BAR: usize = 8;
const SCALE: Size = Size::new(16, 240);

/// Lines of a headline at most.
const TITLE_LINES: usize = 2;

/// A map, and the words beneath it.
#[derive(Clone, Debug, Default)]
pub struct Tile<'a> {
    /// One sample for each pixel of the photo beneath; drawn divided by its own maximum.
    pub map: &'a [f32],
    /// What stands beneath; the first line is set in bold.
    pub lines: Vec<String>,
    /// A number in -1..=1 drawn as a bar that grows from the middle: rightwards in blue above zero, leftwards in orange below.
    pub bar: Option<f32>,
    /// Whether the tile is drawn faint, because it takes no part in the result.
    pub dimmed: bool,
}

impl Tile<'_> {
    /// Pixels that its widest line takes.
    pub(super) fn label_width(&self) -> usize {
        self.lines.iter().map(|line| LABEL.width(line)).max().unwrap_or(0)
    }
}

/// Height of the captions of tiles: room for a bar if any has one, and for the most lines that any has.
pub(super) fn caption_height<'a>(tiles: impl Iterator<Item = &'a Tile<'a>> + Clone) -> usize {
    let bar = if tiles.clone().any(|tile| tile.bar.is_some()) { BAR + 6 } else { 0 };
    6 + bar + tiles.map(|tile| tile.lines.len()).max().unwrap_or(0) * BODY.line()
}

/// The words of a sheet, on the lines that they take.
pub(super) struct Words {
    title: Vec<String>,
    subtitle: Vec<String>,
    notes: Vec<String>,
    /// What stands at the ends of the scale; empty where that stands among the notes.
    ends: [String; 2],
}

impl Words {
    /// Wrapped to a sheet of this width.
    pub(super) fn new(title: &str, subtitle: &[String], notes: &[String], width: usize) -> Self {
        let width = width - 2 * MARGIN;
        let mut title = TITLE.wrapped(title, width);
        if title.len() > TITLE_LINES {
            let rest = title.split_off(TITLE_LINES - 1).join(" ");
            title.push(TITLE.shortened(&rest, width));
        }
        let lines = |lines: &[String]| lines.iter().flat_map(|line| BODY.wrapped(line, width)).collect();
        Self { title, subtitle: lines(subtitle), notes: lines(notes), ends: Default::default() }
    }

    /// With what the ends of a scale mean, on a sheet of this width: beside the scale, or where it has no room there as a note.
    pub(super) fn with_scale(mut self, ends: [&str; 2], width: usize) -> Self {
        let room = width - 2 * MARGIN;
        let [low, high] = ends.map(|end| BODY.width(&printable(end)));
        if low <= room / 3 && low + 2 * BODY.step() + scale_length(room) + high <= room {
            self.ends = ends.map(printable);
        } else {
            let note = format!("Left end of the colours: {}. Right end: {}.", ends[0], ends[1]);
            self.notes.splice(0..0, BODY.wrapped(&note, room));
        }
        self
    }

    /// Pixels above the first picture.
    pub(super) fn head_height(&self) -> usize {
        MARGIN + self.title.len() * TITLE.line() + self.subtitle.len() * BODY.line() + GAP / 2
    }

    /// Pixels from the scale on.
    pub(super) fn foot_height(&self) -> usize {
        SCALE.height + 12 + self.notes_height()
    }

    /// Pixels from the notes on.
    pub(super) fn notes_height(&self) -> usize {
        self.notes.len() * BODY.line() + MARGIN
    }
}

/// Pixels of a scale where there are so many for it and its words.
fn scale_length(room: usize) -> usize {
    SCALE.width.min(room / 3)
}

/// Where a caption goes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
}

/// Dark paper.
pub(super) struct Canvas(RgbImage);

impl Canvas {
    pub(super) fn new(size: Size) -> Self {
        Self(RgbImage::from_pixel(size.width as u32, size.height as u32, Rgb(PAPER)))
    }

    pub(super) fn done(self) -> RgbImage {
        self.0
    }

    pub(super) fn head(&mut self, words: &Words) {
        let mut top = MARGIN;
        for line in &words.title {
            self.text(MARGIN, top, line, TITLE, INK);
            top += TITLE.line();
        }
        for line in &words.subtitle {
            self.text(MARGIN, top, line, BODY, FAINT_INK);
            top += BODY.line();
        }
    }

    pub(super) fn picture(&mut self, left: usize, top: usize, picture: &RgbImage) {
        image::imageops::replace(&mut self.0, picture, left as i64, top as i64);
    }

    pub(super) fn fill(&mut self, left: usize, top: usize, size: Size, colour: Colour) {
        for y in top..(top + size.height).min(self.0.height() as usize) {
            for x in left..(left + size.width).min(self.0.width() as usize) {
                self.0.put_pixel(x as u32, y as u32, Rgb(colour));
            }
        }
    }

    pub(super) fn text(&mut self, left: usize, top: usize, text: &str, font: Font, colour: Colour) {
        for (left, letter) in (left..).step_by(font.step()).zip(text.chars()) {
            for (y, row) in (top..).zip(font.coverage(letter).into_iter().flatten()) {
                for (x, &coverage) in (left..).zip(row) {
                    if let Some(pixel) = self.0.get_pixel_mut_checked(x as u32, y as u32) {
                        pixel.0 = mixed(pixel.0, colour, f32::from(coverage) / 255.0);
                    }
                }
            }
        }
    }

    /// A tile's bar, or with `bars` a place for one, and its words.
    pub(super) fn caption(&mut self, place: Place, tile: &Tile<'_>, bars: bool) {
        let Place { left, mut top, width } = place;
        if bars {
            if let Some(value) = tile.bar {
                self.bar(place, value, tile.dimmed);
            }
            top += BAR + 6;
        }
        for (index, line) in tile.lines.iter().enumerate() {
            let (font, colour) = match (index, tile.dimmed) {
                (0, false) => (LABEL, INK),
                (0, true) => (LABEL, DIM_INK),
                (_, false) => (BODY, FAINT_INK),
                (_, true) => (BODY, DIM_INK),
            };
            self.text(left, top, &font.shortened(line, width), font, colour);
            top += BODY.line();
        }
    }

    /// A bar from the middle: its length the size, its side and colour the sign.
    fn bar(&mut self, place: Place, value: f32, dimmed: bool) {
        let colour = if value < 0.0 { AGAINST } else { FOR };
        self.coloured_bar(place, value, if dimmed { mixed(PAPER, colour, 0.45) } else { colour });
    }

    /// A bar from the middle: its length the size, its side the sign.
    pub(super) fn coloured_bar(&mut self, Place { left, top, width }: Place, value: f32, colour: Colour) {
        let middle = left + width / 2;
        let length = (value.abs().clamp(0.0, 1.0) * (width / 2) as f32).round() as usize;
        let start = if value < 0.0 { middle - length } else { middle };
        self.fill(left, top, Size::new(BAR, width), TRACK);
        self.fill(start, top, Size::new(BAR, length), colour);
        self.fill(middle, top, Size::new(BAR, 1), INK);
    }

    /// A name on a dark field of its own, so that it is read on any picture.
    pub(super) fn label(&mut self, left: usize, top: usize, name: &str, colour: Colour) {
        let size = Size::new(LABEL.height(), LABEL.width(name) + 4);
        for y in top..(top + size.height).min(self.0.height() as usize) {
            for x in left..(left + size.width).min(self.0.width() as usize) {
                let pixel = &mut self.0.get_pixel_mut(x as u32, y as u32).0;
                *pixel = mixed(*pixel, PAPER, 0.7);
            }
        }
        self.text(left + 2, top, name, LABEL, colour);
    }

    /// A line with round ends of so much to each side, smooth at its edges.
    pub(super) fn stroke(&mut self, from: (f32, f32), to: (f32, f32), half: f32, colour: Colour) {
        let range = |one: f32, other: f32, most: u32| {
            let (low, high) = (one.min(other) - half - 1.0, one.max(other) + half + 2.0);
            // A float-to-integer cast saturates.
            (low.max(0.0) as u32)..(high.max(0.0) as u32).min(most)
        };
        let along = (to.0 - from.0, to.1 - from.1);
        let length = along.0 * along.0 + along.1 * along.1;
        for y in range(from.1, to.1, self.0.height()) {
            for x in range(from.0, to.0, self.0.width()) {
                let to_pixel = (x as f32 - from.0, y as f32 - from.1);
                let share = if length > 0.0 { (to_pixel.0 * along.0 + to_pixel.1 * along.1) / length } else { 0.0 };
                let share = share.clamp(0.0, 1.0);
                let distance = (to_pixel.0 - share * along.0).hypot(to_pixel.1 - share * along.1);
                let coverage = (half + 0.5 - distance).clamp(0.0, 1.0);
                let pixel = &mut self.0.get_pixel_mut(x, y).0;
                *pixel = mixed(*pixel, colour, coverage);
            }
        }
    }

    /// The notes alone.
    pub(super) fn notes(&mut self, mut top: usize, words: &Words) {
        for note in &words.notes {
            self.text(MARGIN, top, note, BODY, FAINT_INK);
            top += BODY.line();
        }
    }

    /// The scale with what its ends mean, and the notes.
    pub(super) fn foot(&mut self, top: usize, style: &Style, words: &Words) {
        let room = self.0.width() as usize - 2 * MARGIN;
        let [low, high] = &words.ends;
        let left = MARGIN + if low.is_empty() { 0 } else { BODY.width(low) + BODY.step() };
        let text_top = (top + SCALE.height / 2).saturating_sub(BODY.height() / 2);
        self.text(MARGIN, text_top, low, BODY, INK);
        let length = scale_length(room);
        let tints = Tints::new(style);
        for column in 0..length {
            let share = column as f32 / (length - 1) as f32;
            let value = if style.colours.is_signed() { 2.0 * share - 1.0 } else { share };
            // On middle grey, as if over a photo: what the maps show, not the bare colours.
            self.fill(left + column, top, Size::new(SCALE.height, 1), tints.over([128; 3], value));
        }
        let right = left + length + BODY.step();
        self.text(right, text_top, high, BODY, INK);
        self.notes(top + SCALE.height + 12, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_headline_ends_on_a_line_of_its_own_words() {
        let long =
            "a very long prompt about a tabby cat that sits on a sofa beside a window and looks at a bird outside";
        let words = Words::new(long, &[], &[], 400);
        assert_eq!(words.title.len(), TITLE_LINES);
        let last = &words.title[TITLE_LINES - 1];
        assert!(last.len() > 10 && last.ends_with("..."), "{:?}", words.title);
        let shown = words.title.concat();
        assert!(long.replace(' ', "").starts_with(&shown.trim_end_matches('.').replace(' ', "")), "{shown}");
        assert_eq!(Words::new("a cat", &[], &[], 400).title, ["a cat"]);
    }

    #[test]
    fn what_a_scale_means_is_never_cut() {
        let ends = ["nothing", "the most that any place of this photo adds"];
        let (wide, narrow) = (Words::new("", &[], &[], 1000), Words::new("", &[], &[], 420));
        let (wide, narrow) = (wide.with_scale(ends, 1000), narrow.with_scale(ends, 420));
        assert_eq!((wide.ends, wide.notes.len()), (ends.map(str::to_owned), 0));
        assert_eq!(narrow.ends, ["", ""]);
        assert_eq!(narrow.notes.join(" "), format!("Left end of the colours: {}. Right end: {}.", ends[0], ends[1]));
    }
}
