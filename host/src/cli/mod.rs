//! The command line: arguments to options, options to the library, its answers to the terminal. One command a file.

mod bench;
mod budget;
mod capture;
mod compare;
mod eval;
mod explain;
mod inspect;
mod model;
mod models;
mod output;
mod pool;
mod rank;
mod request;
mod selection;
mod values;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

/// Explain why a vision-language model gives a photo its score, part by part.
///
/// DecomCAM weighs a layer's activation maps with the gradient of the score, decomposes them into orthogonal sub-saliency maps (OSSMs: often an ear, a
/// paw, a background), measures what each contributes, and integrates them into one saliency map.
#[derive(Debug, Parser)]
#[command(name = "decomcam", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show which parts of a photo speak for a text
    Explain(explain::ExplainArgs),
    /// Sort texts by how well they fit a photo
    Rank(rank::RankArgs),
    /// Show several methods' maps of a photo side by side, with what deletion, insertion and drop say of each
    Compare(compare::CompareArgs),
    /// Measure methods on annotated photos: does the map lie on the object, does the score depend on it
    ///
    /// Photos that are missing or damaged, empty masks and categories that the model does not know are named and skipped: the results are of the rest,
    /// and the exit code is 1. It is 0 if nothing was skipped.
    Eval(eval::EvalArgs),
    /// Decompose the photos of a category together, and show the parts that they share
    ///
    /// Each category is decomposed as `explain` does one photo by recipe exact; CATEGORY.png shows each shared part with the photos most typical of it,
    /// CATEGORY.json has the numbers.
    Pool(pool::PoolArgs),
    /// Look into an ONNX network: its inputs and outputs, and the layers that can be explained
    Inspect(inspect::InspectArgs),
    /// List the bundled models, their layers, scores and licences
    Models(models::ModelsArgs),
    /// Measure the time of each stage, and the peak memory
    Bench(bench::BenchArgs),
    /// Record an explanation as a capsule, which any board can compute again and compare bit by bit
    Capture(capture::CaptureArgs),
    /// Compute a capsule again and compare every stage, bit by bit
    Replay(capture::ReplayArgs),
    /// State the memory that the core needs on a board
    Budget(budget::BudgetArgs),
}

/// Ends the program as it ends when its arguments cannot be understood.
fn misused(message: impl std::fmt::Display) -> ! {
    Cli::command().error(ErrorKind::ArgumentConflict, message).exit()
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
            Command::Replay(args) => capture::replay(args),
            Command::Budget(args) => budget::run(args),
        }
    }
}
