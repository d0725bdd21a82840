//! Which part of a photo the network sees.

use super::Rect;
use crate::{Error, Size};
use anyhow::anyhow;
use std::fmt;
use std::str::FromStr;

/// How a photo is made to fit the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Cut out the centre; nothing is distorted, the photo's ends are not seen.
    #[default]
    Crop,
    /// Fill up with a plain colour; nothing is distorted, everything is seen, smaller.
    Pad,
    /// Take the photo as it is, distorted.
    Stretch,
}

impl Fit {
    /// Every way to fit, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Crop, Self::Pad, Self::Stretch];

    /// The name on the command line: `crop`, `pad` or `stretch`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Pad => "pad",
            Self::Stretch => "stretch",
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Fit {
    type Err = Error;

    /// The inverse of [`Fit::name`].
    fn from_str(name: &str) -> crate::Result<Self> {
        use crate::error::Sorted as _;
        let found = Self::ALL.into_iter().find(|fit| fit.name() == name);
        found.ok_or_else(|| anyhow!("unknown fit `{name}`: expected crop, pad or stretch")).kind(Error::Options)
    }
}

/// The rectangle, in pixels of the photo, that becomes the network's input. With [`Fit::Pad`] it sticks out of the photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    /// First row; negative above the photo.
    pub top: i64,
    /// First column; negative left of the photo.
    pub left: i64,
    /// Rows and columns.
    pub size: Size,
}

impl Framing {
    /// Frames a photo for a network's input.
    ///
    /// # Conventions
    /// Crop: the centred rectangle of round(`input` * u), u = min over both sides of `photo` / (`input` + `margin`). For a
    /// square this is round(size / (size + margin) * shorter side): what torchvision's `Resize(size + margin)`,
    /// `CenterCrop(size)` sees, but for torchvision's rounding of the offset (less than one pixel of the input). Pad: the
    /// centred rectangle of round(`input` * u), u = max over both sides of `photo` / `input`. Stretch: the centred rectangle of
    /// round(`photo` * `input` / (`input` + `margin`)) along each side, the whole photo without a margin. Pad has no use for
    /// `margin` (pixels of the input). An odd remainder leaves the extra row or column of the photo at the
    /// bottom or right.
    pub fn new(fit: Fit, photo: Size, input: Size, margin: usize) -> Self {
        let units = |margin: usize| {
            [(photo.height, input.height), (photo.width, input.width)]
                .map(|(photo, input)| photo as f64 / (input + margin) as f64)
        };
        let scaled = |unit: f64| {
            let side = |input: usize| (input as f64 * unit).round() as usize;
            Size::new(side(input.height), side(input.width))
        };
        let size = match fit {
            Fit::Crop => {
                let [rows, columns] = units(margin);
                let size = scaled(rows.min(columns));
                Size::new(size.height.clamp(1, photo.height.max(1)), size.width.clamp(1, photo.width.max(1)))
            }
            Fit::Pad => {
                let [rows, columns] = units(0);
                let size = scaled(rows.max(columns));
                Size::new(size.height.max(photo.height), size.width.max(photo.width))
            }
            Fit::Stretch => {
                let kept = |photo: usize, input: usize| {
                    let share = input as f64 / (input + margin).max(1) as f64;
                    ((photo as f64 * share).round() as usize).clamp(1.min(photo), photo)
                };
                Size::new(kept(photo.height, input.height), kept(photo.width, input.width))
            }
        };
        let start = |photo: usize, side: usize| (photo as i64 - side as i64).div_euclid(2);
        Self { top: start(photo.height, size.height), left: start(photo.width, size.width), size }
    }

    /// All of a picture, and nothing else.
    pub const fn whole(picture: Size) -> Self {
        Self { top: 0, left: 0, size: picture }
    }

    /// The part of the photo within the framing: what the model saw.
    pub fn seen(&self, photo: Size) -> Rect {
        let overlap = |start: i64, side: usize, photo: usize| {
            let first = start.clamp(0, photo as i64);
            let end = (start + side as i64).clamp(first, photo as i64);
            (first as usize, (end - first) as usize)
        };
        let (top, height) = overlap(self.top, self.size.height, photo.height);
        let (left, width) = overlap(self.left, self.size.width, photo.width);
        Rect { top, left, size: Size { height, width } }
    }
}
