//! Which photos of a data set.

use super::headings::PHOTOS;
use super::output::{print, wrote};
use anyhow::{Result, ensure};
use clap::Args;
use decomcam::dataset::plan::{Outcome, Selection};
use std::path::PathBuf;

/// Which photos of a data set, and which of their objects.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// Directory of the photos
    #[arg(long, value_name = "DIR", help_heading = PHOTOS)]
    pub photos: PathBuf,
    /// Annotations [default: none; the folder that a photo lies in is its category]
    ///
    /// A file or a directory of COCO, LabelMe, CreateML, JSON lines, Pascal VOC, CVAT, OpenImages or YOLO. The content decides which.
    #[arg(long, value_name = "FILE|DIR", help_heading = PHOTOS)]
    pub annotations: Option<PathBuf>,
    /// Prompt of a category, {} being its name [default: "a {}", for a classifier "{}"]
    #[arg(long, value_name = "TEXT", help_heading = PHOTOS)]
    pub prompt: Option<String>,
    /// Smallest mask that counts, as a share of the network's input
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, requires = "annotations", hide_short_help = true, help_heading = PHOTOS)]
    pub least_mask: f64,
    /// Largest mask that counts, as a share of the network's input
    #[arg(long, value_name = "SHARE", default_value_t = 0.7, requires = "annotations", hide_short_help = true, help_heading = PHOTOS)]
    pub most_mask: f64,
}

impl SelectionArgs {
    /// The library's selection.
    pub fn selection(&self) -> Selection {
        Selection {
            prompt: self.prompt.clone(),
            least_mask: self.least_mask,
            most_mask: self.most_mask,
            ..Selection::new(&self.photos, self.annotations.clone())
        }
    }
}

/// Prints how a run over a data set ended: its tables and files unless `quiet`, then what was skipped, which makes it a failure.
pub fn print_outcome(outcome: &Outcome, quiet: bool) -> Result<()> {
    const NAMED: usize = 20;
    if !quiet {
        print(&format!("{}\n{}", outcome.text, wrote(&outcome.files)))?;
    }
    let skipped = &outcome.skipped;
    for line in skipped.iter().take(NAMED) {
        eprintln!("skipped: {line}");
    }
    if skipped.len() > NAMED {
        eprintln!("skipped: {} more, named in {}", skipped.len() - NAMED, outcome.skipped_in);
    }
    ensure!(skipped.is_empty(), "{} skipped and named above; the results are of the others", skipped.len());
    Ok(())
}
