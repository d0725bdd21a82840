//! One picture of a film: a frame with its map, the same frame with the outlines of its parts, and the parts' numbers. Everything has one place in all pictures
//! of a film.

use super::canvas::{Canvas, GAP, MARGIN, Place};
use super::colours::{DIM_INK, FAINT_INK, INK, Style, TRACKS};
use super::overlay::{check, frame, largest, mark_unseen, outline, scaled_to, tinted};
use super::text::{BODY, LABEL, TITLE};
use crate::photo::{Rect, resize_whole, size_of};
use crate::{Result, Size};
use image::RgbImage;

/// Everything that [`film`] draws.
#[derive(Clone, Debug)]
pub struct Film<'a> {
    /// The frame, of any size; that of all pictures of a film.
    pub photo: &'a RgbImage,
    /// The part of it that the model saw, in pixels of [`film_tile`].
    pub seen: Rect,
    /// The headline: the prompt.
    pub title: &'a str,
    /// A line under it: the time and the score.
    pub line: &'a str,
    /// The map, of the size of [`film_tile`].
    pub saliency: &'a [f32],
    /// The parts that are outlined and listed.
    pub parts: Vec<Outlined<'a>>,
    /// What stands under the map and under the outlines.
    pub captions: [&'a str; 2],
    /// How the map is laid over the frame.
    pub style: &'a Style,
}

/// A part of a picture of a film.
#[derive(Clone, Debug)]
pub struct Outlined<'a> {
    /// Its map, of the size of [`film_tile`]; outlined where it is above half of its largest value.
    pub map: &'a [f32],
    /// Its number, as `#3`.
    pub name: String,
    /// Its share, and where it is.
    pub words: String,
    /// Its colour's place among [`super::TRACKS`]: that of its outline, its number and its bar, and its place in the list.
    pub colour: usize,
    /// A number in -1..=1 drawn as a bar.
    pub bar: f32,
}

const TILE: usize = 320;

/// The width of outlines, to each side of the border.
const OUTLINE: usize = 2;
const COLUMNS: usize = 2;

/// The size of the two panels of a film of frames of this size: the longer side has 320 pixels.
pub fn film_tile(photo: Size) -> Size {
    const SHORTEST: usize = 16;
    let size = scaled_to(photo, TILE);
    Size::new(size.height.max(SHORTEST), size.width.max(SHORTEST))
}

/// Draws a picture of a film. Its height and width are even, as films want them, and depend on the size of the frame alone.
///
/// # Errors
/// [`crate::Error::Output`] when a map has another length than [`film_tile`] of the frame has pixels.
pub fn film(film: &Film<'_>) -> Result<RgbImage> {
    const NARROWEST: usize = 640;
    let size = film_tile(size_of(film.photo));
    let photo = resize_whole(film.photo, size);
    check("saliency", film.saliency, &photo)?;
    let width = (2 * size.width + GAP + 2 * MARGIN).max(NARROWEST).next_multiple_of(2);
    let pictures = MARGIN + TITLE.line() + BODY.line() + GAP / 2;
    let list = pictures + size.height + 6 + BODY.line() + GAP / 2;
    let rows = TRACKS.len().div_ceil(COLUMNS);
    let row = LABEL.line() + 14;
    let mut canvas = Canvas::new(Size::new((list + rows * row + MARGIN / 2).next_multiple_of(2), width));
    let room = width - 2 * MARGIN;
    canvas.text(MARGIN, MARGIN, &TITLE.shortened(film.title, room), TITLE, INK);
    canvas.text(MARGIN, MARGIN + TITLE.line(), &BODY.shortened(film.line, room), BODY, FAINT_INK);

    let mut map = tinted(&photo, film.saliency, largest(film.saliency, film.style), film.style);
    let mut outlines = photo;
    for part in &film.parts {
        check(&part.name, part.map, &outlines)?;
        let half = 0.5 * part.map.iter().copied().fold(0.0, f32::max);
        if half > 0.0 {
            outline(&mut outlines, |at| part.map[at] >= half, TRACKS[part.colour % TRACKS.len()], OUTLINE);
        }
    }
    for picture in [&mut map, &mut outlines] {
        mark_unseen(picture, film.seen);
        frame(picture, film.seen);
    }
    let left = (width - 2 * size.width - GAP) / 2;
    for (left, picture, caption) in [(left, &map, 0), (left + size.width + GAP, &outlines, 1)] {
        canvas.picture(left, pictures, picture);
        let caption = BODY.shortened(film.captions[caption], size.width.max(width / 2 - MARGIN - GAP));
        canvas.text(left, pictures + size.height + 6, &caption, BODY, FAINT_INK);
    }
    let second = left + size.width + GAP;
    for part in &film.parts {
        let brightest = (0..part.map.len()).max_by(|a, b| part.map[*a].total_cmp(&part.map[*b])).unwrap_or(0);
        let (y, x) = (brightest / size.width, brightest % size.width);
        let wide = LABEL.width(&part.name) + 4;
        let left = second + x.saturating_sub(wide / 2).min(size.width.saturating_sub(wide));
        let top = pictures + y.saturating_sub(LABEL.height() / 2).min(size.height.saturating_sub(LABEL.height()));
        canvas.label(left, top, &part.name, TRACKS[part.colour % TRACKS.len()]);
    }
    let cell = room / COLUMNS;
    let mut taken = vec![false; COLUMNS * rows];
    for part in &film.parts {
        // Its own place, or where another part has its colour the next that is free.
        let places = (0..taken.len()).map(|step| (part.colour + step) % taken.len());
        let Some(at) = places.into_iter().find(|at| !taken[*at]) else { break };
        taken[at] = true;
        let place = Place { left: MARGIN + (at % COLUMNS) * cell, top: list + (at / COLUMNS) * row, width: cell - GAP };
        listed(&mut canvas, place, part);
    }
    Ok(canvas.done())
}

/// A part in the list: its number, its words, and its bar, which begins in the middle.
fn listed(canvas: &mut Canvas, Place { left, top, width }: Place, part: &Outlined<'_>) {
    let colour = TRACKS[part.colour % TRACKS.len()];
    canvas.text(left, top, &part.name, LABEL, colour);
    let behind = LABEL.width("#000 ");
    let words = BODY.shortened(&part.words, width.saturating_sub(behind));
    canvas.text(left + behind, top, &words, BODY, if part.bar == 0.0 { DIM_INK } else { INK });
    canvas.coloured_bar(Place { left, top: top + LABEL.line(), width }, part.bar, colour);
}
