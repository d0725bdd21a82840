//! How good a saliency map is: whether it lies on the object, and whether the score depends on what it marks.
//!
//! Maps and masks are height x width, row-major, on the network's input. Maps have no negative values, as [`crate::photo::Placement::saliency`] makes them.
//! Inputs are three planes in normalised space, where zero is the mean colour. Everything is in `f64`, in one written order, and checked against numpy,
//! scipy, scikit-learn and grad-cam by `tests/host/metrics.rs`.

mod faithfulness;
mod localisation;
mod road;

pub use faithfulness::{Scorer, average_drop, average_increase, blurred, deletion_or_insertion, kept};
pub use localisation::{BOX_THRESHOLDS, POINTING_TOLERANCE, best_iou, box_hits, energy, pointing, pxap};
pub use road::{ROAD_NOISE, ROAD_PASSES, filled_in, road};

/// A metric: a number that says how good a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// [`pointing`].
    Pointing,
    /// [`energy`].
    Energy,
    /// [`best_iou`].
    BestIou,
    /// [`box_hits`], the share of maps that hit at the threshold that is best for all.
    MaxBoxAcc,
    /// [`pxap`].
    Pxap,
    /// [`deletion_or_insertion`] towards zero; lower is better.
    Deletion,
    /// [`deletion_or_insertion`] from the blurred input.
    Insertion,
    /// [`average_drop`]; lower is better.
    AverageDrop,
    /// [`average_increase`].
    AverageIncrease,
    /// [`road`].
    Road,
}

impl Metric {
    /// Every metric, in the order of tables.
    pub const ALL: [Self; 10] = [
        Self::Pointing,
        Self::Energy,
        Self::BestIou,
        Self::MaxBoxAcc,
        Self::Pxap,
        Self::Deletion,
        Self::Insertion,
        Self::AverageDrop,
        Self::AverageIncrease,
        Self::Road,
    ];

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pointing => "pointing",
            Self::Energy => "energy",
            Self::BestIou => "best_iou",
            Self::MaxBoxAcc => "max_box_acc",
            Self::Pxap => "pxap",
            Self::Deletion => "deletion",
            Self::Insertion => "insertion",
            Self::AverageDrop => "average_drop",
            Self::AverageIncrease => "average_increase",
            Self::Road => "road",
        }
    }

    /// What it is, in one line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Pointing => "Whether the maximum of the map lies on the object; higher is better",
            Self::Energy => "Share of the map's sum on the object; higher is better, and any sharpening raises it",
            Self::BestIou => "Intersection over union at the best threshold; higher is better",
            Self::MaxBoxAcc => "Share of maps whose box fits that of an object; higher is better",
            Self::Pxap => "Average precision of the pixels ranked by the map; higher is better",
            Self::Deletion => "Mean score while the most salient pixels are removed first; lower is better",
            Self::Insertion => "Mean score while the most salient pixels are added first; higher is better",
            Self::AverageDrop => {
                "Share of the score that is lost when the photo is multiplied by the map; lower is better"
            }
            Self::AverageIncrease => {
                "How often the score rises when the photo is multiplied by the map; higher is better"
            }
            Self::Road => "Score without the least salient pixels less that without the most salient; higher is better",
        }
    }

    /// Whether it compares the map with a mask; the others run the network.
    pub const fn needs_mask(self) -> bool {
        matches!(self, Self::Pointing | Self::Energy | Self::BestIou | Self::MaxBoxAcc | Self::Pxap)
    }

    /// Whether a larger number is better.
    pub const fn higher_is_better(self) -> bool {
        !matches!(self, Self::Deletion | Self::AverageDrop)
    }
}
