//! `decomcam explain`.

use super::misused;
use super::output::{print, print_json, wrote};
use super::request::RequestArgs;
use super::values::MethodArg;
use anyhow::Result;
use clap::Args;
use decomcam::report::{Answer, timing_table};
use decomcam::timings::Timings;
use decomcam::{Photo, files};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// JPEG, PNG, WebP, BMP, GIF, TIFF or ICO
    pub photo: PathBuf,
    /// A recipe, or another method: that gives one map, without parts
    #[arg(long, value_name = "NAME", conflicts_with = "recipe")]
    pub method: Option<MethodArg>,
    /// Masks of --method rise [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rise_masks: Option<usize>,
    /// Directory for the pictures, maps and the report; - prints the report alone, as JSON
    #[arg(long, value_name = "DIR", default_value = "explanation")]
    pub out: PathBuf,
    /// Name each part by the text among these whose score it raises most; give several
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    pub name_parts: Vec<String>,
    /// Also print where the time went
    #[arg(long)]
    pub timings: bool,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
}

/// Explains a photo and writes what came of it.
pub fn run(args: &ExplainArgs) -> Result<()> {
    let mut options = args.request.options(args.method).names(&args.name_parts);
    options.rise_masks = args.rise_masks;
    options.check_used(&[options.method])?;
    let json_only = args.out == Path::new("-");
    if json_only && args.timings {
        misused("--timings has no effect with --out -: the report has the times anyway; leave it out");
    }
    if !json_only {
        files::prepare_directory(&args.out)?;
    }
    let mut timings = Timings::default();
    let photo = timings.measure("read photo", || Photo::open(&args.photo))?;
    let session = args.request.open()?;
    let prompt = args.request.prompt(&session, &photo, &options)?;
    let explanation = session.explain(&photo, &prompt, &options)?;
    timings.append(&session.loading());
    timings.append(&explanation.timings);

    let answer =
        Answer { model: session.model(), photo: &photo, prompt: &prompt, explanation: &explanation, timings: &timings };
    if json_only {
        return print_json(&answer.report());
    }
    let start = Instant::now();
    let files = answer.write(&args.out)?;
    let mut text = answer.summary() + "\n" + &wrote(&files);
    if args.timings {
        let mut timings = timings.clone();
        timings.add("draw and write", start.elapsed());
        text += "\n";
        text += &timing_table(&timings);
    }
    print(&text)
}
