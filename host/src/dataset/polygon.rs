//! Corners and boxes as annotations give them, and whether anything can be inside.

use super::Shape;
use super::shape::area;
use crate::Size;
use anyhow::{Result, bail, ensure};

/// Up to this multiple of the photo's side a coordinate may lie beside the photo, as those of objects that it cuts do; what is farther out is no such coordinate.
pub(super) const BEYOND: f64 = 1.1;

/// Numbers that are to be shares of the photo.
pub(super) fn shares(numbers: &[f64]) -> Result<()> {
    match numbers.iter().find(|number| **number > BEYOND || **number < 1.0 - BEYOND) {
        Some(number) => bail!("expected shares of the photo, from 0 to 1, found {number}; are these pixels?"),
        None => Ok(()),
    }
}

/// A polygon of x, y, x, y ...
pub(super) fn polygon(flat: &[f64]) -> Result<Vec<[f64; 2]>> {
    let (points, rest) = flat.as_chunks::<2>();
    ensure!(rest.is_empty(), "a polygon: expected x and y of each corner, found {} numbers", flat.len());
    ensure!(flat.iter().all(|number| number.is_finite()), "a polygon: expected numbers, found one that is not finite");
    ensure!(points.len() >= 3, "a polygon: expected at least three corners, found {}", points.len());
    Ok(points.to_vec())
}

/// The polygons that enclose something.
///
/// # Errors
/// That of the first one if none does.
pub(super) fn usable(polygons: impl IntoIterator<Item = Result<Vec<[f64; 2]>>>) -> Result<Vec<Vec<[f64; 2]>>> {
    let mut first = None;
    let mut used = Vec::new();
    for polygon in polygons {
        match polygon {
            Ok(points) if area(&points) > 0.0 => used.push(points),
            Ok(_) => drop(first.get_or_insert_with(|| anyhow::anyhow!("a polygon: its corners enclose nothing"))),
            Err(reason) => drop(first.get_or_insert(reason)),
        }
    }
    match first {
        Some(reason) if used.is_empty() => Err(reason),
        None if used.is_empty() => bail!("expected at least one polygon, found none"),
        _ => Ok(used),
    }
}

/// The box between two corners, of which the second is to be right of and below the first.
pub(super) fn corners([left, top, right, bottom]: [f64; 4], of: Option<Size>) -> Result<Shape> {
    let all = [left, top, right, bottom];
    ensure!(all.iter().all(|number| number.is_finite()), "a box: expected four numbers, found {all:?}");
    ensure!(
        left < right && top < bottom,
        "a box: expected its left and top before its right and bottom, found {left} to {right} and {top} to {bottom}"
    );
    Ok(Shape::rectangle(all, of))
}
