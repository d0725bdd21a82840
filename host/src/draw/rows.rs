//! Shared components, one row for each.

use super::canvas::{Canvas, GAP, MARGIN, Place, Tile, WIDEST_LABEL, Words, caption_height};
use super::colours::Style;
use super::overlay::{check, fade, largest, scaled_to, tinted};
use super::sheet::NARROWEST;
use crate::photo::{Rect, resize_whole, size_of};
use crate::{Result, Size};
use image::RgbImage;

/// A component that photos share.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// What stands at the left: lines and a bar, without a map.
    pub label: Tile<'a>,
    /// Photos, each with its map and what stands beneath; maps have one sample for each pixel of their photo.
    pub tiles: Vec<(&'a RgbImage, Tile<'a>)>,
}

/// Everything that [`rows`] draws.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// The headline.
    pub title: &'a str,
    /// Lines under the headline, wrapped to the width.
    pub subtitle: Vec<String>,
    /// The rows, from the top.
    pub rows: Vec<Row<'a>>,
    /// Lines at the foot, wrapped to the width.
    pub notes: Vec<String>,
    /// How maps are laid over photos.
    pub style: &'a Style,
}

const TILE: usize = 220;

/// The part of a photo that the model saw, at the size of the tiles of [`rows`]: its longer side has 220 pixels.
pub fn row_tile(photo: &RgbImage, seen: Rect) -> RgbImage {
    let [left, top, width, height] = [seen.left, seen.top, seen.size.width, seen.size.height].map(|side| side as u32);
    let part = image::imageops::crop_imm(photo, left, top, width, height).to_image();
    resize_whole(&part, scaled_to(seen.size, TILE))
}

/// Draws rows of photos under their maps, a row a component, with their numbers, on one sheet.
///
/// # Conventions
/// Those of [`super::sheet()`]: every map is divided by its own maximum.
///
/// # Errors
/// [`crate::Error::Output`] when a map has another length than its photo has pixels.
pub fn rows(rows: &Rows<'_>) -> Result<RgbImage> {
    let columns = rows.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0);
    let labels = rows.rows.iter().map(|row| row.label.label_width()).max().unwrap_or(0);
    let label_width = labels.clamp(TILE, WIDEST_LABEL);
    let width = (2 * MARGIN + label_width + columns * (GAP + TILE)).max(NARROWEST);
    let notes: Vec<String> = [super::SCALE.to_owned()].into_iter().chain(rows.notes.iter().cloned()).collect();
    let words = Words::new(rows.title, &rows.subtitle, &notes, width).with_scale(super::ends(rows.style), width);
    let captions = caption_height(rows.rows.iter().flat_map(|row| &row.tiles).map(|(_, tile)| tile));
    let row_height = TILE + captions + GAP;
    let first = words.head_height();
    let foot = first + rows.rows.len() * row_height;

    let mut canvas = Canvas::new(Size::new(foot + words.foot_height(), width));
    canvas.head(&words);
    for (top, row) in (first..).step_by(row_height).zip(&rows.rows) {
        canvas.caption(Place { left: MARGIN, top, width: label_width }, &row.label, row.label.bar.is_some());
        let lefts = (MARGIN + label_width + GAP..).step_by(TILE + GAP);
        for (number, (left, (photo, tile))) in lefts.zip(&row.tiles).enumerate() {
            check(&format!("{}, photo {}", row.label.lines.join(" "), number + 1), tile.map, photo)?;
            let mut picture = tinted(photo, tile.map, largest(tile.map, rows.style), rows.style);
            if tile.dimmed {
                fade(&mut picture);
            }
            let size = size_of(&picture);
            let centred = |side: usize| TILE.saturating_sub(side) / 2;
            canvas.picture(left + centred(size.width), top + centred(size.height), &picture);
            canvas.caption(Place { left, top: top + TILE + 6, width: TILE }, tile, false);
        }
    }
    canvas.foot(foot, rows.style, &words);
    Ok(canvas.done())
}
