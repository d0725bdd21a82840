//! `decomcam rank`.

use super::headings::{OUTPUT, WHAT};
use super::model::ModelArgs;
use super::output::{print, print_json, warn};
use anyhow::Result;
use clap::Args;
use decomcam::many::Source;
use decomcam::{Prompt, report};
use std::path::PathBuf;

/// What the end of `rank --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam rank photo.jpg
      What the model sees: its likeliest classes.
  decomcam rank photo.jpg -t \"a cat\" -t \"a dog\" -t \"a sofa\"
      The texts with their scores, the best first.
  decomcam rank photo.jpg -t \"a cat\" -t \"a dog\" --json
      The same as JSON.";

/// Arguments of `rank`.
#[derive(Debug, Args)]
pub struct RankArgs {
    /// The photo: JPEG, PNG, WebP, BMP, GIF, TIFF or ICO; - reads it from standard input
    pub photo: PathBuf,
    /// A text to score; give this option several times
    ///
    /// Without any, the likeliest classes are shown, of a classifier or a model that knows its classes, such as lite.
    #[arg(short, long, help_heading = WHAT)]
    pub text: Vec<String>,
    /// Print JSON
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Sorts texts by how well they fit a photo.
pub fn run(args: &RankArgs) -> Result<()> {
    let photo = Source::named(&args.photo).open()?;
    let session = args.model.open(None, false, false)?;
    if args.text.is_empty() {
        let classes = session.likeliest_classes(&photo)?;
        if args.json {
            print_json(&classes)?;
        } else {
            print(&report::classes(&classes))?;
        }
        warn(&session.view().warnings(&photo));
        return Ok(());
    }
    let prompts = args.text.iter().map(|text| session.prompt(text.as_str()));
    let prompts: Vec<Prompt> = prompts.collect::<decomcam::Result<_>>()?;
    let ranked = session.rank(&photo, &prompts)?;
    if args.json {
        return print_json(&ranked);
    }
    print(&report::ranking(&ranked))?;
    let mut warnings: Vec<String> = Vec::new();
    for warning in ranked.into_iter().flat_map(|entry| entry.warnings) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warn(&warnings);
    Ok(())
}
