//! `decomcam capture` and `decomcam replay`.

use super::output::print;
use super::request::RequestArgs;
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use decomcam::Photo;
use decomcam::board::capsule;
use decomcam::files::{self, Files};
use std::path::{Path, PathBuf};

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// JPEG, PNG, WebP, BMP, GIF, TIFF or ICO
    pub photo: PathBuf,
    /// Record activations as floats instead of the bytes that an int8 board holds
    #[arg(long)]
    pub floats: bool,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "explanation.capsule")]
    pub out: PathBuf,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
}

/// Records an explanation.
pub fn run(args: &CaptureArgs) -> Result<()> {
    let (directory, name) = (args.out.parent().unwrap_or(Path::new("")), args.out.file_name());
    let name =
        name.and_then(|name| name.to_str()).context("--out: expected the name of a file, such as cat.capsule")?;
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    let mut options = args.request.options(None);
    if args.request.recipe.is_none() {
        options.method = capsule::usual_options().method;
    }
    capsule::check(&options)?;
    files::prepare_directory(directory)?;
    let photo = Photo::open(&args.photo)?;
    let session = args.request.open()?;
    let prompt = args.request.prompt(&session, &photo, &options)?;
    let bytes = capsule::record(&session.explain(&photo, &prompt, &options)?, args.floats)?;
    let mut files = Files::new(directory);
    files.add(name, |out| out.write_all(&bytes))?;
    files.publish()?;
    print(&format!("wrote {} ({} bytes)\n", args.out.display(), bytes.len()))
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A file that `capture` wrote
    pub capsule: PathBuf,
}

/// Computes a recording again.
pub fn replay(args: &ReplayArgs) -> Result<()> {
    let stages = capsule::replay(&args.capsule)?;
    print(&capsule::table(&stages))?;
    let differing = stages.iter().filter(|(_, difference)| difference.is_some()).count();
    ensure!(
        differing == 0,
        "capsule `{}`: {differing} of {} stages differ from the recording; was it made by another version of the core?",
        args.capsule.display(),
        stages.len()
    );
    Ok(())
}
