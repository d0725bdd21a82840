//! Everything about one photo on a sheet.

use super::canvas::{Canvas, GAP, MARGIN, Place, Tile, WIDEST_LABEL, Words, caption_height};
use super::colours::Style;
use super::overlay::{check, fade, frame, largest, mark_unseen, scaled_to, tinted};
use crate::error::Sorted as _;
use crate::photo::{Rect, resize_whole, size_of};
use crate::{Error, Result, Size};
use anyhow::ensure;
use image::RgbImage;

/// Everything that [`sheet`] draws.
///
/// Letters that the font does not have are spelled in Latin ones, emoji by their names; a headline or label that is too long for its place ends in `...`.
#[derive(Clone, Debug)]
pub struct Sheet<'a> {
    /// The photo, of any size.
    pub photo: &'a RgbImage,
    /// The part of the photo that the model saw, in pixels of the photo.
    pub seen: Rect,
    /// The headline: the prompt.
    pub title: &'a str,
    /// Lines under the headline, wrapped to the width: the score, the recipe.
    pub subtitle: Vec<String>,
    /// The whole explanation; its map has the size of [`tile_size`].
    pub saliency: Tile<'a>,
    /// Its parts, in the order in which they are drawn; their maps have the size of [`tile_size`].
    pub parts: Vec<Tile<'a>>,
    /// Lines at the foot, wrapped to the width: what the numbers mean.
    pub notes: Vec<String>,
    /// How maps are laid over photos.
    pub style: &'a Style,
}

/// Parts on one page of [`pages`]: what is legible on a screen without scrolling far.
pub const PARTS_A_PAGE: usize = 14;

const TILE: usize = 300;
const TILE_SHORTEST: usize = 16;
pub(super) const NARROWEST: usize = 640;

/// The size of a tile on the sheet of a photo of this size.
///
/// The longer side has 300 pixels; the shorter one follows from the photo's shape, but has at least 16.
pub fn tile_size(photo: Size) -> Size {
    let size = scaled_to(photo, TILE);
    Size::new(size.height.max(TILE_SHORTEST), size.width.max(TILE_SHORTEST))
}

/// Draws the photo, its saliency map and every part of that, with their numbers, on one sheet.
///
/// # Conventions
/// Every map is divided by its own maximum, because the parts' sizes differ so much that on one scale most would be
/// blank: the colours of a tile say where, its numbers say how much. The sheet says so itself. Colours are those of
/// [`super::overlay()`]. The number of columns is the one that comes closest to
/// a sheet of 7:5 without empty places.
///
/// # Errors
/// [`Error::Output`] when the photo has no pixels, or a map has another length than [`tile_size`] of the photo has pixels.
pub fn sheet(sheet: &Sheet<'_>) -> Result<RgbImage> {
    let photo = checked(sheet)?;
    let seen = scaled(sheet.seen, size_of(sheet.photo), size_of(&photo));
    let unseen = seen.size != size_of(&photo);
    let photo_lines = ["Photo", if unseen { "framed: what the model saw" } else { "seen whole by the model" }];
    let photo_tile = Tile { lines: photo_lines.map(str::to_owned).to_vec(), ..Tile::default() };
    let tiles: Vec<&Tile<'_>> = [&photo_tile, &sheet.saliency].into_iter().chain(&sheet.parts).collect();
    let layout = Layout::new(&tiles, size_of(&photo), sheet);

    let mut canvas = Canvas::new(layout.size);
    canvas.head(&layout.words);
    for (index, tile) in tiles.iter().enumerate() {
        let place = layout.cell(index);
        let mut picture = photo.clone();
        if index > 0 {
            picture = tinted(&photo, tile.map, largest(tile.map, sheet.style), sheet.style);
            mark_unseen(&mut picture, seen);
        }
        frame(&mut picture, seen);
        if tile.dimmed {
            fade(&mut picture);
        }
        canvas.picture(place.left, place.top, &picture);
        let beneath = Place { top: place.top + size_of(&photo).height + 6, ..place };
        canvas.caption(beneath, tile, layout.bars);
    }
    canvas.foot(layout.foot, sheet.style, &layout.words);
    Ok(canvas.done())
}

/// Several sheets where there are more parts than are legible on one: [`PARTS_A_PAGE`] on each, with the count in the headline.
///
/// # Errors
/// Those of [`sheet`].
pub fn pages(whole: &Sheet<'_>) -> Result<Vec<RgbImage>> {
    let count = whole.parts.len().div_ceil(PARTS_A_PAGE).max(1);
    if count == 1 {
        return Ok(vec![sheet(whole)?]);
    }
    let page = |(number, parts): (usize, &[Tile<'_>])| {
        let first = number * PARTS_A_PAGE + 1;
        let places = format!("parts {first} to {} of {}", first + parts.len() - 1, whole.parts.len());
        let subtitle = [places].into_iter().chain(whole.subtitle.iter().cloned()).collect();
        let notes = if number == 0 { whole.notes.clone() } else { Vec::new() };
        sheet(&Sheet { subtitle, parts: parts.to_vec(), notes, ..whole.clone() })
    };
    whole.parts.chunks(PARTS_A_PAGE).enumerate().map(page).collect()
}

/// The photo at the size of a tile.
fn checked(sheet: &Sheet<'_>) -> Result<RgbImage> {
    let size = size_of(sheet.photo);
    let check_photo = || {
        ensure!(size.area() > 0, "cannot draw a sheet: expected a photo, found one without pixels");
        Ok(())
    };
    check_photo().kind(Error::Output)?;
    let photo = resize_whole(sheet.photo, tile_size(size));
    check("saliency", sheet.saliency.map, &photo)?;
    for (index, tile) in sheet.parts.iter().enumerate() {
        check(&format!("part #{}", index + 1), tile.map, &photo)?;
    }
    Ok(photo)
}

// Width over height that a sheet comes near to, with about so much height for the words.
const SHAPE: f64 = 1.4;
const WORDS: usize = 200;

/// Where everything on a sheet goes, in pixels.
struct Layout {
    size: Size,
    columns: usize,
    cell: Size,
    /// Where the first row of tiles begins, and where the foot does.
    grid: usize,
    foot: usize,
    words: Words,
    label_width: usize,
    bars: bool,
}

impl Layout {
    fn new(tiles: &[&Tile<'_>], tile: Size, sheet: &Sheet<'_>) -> Self {
        let widest = tiles.iter().map(|tile| tile.label_width()).max().unwrap_or(0);
        let label_width = tile.width.max(widest.min(WIDEST_LABEL));
        let bars = tiles.iter().any(|tile| tile.bar.is_some());
        let caption = caption_height(tiles.iter().copied());
        let cell = Size::new(tile.height + caption + GAP, label_width + GAP);
        let columns = columns(tiles.len(), cell);
        let grid_size = grid_size(tiles.len(), columns, cell);
        let width = grid_size.width.max(NARROWEST);
        let notes: Vec<String> = [super::SCALE.to_owned()].into_iter().chain(sheet.notes.iter().cloned()).collect();
        let words = Words::new(sheet.title, &sheet.subtitle, &notes, width).with_scale(super::ends(sheet.style), width);
        let grid = words.head_height();
        let foot = grid + grid_size.height;
        let size = Size::new(foot + words.foot_height(), width);
        Self { size, columns, cell, grid, foot, words, label_width, bars }
    }

    /// Where a tile goes.
    fn cell(&self, index: usize) -> Place {
        let (row, column) = (index / self.columns, index % self.columns);
        Place {
            left: MARGIN + column * self.cell.width,
            top: self.grid + row * self.cell.height,
            width: self.label_width,
        }
    }
}

/// Pixels of so many tiles in so many columns, with the margins at the sides.
fn grid_size(count: usize, columns: usize, cell: Size) -> Size {
    Size::new(count.div_ceil(columns) * cell.height, columns * cell.width - GAP + 2 * MARGIN)
}

/// The number of columns that comes closest to the shape of a sheet without empty places.
fn columns(count: usize, cell: Size) -> usize {
    let misfit = |columns: usize| {
        let size = grid_size(count, columns, cell);
        let empty = count.div_ceil(columns) * columns - count;
        let shape = size.width as f64 / (size.height + WORDS) as f64;
        (shape / SHAPE).ln().abs() + empty as f64 / count as f64
    };
    (1..=count).min_by(|&a, &b| misfit(a).total_cmp(&misfit(b))).unwrap_or(1)
}

/// `seen` on a picture scaled from one size to another.
fn scaled(seen: Rect, from: Size, to: Size) -> Rect {
    let edge = |edge: usize, from: usize, to: usize| (edge.min(from) as f64 * to as f64 / from as f64).round() as usize;
    let (top, left) = (edge(seen.top, from.height, to.height), edge(seen.left, from.width, to.width));
    let bottom = edge(seen.bottom(), from.height, to.height);
    let right = edge(seen.right(), from.width, to.width);
    Rect::new(top, left, Size::new(bottom - top, right - left))
}
