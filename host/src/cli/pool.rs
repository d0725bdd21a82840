//! `decomcam pool`.

use super::model::ModelArgs;
use super::selection::{SelectionArgs, print_outcome};
use super::values::SwitchArg;
use anyhow::Result;
use clap::Args;
use decomcam::pool::{self, PoolOptions};
use std::path::PathBuf;

/// Arguments of `pool`.
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// Categories, each decomposed by itself
    #[arg(required = true, value_name = "CATEGORY")]
    pub categories: Vec<String>,
    /// Which photos.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Directory for CATEGORY.png and CATEGORY.json
    #[arg(long, value_name = "DIR", default_value = "pool")]
    pub out: PathBuf,
    /// Photos that are shown of each shared part
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=12))]
    pub typical: usize,
    /// Name each shared part by the text among these whose score it raises most; give several
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    pub name_parts: Vec<String>,
    /// Sizes of the photos that the maps are taken from: the network's own, or also twice that [default: the model's own]
    #[arg(long, value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub scales: Option<u8>,
    /// Whether each map is averaged over positions with similar activations [default: on]
    #[arg(long, value_enum)]
    pub affinity: Option<SwitchArg>,
    /// Q, the shared parts [default: 5]
    #[arg(long, value_name = "Q")]
    pub components: Option<usize>,
    /// The layer that is explained [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// The score that is explained [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub score: Option<String>,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Decomposes the photos of each category together.
pub fn run(args: &PoolArgs) -> Result<()> {
    let mut asked = PoolOptions::new(args.selection.selection(), &args.out, args.categories.clone());
    asked.options.scales = args.scales.map(usize::from);
    asked.options.affinity = args.affinity.map(|switch| switch.0);
    asked.options.components = args.components;
    asked.options.layer.clone_from(&args.layer);
    asked.options.names.clone_from(&args.name_parts);
    asked.score.clone_from(&args.score);
    asked.typical = args.typical;
    asked.selection.check()?;
    let session = args.model.open(args.layer.as_deref())?;
    print_outcome(&pool::pool(&session, &asked)?)
}
