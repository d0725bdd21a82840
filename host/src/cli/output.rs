//! What every command prints with.

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};
use decomcam::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// How much a command says.
#[derive(Clone, Copy, Debug, Args)]
pub struct QuietArgs {
    /// Print nothing but errors and what was skipped
    #[arg(short, long, help_heading = super::headings::OUTPUT)]
    pub quiet: bool,
}

/// An error in how the command was used, for which the exit code is 2.
pub fn usage(kind: ErrorKind, message: &str) -> anyhow::Error {
    super::Cli::command().error(kind, message).into()
}

/// Prints text to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a value as indented JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// A line for each file that was written.
pub fn wrote(files: &[PathBuf]) -> String {
    files.iter().map(|file| format!("wrote {}\n", file.display())).collect()
}

/// A callback that draws a progress bar, on a terminal only.
pub fn progress_bar() -> impl Fn(Progress) -> ControlFlow<()> + Send + Sync {
    let current: Mutex<Option<(&'static str, ProgressBar)>> = Mutex::new(None);
    move |step: Progress| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = match &*current {
            Some((counted, bar)) if *counted == step.counted => bar.clone(),
            _ => {
                let bar = ProgressBar::new(step.total as u64).with_style(style(step.counted));
                *current = Some((step.counted, bar.clone()));
                bar
            }
        };
        bar.set_length(step.total as u64);
        bar.set_position(step.done as u64);
        if step.done >= step.total {
            bar.finish_and_clear();
            *current = None;
        }
        ControlFlow::Continue(())
    }
}

fn style(counted: &str) -> ProgressStyle {
    let template = format!("{{bar:30}} {{pos}} of {{len}} {counted}, {{eta}} left");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
