//! `decomcam eval`.

use super::headings::{METRICS, OUTPUT, PHOTOS};
use super::model::ModelArgs;
use super::output::QuietArgs;
use super::request::{MethodsArgs, RandomArgs, TuningArgs};
use super::selection::{SelectionArgs, print_outcome};
use super::values::MetricArg;
use anyhow::Result;
use clap::Args;
use decomcam::Shard;
use decomcam::eval::{self, EvalOptions};
use std::path::PathBuf;

/// What the end of `eval --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam eval --photos images --annotations instances.json
      Does each method's map lie on the objects of a COCO file?
  decomcam eval --photos images --annotations instances.json --method exact,grad-cam,layer-cam
      The same for three methods; the second and third are compared with the first.
  decomcam eval --photos images --annotations instances.json --metrics faithfulness --step 1792
      Does the score depend on what the maps mark? Larger steps are faster.
  decomcam eval --photos animals
      Without masks: the photos of animals/cat show a cat, those of animals/dog a dog.

A run that was stopped goes on from records.jsonl when the same command is given again.";

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Which photos.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Categories that are not counted, separated by commas
    #[arg(long, value_name = "CATEGORY", help_heading = PHOTOS, value_delimiter = ',')]
    pub leave_out: Vec<String>,
    /// Only one of several shares of the photos, such as 3/16: for several machines, each with a directory of its own
    ///
    /// Which share a photo belongs to follows from its name in the annotations, or below the directory, alone.
    #[arg(long, hide_short_help = true, value_name = "N/M", help_heading = PHOTOS)]
    pub shard: Option<Shard>,
    /// The methods.
    #[command(flatten)]
    pub methods: MethodsArgs,
    /// Metrics, separated by commas [default: localisation; without masks, faithfulness]
    ///
    /// Those of faithfulness need many passes of the network for each map.
    #[arg(long, value_name = "NAME", help_heading = METRICS, value_delimiter = ',')]
    pub metrics: Vec<MetricArg>,
    /// Pixels that deletion and insertion change at each step [default: a 32nd of the input]
    #[arg(long, value_name = "PIXELS", help_heading = METRICS, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub step: Option<usize>,
    /// Also measure whether parts pick out objects, beside those of k-means and NMF, on photos with two objects or more
    #[arg(long, requires = "annotations", hide_short_help = true, help_heading = METRICS)]
    pub parts: bool,
    /// Also measure whether the maps of the first N pairs change when the network's weights are shuffled, from the score downwards
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true, help_heading = METRICS)]
    pub randomise: usize,
    /// Directory for report.html, results.json, .csv, .md and records.jsonl
    ///
    /// A run that was stopped goes on from the records in this directory.
    #[arg(short, long, value_name = "DIR", default_value = "evaluation", help_heading = OUTPUT)]
    pub out: PathBuf,
    /// Take over the records of these directories, such as those of all shares
    ///
    /// Give the same photos and options as there, without --shard. What is missing is measured.
    #[arg(long, hide_short_help = true, value_name = "DIR", num_args = 1.., conflicts_with = "shard", help_heading = OUTPUT)]
    pub merge: Vec<PathBuf>,
    /// How much is said.
    #[command(flatten)]
    pub quiet: QuietArgs,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is decomposed, and how far.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// What random choices depend on.
    #[command(flatten)]
    pub random: RandomArgs,
}

/// Evaluates methods on annotated photos.
pub fn run(args: &EvalArgs) -> Result<()> {
    let mut selection = args.selection.selection()?;
    selection.leave_out.clone_from(&args.leave_out);
    selection.shard = args.shard;
    let mut asked = EvalOptions::new(selection, &args.out);
    asked.methods = args.methods.chosen();
    asked.merge.clone_from(&args.merge);
    asked.options = args.random.options(&args.tuning);
    asked.score.clone_from(&args.tuning.score);
    asked.metrics = args.metrics.iter().flat_map(|metric| metric.metrics()).collect();
    asked.step = args.step;
    asked.announce = (!args.quiet.quiet).then_some(|line| eprintln!("{line}"));
    asked.parts = args.parts;
    asked.randomise = args.randomise;
    asked.selection.check()?;
    asked.options.check_used(&asked.methods)?;
    let needs_layer = asked.methods.iter().any(|method| method.needs_layer());
    let session = args.model.open(args.tuning.layer.as_deref(), needs_layer, args.quiet.quiet)?;
    super::stop::say_how_to_go_on();
    print_outcome(&eval::evaluate(&session, &asked)?, args.quiet.quiet)
}
