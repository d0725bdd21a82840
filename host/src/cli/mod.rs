//! The command line: arguments to options, options to the library, its answers to the terminal. One command a file.

mod bench;
mod budget;
mod capture;
mod compare;
mod eval;
mod explain;
mod firmware;
mod frames;
mod headings;
mod inspect;
mod manual;
mod many;
mod model;
mod models;
mod output;
mod place;
mod pool;
mod rank;
mod request;
mod selection;
mod show;
mod stop;
mod values;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io;
use std::sync::OnceLock;

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
/// The exit code of wrong usage: what `clap` refuses, and options that contradict each other or have no effect.
const USAGE: u8 = 2;

/// What gives freed memory back to the system, of a program whose allocator can.
pub static GIVE_MEMORY_BACK: OnceLock<fn()> = OnceLock::new();

/// Parses the arguments, the program's name first, runs what they ask for, and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    stop::outlive_limits_of_files();
    let outcome = Cli::try_parse_from(arguments).map_err(anyhow::Error::from).and_then(|cli| cli.run());
    let Err(error) = outcome else { return SUCCESS };
    if is_broken_pipe(&error) {
        return SUCCESS;
    }
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // A pipe that nobody reads is no failure here either.
        let _ = usage.print();
        return if usage.use_stderr() { USAGE } else { SUCCESS };
    }
    output::complain(&error);
    if let Some(stopped) = error.downcast_ref::<stop::Stopped>() {
        return stopped.code();
    }
    match error.downcast_ref() {
        Some(decomcam::Error::Options(_)) => USAGE,
        _ => FAILURE,
    }
}

/// Whether the reader of our output stopped reading, as `head` does. That is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

const AFTER: &str = "\
Examples:
  decomcam explain photo.jpg -t \"a cat\"           Which parts of the photo speak for \"a cat\"?
  decomcam rank photo.jpg -t \"a cat\" -t \"a dog\"    Which of these texts fits the photo best?
  decomcam explain photo.jpg -m resnet50.onnx      Why the class that the classifier predicts?

Each command has examples of its own: decomcam COMMAND --help

Exit codes: 0 success; 1 failure, or photos that were skipped; 2 wrong usage; 130 stopped with Ctrl-C.";

/// Explain why a vision-language model gives a photo its score, part by part.
///
/// The program weighs the activation maps of one layer with the gradient of the score and decomposes them into orthogonal parts, which often show an ear,
/// a paw or the background. It measures what each part contributes to the score, and sums the parts to one saliency map.
#[derive(Debug, Parser)]
#[command(name = "decomcam", version, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show which parts of a photo the score of a text comes from
    ///
    /// The directory of --out receives report.html (everything, for a browser), overlay.png (the map on the photo), parts.png (every part with its share
    /// of the score), heatmap.png and mask.png (the map alone), and explanation.json (every number).
    #[command(after_long_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Sort texts by how well they fit a photo
    ///
    /// The probability is that of the text among the texts given, so it says nothing about other texts.
    #[command(after_long_help = rank::EXAMPLES)]
    Rank(rank::RankArgs),
    /// Show the maps of several methods on one photo side by side
    ///
    /// Three metrics stand beside each map: deletion, insertion and average drop, all of the reported score.
    #[command(after_long_help = compare::EXAMPLES)]
    Compare(compare::CompareArgs),
    /// Measure methods on annotated photos
    ///
    /// Localisation metrics ask whether a map lies on the object, faithfulness metrics whether the score depends on what the map marks. Photos that are
    /// missing or damaged, empty masks and categories that the model does not know are skipped and named. The results are then of the others, and the exit
    /// code is 1.
    #[command(after_long_help = eval::EXAMPLES)]
    Eval(eval::EvalArgs),
    /// Show the parts that all photos of a category share
    ///
    /// The photos of each category are decomposed together, with the maps that recipe exact decomposes. CATEGORY.png shows each shared part on the photos
    /// most typical of it, CATEGORY.json holds the numbers.
    #[command(after_long_help = pool::EXAMPLES)]
    Pool(pool::PoolArgs),
    /// List the inputs, outputs and layers of an ONNX network
    ///
    /// Each layer that can be explained is listed with its shape. Where the gradient of a layer cannot be computed, the operation that prevents it is named.
    #[command(after_long_help = inspect::EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// List models: those in the program with their layers, scores and licences, and models of Hugging Face's hub
    #[command(after_long_help = models::EXAMPLES)]
    Models(models::ModelsArgs),
    /// Measure the time of each stage and the peak memory
    #[command(after_long_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
    /// Record an explanation as a capsule for a board
    ///
    /// A capsule holds the activations of one layer, the channel weights, the recipe and the result of every stage, of the upsampled map a hash. A board computes the stages again
    /// and compares them bit by bit.
    #[command(after_long_help = capture::EXAMPLES)]
    Capture(capture::CaptureArgs),
    /// Write what firmware links so that a board explains a network by itself
    ///
    /// For a classifier that ends in an average over all places of a layer and one linear layer. The directory of --out receives that linear layer as constants
    /// and one call, why(), in C and in Rust, a self-test with the bits that the desktop computed, and a README.md with the sizes.
    #[command(after_long_help = firmware::EXAMPLES)]
    Firmware(firmware::FirmwareArgs),
    /// Compute a capsule again and compare every stage bit by bit
    #[command(after_long_help = capture::REPLAY_EXAMPLES)]
    Replay(capture::ReplayArgs),
    /// Draw an explanation that a board sent as a frame
    ///
    /// Reads the first frame of a file, a serial port or standard input, prints its parts and draws them on the photo.
    #[command(after_long_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// State the memory that an explanation needs on a board
    #[command(after_long_help = budget::EXAMPLES)]
    Budget(budget::BudgetArgs),
    /// Print what makes a shell complete commands and options at the tab key
    #[command(after_long_help = manual::COMPLETIONS_EXAMPLES)]
    Completions(manual::CompletionsArgs),
    /// Write manual pages, one for each command
    #[command(after_long_help = manual::MAN_EXAMPLES)]
    Man(manual::ManArgs),
}

impl Cli {
    /// Does what was asked.
    pub fn run(&self) -> Result<()> {
        match &self.command {
            Command::Explain(args) => explain::run(args),
            Command::Rank(args) => rank::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Pool(args) => pool::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Models(args) => models::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Capture(args) => capture::run(args),
            Command::Firmware(args) => firmware::run(args),
            Command::Replay(args) => capture::replay(args),
            Command::Show(args) => show::run(args),
            Command::Budget(args) => budget::run(args),
            Command::Completions(args) => manual::completions(args),
            Command::Man(args) => manual::man(args),
        }
    }
}
