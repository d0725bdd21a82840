//! `decomcam bench`.

use super::headings::{METHOD, OUTPUT};
use super::output::{print, print_json};
use super::request::RequestArgs;
use super::values::MethodArg;
use anyhow::Result;
use clap::Args;
use decomcam::Photo;
use decomcam::report::bench::Bench;
use decomcam::timings::peak_memory_bytes;
use std::path::PathBuf;
use std::time::Instant;

/// What the end of `bench --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam bench photo.jpg -t \"a cat\" --repeat 20
      The default recipe, the median of 20 explanations.
  decomcam bench photo.jpg -t \"a cat\" --method grad-cam --threads 1 --json
      Another method on one thread, as JSON.";

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The photo: JPEG, PNG, WebP, BMP, GIF, TIFF or ICO
    pub photo: PathBuf,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
    /// A recipe, or another method, which gives no parts [default: exact]
    #[arg(long, value_name = "NAME", conflicts_with = "recipe", help_heading = METHOD)]
    pub method: Option<MethodArg>,
    /// Number of explanations that the median is taken of, after one that is not counted
    #[arg(long, value_name = "N", help_heading = OUTPUT, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat: u16,
    /// Print JSON
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

/// Measures repeated explanations.
pub fn run(args: &BenchArgs) -> Result<()> {
    let start = Instant::now();
    let options = args.request.options(args.method).unchecked();
    options.check_used(&[options.method])?;
    let photo = Photo::open(&args.photo)?;
    let session = args.request.open(options.method, true)?;
    let prompt = args.request.prompt(&session, &photo, &options)?;
    session.explain(&photo, &prompt, &options)?;
    let first = start.elapsed();
    let mut runs = Vec::new();
    for _ in 0..args.repeat {
        let start = Instant::now();
        let timings = session.explain(&photo, &prompt, &options)?.timings;
        runs.push((start.elapsed(), timings));
    }
    let bench = Bench::new(&session.loading(), first, &runs, session.threads(), peak_memory_bytes());
    if args.json { print_json(&bench) } else { print(&bench.table()) }
}
