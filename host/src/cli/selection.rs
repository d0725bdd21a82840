//! Which photos of a data set.

use super::output::{print, wrote};
use anyhow::{Result, ensure};
use clap::Args;
use decomcam::dataset::plan::{Outcome, Selection};
use std::path::PathBuf;

/// Which photos of a data set, and which of their objects.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// Directory of the photos
    #[arg(long, value_name = "DIR")]
    pub photos: PathBuf,
    /// What is where: JSON lines as of coco64, COCO's JSON, Pascal VOC's XML or a directory of it [default: no masks, photos in folders named after what
    /// they show]
    #[arg(long, value_name = "FILE|DIR")]
    pub annotations: Option<PathBuf>,
    /// The text of a category, which the model's template goes around [default: "a {}"; of a classifier "{}"]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Smallest mask that counts, as a share of the network's input
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, requires = "annotations")]
    pub least_mask: f64,
    /// Largest mask that counts
    #[arg(long, value_name = "SHARE", default_value_t = 0.7, requires = "annotations")]
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

/// Prints how a run over a data set ended: its tables and files, then what was skipped, which makes it a failure.
pub fn print_outcome(outcome: &Outcome) -> Result<()> {
    const NAMED: usize = 20;
    print(&format!("{}\n{}", outcome.text, wrote(&outcome.files)))?;
    let skipped = &outcome.skipped;
    for line in skipped.iter().take(NAMED) {
        eprintln!("skipped: {line}");
    }
    if skipped.len() > NAMED {
        eprintln!("skipped: {} more, named in {}", skipped.len() - NAMED, outcome.skipped_in);
    }
    ensure!(skipped.is_empty(), "{} skipped, as named above; the results are of the others", skipped.len());
    Ok(())
}
