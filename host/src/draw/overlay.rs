//! A map over its photo.

use super::canvas::{Canvas, MARGIN, Words};
use super::colours::{Colour, PAPER, Style, Tints, mixed};
use crate::error::Sorted as _;
use crate::photo::{Rect, resize_whole, size_of};
use crate::{Error, Result, Size};
use anyhow::{Context as _, ensure};
use image::{GrayImage, Rgb, RgbImage};

/// A copy of the photo whose longer side has at most so many pixels. Maps go with it by [`crate::photo::Placement::on_copy`].
pub fn copy(photo: &RgbImage, longest: usize) -> RgbImage {
    let size = size_of(photo);
    let smaller = copy_size(size, longest);
    if smaller == size { photo.clone() } else { resize_whole(photo, smaller) }
}

/// The size of such a copy.
pub fn copy_size(photo: Size, longest: usize) -> Size {
    if photo.height.max(photo.width) <= longest { photo } else { scaled_to(photo, longest) }
}

/// A size whose longer side is `longest`, and whose shorter one has at least one pixel.
pub(super) fn scaled_to(size: Size, longest: usize) -> Size {
    let unit = longest as f64 / size.height.max(size.width).max(1) as f64;
    let scaled = |side: usize| ((side as f64 * unit).round() as usize).clamp(1, longest.max(1));
    Size::new(scaled(size.height), scaled(size.width))
}

/// Draws a map over the photo that it explains.
///
/// # Shapes
/// `map`: one sample for each pixel of `photo`, row-major, in 0..=1, or in -1..=1 if the colours are signed; samples outside are clamped, NaN counts as
/// zero. `seen`: the part of the photo that the model saw, in pixels.
///
/// # Conventions
/// With s the sample and c(s) its colour a pixel becomes `(1 - a) * photo + a * c(s)`, `a = alpha * |s|^0.7`: zero leaves the photo alone. Lines
/// stand around places at and above the style's contours. What the model did not see is drawn dim and grey, and a line frames what it saw, unless that
/// is the whole photo.
///
/// # Errors
/// [`Error::Output`] when the map has another length than the photo has pixels.
pub fn overlay(photo: &RgbImage, map: &[f32], seen: Rect, style: &Style) -> Result<RgbImage> {
    check("saliency", map, photo)?;
    let mut picture = tinted(photo, map, 1.0, style);
    mark_unseen(&mut picture, seen);
    frame(&mut picture, seen);
    Ok(picture)
}

/// A map alone, in grey: black is zero or less, white one or more.
///
/// # Errors
/// [`Error::Output`] when the map has another length than the picture has pixels.
pub fn heatmap(map: &[f32], size: Size) -> Result<GrayImage> {
    // A float-to-integer cast saturates and takes NaN to zero.
    let levels = map.iter().map(|value| (255.0 * value + 0.5) as u8).collect();
    let picture = GrayImage::from_raw(size.width as u32, size.height as u32, levels);
    picture
        .filter(|_| map.len() == size.area())
        .with_context(|| format!("cannot draw the map: expected {size} samples, found {}", map.len()))
        .kind(Error::Output)
}

/// A picture of a map with the words that it needs to be read alone.
#[derive(Clone, Debug)]
pub struct Titled<'a> {
    /// What [`overlay`] drew.
    pub picture: &'a RgbImage,
    /// The headline, wrapped to the width: what was asked.
    pub title: &'a str,
    /// Lines under the headline, wrapped to the width: the score.
    pub subtitle: Vec<String>,
    /// What the ends of the scale mean: the lower (of signed colours that of -1) and the upper one.
    pub scale: [&'a str; 2],
    /// Lines at the foot, wrapped to the width.
    pub notes: Vec<String>,
    /// How the picture was drawn.
    pub style: &'a Style,
}

/// A picture with its headline above and its scale below.
pub fn titled(titled: &Titled<'_>) -> RgbImage {
    const NARROWEST: usize = 360;
    let size = size_of(titled.picture);
    let width = size.width.max(NARROWEST) + 2 * MARGIN;
    let words = Words::new(titled.title, &titled.subtitle, &titled.notes, width).with_scale(titled.scale, width);
    let top = words.head_height();
    let foot = top + size.height + MARGIN / 2;
    let mut canvas = Canvas::new(Size::new(foot + words.foot_height(), width));
    canvas.head(&words);
    canvas.picture((width - size.width) / 2, top, titled.picture);
    canvas.foot(foot, titled.style, &words);
    canvas.done()
}

pub(super) fn check(name: &str, map: &[f32], picture: &RgbImage) -> Result<()> {
    let size = size_of(picture);
    let check = || {
        ensure!(
            map.len() == size.area(),
            "cannot draw the {name} map: expected {size} = {} samples, one a pixel, found {}",
            size.area(),
            map.len()
        );
        Ok(())
    };
    check().kind(Error::Output)
}

/// The photo under its map, which is divided by `maximum` first.
pub(super) fn tinted(photo: &RgbImage, map: &[f32], maximum: f32, style: &Style) -> RgbImage {
    let tints = Tints::new(style);
    let mut picture = photo.clone();
    for (pixel, &sample) in picture.pixels_mut().zip(map) {
        pixel.0 = tints.over(pixel.0, sample / maximum);
    }
    let line = line_width(&picture);
    for &share in &style.contours {
        outline(&mut picture, |at| map[at] >= share * maximum, [255; 3], line);
        if style.colours.is_signed() {
            outline(&mut picture, |at| map[at] <= -share * maximum, [255; 3], line);
        }
    }
    picture
}

/// A line of this colour just inside the border of what is inside, and a dark one just outside, so that it shows on any photo.
pub(super) fn outline(picture: &mut RgbImage, inside: impl Fn(usize) -> bool, colour: Colour, line: usize) {
    let Size { height, width } = size_of(picture);
    for y in 0..height {
        for x in 0..width {
            let here = inside(y * width + x);
            let differs = |y: usize, x: usize| inside(y * width + x) != here;
            let border = (y >= line && differs(y - line, x))
                || (y + line < height && differs(y + line, x))
                || (x >= line && differs(y, x - line))
                || (x + line < width && differs(y, x + line));
            if border {
                let pixel = &mut picture.get_pixel_mut(x as u32, y as u32).0;
                *pixel = if here { mixed(*pixel, colour, 0.85) } else { mixed(*pixel, [0; 3], 0.6) };
            }
        }
    }
}

fn line_width(picture: &RgbImage) -> usize {
    (picture.height().max(picture.width()) as usize / 400).max(1)
}

/// The largest size of a finite sample, or 1 where there is none: a blank map stays blank.
pub(super) fn largest(map: &[f32], style: &Style) -> f32 {
    let finite = map.iter().copied().filter(|sample| sample.is_finite());
    let maximum =
        finite.map(|sample| if style.colours.is_signed() { sample.abs() } else { sample }).fold(0.0, f32::max);
    if maximum > 0.0 { maximum } else { 1.0 }
}

pub(super) fn mark_unseen(picture: &mut RgbImage, seen: Rect) {
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        if !seen.contains(y as usize, x as usize) {
            let [red, green, blue] = pixel.0.map(u32::from);
            let grey = (299 * red + 587 * green + 114 * blue) / 1000;
            pixel.0 = [(24 + grey * 3 / 8) as u8; 3];
        }
    }
}

/// A light line within a dark one, just inside `seen`, so that it shows on any photo.
pub(super) fn frame(picture: &mut RgbImage, seen: Rect) {
    let size = size_of(picture);
    if seen.size.area() == 0 || (seen.size.height >= size.height && seen.size.width >= size.width) {
        return;
    }
    let line = line_width(picture);
    for y in seen.top..seen.bottom().min(size.height) {
        for x in seen.left..seen.right().min(size.width) {
            let rows = (y - seen.top).min(seen.bottom() - 1 - y);
            let columns = (x - seen.left).min(seen.right() - 1 - x);
            match rows.min(columns) / line {
                0 => picture.put_pixel(x as u32, y as u32, Rgb([255; 3])),
                1 => picture.put_pixel(x as u32, y as u32, Rgb([0; 3])),
                _ => {}
            }
        }
    }
}

/// A copy of a photo with a yellow line within dark ones around a rectangle: what was asked about. A pixel gets a line around it, too.
pub fn marked(photo: &RgbImage, rect: Rect) -> RgbImage {
    const YELLOW: Colour = [255, 214, 10];
    let mut picture = photo.clone();
    let size = size_of(photo);
    // Visible on tiles, which are smaller than the photo.
    let line = (size.height.max(size.width) / 150).max(1) as i64;
    let edges = |start: usize, length: usize| (start as i64, (start + length) as i64);
    let ((top, bottom), (left, right)) = (edges(rect.top, rect.size.height), edges(rect.left, rect.size.width));
    let reach = 2 * line;
    for y in (top - reach).max(0)..(bottom + reach).min(size.height as i64) {
        for x in (left - reach).max(0)..(right + reach).min(size.width as i64) {
            let depth = (y - top).min(bottom - 1 - y).min(x - left).min(right - 1 - x);
            // From outside: a dark line and the yellow one.
            let colour = match depth {
                depth if depth < -line => Some([0; 3]),
                depth if depth < 0 => Some(YELLOW),
                _ => None,
            };
            if let Some(colour) = colour {
                picture.put_pixel(x as u32, y as u32, Rgb(colour));
            }
        }
    }
    picture
}

pub(super) fn fade(picture: &mut RgbImage) {
    for pixel in picture.pixels_mut() {
        pixel.0 = mixed(pixel.0, PAPER, 0.6);
    }
}
