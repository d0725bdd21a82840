//! `decomcam eval`.

use super::model::ModelArgs;
use super::request::{MethodsArgs, TuningArgs};
use super::selection::{SelectionArgs, print_outcome};
use super::values::MetricArg;
use anyhow::Result;
use clap::Args;
use decomcam::eval::{self, EvalOptions};
use std::path::PathBuf;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Which photos.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Categories that are not counted, several times or with commas
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    pub leave_out: Vec<String>,
    /// Metrics, by name or group; faithfulness needs many passes a map [default: localisation; without masks, faithfulness]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub metrics: Vec<MetricArg>,
    /// Directory for results.json, .csv, .md and records.jsonl; a stopped run goes on there
    #[arg(long, value_name = "DIR", default_value = "evaluation")]
    pub out: PathBuf,
    /// Pixels that deletion and insertion change at a step [default: one row, 224 at 224]
    #[arg(long, value_name = "PIXELS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub step: Option<usize>,
    /// Also measure whether OSSMs, k-means and NMF pick out objects, on pairs whose photo shows two objects or more
    #[arg(long, requires = "annotations")]
    pub parts: bool,
    /// Also correlate the maps of the first N pairs with those of the network with its weights shuffled, from the top down
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub randomise: usize,
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

/// Evaluates methods on annotated photos.
pub fn run(args: &EvalArgs) -> Result<()> {
    let mut selection = args.selection.selection();
    selection.leave_out.clone_from(&args.leave_out);
    let mut asked = EvalOptions::new(selection, &args.out);
    asked.methods = args.methods.chosen();
    asked.options = args.methods.options(&args.tuning);
    asked.score.clone_from(&args.tuning.score);
    asked.metrics = args.metrics.iter().flat_map(|metric| metric.metrics()).collect();
    asked.step = args.step;
    asked.parts = args.parts;
    asked.randomise = args.randomise;
    asked.selection.check()?;
    asked.options.check_used(&asked.methods)?;
    let session = args.model.open(args.tuning.layer.as_deref())?;
    print_outcome(&eval::evaluate(&session, &asked)?)
}
