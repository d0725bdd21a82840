//! A rectangle of pixels.

use crate::Size;
use serde::Serialize;

/// A rectangle within a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Rect {
    /// Rows above it.
    pub top: usize,
    /// Columns to its left.
    pub left: usize,
    /// Rows and columns.
    #[serde(flatten)]
    pub size: Size,
}

impl Rect {
    /// So many rows and columns, below `top` rows and right of `left` columns.
    pub const fn new(top: usize, left: usize, size: Size) -> Self {
        Self { top, left, size }
    }

    /// All of a picture.
    pub const fn whole(picture: Size) -> Self {
        Self { top: 0, left: 0, size: picture }
    }

    /// One pixel.
    pub const fn pixel(y: usize, x: usize) -> Self {
        Self { top: y, left: x, size: Size::square(1) }
    }

    /// One past the last row.
    pub const fn bottom(self) -> usize {
        self.top.saturating_add(self.size.height)
    }

    /// One past the last column.
    pub const fn right(self) -> usize {
        self.left.saturating_add(self.size.width)
    }

    /// Whether a pixel is inside.
    pub fn contains(self, y: usize, x: usize) -> bool {
        (self.top..self.bottom()).contains(&y) && (self.left..self.right()).contains(&x)
    }

    /// The smallest rectangle that holds both.
    pub fn joined(self, other: Self) -> Self {
        let (top, left) = (self.top.min(other.top), self.left.min(other.left));
        let (bottom, right) = (self.bottom().max(other.bottom()), self.right().max(other.right()));
        Self { top, left, size: Size::new(bottom - top, right - left) }
    }

    /// What both have in common; without pixels if nothing.
    pub fn common(self, other: Self) -> Self {
        let (top, left) = (self.top.max(other.top), self.left.max(other.left));
        let (bottom, right) = (self.bottom().min(other.bottom()), self.right().min(other.right()));
        Self { top, left, size: Size::new(bottom.saturating_sub(top), right.saturating_sub(left)) }
    }

    /// Intersection over union.
    pub fn iou(self, other: Self) -> f64 {
        let both = self.common(other).size.area();
        both as f64 / (self.size.area() + other.size.area() - both) as f64
    }
}
