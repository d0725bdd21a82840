//! `decomcam show`.

use super::capture::drawn_as;
use super::headings::OUTPUT;
use super::output::{note, print, wrote};
use super::values::FitArg;
use anyhow::{Context as _, Result};
use clap::Args;
use decomcam::board::frame::{DRAWN, Sent};
use decomcam::files::{self, Files};
use decomcam::owned::Inputs;
use decomcam::photo::{Fit, Framing};
use decomcam::{Photo, Size};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// What the end of `show --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam show frame.bin --photo photo.jpg
      Draws what a board sent over the photo that its camera saw.
  decomcam show /dev/ttyACM0
      Waits for the next frame on a serial port.";

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A file, a serial port, or - for standard input
    pub frame: PathBuf,
    /// The photo that the board explained [default: a plain grey one]
    #[arg(long)]
    pub photo: Option<PathBuf>,
    /// How the board made the photo fit its network [default: crop]
    #[arg(long, value_enum, requires = "photo")]
    pub fit: Option<FitArg>,
    /// Directory for overlay.png and parts.png
    #[arg(short, long, value_name = "DIR", help_heading = OUTPUT, default_value = "frame")]
    pub out: PathBuf,
}

/// Draws an explanation that a board sent.
pub fn run(args: &ShowArgs) -> Result<()> {
    let inputs = Inputs::new([&args.frame].into_iter().chain(&args.photo));
    Files::new(&args.out).sparing(inputs).check(DRAWN)?;
    files::prepare_directory(&args.out)?;
    let photo = args.photo.as_ref().map(Photo::open).transpose()?;
    let sent = if args.frame == Path::new("-") {
        Sent::read(&mut std::io::stdin().lock(), "standard input")?
    } else {
        let name = args.frame.display().to_string();
        let file = std::fs::File::open(&args.frame)
            .with_context(|| format!("cannot open `{name}`: expected a frame's file or a serial port"))?;
        Sent::read(&mut BufReader::new(file), &name)?
    };
    let fit = args.fit.map_or(Fit::Crop, |fit| fit.0);
    let framing = |photo: Size| match args.photo {
        // Networks of boards see squares.
        Some(_) => Framing::new(fit, photo, Size::square(96), 0),
        None => Framing::whole(photo),
    };
    let notes: Vec<String> = photo.iter().map(|_| drawn_as("frame", fit)).collect();
    let files = sent.write(photo.as_ref(), framing, &notes, &args.out)?;
    print(&(sent.summary()? + "\n" + &wrote(&files)))?;
    notes.iter().for_each(|text| note(text));
    Ok(())
}
