//! `decomcam pool`.

use super::headings::{ADVANCED, METHOD, OUTPUT, WHAT};
use super::model::ModelArgs;
use super::output::QuietArgs;
use super::selection::{SelectionArgs, print_outcome};
use super::values::SwitchArg;
use anyhow::Result;
use clap::Args;
use decomcam::pool::{self, PoolOptions};
use std::path::PathBuf;

/// What the end of `pool --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam pool cat --photos images --annotations instances.json
      What do all photos of cats share? Writes pool/cat.png and pool/cat.json.
  decomcam pool cat dog --photos animals --name-parts \"a face\" \"a paw\" fur
      Cats and dogs, each by themselves, from folders of those names; the parts are named.";

/// Arguments of `pool`.
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// Categories of the annotations; each is decomposed by itself
    #[arg(required = true, value_name = "CATEGORY")]
    pub categories: Vec<String>,
    /// Which photos.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Name each shared part by that one of these texts whose score it raises most
    #[arg(long, value_name = "TEXT", num_args = 1.., help_heading = WHAT)]
    pub name_parts: Vec<String>,
    /// Q, the number of shared parts [default: 5]
    #[arg(long, value_name = "Q", help_heading = METHOD)]
    pub components: Option<usize>,
    /// The layer that is explained [default: the model's own]
    #[arg(long, value_name = "NAME", help_heading = METHOD)]
    pub layer: Option<String>,
    /// The score that is explained [default: the model's own]
    #[arg(long, value_name = "NAME", help_heading = METHOD)]
    pub score: Option<String>,
    /// Directory for CATEGORY.png and CATEGORY.json
    #[arg(short, long, value_name = "DIR", default_value = "pool", help_heading = OUTPUT)]
    pub out: PathBuf,
    /// Number of photos that the picture shows of each shared part
    #[arg(long, value_name = "N", help_heading = OUTPUT, default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=12))]
    pub typical: usize,
    /// How much is said.
    #[command(flatten)]
    pub quiet: QuietArgs,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
    /// 1: take the maps at the network's own input size; 2: also at twice that size [default: the model's own]
    #[arg(long, value_name = "1|2", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub scales: Option<u8>,
    /// Whether to average each map over positions with similar activations [default: on]
    #[arg(long, value_enum, value_name = "SWITCH", help_heading = ADVANCED, hide_short_help = true)]
    pub affinity: Option<SwitchArg>,
}

/// Decomposes the photos of each category together.
pub fn run(args: &PoolArgs) -> Result<()> {
    let mut asked = PoolOptions::new(args.selection.selection()?, &args.out, args.categories.clone());
    asked.options.scales = args.scales.map(usize::from);
    asked.options.affinity = args.affinity.map(|switch| switch.0);
    asked.options.components = args.components;
    asked.options.layer.clone_from(&args.layer);
    asked.options.names.clone_from(&args.name_parts);
    asked.score.clone_from(&args.score);
    asked.typical = args.typical;
    asked.selection.check()?;
    let session = args.model.open(args.layer.as_deref(), true, args.quiet.quiet)?;
    print_outcome(&pool::pool(&session, &asked)?, args.quiet.quiet)
}
