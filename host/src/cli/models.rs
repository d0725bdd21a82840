//! `decomcam models`.

use super::output::{print, progress_bar};
use anyhow::Result;
use clap::Args;
use decomcam::model::{self, KNOWN, Model, ModelOptions};
use decomcam::report;

/// What the end of `models --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam models
      The bundled models, and models of Hugging Face's hub.
  decomcam models rn50
      The model of a directory that models/export wrote.
  decomcam models hf:Xenova/clip-vit-base-patch32
      A model of the hub, which is fetched if it is not here.";

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// A directory, an ONNX file or hf:OWNER/NAME, to show that model instead
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
}

/// Lists models.
pub fn run(args: &ModelsArgs) -> Result<()> {
    if let Some(model) = &args.model {
        return print(&report::describe(&Model::open(model, &ModelOptions::new().watching(progress_bar()))?)?);
    }
    let bundled: Vec<Model> =
        model::bundled_names().into_iter().map(Model::bundled).collect::<decomcam::Result<_>>()?;
    let mut texts: Vec<String> = bundled.iter().map(report::describe).collect::<decomcam::Result<_>>()?;
    texts.push(report::list(&KNOWN));
    print(&texts.join("\n"))
}
