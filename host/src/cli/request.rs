//! What is explained, and how.

use super::headings::{ADVANCED, METHOD, WHAT};
use super::model::ModelArgs;
use super::place::PlaceArgs;
use super::values::{IntegrateArg, MethodArg, RecipeArg, SignArg, SwitchArg};
use anyhow::Result;
use clap::Args;
use decomcam::{Method, Options, Photo, Prompt, Question, Session};

/// What is decomposed, and how far.
#[derive(Clone, Debug, Args)]
pub struct TuningArgs {
    /// The layer that is explained [default: the model's own]
    #[arg(long, value_name = "NAME", help_heading = METHOD)]
    pub layer: Option<String>,
    /// The score that is explained [default: the model's own]
    #[arg(long, hide_short_help = true, value_name = "NAME", help_heading = METHOD)]
    pub score: Option<String>,
    /// Q, the number of parts [default: 10]
    #[arg(long, value_name = "Q", help_heading = METHOD)]
    pub components: Option<usize>,
    /// Whether the parts of exact are turned, without changing their sum, until as little as possible of them is cut off: they overlap less, and each
    /// fits one thing better [default: off]
    #[arg(long, value_enum, value_name = "SWITCH", help_heading = METHOD)]
    pub one_sided: Option<SwitchArg>,
    /// P, the number of channels that are used, those with the largest weights [default: all for exact and aligned, 500 for v25, else 100]
    #[arg(long, value_name = "P", help_heading = ADVANCED, hide_short_help = true)]
    pub channels: Option<usize>,
    /// 1: take the maps at the network's own input size; 2: also at twice that size; for recipes, grad-cam and layer-cam [default: the model's own for exact, else 1]
    #[arg(long, value_name = "1|2", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub scales: Option<u8>,
    /// Whether to average each map over positions with similar activations; for recipes, grad-cam and layer-cam [default: on for exact, else off]
    #[arg(long, value_enum, value_name = "SWITCH", help_heading = ADVANCED, hide_short_help = true)]
    pub affinity: Option<SwitchArg>,
    /// Whether to refine the finished map: average it over near positions with similar activations at the model's guide layer, whose positions are finer
    /// [default: on for exact if the model names such a layer, else off]
    #[arg(long, value_enum, value_name = "SWITCH", help_heading = ADVANCED, hide_short_help = true)]
    pub refine: Option<SwitchArg>,
}

impl TuningArgs {
    /// The library's options.
    pub fn options(&self) -> Options {
        let mut options = Options::new();
        options.scales = self.scales.map(usize::from);
        options.affinity = self.affinity.map(|switch| switch.0);
        options.refine = self.refine.map(|switch| switch.0);
        options.one_sided = self.one_sided.map(|switch| switch.0);
        options.channels = self.channels;
        options.components = self.components;
        options.layer.clone_from(&self.layer);
        options
    }
}

/// The explanation that is asked for.
#[derive(Clone, Debug, Args)]
pub struct RequestArgs {
    /// Words such as "a cat", or a class of a classifier
    ///
    /// A class is given by its name or its number. If nothing is given, what the model sees is explained: the likeliest class of a classifier, or of a model that knows
    /// its classes, such as lite.
    #[arg(short, long, visible_alias = "class", help_heading = WHAT, display_order = 1)]
    pub text: Option<String>,
    /// Explain the score of --text less that of this text
    #[arg(long, value_name = "TEXT", help_heading = WHAT, display_order = 2)]
    pub versus: Option<String>,
    /// Recipe: how parts are weighted [default: exact; for capture, aligned]
    #[arg(long, hide_short_help = true, value_enum, value_name = "NAME", help_heading = METHOD)]
    pub recipe: Option<RecipeArg>,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is decomposed, and how far.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// Which side of a component the picture shows as its part [default: score for exact and aligned, else loading]
    #[arg(long, value_enum, value_name = "RULE", help_heading = ADVANCED, hide_short_help = true)]
    pub sign: Option<SignArg>,
    /// Where contributions are measured, by hiding everything but one part [default: features for exact where nothing bypasses the layer, else photo]
    #[arg(long, value_enum, value_name = "PLACE", help_heading = ADVANCED, hide_short_help = true)]
    pub integrate: Option<IntegrateArg>,
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
    pub fn open(&self, method: Method, quiet: bool) -> Result<Session> {
        self.open_for(method, false, quiet)
    }

    /// Opens the model; `alike` if photos will be compared with photos.
    pub fn open_for(&self, method: Method, alike: bool, quiet: bool) -> Result<Session> {
        self.model.open_for(self.tuning.layer.as_deref(), method.needs_layer(), alike, quiet)
    }

    /// What is asked of a photo, encoded: the text, or what the model sees.
    pub fn prompt(&self, session: &Session, photo: &Photo, options: &Options) -> Result<Prompt> {
        Ok(self.ask(session, options, None)?(photo)?)
    }

    /// What gives the prompt of each photo: the text, which is encoded once, a place that is asked about, or what the model sees.
    pub fn ask<'a>(
        &'a self,
        session: &'a Session,
        options: &'a Options,
        place: Option<&PlaceArgs>,
    ) -> Result<impl Fn(&Photo) -> decomcam::Result<Prompt> + Sync + use<'a>> {
        let side = place.map(PlaceArgs::side).unwrap_or_default();
        let (versus, score) = (self.versus.as_deref(), self.tuning.score.as_deref());
        // A score that was named is asked as it is.
        let place = place.map(|place| place.place(session)).transpose()?.flatten().filter(|_| score.is_none());
        let fixed = match (&self.text, &place) {
            (Some(text), None) => Some(session.prompt(Question { text, versus, score })?),
            (None, None) => {
                session.check_predicts()?;
                None
            }
            _ => None,
        };
        if fixed.is_some() && options.names.is_empty() {
            session.forget_text();
        }
        Ok(move |photo: &Photo| {
            let prompt = match (&fixed, &place) {
                (Some(prompt), _) => prompt.clone(),
                (None, Some(place)) => {
                    let text = self.text.as_deref().unwrap_or_default();
                    session.prompt_at(photo, Question { text, versus, score }, place, options)?
                }
                (None, None) => {
                    let text = session.predicted(photo, options, score)?;
                    session.prompt(Question { text: &text, versus, score })?
                }
            };
            Ok(prompt.side(side))
        })
    }
}

/// Methods that are set side by side.
#[derive(Clone, Debug, Args)]
pub struct MethodsArgs {
    /// Methods, separated by commas [default: exact, and all that need one pass]
    ///
    /// In the tables of eval the others are compared with the first.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = METHOD)]
    pub method: Vec<MethodArg>,
}

/// What random choices depend on.
#[derive(Clone, Debug, Args)]
pub struct RandomArgs {
    /// Number of random masks that rise draws [default: 1000]
    #[arg(long, value_name = "N", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rise_masks: Option<usize>,
    /// Seed of everything random: the masks of rise, the noise of road, shuffled weights, the bootstrap [default: 0]
    #[arg(long, value_name = "N", help_heading = ADVANCED, hide_short_help = true)]
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
}

impl RandomArgs {
    /// The library's options, from these and `tuning`.
    pub fn options(&self, tuning: &TuningArgs) -> Options {
        let mut options = tuning.options().seed(self.seed.unwrap_or_default());
        options.rise_masks = self.rise_masks;
        options
    }
}
