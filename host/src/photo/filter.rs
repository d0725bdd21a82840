//! How much each sample of a picture counts when it is resized.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// A resampling filter, as Pillow has them.
///
/// A sample at distance x from the middle of a target sample, in samples of the coarser of the two pictures, counts f(x), and nothing beyond the support r.
/// All but nearest are antialiased: where a picture gets smaller, the filter gets wider with it.
///
/// # Reference
/// Pillow's `Resample.c` and, for [`Filter::Nearest`], `Geometry.c`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The sample in the middle alone: nothing is averaged.
    Nearest,
    /// r = 1/2: f = 1, the mean of what a target sample covers.
    Box,
    /// r = 1: f = 1 - |x|.
    Bilinear,
    /// r = 1: f = sinc(x) (0.54 + 0.46 cos(pi x)).
    Hamming,
    /// r = 2: cubic convolution with a = -1/2.
    #[default]
    Bicubic,
    /// r = 3: f = sinc(x) sinc(x / 3).
    Lanczos,
}

impl Filter {
    /// Every filter, from the narrowest on.
    pub const ALL: [Self; 6] = [Self::Nearest, Self::Box, Self::Bilinear, Self::Hamming, Self::Bicubic, Self::Lanczos];

    /// Its name in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// The filter of this number in Pillow, as `resample` of a `preprocessor_config.json` gives it.
    pub const fn of_pillow(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// r; none of the nearest, which takes one sample.
    pub(super) const fn support(self) -> Option<f64> {
        match self {
            Self::Nearest => None,
            Self::Box => Some(0.5),
            Self::Bilinear | Self::Hamming => Some(1.0),
            Self::Bicubic => Some(2.0),
            Self::Lanczos => Some(3.0),
        }
    }

    /// f(x).
    pub(super) fn at(self, x: f64) -> f64 {
        match self {
            Self::Nearest => 1.0,
            // The half-open interval gives a border to one side alone.
            Self::Box => f64::from(u8::from(-0.5 < x && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming if x.abs() < 1.0 => sinc(x) * (0.54 + 0.46 * (PI * x).cos()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Hamming | Self::Lanczos => 0.0,
            Self::Bicubic => cubic(x.abs()),
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
