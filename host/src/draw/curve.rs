//! Numbers over time: the score above, and beneath it a line for each part.

use super::canvas::{Canvas, GAP, MARGIN, Words};
use super::colours::{Colour, DIM_INK, FAINT_INK, INK, TRACK, TRACKS};
use super::text::{BODY, LABEL};
use crate::Size;
use image::RgbImage;

/// Everything that [`curve`] draws.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    /// The headline: the prompt.
    pub title: &'a str,
    /// Lines under it, wrapped to the width.
    pub subtitle: Vec<String>,
    /// When the last frame ends, in seconds.
    pub seconds: f64,
    /// The score at each time, and what it is called.
    pub score: (Vec<(f64, f32)>, String),
    /// The lines, and what their numbers are; empty if there are none.
    pub lines: (Vec<Line>, String),
    /// Lines at the foot, wrapped to the width.
    pub notes: Vec<String>,
}

/// One part over time.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number, as `#3`.
    pub name: String,
    /// What stands beside its number at the foot.
    pub words: String,
    /// Its colour's place among [`super::TRACKS`].
    pub colour: usize,
    /// Its numbers by time; none where there is a gap in the line.
    pub points: Vec<(f64, Option<f32>)>,
}

const WIDTH: usize = 1080;
/// Room for the numbers of the axis at the left, and for the names of lines at the right.
const LEFT: usize = MARGIN + 90;
const RIGHT: usize = MARGIN + 60;
const SCORE: usize = 150;
const LINES: usize = 320;
const COLUMNS: usize = 3;

/// Pixels from one dash of a broken line to the next.
const DASH: f32 = 10.0;

/// The range of numbers that an axis shows, and the step between its marks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Of numbers, with marks at round ones, so many at most.
    fn new(numbers: impl Iterator<Item = f64> + Clone, most: f64) -> Self {
        let finite = numbers.filter(|number| number.is_finite());
        let (low, high) = (finite.clone().fold(f64::INFINITY, f64::min), finite.fold(f64::NEG_INFINITY, f64::max));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let room = (high - low).max(1e-6 * high.abs().max(low.abs())).max(1e-9);
        let rough = room / most.max(1.0);
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * unit).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * unit);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self { low, high: if high > low { high } else { low + step }, step }
    }

    /// The marks with their words.
    fn marks(self) -> impl Iterator<Item = (f64, String)> {
        let decimals = (-self.step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
        let count = ((self.high - self.low) / self.step + 0.5) as usize;
        (0..=count).map(move |at| {
            let value = self.low + at as f64 * self.step;
            // No mark of minus zero.
            let value = if value.abs() < self.step / 2.0 { 0.0 } else { value };
            (value, format!("{value:.decimals$}"))
        })
    }

    /// The place of a number between the ends, 0..=1.
    fn place(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// A field with two axes on the canvas.
struct Field {
    top: usize,
    height: usize,
    time: f64,
    axis: Axis,
}

impl Field {
    fn x(&self, time: f64) -> f32 {
        (LEFT as f64 + time / self.time * (WIDTH - LEFT - RIGHT) as f64) as f32
    }

    fn y(&self, value: f64) -> f32 {
        (self.top as f64 + (1.0 - self.axis.place(value)) * self.height as f64) as f32
    }

    fn draw(&self, canvas: &mut Canvas, name: &str, seconds: bool) {
        canvas.text(MARGIN, self.top - BODY.line() - 8, name, BODY, INK);
        for (value, words) in self.axis.marks() {
            let y = self.y(value) as usize;
            canvas.fill(LEFT, y, Size::new(1, WIDTH - LEFT - RIGHT), if value == 0.0 { DIM_INK } else { TRACK });
            let left = (LEFT - 10).saturating_sub(BODY.width(&words));
            canvas.text(left, y.saturating_sub(BODY.height() / 2), &words, BODY, FAINT_INK);
        }
        let axis = Axis::new([0.0, self.time].into_iter(), 8.0);
        for (time, words) in axis.marks().filter(|(time, _)| *time <= self.time * 1.000_001) {
            let x = self.x(time) as usize;
            canvas.fill(x, self.top, Size::new(self.height + 6, 1), TRACK);
            if seconds {
                let words = if time == 0.0 { "0 s".into() } else { words };
                canvas.text(
                    x.saturating_sub(BODY.width(&words) / 2),
                    self.top + self.height + 10,
                    &words,
                    BODY,
                    FAINT_INK,
                );
            }
        }
    }

    /// The points joined by lines where they follow each other, or by broken lines; dots where there are few.
    fn line(&self, canvas: &mut Canvas, points: &[(f64, Option<f32>)], colour: Colour, broken: bool) {
        let at = |time: f64, value: f32| (self.x(time), self.y(value.into()));
        for pair in points.windows(2) {
            if let [(from, Some(one)), (to, Some(other))] = *pair {
                let (from, to) = (at(from, one), at(to, other));
                let length = (to.0 - from.0).hypot(to.1 - from.1);
                let dashes = if broken { (length / DASH).round().max(1.0) } else { 1.0 };
                let along = |share: f32| (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
                for dash in 0..dashes as usize {
                    let drawn = if broken { 0.4 } else { 1.0 };
                    canvas.stroke(along(dash as f32 / dashes), along((dash as f32 + drawn) / dashes), 1.5, colour);
                }
            }
        }
        let dot = if points.len() <= 60 { 3.5 } else { 1.5 };
        for (time, value) in points {
            if let Some(value) = value {
                canvas.stroke(at(*time, *value), at(*time, *value), dot, colour);
            }
        }
    }
}

/// Draws the score and the lines over time. Where two have one colour, the second is broken.
pub fn curve(curve: &Curve<'_>) -> RgbImage {
    let Curve { score: (scores, score_name), lines: (lines, unit), .. } = curve;
    let words = Words::new(curve.title, &curve.subtitle, &curve.notes, WIDTH);
    let named = BODY.line() + 12;
    let score_top = words.head_height() + named;
    let lines_top = score_top + SCORE + GAP + named;
    let below = if lines.is_empty() { score_top + SCORE } else { lines_top + LINES };
    let list = below + BODY.line() + GAP;
    let rows = lines.len().div_ceil(COLUMNS);
    let foot = list + rows * LABEL.line() + GAP / 2;
    let mut canvas = Canvas::new(Size::new(foot + curve.notes.len().min(1) * GAP / 2 + words.notes_height(), WIDTH));
    canvas.head(&words);
    let time = if curve.seconds > 0.0 { curve.seconds } else { 1.0 };

    let field = Field {
        top: score_top,
        height: SCORE,
        time,
        axis: Axis::new(scores.iter().map(|(_, value)| f64::from(*value)), 3.0),
    };
    field.draw(&mut canvas, score_name, lines.is_empty());
    let points: Vec<(f64, Option<f32>)> = scores.iter().map(|(time, value)| (*time, Some(*value))).collect();
    field.line(&mut canvas, &points, INK, false);

    if !lines.is_empty() {
        let numbers = lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value).map(f64::from);
        let axis = Axis::new(numbers.chain([0.0]), 6.0);
        let field = Field { top: lines_top, height: LINES, time, axis };
        field.draw(&mut canvas, unit, true);
        // Those that come first lie on top.
        for (at, line) in lines.iter().enumerate().rev() {
            let colour = line.colour % TRACKS.len();
            let broken = lines[..at].iter().any(|above| above.colour % TRACKS.len() == colour);
            field.line(&mut canvas, &line.points, TRACKS[colour], broken);
        }
        names(&mut canvas, &field, lines);
    }
    for (at, line) in lines.iter().enumerate() {
        let cell = (WIDTH - 2 * MARGIN) / COLUMNS;
        let (left, top) = (MARGIN + (at % COLUMNS) * cell, list + (at / COLUMNS) * LABEL.line());
        canvas.text(left, top, &line.name, LABEL, TRACKS[line.colour % TRACKS.len()]);
        let behind = LABEL.width("#000 ");
        canvas.text(left + behind, top, &BODY.shortened(&line.words, cell - behind - 10), BODY, INK);
    }
    canvas.notes(foot, &words);
    canvas.done()
}

/// The name of each line at its last point; names that would lie on each other are moved apart.
fn names(canvas: &mut Canvas, field: &Field, lines: &[Line]) {
    let last = |line: &Line| line.points.iter().rev().find_map(|(time, value)| Some((*time, (*value)?)));
    let mut ends: Vec<(f32, f32, &Line)> = lines
        .iter()
        .filter_map(|line| last(line).map(|(time, value)| (field.x(time) + 8.0, field.y(value.into()), line)))
        .collect();
    ends.sort_by(|a, b| a.1.total_cmp(&b.1));
    let height = LABEL.height() as f32;
    let mut placed: Vec<(f32, f32, f32)> = Vec::new();
    for (x, y, line) in ends {
        let wide = LABEL.width(&line.name) as f32;
        let mut top = y - height / 2.0;
        for &(left, right, bottom) in &placed {
            if x < right && left < x + wide {
                top = top.max(bottom);
            }
        }
        placed.push((x, x + wide, top + height - 3.0));
        canvas.label(x as usize, top.max(0.0) as usize, &line.name, TRACKS[line.colour % TRACKS.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks_around_all_numbers() {
        let marks = |numbers: &[f64], most: f64| -> Vec<String> {
            Axis::new(numbers.iter().copied(), most).marks().map(|(_, words)| words).collect()
        };
        assert_eq!(marks(&[0.13, 0.31], 3.0), ["0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(marks(&[-1.2, 7.9], 6.0), ["-2", "0", "2", "4", "6", "8"]);
        assert_eq!(marks(&[0.0, 30.0], 8.0), ["0", "5", "10", "15", "20", "25", "30"]);
        // One number, none, and none that is finite.
        assert!(marks(&[5.0], 3.0).len() >= 2);
        assert_eq!(marks(&[], 1.0), ["0", "1"]);
        assert_eq!(marks(&[f64::NAN, f64::INFINITY], 1.0), ["0", "1"]);
    }
}
