//! The size of a picture or of a map.

use serde::Serialize;
use std::fmt;

/// Height and width: of a picture in pixels, of a map in positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A size of this height and width.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// A square.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }

    /// Rows times columns.
    pub const fn area(self) -> usize {
        self.height * self.width
    }

    /// This many times as high and as wide.
    pub const fn times(self, factor: usize) -> Self {
        Self { height: factor * self.height, width: factor * self.width }
    }
}

impl fmt::Display for Size {
    /// `224 x 224`: height first.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} x {}", self.height, self.width)
    }
}
