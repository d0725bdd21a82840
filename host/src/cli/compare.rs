//! `decomcam compare`.

use super::misused;
use super::model::ModelArgs;
use super::output::{print, wrote};
use super::request::{MethodsArgs, TuningArgs};
use anyhow::Result;
use clap::Args;
use decomcam::compare::{self, CompareOptions};
use decomcam::{Method, Photo, Question, files};
use std::path::PathBuf;

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// JPEG, PNG, WebP, BMP, GIF, TIFF or ICO
    pub photo: PathBuf,
    /// What the score is of, such as "a cat"
    #[arg(long, visible_alias = "class")]
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
    /// The methods.
    #[command(flatten)]
    pub methods: MethodsArgs,
    /// What is decomposed, and how far.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Compares methods on a photo.
pub fn run(args: &CompareArgs) -> Result<()> {
    let mut asked = CompareOptions::default();
    asked.methods = args.methods.chosen();
    asked.options = args.methods.options(&args.tuning);
    asked.step = args.step;
    asked.options.check_used(&asked.methods)?;
    if args.methods.seed.is_some() && !asked.methods.contains(&Method::Rise) {
        misused("--seed has no effect without rise among the methods: nothing else is drawn here; leave it out");
    }
    files::prepare_directory(&args.out)?;
    let photo = Photo::open(&args.photo)?;
    let session = args.model.open(args.tuning.layer.as_deref())?;
    let score = args.tuning.score.as_deref();
    let prompt = session.prompt(Question { text: &args.text, versus: args.versus.as_deref(), score })?;
    session.forget_text();
    let comparison = compare::compare(&session, &photo, &prompt, &asked)?;
    let files = comparison.write(&photo, &args.out)?;
    print(&(comparison.table() + "\n" + &wrote(&files)))
}
