//! The colours of pictures: maps over photos, paper, ink and bars.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::{anyhow, ensure};
use std::fmt;
use std::str::FromStr;

pub(super) type Colour = [u8; 3];

pub(super) const PAPER: Colour = [0x16, 0x18, 0x1d];
pub(super) const INK: Colour = [0xf4, 0xf5, 0xf7];
pub(super) const FAINT_INK: Colour = [0xae, 0xb6, 0xc2];
pub(super) const DIM_INK: Colour = [0x7a, 0x82, 0x8e];
pub(super) const TRACK: Colour = [0x2c, 0x30, 0x38];
/// What counts for the text. This blue and this orange differ in lightness and in hue for every kind of colour blindness (Okabe and Ito, 2008).
pub(super) const FOR: Colour = [0x56, 0xb4, 0xe9];
/// What counts against it.
pub(super) const AGAINST: Colour = [0xe6, 0x9f, 0x00];

/// Colours of things that are told apart, such as parts over time: those of Okabe and Ito, lighter where dark paper asks for it. Without black and dark blue, which it
/// would swallow.
pub const TRACKS: [[u8; 3]; 7] =
    [FOR, AGAINST, [0x1f, 0xc0, 0x92], [0xf0, 0xe4, 0x42], [0xe8, 0x6a, 0x2a], [0xdb, 0x8f, 0xba], [0xd8, 0xdc, 0xe2]];

/// How numbers become colours. All are perceptually even: equal steps of the number are equal steps of lightness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColourMap {
    /// From black over red to pale yellow.
    #[default]
    Inferno,
    /// From black over violet to pale pink.
    Magma,
    /// From violet over red to yellow.
    Plasma,
    /// From violet over green to yellow.
    Viridis,
    /// From blue over grey to yellow; looks the same to most colour-blind people.
    Cividis,
    /// From black to white.
    Grey,
    /// For numbers of both signs: blue above zero, orange below.
    BlueOrange,
}

impl ColourMap {
    /// Every one, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Inferno, Self::Magma, Self::Plasma, Self::Viridis, Self::Cividis, Self::Grey, Self::BlueOrange];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inferno => "inferno",
            Self::Magma => "magma",
            Self::Plasma => "plasma",
            Self::Viridis => "viridis",
            Self::Cividis => "cividis",
            Self::Grey => "grey",
            Self::BlueOrange => "blue-orange",
        }
    }

    /// Whether it shows numbers below zero.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::BlueOrange)
    }

    /// The colour of a number: -1..=1 if it is signed, else 0..=1; others are clamped, NaN counts as zero.
    pub fn colour(self, value: f32) -> [u8; 3] {
        let size = f64::from(value.abs().min(1.0));
        let positive = if value > 0.0 { size } else { 0.0 };
        match self {
            Self::Inferno => colorous::INFERNO.eval_continuous(positive).as_array(),
            Self::Magma => colorous::MAGMA.eval_continuous(positive).as_array(),
            Self::Plasma => colorous::PLASMA.eval_continuous(positive).as_array(),
            Self::Viridis => colorous::VIRIDIS.eval_continuous(positive).as_array(),
            Self::Cividis => colorous::CIVIDIS.eval_continuous(positive).as_array(),
            Self::Grey => [(255.0 * positive).round() as u8; 3],
            Self::BlueOrange if value < 0.0 => AGAINST,
            Self::BlueOrange => FOR,
        }
    }
}

impl fmt::Display for ColourMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for ColourMap {
    type Err = anyhow::Error;

    /// The inverse of [`ColourMap::name`].
    fn from_str(name: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|map| map.name() == name).ok_or_else(|| {
            anyhow!("unknown colours `{name}`: expected one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// How maps are laid over photos.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Style {
    /// The colours.
    pub colours: ColourMap,
    /// The opacity of the strongest place, 0..=1: what is left of the photo there is 1 less this.
    pub alpha: f32,
    /// Lines around the places at and above these shares of the map's maximum.
    pub contours: Vec<f32>,
}

impl Default for Style {
    /// Inferno, six tenths opaque, a line around the upper half.
    fn default() -> Self {
        Self { colours: ColourMap::default(), alpha: 0.6, contours: vec![0.5] }
    }
}

impl Style {
    /// The same in other colours.
    pub fn colours(mut self, colours: ColourMap) -> Self {
        self.colours = colours;
        self
    }

    /// The same with another opacity of the strongest place.
    ///
    /// # Errors
    /// [`Error::Options`] unless it is in 0..=1.
    pub fn alpha(mut self, alpha: f32) -> Result<Self> {
        let check = || {
            ensure!((0.0..=1.0).contains(&alpha), "opacity: expected a number from 0 to 1, found {alpha}");
            Ok(())
        };
        check().kind(Error::Options)?;
        self.alpha = alpha;
        Ok(self)
    }

    /// The same with lines around other shares of the map's maximum; none for no lines.
    pub fn contours(mut self, contours: impl IntoIterator<Item = f32>) -> Self {
        self.contours = contours.into_iter().collect();
        self
    }
}

const LEVELS: usize = 256;

/// The colours of a [`Style`], ready for many pixels.
pub(super) struct Tints {
    /// For each level from -1 (or 0) to 1: its colour times its opacity plus one half, and what that leaves of the photo.
    levels: Vec<([f32; 3], f32)>,
    signed: bool,
}

impl Tints {
    pub(super) fn new(style: &Style) -> Self {
        let signed = style.colours.is_signed();
        let level = |level: usize| {
            let share = level as f32 / (LEVELS - 1) as f32;
            let value = if signed { 2.0 * share - 1.0 } else { share };
            // Both ends are opaque, the middle is clear; weak places show sooner than in proportion.
            let opacity = style.alpha * value.abs().powf(0.7);
            (style.colours.colour(value).map(|sample| opacity * f32::from(sample) + 0.5), 1.0 - opacity)
        };
        Self { levels: (0..LEVELS).map(level).collect(), signed }
    }

    /// A pixel under a value of -1..=1 or 0..=1.
    pub(super) fn over(&self, pixel: Colour, value: f32) -> Colour {
        // Zero is between two levels of signed colours.
        if value == 0.0 || value.is_nan() {
            return pixel;
        }
        let share = if self.signed { 0.5 * (value + 1.0) } else { value };
        // A float-to-integer cast saturates.
        let level = (share * (LEVELS - 1) as f32 + 0.5) as usize;
        let (colour, rest) = self.levels[level.min(LEVELS - 1)];
        std::array::from_fn(|channel| (colour[channel] + rest * f32::from(pixel[channel])) as u8)
    }
}

pub(super) fn mixed(under: Colour, over: Colour, opacity: f32) -> Colour {
    std::array::from_fn(|channel| {
        let (under, over) = (f32::from(under[channel]), f32::from(over[channel]));
        (under + opacity * (over - under) + 0.5) as u8
    })
}
