//! What is explained, and how.

use super::misused;
use super::model::ModelArgs;
use super::values::{IntegrateArg, MethodArg, RecipeArg, SignArg, SwitchArg};
use anyhow::Result;
use clap::Args;
use decomcam::{Method, Options, Photo, Prompt, Question, Session};

/// What is decomposed, and how far.
#[derive(Clone, Debug, Args)]
pub struct TuningArgs {
    /// Sizes of the photo that the maps are taken from: the network's own, or also twice that [default: the model's own for exact, else 1]
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub scales: Option<u8>,
    /// Whether each map is averaged over positions with similar activations [default: on for exact, else off]
    #[arg(long, value_enum)]
    pub affinity: Option<SwitchArg>,
    /// Whether the finished map is averaged over near positions with similar activations at the model's guide layer, whose positions are finer [default: on
    /// for exact if there is such a layer, else off]
    #[arg(long, value_enum)]
    pub refine: Option<SwitchArg>,
    /// P, the channels with the largest weight that are used [default: all for exact and aligned, 500 for v25, else 100]
    #[arg(long, value_name = "P")]
    pub channels: Option<usize>,
    /// Q, the parts that the maps are decomposed into [default: 10; of pool 5]
    #[arg(long, value_name = "Q")]
    pub components: Option<usize>,
    /// The layer that is explained [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// The score that is explained [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub score: Option<String>,
}

impl TuningArgs {
    /// The library's options.
    pub fn options(&self) -> Options {
        let mut options = Options::new();
        options.scales = self.scales.map(usize::from);
        options.affinity = self.affinity.map(|switch| switch.0);
        options.refine = self.refine.map(|switch| switch.0);
        options.channels = self.channels;
        options.components = self.components;
        options.layer.clone_from(&self.layer);
        options
    }
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
    /// Variant of the method: how parts are weighed [default: exact; for capture, aligned]
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

impl RequestArgs {
    /// The library's options; `method` if `--method` was given.
    pub fn options(&self, method: Option<MethodArg>) -> Options {
        let mut options = self.tuning.options();
        options.sign = self.sign.map(|sign| sign.0);
        options.integrate = self.integrate.map(|integrate| integrate.0);
        let recipe = self.recipe.map(|recipe| Method::DecomCam(recipe.0));
        options.method = method.map(|method| method.0).or(recipe).unwrap_or_default();
        options
    }

    /// Opens the model.
    pub fn open(&self) -> Result<Session> {
        self.model.open(self.tuning.layer.as_deref())
    }

    /// What is asked, encoded: the text, or of a classifier the predicted class.
    pub fn prompt(&self, session: &Session, photo: &Photo, options: &Options) -> Result<Prompt> {
        let score = self.tuning.score.as_deref();
        let predicted;
        let text = match &self.text {
            Some(text) => text,
            None if session.model().manifest.classes.is_none() => misused("--text is required: what the score is of"),
            None => {
                predicted = session.predicted_class(photo, options, score)?.to_string();
                &predicted
            }
        };
        let prompt = session.prompt(Question { text, versus: self.versus.as_deref(), score })?;
        if options.names.is_empty() {
            session.forget_text();
        }
        Ok(prompt)
    }
}

/// Methods that are set side by side.
#[derive(Clone, Debug, Args)]
pub struct MethodsArgs {
    /// Methods, several times or with commas; of eval, differences are to the first [default: exact and all that need one pass]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub method: Vec<MethodArg>,
    /// Masks of RISE [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rise_masks: Option<usize>,
    /// Seed of whatever is drawn: RISE's masks, ROAD's noise, shuffled weights, the bootstrap [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl MethodsArgs {
    /// The methods, each once.
    pub fn chosen(&self) -> Vec<Method> {
        let mut chosen = Vec::new();
        for method in self.method.iter().map(|method| method.0) {
            if !chosen.contains(&method) {
                chosen.push(method);
            }
        }
        if chosen.is_empty() { Method::usual() } else { chosen }
    }

    /// The library's options, from these and `tuning`.
    pub fn options(&self, tuning: &TuningArgs) -> Options {
        let mut options = tuning.options().seed(self.seed.unwrap_or_default());
        options.rise_masks = self.rise_masks;
        options
    }
}
