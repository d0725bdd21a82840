//! `decomcam completions` and `decomcam man`: what shells and `man` know of the commands and options.

use super::Cli;
use super::output::{print, wrote};
use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use decomcam::files::{self, Files};
use std::path::PathBuf;

/// What the end of `completions --help` shows.
pub const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  decomcam completions bash > ~/.local/share/bash-completion/completions/decomcam
      For bash, of you alone.
  decomcam completions fish > ~/.config/fish/completions/decomcam.fish
      For fish.
  decomcam completions zsh > ~/.zfunc/_decomcam
      For zsh, if ~/.zfunc is in its $fpath.";

/// What the end of `man --help` shows.
pub const MAN_EXAMPLES: &str = "\
Examples:
  decomcam man ~/.local/share/man/man1
      man decomcam-explain then shows every option of explain.";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for decomcam.1, decomcam-explain.1 and so on
    pub directory: PathBuf,
}

/// Prints a shell's completions.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "decomcam", &mut script);
    print(&String::from_utf8(script)?)
}

/// Writes manual pages.
pub fn man(args: &ManArgs) -> Result<()> {
    files::prepare_directory(&args.directory)?;
    let mut all = Cli::command().disable_help_subcommand(true);
    // Gives each command its name with that of the program, such as decomcam-explain.
    all.build();
    let commands = std::iter::once(&all).chain(all.get_subcommands());
    // Pages have every option with its words, also those that the short help leaves out.
    let page = |command: &clap::Command| Man::new(command.clone().mut_args(|arg| arg.hide_short_help(false)));
    let pages: Vec<Man> = commands.map(page).collect();
    // Their names begin with that of the program.
    let mut files = Files::new(&args.directory).replacing(pages.iter().map(Man::get_filename));
    for page in &pages {
        files.add(&page.get_filename(), |mut out| page.render(&mut out))?;
    }
    print(&wrote(&files.publish()?))
}
