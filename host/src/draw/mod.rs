//! Saliency made visible: the overlay on the photo, and the sheet that shows every part of it.
//!
//! Nothing here knows how a map came about: maps are `(height, width)`, row-major, one sample a pixel, zero where nothing
//! is shown.

use std::sync::LazyLock;

use anyhow::{Result, ensure};
use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::photo::{Rect, resize_whole};

type Colour = [u8; 3];

/// Draws a saliency map over the photo that it explains.
///
/// # Shapes
/// `saliency`: one sample for each pixel of `photo`, row-major, in 0..=1; samples outside are clamped, NaN counts as zero.
/// `seen`: the part of the photo that the model saw, in pixels.
///
/// # Conventions
/// With s the sample and c(s) its colour in [inferno](https://bids.github.io/colormap/), whose lightness rises evenly, a
/// pixel becomes `(1 - a) * photo + a * c(s)`, `a = 0.85 * s^0.7`: zero leaves the photo alone. What the model did not
/// see is drawn dim and grey, and a line frames what it saw, unless that is the whole photo.
///
/// # Errors
/// When `saliency` has another length than the photo has pixels.
pub fn overlay(photo: &RgbImage, saliency: &[f32], seen: Rect) -> Result<RgbImage> {
    check("saliency", saliency, photo)?;
    let mut picture = tinted(photo, saliency, 1.0);
    mark_unseen(&mut picture, seen);
    frame(&mut picture, seen);
    Ok(picture)
}

/// One map on a [`Sheet`], with the words beneath it.
#[derive(Clone, Debug, Default)]
pub struct SheetTile<'a> {
    /// `(height, width)` of [`tile_size`]; drawn divided by its own maximum.
    pub map: &'a [f32],
    /// What stands beneath; the first line is set in bold.
    pub lines: Vec<String>,
    /// A signed number in -1..=1 drawn as a bar beneath the tile, its length the size, its colour the sign.
    pub bar: Option<f32>,
    /// Whether the tile is drawn faint, because it takes no part in the result.
    pub dimmed: bool,
}

/// Everything that [`sheet`] draws.
///
/// Letters beyond Latin-1 are replaced by `?`; a headline or label that is too long for its place ends in `...`.
#[derive(Clone, Debug)]
pub struct Sheet<'a> {
    /// The photo, of any size.
    pub photo: &'a RgbImage,
    /// The part of the photo that the model saw, in pixels of the photo.
    pub seen: Rect,
    /// The headline, on one line: the prompt.
    pub title: &'a str,
    /// Lines under the headline, wrapped to the width: the score, the recipe.
    pub subtitle: Vec<String>,
    /// The whole explanation.
    pub saliency: SheetTile<'a>,
    /// Its parts.
    pub ossms: Vec<SheetTile<'a>>,
    /// Lines at the foot, wrapped to the width: what the numbers mean.
    pub notes: Vec<String>,
}

/// Height and width, in pixels, of a tile on the sheet of a photo of the given size.
///
/// The longer side has 300 pixels; the shorter one follows from the photo's shape, but has at least 16.
pub fn tile_size(photo_height: u32, photo_width: u32) -> (u32, u32) {
    fitted((photo_height, photo_width), TILE)
}

/// Height and width scaled so that the longer one is `tile`.
fn fitted((height, width): (u32, u32), tile: u32) -> (u32, u32) {
    let longer = f64::from(height.max(width).max(1));
    let scaled = |side: u32| ((f64::from(side) * f64::from(tile) / longer).round() as u32).clamp(TILE_SHORTEST, tile);
    (scaled(height), scaled(width))
}

/// Draws the photo, its saliency map and every part of that, with their numbers, on one sheet.
///
/// # Conventions
/// Every map is divided by its own maximum, because the parts' sizes differ so much that on one scale most would be
/// blank: the colours of a tile say where, its numbers say how much. The sheet says so itself. Colours are those of
/// [`overlay`]. The number of columns is the one that comes closest to
/// a sheet of 7:5 without empty places.
///
/// # Errors
/// When the photo has no pixels, or a map has another length than [`tile_size`] of the photo has pixels.
pub fn sheet(sheet: &Sheet<'_>) -> Result<RgbImage> {
    let (photo_width, photo_height) = sheet.photo.dimensions();
    ensure!(photo_height > 0 && photo_width > 0, "cannot draw a sheet: expected a photo, found one without pixels");
    let (height, width) = tile_size(photo_height, photo_width);
    let photo = resize_whole(sheet.photo, height, width);
    check("saliency", sheet.saliency.map, &photo)?;
    for (index, tile) in sheet.ossms.iter().enumerate() {
        check(&format!("OSSM #{}", index + 1), tile.map, &photo)?;
    }
    let seen = scaled(sheet.seen, (photo_height, photo_width), (height, width));

    let unseen = seen.height < height || seen.width < width;
    let photo_lines = ["Photo", if unseen { "framed: what the model saw" } else { "seen whole by the model" }];
    let photo_tile = SheetTile { lines: photo_lines.map(str::to_owned).to_vec(), ..SheetTile::default() };
    let tiles: Vec<&SheetTile<'_>> = [&photo_tile, &sheet.saliency].into_iter().chain(&sheet.ossms).collect();
    let layout = Layout::new(&tiles, height, width, sheet);

    let mut canvas = Canvas::new(layout.width, layout.height);
    canvas.head(sheet.title, &layout.subtitle);
    for (index, tile) in tiles.iter().enumerate() {
        let (left, top) = layout.cell(index as u32);
        let mut picture = if index == 0 { photo.clone() } else { tinted(&photo, tile.map, largest(tile.map)) };
        if index > 0 {
            mark_unseen(&mut picture, seen);
        }
        frame(&mut picture, seen);
        if tile.dimmed {
            fade(&mut picture);
        }
        canvas.picture(left, top, &picture);
        canvas.caption(left, top + height + 6, tile, layout.bars, layout.label_width);
    }
    canvas.foot(layout.foot, &layout.notes);
    Ok(canvas.0)
}

/// A component that photos share.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// What stands at the left: lines and a bar, without a map.
    pub label: SheetTile<'a>,
    /// Photos, each with its map and what stands beneath; maps have one sample for each pixel of their photo.
    pub tiles: Vec<(&'a RgbImage, SheetTile<'a>)>,
}

/// Everything that [`rows`] draws.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// The headline, on one line.
    pub title: &'a str,
    /// Lines under the headline, wrapped to the width.
    pub subtitle: Vec<String>,
    /// The rows, from the top.
    pub rows: Vec<Row<'a>>,
    /// Lines at the foot, wrapped to the width.
    pub notes: Vec<String>,
}

/// The part of a photo that the model saw, at the size of the tiles of [`rows`]: its longer side has 220 pixels.
pub fn row_tile(photo: &RgbImage, seen: Rect) -> RgbImage {
    let part = image::imageops::crop_imm(photo, seen.left, seen.top, seen.width, seen.height).to_image();
    let (height, width) = fitted((part.height(), part.width()), ROW_TILE);
    resize_whole(&part, height, width)
}

/// Draws rows of photos under their maps, a row a component, with their numbers, on one sheet.
///
/// # Conventions
/// Those of [`sheet`]: every map is divided by its own maximum.
///
/// # Errors
/// When a map has another length than its photo has pixels.
pub fn rows(rows: &Rows<'_>) -> Result<RgbImage> {
    let columns = rows.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0) as u32;
    let labels = rows.rows.iter().flat_map(|row| &row.label.lines).map(|line| LABEL.width(line)).max().unwrap_or(0);
    let label_width = labels.clamp(ROW_TILE, WIDEST_LABEL);
    let width = (2 * MARGIN + label_width + columns * (GAP + ROW_TILE)).max(NARROWEST);
    let subtitle = wrapped_lines(&rows.subtitle, width);
    let notes = wrapped_lines(&[SCALE.to_owned()], width).into_iter().chain(wrapped_lines(&rows.notes, width));
    let notes: Vec<String> = notes.collect();
    let lines = rows.rows.iter().flat_map(|row| &row.tiles).map(|(_, tile)| tile.lines.len()).max().unwrap_or(0) as u32;
    let row_height = ROW_TILE + 6 + lines * BODY.line() + GAP;
    let first = head_height(subtitle.len());
    let foot = first + rows.rows.len() as u32 * row_height;

    let mut canvas = Canvas::new(width, foot + foot_height(notes.len()));
    canvas.head(rows.title, &subtitle);
    for (top, row) in (first..).step_by(row_height as usize).zip(&rows.rows) {
        canvas.caption(MARGIN, top, &row.label, row.label.bar.is_some(), label_width);
        let lefts = (MARGIN + label_width + GAP..).step_by((ROW_TILE + GAP) as usize);
        for (number, (left, (photo, tile))) in lefts.zip(&row.tiles).enumerate() {
            check(&format!("{}, photo {}", row.label.lines.join(" "), number + 1), tile.map, photo)?;
            let mut picture = tinted(photo, tile.map, largest(tile.map));
            if tile.dimmed {
                fade(&mut picture);
            }
            let centred = |side: u32| ROW_TILE.saturating_sub(side) / 2;
            canvas.picture(left + centred(picture.width()), top + centred(picture.height()), &picture);
            canvas.caption(left, top + ROW_TILE + 6, tile, false, ROW_TILE);
        }
    }
    canvas.foot(foot, &notes);
    Ok(canvas.0)
}

const TILE: u32 = 300;
const ROW_TILE: u32 = 220;
const TILE_SHORTEST: u32 = 16;
const MARGIN: u32 = 28;
const GAP: u32 = 24;
const BAR: u32 = 6;
const NARROWEST: u32 = 640;
// Width over height that the sheet comes near to, with about so much height for the words.
const SHAPE: f64 = 1.4;
const WORDS: u32 = 200;
const WIDEST_LABEL: u32 = 340;
const COLOUR_BAR: (u32, u32) = (16, 240);

const PAPER: Colour = [0x16, 0x18, 0x1d];
const INK: Colour = [0xf4, 0xf5, 0xf7];
const FAINT_INK: Colour = [0xae, 0xb6, 0xc2];
const DIM_INK: Colour = [0x7a, 0x82, 0x8e];
const TRACK: Colour = [0x2c, 0x30, 0x38];
const POSITIVE: Colour = [0x35, 0xb7, 0x79];
const NEGATIVE: Colour = [0xe0, 0x6c, 0x52];

const TITLE: Font = Font { weight: FontWeight::Bold, height: RasterHeight::Size24 };
const LABEL: Font = Font { weight: FontWeight::Bold, height: RasterHeight::Size20 };
const BODY: Font = Font { weight: FontWeight::Regular, height: RasterHeight::Size20 };

#[derive(Clone, Copy)]
struct Font {
    weight: FontWeight,
    height: RasterHeight,
}

impl Font {
    fn width(self, text: &str) -> u32 {
        (text.chars().count() * get_raster_width(self.weight, self.height)) as u32
    }

    fn line(self) -> u32 {
        self.height.val() as u32 + 4
    }
}

/// Where everything on a sheet goes, in pixels.
struct Layout {
    height: u32,
    width: u32,
    columns: u32,
    grid: u32,
    cell: (u32, u32),
    foot: u32,
    subtitle: Vec<String>,
    notes: Vec<String>,
    label_width: u32,
    bars: bool,
}

impl Layout {
    fn new(tiles: &[&SheetTile<'_>], tile_height: u32, tile_width: u32, sheet: &Sheet<'_>) -> Self {
        let widest = tiles.iter().flat_map(|tile| &tile.lines).map(|line| LABEL.width(line)).max().unwrap_or(0);
        let label_width = tile_width.max(widest.min(WIDEST_LABEL));
        let lines = tiles.iter().map(|tile| tile.lines.len()).max().unwrap_or(0) as u32;
        let bars = tiles.iter().any(|tile| tile.bar.is_some());
        let caption = 6 + if bars { BAR + 6 } else { 0 } + lines * BODY.line();
        let cell = (tile_height + caption + GAP, label_width + GAP);

        let count = tiles.len() as u32;
        let size = |columns: u32| (count.div_ceil(columns) * cell.0, columns * cell.1 - GAP + 2 * MARGIN);
        let columns = (1..=count)
            .min_by(|&a, &b| {
                let misfit = |columns: u32| {
                    let (height, width) = size(columns);
                    let empty = count.div_ceil(columns) * columns - count;
                    let shape = f64::from(width) / f64::from(height + WORDS);
                    (shape / SHAPE).ln().abs() + f64::from(empty) / f64::from(count)
                };
                misfit(a).total_cmp(&misfit(b))
            })
            .unwrap_or(1);
        let width = size(columns).1.max(NARROWEST);
        let subtitle = wrapped_lines(&sheet.subtitle, width);
        let mut notes = wrapped_lines(&[SCALE.to_owned()], width);
        notes.extend(wrapped_lines(&sheet.notes, width));
        let grid = head_height(subtitle.len());
        let foot = grid + size(columns).0;
        let height = foot + foot_height(notes.len());
        Self { height, width, columns, grid, cell, foot, subtitle, notes, label_width, bars }
    }

    /// Left and top of a tile.
    fn cell(&self, index: u32) -> (u32, u32) {
        (MARGIN + index % self.columns * self.cell.1, self.grid + index / self.columns * self.cell.0)
    }
}

/// What stands at the foot of every sheet.
const SCALE: &str = "Every map is scaled to its own maximum: its colours say where, its numbers say how much.";

/// Lines that fit on a sheet of this width.
fn wrapped_lines(lines: &[String], width: u32) -> Vec<String> {
    lines.iter().flat_map(|line| wrapped(line, BODY, width - 2 * MARGIN)).collect()
}

/// Pixels above the first tile.
fn head_height(subtitle: usize) -> u32 {
    MARGIN + TITLE.line() + subtitle as u32 * BODY.line() + GAP / 2
}

/// Pixels from the colour bar on.
fn foot_height(notes: usize) -> u32 {
    COLOUR_BAR.0 + 12 + notes as u32 * BODY.line() + MARGIN
}

struct Canvas(RgbImage);

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        Self(RgbImage::from_pixel(width, height, Rgb(PAPER)))
    }

    fn head(&mut self, title: &str, subtitle: &[String]) {
        let text_width = self.0.width() - 2 * MARGIN;
        self.text(MARGIN, MARGIN, &shortened(title, TITLE, text_width), TITLE, INK);
        let mut top = MARGIN + TITLE.line();
        for line in subtitle {
            self.text(MARGIN, top, line, BODY, FAINT_INK);
            top += BODY.line();
        }
    }

    fn picture(&mut self, left: u32, top: u32, picture: &RgbImage) {
        image::imageops::replace(&mut self.0, picture, i64::from(left), i64::from(top));
    }

    fn fill(&mut self, left: u32, top: u32, height: u32, width: u32, colour: Colour) {
        for y in top..(top + height).min(self.0.height()) {
            for x in left..(left + width).min(self.0.width()) {
                self.0.put_pixel(x, y, Rgb(colour));
            }
        }
    }

    fn text(&mut self, left: u32, top: u32, text: &str, font: Font, colour: Colour) {
        let step = get_raster_width(font.weight, font.height) as u32;
        for (index, letter) in text.chars().enumerate() {
            let Some(glyph) = get_raster(letter, font.weight, font.height) else {
                continue;
            };
            for (y, row) in (top..).zip(glyph.rows()) {
                for (x, &coverage) in (left + index as u32 * step..).zip(row) {
                    if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                        pixel.0 = mixed(pixel.0, colour, f32::from(coverage) / 255.0);
                    }
                }
            }
        }
    }

    /// A tile's words within `width`, and above them its bar, or a place for one.
    fn caption(&mut self, left: u32, mut top: u32, tile: &SheetTile<'_>, bars: bool, width: u32) {
        if bars {
            if let Some(value) = tile.bar {
                let length = (value.abs().clamp(0.0, 1.0) * width as f32).round() as u32;
                let colour = if value < 0.0 { NEGATIVE } else { POSITIVE };
                self.fill(left, top, BAR, width, TRACK);
                self.fill(left, top, BAR, length, if tile.dimmed { mixed(PAPER, colour, 0.45) } else { colour });
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
            self.text(left, top, &shortened(line, font, width), font, colour);
            top += BODY.line();
        }
    }

    fn foot(&mut self, top: u32, notes: &[String]) {
        let (height, width) = COLOUR_BAR;
        let left = MARGIN + BODY.width("0 ");
        let text_top = (top + height / 2).saturating_sub(BODY.height.val() as u32 / 2);
        self.text(MARGIN, text_top, "0", BODY, INK);
        self.text(left + width + BODY.width(" "), text_top, "1  of the map's maximum", BODY, INK);
        for column in 0..width {
            // On middle grey, as if over a photo: what the tiles show, not the bare colours.
            let colour = tint([128; 3], column as f32 / (width - 1) as f32);
            self.fill(left + column, top, height, 1, colour);
        }
        let mut top = top + height + 12;
        for note in notes {
            self.text(MARGIN, top, note, BODY, FAINT_INK);
            top += BODY.line();
        }
    }
}

fn check(name: &str, map: &[f32], picture: &RgbImage) -> Result<()> {
    let (width, height) = picture.dimensions();
    let expected = height as usize * width as usize;
    ensure!(
        map.len() == expected,
        "cannot draw the {name} map: expected {height} x {width} = {expected} samples, one a pixel, found {}",
        map.len()
    );
    Ok(())
}

const LEVELS: usize = 256;

/// For each level of saliency its colour times its opacity, and what that leaves of the photo, both of 255.
static TINTS: LazyLock<[([f32; 3], f32); LEVELS]> = LazyLock::new(|| {
    std::array::from_fn(|level| {
        let saliency = level as f32 / (LEVELS - 1) as f32;
        let opacity = 0.85 * saliency.powf(0.7);
        let colour = colorous::INFERNO.eval_rational(level, LEVELS).as_array();
        (colour.map(|sample| opacity * f32::from(sample) + 0.5), 1.0 - opacity)
    })
});

fn tint(pixel: Colour, saliency: f32) -> Colour {
    // A float-to-integer cast saturates and takes NaN to zero.
    let level = (saliency * (LEVELS - 1) as f32 + 0.5) as usize;
    let (colour, rest) = TINTS[level.min(LEVELS - 1)];
    std::array::from_fn(|channel| (colour[channel] + rest * f32::from(pixel[channel])) as u8)
}

fn tinted(photo: &RgbImage, map: &[f32], maximum: f32) -> RgbImage {
    let mut picture = photo.clone();
    for (pixel, &sample) in picture.pixels_mut().zip(map) {
        pixel.0 = tint(pixel.0, sample / maximum);
    }
    picture
}

/// The largest finite sample, or 1 where none is positive: a blank map stays blank.
fn largest(map: &[f32]) -> f32 {
    let maximum = map.iter().copied().filter(|sample| sample.is_finite()).fold(0.0, f32::max);
    if maximum > 0.0 { maximum } else { 1.0 }
}

fn mark_unseen(picture: &mut RgbImage, seen: Rect) {
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let inside = y >= seen.top && y - seen.top < seen.height && x >= seen.left && x - seen.left < seen.width;
        if !inside {
            let [red, green, blue] = pixel.0.map(u32::from);
            let grey = (299 * red + 587 * green + 114 * blue) / 1000;
            pixel.0 = [(24 + grey * 3 / 8) as u8; 3];
        }
    }
}

/// A light line within a dark one, just inside `seen`, so that it shows on any photo.
fn frame(picture: &mut RgbImage, seen: Rect) {
    let (width, height) = picture.dimensions();
    if seen.height == 0 || seen.width == 0 || (seen.height >= height && seen.width >= width) {
        return;
    }
    let line = (height.max(width) / 400).max(1);
    let (bottom, right) = (seen.top.saturating_add(seen.height), seen.left.saturating_add(seen.width));
    for y in seen.top..bottom.min(height) {
        for x in seen.left..right.min(width) {
            let depth = (y - seen.top).min(bottom - 1 - y).min(x - seen.left).min(right - 1 - x);
            match depth / line {
                0 => picture.put_pixel(x, y, Rgb([255; 3])),
                1 => picture.put_pixel(x, y, Rgb([0; 3])),
                _ => {}
            }
        }
    }
}

fn fade(picture: &mut RgbImage) {
    for pixel in picture.pixels_mut() {
        pixel.0 = mixed(pixel.0, PAPER, 0.6);
    }
}

fn mixed(under: Colour, over: Colour, opacity: f32) -> Colour {
    std::array::from_fn(|channel| {
        let (under, over) = (f32::from(under[channel]), f32::from(over[channel]));
        (under + opacity * (over - under) + 0.5) as u8
    })
}

/// `seen` on a picture scaled from one height and width to another.
fn scaled(seen: Rect, from: (u32, u32), to: (u32, u32)) -> Rect {
    let edge =
        |edge: u32, from: u32, to: u32| (f64::from(edge.min(from)) * f64::from(to) / f64::from(from)).round() as u32;
    let (top, left) = (edge(seen.top, from.0, to.0), edge(seen.left, from.1, to.1));
    let bottom = edge(seen.top.saturating_add(seen.height), from.0, to.0);
    let right = edge(seen.left.saturating_add(seen.width), from.1, to.1);
    Rect { top, left, height: bottom - top, width: right - left }
}

/// The text in letters that the font has.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
            _ if letter.is_whitespace() || letter.is_control() => ' ',
            _ if get_raster(letter, BODY.weight, BODY.height).is_some() => letter,
            _ => '?',
        })
        .collect()
}

fn shortened(text: &str, font: Font, width: u32) -> String {
    let text = printable(text);
    if font.width(&text) <= width {
        return text;
    }
    let room = (width / font.width(" ")).saturating_sub(3) as usize;
    let kept: String = text.chars().take(room).collect();
    format!("{}...", kept.trim_end())
}

fn wrapped(text: &str, font: Font, width: u32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in printable(text).split(' ').filter(|word| !word.is_empty()) {
        let line = lines.last_mut().expect("one line from the start");
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if font.width(&longer) <= width || line.is_empty() {
            *line = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| shortened(line, font, width)).collect()
}
