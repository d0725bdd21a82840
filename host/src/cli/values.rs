//! Values that the command line names and the library uses, each with one line of help.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use decomcam::metrics::Metric;
use decomcam::model::{ChannelOrder, Preprocessing};
use decomcam::photo::{Fit, Upsampling};
use decomcam::report::Arrays;
use decomcam::score::BoxNumber;
use decomcam::{Integrate, Method, Recipe, Side};
use decomcam_core::SignRule;
use std::sync::LazyLock;

/// `--method`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodArg(pub Method);

impl ValueEnum for MethodArg {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<MethodArg>> = LazyLock::new(|| Method::all().map(MethodArg).collect());
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.help()))
    }
}

/// `--recipe`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecipeArg(pub Recipe);

impl ValueEnum for RecipeArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [RecipeArg; Recipe::ALL.len()] = {
            let mut all = [RecipeArg(Recipe::Exact); Recipe::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = RecipeArg(Recipe::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.help()))
    }
}

/// `--metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricArg {
    /// Those that compare maps with masks.
    Localisation,
    /// Those that run the network.
    Faithfulness,
    /// Both.
    All,
    /// One by its name.
    One(Metric),
}

impl MetricArg {
    /// The metrics that it stands for.
    pub fn metrics(self) -> impl Iterator<Item = Metric> {
        Metric::ALL.into_iter().filter(move |metric| match self {
            Self::Localisation => metric.needs_mask(),
            Self::Faithfulness => !metric.needs_mask(),
            Self::All => true,
            Self::One(one) => one == *metric,
        })
    }
}

impl ValueEnum for MetricArg {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<MetricArg>> = LazyLock::new(|| {
            let groups = [MetricArg::Localisation, MetricArg::Faithfulness, MetricArg::All];
            groups.into_iter().chain(Metric::ALL.map(MetricArg::One)).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Localisation => PossibleValue::new("localisation").help("The five that compare a map with a mask"),
            Self::Faithfulness => {
                PossibleValue::new("faithfulness").help("The five that run the network on changed photos")
            }
            Self::All => PossibleValue::new("all").help("All ten"),
            Self::One(metric) => PossibleValue::new(metric.name()).help(metric.help()),
        })
    }
}

macro_rules! named_values {
    ($(#[$doc:meta])* $name:ident($inner:ty) { $($value:expr => $word:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name(pub $inner);

        impl ValueEnum for $name {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self($value)),*]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                $(if self.0 == $value { return Some(PossibleValue::new($word).help($help)); })*
                None
            }
        }
    };
}

named_values! {
    /// `--sign`.
    SignArg(SignRule) {
        SignRule::Score => "score", "The side that the score rewards";
        SignRule::LargestLoading => "loading", "The side on which the channel with the largest loading is positive (scikit-learn since 1.5)";
        SignRule::LargestEntry => "entry", "The side on which the largest entry of the map is positive (scikit-learn before 1.5)";
    }
}

named_values! {
    /// `--integrate`.
    IntegrateArg(Integrate) {
        Integrate::Photo => "photo", "In the photo, blurred outside the part; one forward pass for each part";
        Integrate::Features => "features", "In the layer, replaced by the channel's mean outside the part, as on a board";
    }
}

named_values! {
    /// `--affinity`.
    SwitchArg(bool) {
        true => "on", "Yes";
        false => "off", "No";
    }
}

named_values! {
    /// `--preset`.
    PresetArg(Preprocessing) {
        Preprocessing::IMAGENET => "imagenet", "ImageNet's mean and deviation, as in torchvision and most of timm";
        Preprocessing::CLIP => "clip", "The mean and deviation of OpenAI's CLIP";
        Preprocessing::HALF => "half", "Values from -1 to 1: mean and deviation of one half";
        Preprocessing::RAW => "raw", "Pixels from 0 to 255 as they are, for a network that prepares its photos itself";
        Preprocessing::TF => "tf", "(value - 127) / 128, as in TensorFlow Lite";
    }
}

named_values! {
    /// `--channel-order`.
    ChannelOrderArg(ChannelOrder) {
        ChannelOrder::Rgb => "rgb", "Red, green, blue";
        ChannelOrder::Bgr => "bgr", "Blue, green, red, as in OpenCV";
    }
}

named_values! {
    /// `--upsample`.
    UpsampleArg(Upsampling) {
        Upsampling::Bicubic => "bicubic", "Smooth; negative values are cut off after it";
        Upsampling::Bilinear => "bilinear", "Straight lines; negative values are cut off before it, as the package grad-cam does";
    }
}

named_values! {
    /// `--side`.
    SideArg(Side) {
        Side::For => "for", "What raises the score";
        Side::Against => "against", "What lowers it: the score is negated";
    }
}

named_values! {
    /// `--ask`.
    AskArg(BoxNumber) {
        BoxNumber::Class => "class", "The number of the class";
        BoxNumber::Objectness => "objectness", "How likely it is that there is anything, where the detector has such a number";
    }
}

named_values! {
    /// `--fit`.
    FitArg(Fit) {
        Fit::Crop => "crop", "Cut out the square centre; the margins are not seen";
        Fit::Pad => "pad", "Fill up the shorter side; everything is seen, but smaller";
        Fit::Stretch => "stretch", "Stretch the photo to a square; everything is seen, but distorted";
    }
}

/// `--arrays`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArraysArg(pub Arrays);

impl ValueEnum for ArraysArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Arrays::Grid), Self(Arrays::Input), Self(Arrays::Photo)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            Arrays::Grid => PossibleValue::new("grid").help("As they were computed"),
            Arrays::Input => PossibleValue::new("input").help("At the size of the network's input"),
            Arrays::Photo => {
                PossibleValue::new("photo").help("At the photo's size, which takes four bytes a pixel and part")
            }
        })
    }
}
