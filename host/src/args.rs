//! The command line.

use crate::explain::Integrate;
use crate::methods::{Choices, Method};
use crate::metrics::Metric;
use crate::model::Preprocessing;
use crate::photo::Fit;
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use decomcam_core::{Recipe, SignRule};
use std::path::PathBuf;

/// Explain why a vision-language model gives a photo its score, part by part.
///
/// DecomCAM weighs a layer's activation maps with the gradient of the score, decomposes them into orthogonal sub-saliency maps (OSSMs: often an ear, a
/// paw, a background), measures what each contributes, and integrates them into one saliency map.
#[derive(Debug, Parser)]
#[command(name = "decomcam", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which parts of a photo speak for a text
    Explain(ExplainArgs),
    /// Sort texts by how well they fit a photo
    Rank(RankArgs),
    /// Record an explanation as a capsule, which any board can compute again and compare bit by bit
    Capture(CaptureArgs),
    /// Compute a capsule again and compare every stage, bit by bit
    Replay(ReplayArgs),
    /// State the memory that the core needs on a board
    Budget(BudgetArgs),
    /// List the bundled models, their layers, scores and licences
    Models(ModelsArgs),
    /// Look into an ONNX network: its ends, and the layers that can be explained
    Inspect(InspectArgs),
    /// Measure the time of each stage, and the peak memory
    Bench(BenchArgs),
    /// Show several methods' maps of a photo side by side, with what deletion, insertion and drop say of each
    Compare(CompareArgs),
    /// Measure methods on annotated photos: does the map lie on the object, does the score depend on it
    ///
    /// Photos that are missing or damaged, empty masks and categories that the model does not know are named and skipped: the results are of the rest,
    /// and the exit code is 1. It is 0 if nothing was skipped.
    ///
    /// With --pool it measures nothing: it decomposes the photos of a category together, as `explain` does one photo by recipe exact, and writes
    /// pool/CATEGORY.png and pool/CATEGORY.json.
    Eval(EvalArgs),
}

/// The model and how it is run.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A bundled model's name, a directory with a model.toml, or a classifier's ONNX file
    #[arg(long, value_name = "NAME|DIR|FILE", default_value = "lite")]
    pub model: String,
    /// Side of the network's input, in pixels [default: the model's own]
    #[arg(long, value_name = "PX")]
    pub size: Option<usize>,
    /// How the photo is made to fit the network's square input [default: the model's own]
    #[arg(long, value_enum)]
    pub fit: Option<FitArg>,
    /// Round activations as an integer device does, instead of only clamping them: slower
    #[arg(long)]
    pub faithful: bool,
    /// What an ONNX file does not say.
    #[command(flatten)]
    pub onnx: OnnxArgs,
}

/// What an ONNX file without a manifest does not say.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for an ONNX file without a model.toml")]
pub struct OnnxArgs {
    /// Names of the classes, one a line [default: their numbers]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How the network wants its pictures
    #[arg(long, value_enum, default_value = "imagenet")]
    pub preset: PresetArg,
    /// Mean of red, green and blue on a scale of 0 to 1, such as 0.485,0.456,0.406 [default: the preset's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1..=3)]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of red, green and blue on a scale of 0 to 1 [default: the preset's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1..=3)]
    pub std: Option<Vec<f32>>,
    /// The output that scores the classes [default: the first of 1 x classes]
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

/// What is decomposed, and how far.
#[derive(Clone, Debug, Args)]
pub struct TuningArgs {
    /// Sizes of the photo that the maps are taken from: the network's own, or also twice that [default: the model's own for exact, else 1]
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub scales: Option<u8>,
    /// Whether positions that look alike to the network share what they have [default: on for exact, else off]
    #[arg(long, value_enum)]
    pub affinity: Option<SwitchArg>,
    /// P, the channels with the largest weight that are used [default: all for exact and aligned, 500 for v25, else 100]
    #[arg(long, value_name = "P")]
    pub channels: Option<usize>,
    /// Q, the parts that the maps are decomposed into [default: 10; of eval --pool 5]
    #[arg(long, value_name = "Q")]
    pub components: Option<usize>,
    /// The layer that is explained [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// The score that is explained [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub score: Option<String>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// The explanation that is asked for.
#[derive(Clone, Debug, Args)]
pub struct RequestArgs {
    /// What the score is of: words such as "a cat"; for a classifier, a class's name or number [default: the predicted class]
    #[arg(long, visible_alias = "class")]
    pub text: Option<String>,
    /// Explain the difference of two scores: why --text and not this
    #[arg(long, value_name = "TEXT")]
    pub versus: Option<String>,
    /// Variant of the method: how parts are weighted [default: exact; for capture, aligned]
    #[arg(long, value_enum)]
    pub recipe: Option<RecipeArg>,
    /// Which side of a component is kept [default: score for exact and aligned, else loading]
    #[arg(long, value_enum)]
    pub sign: Option<SignArg>,
    /// Where OSSMs are masked to measure what they contribute [default: features for exact, if nothing bypasses the layer; else photo]
    #[arg(long, value_enum)]
    pub integrate: Option<IntegrateArg>,
    /// What is decomposed, and how far.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// JPEG, PNG, WebP, BMP or GIF
    pub photo: PathBuf,
    /// A recipe, or another method: that gives one map, without parts
    #[arg(long, value_name = "NAME", conflicts_with = "recipe")]
    pub method: Option<Method>,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Directory for the pictures, maps and the report; - prints the report alone, as JSON
    #[arg(long, value_name = "DIR", default_value = "explanation")]
    pub out: PathBuf,
    /// Name each part by the text among these whose score it raises most; give several
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    pub name_parts: Vec<String>,
    /// Also print where the time went
    #[arg(long)]
    pub timings: bool,
}

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// JPEG, PNG, WebP, BMP or GIF
    pub photo: PathBuf,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Record activations as floats instead of the bytes that an int8 board holds
    #[arg(long)]
    pub floats: bool,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "explanation.capsule")]
    pub out: PathBuf,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A file that `capture` wrote
    pub capsule: PathBuf,
}

/// Arguments of `budget`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// Positions of the layer, height times width
    #[arg(long, value_name = "N", default_value_t = 49, value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub positions: u32,
    /// Channels of the layer
    #[arg(long, value_name = "C", default_value_t = 1280, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub channels: u32,
    /// P, the channels selected
    #[arg(long, value_name = "P", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub top: u32,
    /// Q, the components
    #[arg(long, value_name = "Q", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub components: u32,
}

/// Arguments of `rank`.
#[derive(Debug, Args)]
pub struct RankArgs {
    /// JPEG, PNG, WebP, BMP or GIF
    pub photo: PathBuf,
    /// A text to score; give several
    #[arg(long, required = true)]
    pub text: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// A directory with a model.toml to show instead of the bundled models
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An ONNX file
    #[arg(value_name = "MODEL.onnx")]
    pub file: PathBuf,
    /// Side of the network's input, in pixels [default: the file's own, or 224]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u16).range(8..=2048))]
    pub size: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// JPEG, PNG, WebP, BMP or GIF
    pub photo: PathBuf,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Explanations to take the median of, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat: u16,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Methods that are set side by side, and the model.
#[derive(Clone, Debug, Args)]
pub struct MethodsArgs {
    /// Methods, several times or with commas; of eval, differences are to the first [default: exact and all that need one pass]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub method: Vec<Method>,
    /// Masks of RISE
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rise_masks: usize,
    /// Seed of whatever is drawn: RISE's masks, ROAD's noise, shuffled weights, the bootstrap
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// What is decomposed, and how far.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
}

impl MethodsArgs {
    /// The methods, each once.
    pub fn chosen(&self) -> Vec<Method> {
        let mut chosen = Vec::new();
        for method in if self.method.is_empty() { Method::usual() } else { self.method.clone() } {
            if !chosen.contains(&method) {
                chosen.push(method);
            }
        }
        chosen
    }

    /// What the methods leave open, with `threads` for each map.
    pub fn choices(&self, threads: usize) -> Choices {
        Choices {
            channels: self.tuning.channels,
            components: self.tuning.components,
            sign: None,
            affinity: self.tuning.affinity.map(|switch| switch.0),
            rise_masks: self.rise_masks,
            seed: self.seed,
            threads,
        }
    }
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// JPEG, PNG, WebP, BMP or GIF
    pub photo: PathBuf,
    /// What the score is of, such as "a cat"
    #[arg(long)]
    pub text: String,
    /// Explain the difference of two scores: why --text and not this
    #[arg(long, value_name = "TEXT")]
    pub versus: Option<String>,
    /// Directory for comparison.png and comparison.json
    #[arg(long, value_name = "DIR", default_value = "comparison")]
    pub out: PathBuf,
    /// Pixels that deletion and insertion change at a step [default: a 32nd of the input]
    #[arg(long, value_name = "PIXELS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub step: Option<usize>,
    /// The methods and the model.
    #[command(flatten)]
    pub methods: MethodsArgs,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Directory of the photos
    #[arg(long, value_name = "DIR")]
    pub photos: PathBuf,
    /// What is where: JSON lines as of coco64, COCO's JSON, Pascal VOC's XML or a directory of it [default: no masks, photos in folders named after what
    /// they show]
    #[arg(long, value_name = "FILE|DIR")]
    pub annotations: Option<PathBuf>,
    /// Metrics, by name or group; faithfulness needs many passes a map [default: localisation; without masks, faithfulness]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub metrics: Vec<MetricArg>,
    /// Directory for results.json, .csv, .md and records.jsonl; a stopped run goes on there
    #[arg(long, value_name = "DIR", default_value = "evaluation")]
    pub out: PathBuf,
    /// Categories that are not counted, several times or with commas
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    pub leave_out: Vec<String>,
    /// The text of a category, which the model's template goes around [default: "a {}"; of a classifier "{}"]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Smallest mask that counts, as a share of the network's input
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    pub least_mask: f64,
    /// Largest mask that counts
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    pub most_mask: f64,
    /// With crop: pixels of the input cut off in total along the shorter side, beyond the square
    #[arg(long, value_name = "PX", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=2048))]
    pub margin: u32,
    /// Pixels that deletion and insertion change at a step [default: one row, 224 at 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub step: Option<usize>,
    /// Instead of measuring, decompose the photos of this category together, and show the components that they share with the photos that have most of
    /// each; several times or with commas
    #[arg(
        long,
        value_name = "CATEGORY",
        value_delimiter = ',',
        conflicts_with_all = ["method", "metrics", "leave_out", "step", "parts", "randomise", "channels", "rise_masks", "seed"]
    )]
    pub pool: Vec<String>,
    /// Photos that --pool shows of each shared component
    #[arg(long, value_name = "N", default_value_t = 5, requires = "pool", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=12))]
    pub typical: usize,
    /// With --pool: name each shared component by the text among these whose score it raises most
    #[arg(long, value_name = "TEXT", num_args = 1.., requires = "pool")]
    pub name_parts: Vec<String>,
    /// Also measure whether OSSMs, k-means and NMF pick out objects, on pairs whose photo shows two objects or more
    #[arg(long)]
    pub parts: bool,
    /// Also correlate the maps of the first N pairs with those of the network with its weights shuffled, from the top down
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub randomise: usize,
    /// The methods and the model.
    #[command(flatten)]
    pub methods: MethodsArgs,
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
    pub fn metrics(self) -> Vec<Metric> {
        let wanted = |metric: &Metric| match self {
            Self::Localisation => metric.needs_mask(),
            Self::Faithfulness => !metric.needs_mask(),
            Self::All => true,
            Self::One(one) => one == *metric,
        };
        Metric::ALL.into_iter().filter(wanted).collect()
    }
}

impl ValueEnum for MetricArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [MetricArg; 13] = {
            let mut all = [MetricArg::All; 13];
            all[0] = MetricArg::Localisation;
            all[1] = MetricArg::Faithfulness;
            let mut at = 0;
            while at < Metric::ALL.len() {
                all[3 + at] = MetricArg::One(Metric::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Localisation => PossibleValue::new("localisation").help("Maps against masks: the first five below"),
            Self::Faithfulness => PossibleValue::new("faithfulness").help("Scores of changed photos: the others"),
            Self::All => PossibleValue::new("all").help("Both"),
            Self::One(metric) => PossibleValue::new(metric.name()),
        })
    }
}

/// A value that the command line names and the program uses, each with one line of help.
macro_rules! named_values {
    ($(#[$doc:meta])* $name:ident($inner:ty) { $($value:expr => $word:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name(pub $inner);

        impl $name {
            /// The word for it on the command line and in reports.
            pub fn word(self) -> &'static str {
                $(if self.0 == $value { return $word; })*
                "unknown"
            }
        }

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
    /// `--recipe`.
    RecipeArg(Recipe) {
        Recipe::Exact => "exact", "Closed form without loss: the signed parts sum to the score's own map";
        Recipe::Aligned => "aligned", "Closed form: agreement with the first-order map of the score";
        Recipe::Paper => "paper", "The paper's figure: min-max of the measured contributions";
        Recipe::Notebook => "notebook", "The authors' notebook: contributions over their maximum";
        Recipe::V1 => "v1", "The authors' first release: contributions times their softmax";
        Recipe::V25 => "v25", "The authors' last release: scores over their maximum, normalised blend";
    }
}

named_values! {
    /// `--sign`.
    SignArg(SignRule) {
        SignRule::Score => "score", "The side that the score rewards";
        SignRule::LargestLoading => "loading", "Largest channel loading positive (scikit-learn since 1.5)";
        SignRule::LargestEntry => "entry", "Largest entry of the map positive (scikit-learn before 1.5)";
    }
}

named_values! {
    /// `--integrate`.
    IntegrateArg(Integrate) {
        Integrate::Photo => "photo", "In the photo, blurred elsewhere; a forward pass each";
        Integrate::Features => "features", "In the layer, blended towards its mean elsewhere, as a board does";
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
        Preprocessing::IMAGENET => "imagenet", "ImageNet's mean and deviation, as torchvision and most of timm";
        Preprocessing::CLIP => "clip", "The mean and deviation of OpenAI's CLIP";
        Preprocessing::HALF => "half", "-1 to 1: mean and deviation one half";
        Preprocessing::TF => "tf", "(value - 127) / 128, as TensorFlow Lite";
    }
}

named_values! {
    /// `--fit`.
    FitArg(Fit) {
        Fit::Crop => "crop", "Cut out the centre";
        Fit::Pad => "pad", "Fill up the shorter side; everything is seen, smaller";
        Fit::Stretch => "stretch", "Take the whole photo, distorted";
    }
}
