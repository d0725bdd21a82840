//! `decomcam models`.

use super::output::print;
use anyhow::Result;
use clap::Args;
use decomcam::model::{self, Model};
use decomcam::report;
use std::path::PathBuf;

/// What the end of `models --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam models
      The bundled models.
  decomcam models rn50
      The model of a directory that models/export wrote.";

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// A directory with a model.toml, to show it instead of the bundled models
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Lists models.
pub fn run(args: &ModelsArgs) -> Result<()> {
    let models: Vec<Model> = match &args.directory {
        Some(directory) => vec![Model::from_dir(directory)?],
        None => model::bundled_names().into_iter().map(Model::bundled).collect::<decomcam::Result<_>>()?,
    };
    let texts: Vec<String> = models.iter().map(report::describe).collect();
    print(&texts.join("\n"))
}
