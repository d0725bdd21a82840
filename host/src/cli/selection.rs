//! Which photos of a data set.

use super::headings::PHOTOS;
use super::output::{print, wrote};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use decomcam::dataset::plan::{Outcome, Selection};
use std::collections::BTreeMap;
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
    /// Prompt of the categories, {} being the name, or CATEGORY=TEXT for a single one; may be repeated [default: "a {}", for a classifier "{}"]
    #[arg(long, value_name = "TEXT", help_heading = PHOTOS)]
    pub prompt: Vec<String>,
    /// A file with a line CATEGORY=TEXT for each category that needs a prompt of its own
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = PHOTOS)]
    pub prompts: Option<PathBuf>,
    /// Smallest mask that counts, as a share of the network's input
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, requires = "annotations", hide_short_help = true, help_heading = PHOTOS)]
    pub least_mask: f64,
    /// Largest mask that counts, as a share of the network's input
    #[arg(long, value_name = "SHARE", default_value_t = 0.7, requires = "annotations", hide_short_help = true, help_heading = PHOTOS)]
    pub most_mask: f64,
}

impl SelectionArgs {
    /// The library's selection.
    ///
    /// # Errors
    /// A file of prompts that cannot be read, and several prompts for all categories.
    pub fn selection(&self) -> Result<Selection> {
        let mut prompts = BTreeMap::new();
        if let Some(file) = &self.prompts {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("--prompts `{}`: expected a text file", file.display()))?;
            let text = text.trim_start_matches('\u{feff}');
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let (category, prompt) = pair(line).with_context(|| {
                    format!(
                        "--prompts `{}`, line {}: expected CATEGORY=TEXT, found \"{line}\"",
                        file.display(),
                        number + 1
                    )
                })?;
                prompts.insert(category, prompt);
            }
        }
        let (mut of_all, own): (Vec<&String>, Vec<&String>) = self.prompt.iter().partition(|text| pair(text).is_none());
        prompts.extend(own.into_iter().filter_map(|text| pair(text)));
        ensure!(of_all.len() < 2, "--prompt: expected one text for all categories, found {}", of_all.len());
        Ok(Selection {
            prompt: of_all.pop().cloned(),
            prompts,
            least_mask: self.least_mask,
            most_mask: self.most_mask,
            ..Selection::new(&self.photos, self.annotations.clone())
        })
    }
}

/// CATEGORY=TEXT.
fn pair(text: &str) -> Option<(String, String)> {
    let (category, prompt) = text.split_once('=')?;
    Some((category.trim().to_owned(), prompt.trim().to_owned()))
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
