//! What every command prints with.

use anstyle::AnsiColor;
use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};
use decomcam::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much a command says.
#[derive(Clone, Copy, Debug, Args)]
pub struct QuietArgs {
    /// Print nothing but errors and what was skipped
    #[arg(short, long, help_heading = super::headings::OUTPUT)]
    pub quiet: bool,
}

/// Text without what could steer a terminal: control characters other than line breaks and tabs, and marks that turn the direction of writing, are shown as
/// the sign for an unknown letter. Prompts, labels and file names may hold them.
pub fn harmless(text: &str) -> String {
    let steers = |letter: char| {
        (letter.is_control() && !matches!(letter, '\n' | '\t'))
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|letter| if steers(letter) { '\u{fffd}' } else { letter }).collect()
}

/// A line on standard error that begins with a coloured word, as those of cargo do; without colours where standard error is no terminal.
fn told(word: &str, colour: AnsiColor, message: &str) {
    let style = colour.on_default().bold();
    anstream::eprintln!("{style}{word}{style:#}: {}", harmless(message));
}

/// Says what a reader should know.
pub fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| told("warning", AnsiColor::Yellow, warning));
}

/// Says something that is no warning.
pub fn note(message: &str) {
    told("note", AnsiColor::Green, message);
}

/// Says what went wrong.
pub fn complain(error: &anyhow::Error) {
    told("error", AnsiColor::Red, &format!("{error:#}"));
}

/// An error in how the command was used, for which the exit code is 2.
pub fn usage(kind: ErrorKind, message: &str) -> anyhow::Error {
    super::Cli::command().error(kind, message).into()
}

/// Prints text to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(harmless(text).as_bytes()).and_then(|()| out.flush());
    written.context("cannot write to standard output")
}

/// Prints a value as indented JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_json_text(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Prints JSON.
pub fn print_json_text(text: &str) -> Result<()> {
    // JSON escapes the old control characters itself; the newer ones are escaped here, so nothing is lost.
    let escaped = |letter: char| match letter {
        '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            format!("\\u{:04x}", u32::from(letter))
        }
        other => other.into(),
    };
    print(&text.chars().map(escaped).collect::<String>())
}

/// A line for each file that was written.
pub fn wrote(files: &[PathBuf]) -> String {
    files.iter().map(|file| format!("wrote {}\n", file.display())).collect()
}

/// A progress bar, drawn on a terminal only, which lines can be printed above.
#[derive(Clone, Default)]
pub struct Bar(Arc<Mutex<Option<(&'static str, ProgressBar)>>>);

impl Bar {
    fn current(&self) -> MutexGuard<'_, Option<(&'static str, ProgressBar)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A callback that draws it.
    pub fn watch(&self) -> impl Fn(Progress) -> ControlFlow<()> + Send + Sync + use<> {
        let bar = self.clone();
        move |step: Progress| {
            let mut current = bar.current();
            let bar = match &*current {
                Some((counted, bar)) if *counted == step.counted => bar.clone(),
                _ => {
                    let bar = ProgressBar::new(step.total as u64).with_style(style(step.counted, left(0)));
                    *current = Some((step.counted, bar.clone()));
                    bar
                }
            };
            if bar.position() == 0 {
                bar.set_style(style(step.counted, left(step.done)));
            }
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
            if step.done >= step.total {
                bar.finish_and_clear();
                *current = None;
            }
            ControlFlow::Continue(())
        }
    }

    /// Prints something while the bar is away; two threads do so one after the other.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        let current = self.current();
        match &*current {
            Some((_, bar)) => bar.suspend(print),
            None => print(),
        }
    }
}

/// A callback that draws a progress bar, on a terminal only.
pub fn progress_bar() -> impl Fn(Progress) -> ControlFlow<()> + Send + Sync {
    Bar::default().watch()
}

/// What a bar shows, with how long the rest takes if that is known.
fn style(counted: &str, left: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{bar:30}} {{pos}} of {{len}} {counted}{left}"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Before anything is done, how long the rest takes is not known, and is no nought.
fn left(done: usize) -> &'static str {
    if done == 0 { "" } else { ", {eta} left" }
}
