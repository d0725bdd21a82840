//! The variants of DecomCAM. The paper and the programs that its authors released differ from each other, so each variant has a name.

use decomcam_core::{ScoreFormula, SignRule, Weighing};

/// A variant of DecomCAM: how many channels are used, how photos are masked, and how the parts are weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// Closed form without loss: the mean and the signed parts sum to the score's own first-order map.
    #[default]
    Exact,
    /// Closed form: each part is weighted by its agreement with the first-order map, max(0, (U s)_q' L) divided by the largest.
    Aligned,
    /// The paper's overview figure: min-max over the measured contributions.
    Paper,
    /// The authors' notebook: contributions over the largest, 0 below 0.01.
    Notebook,
    /// The authors' first release: contributions times their softmax.
    V1,
    /// The authors' last release: scores over the largest, 0 below 0.001.
    V25,
}

impl Recipe {
    /// Every recipe, in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Exact, Self::Aligned, Self::Paper, Self::Notebook, Self::V1, Self::V25];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Aligned => "aligned",
            Self::Paper => "paper",
            Self::Notebook => "notebook",
            Self::V1 => "v1",
            Self::V25 => "v25",
        }
    }

    /// What it is, in one line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Exact => "Signed parts that sum to the score's own map: nothing is lost",
            Self::Aligned => "Parts weighted by their agreement with the first-order map of the score",
            Self::Paper => "The paper's overview figure: contributions scaled to 0 to 1",
            Self::Notebook => "The authors' notebook: contributions divided by the largest",
            Self::V1 => "The authors' first release: contributions times their softmax",
            Self::V25 => "The authors' last release: scores divided by the largest, masked after normalisation",
        }
    }

    /// How the core weights the parts.
    pub const fn weighing(self) -> Weighing {
        match self {
            Self::Exact => Weighing::Exact,
            Self::Aligned => Weighing::Aligned,
            Self::Paper => Weighing::Scores(ScoreFormula::Paper),
            Self::Notebook => Weighing::Scores(ScoreFormula::Notebook),
            Self::V1 => Weighing::Scores(ScoreFormula::V1),
            Self::V25 => Weighing::Scores(ScoreFormula::V25),
        }
    }

    /// Whether its weights follow from the decomposition alone, without the scores of masked photos.
    pub const fn is_closed_form(self) -> bool {
        !matches!(self.weighing(), Weighing::Scores(_))
    }

    /// Whether masked photos are blended after normalisation, as the last release does, and not as pixels in 0..=1.
    pub const fn blends_normalised(self) -> bool {
        matches!(self, Self::V25)
    }

    /// How many standard deviations the blur of masked photos reaches.
    pub const fn blur_truncate(self) -> f32 {
        match self {
            Self::Notebook => 100.0,
            _ => 4.0,
        }
    }

    /// P: how many of the layer's channels it uses.
    pub fn channels(self, available: usize) -> usize {
        match self {
            Self::Exact | Self::Aligned => available,
            Self::V25 => available.min(500),
            Self::Paper | Self::Notebook | Self::V1 => available.min(100),
        }
    }

    /// Which side of each component it shows: the one that the score rewards for the closed forms, scikit-learn's for the released programs, which inherited that.
    pub const fn sign(self) -> SignRule {
        if self.is_closed_form() { SignRule::Score } else { SignRule::LargestLoading }
    }
}

/// The name of a sign rule on the command line and in files.
pub const fn sign_name(sign: SignRule) -> &'static str {
    match sign {
        SignRule::Score => "score",
        SignRule::LargestLoading => "loading",
        SignRule::LargestEntry => "entry",
        _ => "another",
    }
}
