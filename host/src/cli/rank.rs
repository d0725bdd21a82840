//! `decomcam rank`.

use super::model::ModelArgs;
use super::output::{print, print_json};
use anyhow::Result;
use clap::Args;
use decomcam::{Photo, Prompt, report};
use std::path::PathBuf;

/// Arguments of `rank`.
#[derive(Debug, Args)]
pub struct RankArgs {
    /// JPEG, PNG, WebP, BMP, GIF, TIFF or ICO
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

/// Sorts texts by how well they fit a photo.
pub fn run(args: &RankArgs) -> Result<()> {
    let photo = Photo::open(&args.photo)?;
    let session = args.model.open(None)?;
    let prompts = args.text.iter().map(|text| session.prompt(text.as_str()));
    let prompts: Vec<Prompt> = prompts.collect::<decomcam::Result<_>>()?;
    let ranked = session.rank(&photo, &prompts)?;
    if args.json { print_json(&ranked) } else { print(&report::ranking(&ranked)) }
}
