//! `decomcam capture` and `decomcam replay`.

use super::headings::OUTPUT;
use super::output::{QuietArgs, print, usage, warn, wrote};
use super::request::RequestArgs;
use super::values::FitArg;
use anyhow::{Result, ensure};
use clap::Args;
use clap::error::ErrorKind;
use decomcam::board::capsule;
use decomcam::files::{self, Files};
use decomcam::owned::Inputs;
use decomcam::photo::{Fit, Framing};
use decomcam::report::{Answer, Outputs};
use decomcam::{Explanation, Options, Photo, Session, SessionOptions, Size};
use std::path::{Path, PathBuf};

/// What the end of `capture --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam capture photo.jpg -t \"a cat\" -o cat.capsule
      The activations as the bytes that an int8 board holds.
  decomcam capture photo.jpg -t \"a cat\" --floats --components 5 -o cat.capsule
      The activations as floats, and five parts.";

/// What the end of `replay --help` shows.
pub const REPLAY_EXAMPLES: &str = "\
Examples:
  decomcam replay cat.capsule
      One line for each stage; the exit code is 1 if a stage differs.
  decomcam replay cat.capsule -o replayed --photo photo.jpg
      Also draws the map and its parts on the photo, as a board computes them.
  decomcam replay cat.capsule -o replayed --photo photo.jpg -t \"a cat\"
      And beside it the map that this program makes of the photo, with how alike both are.";

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The photo: JPEG, PNG, WebP, BMP, GIF, TIFF or ICO
    pub photo: PathBuf,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "explanation.capsule", help_heading = OUTPUT)]
    pub out: PathBuf,
    /// Record the activations as floats instead of the bytes of an int8 board
    #[arg(long, help_heading = OUTPUT)]
    pub floats: bool,
    /// How much is said.
    #[command(flatten)]
    pub quiet: QuietArgs,
}

/// Records an explanation.
pub fn run(args: &CaptureArgs) -> Result<()> {
    let (directory, name) = (args.out.parent().unwrap_or(Path::new("")), args.out.file_name());
    let Some(name) = name.and_then(|name| name.to_str()) else {
        return Err(usage(ErrorKind::ValueValidation, "--out: expected the name of a file, such as cat.capsule"));
    };
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    let mut options = args.request.options(None).unchecked();
    if args.request.recipe.is_none() {
        options.method = capsule::usual_options().method;
    }
    capsule::check(&options)?;
    let inputs = Inputs::new([args.photo.as_path()].into_iter().chain(args.request.model.files()));
    // The file is named by the caller, who may replace any that is not read.
    let mut files = Files::new(directory).sparing(inputs).replacing([name]);
    files.check([name])?;
    files::prepare_directory(directory)?;
    let photo = Photo::open(&args.photo)?;
    let session = args.request.open(options.method, args.quiet.quiet)?;
    let prompt = args.request.prompt(&session, &photo, &options)?;
    let explanation = session.explain(&photo, &prompt, &options)?;
    let bytes = capsule::record(&explanation, args.floats)?;
    files.add(name, |out| out.write_all(&bytes))?;
    files.publish()?;
    if args.quiet.quiet {
        return Ok(());
    }
    let (model, outputs, timings) = (session.model(), Outputs::default(), session.loading());
    let (photo, prompt, explanation) = (&photo, &prompt, &explanation);
    let answer = Answer { model, photo, prompt, explanation, timings: &timings, outputs: &outputs };
    let recorded = capsule::described(explanation, args.floats);
    print(&format!("{}\n{recorded}\nwrote {} ({} bytes)\n", answer.sentence(), args.out.display(), bytes.len()))?;
    warn(&explanation.warnings);
    Ok(())
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A file that `decomcam capture` wrote
    pub capsule: PathBuf,
    /// Also draw the map and its parts into this directory
    #[arg(short, long, value_name = "DIR", help_heading = OUTPUT)]
    pub out: Option<PathBuf>,
    /// The photo to draw them on [default: a plain grey one]
    #[arg(long, requires = "out", help_heading = OUTPUT)]
    pub photo: Option<PathBuf>,
    /// How the photo was made to fit the network [default: crop]
    #[arg(long, value_enum, requires = "photo", help_heading = OUTPUT)]
    pub fit: Option<FitArg>,
    /// Also explain the photo for these words, and draw that map beside the board's
    #[arg(short, long, visible_alias = "class", requires = "photo", help_heading = OUTPUT)]
    pub text: Option<String>,
    /// The model that explains the photo for --text [default: lite]
    #[arg(short, long, value_name = "NAME|DIR|FILE", requires = "text", help_heading = OUTPUT)]
    pub model: Option<String>,
}

/// Computes a recording again.
pub fn replay(args: &ReplayArgs) -> Result<()> {
    if let Some(out) = &args.out {
        let inputs = Inputs::new([&args.capsule].into_iter().chain(&args.photo));
        let drawn = if args.text.is_some() { &capsule::DRAWN[..] } else { &capsule::DRAWN[..2] };
        Files::new(out).sparing(inputs).check(drawn)?;
    }
    let stages = capsule::replay(&args.capsule)?;
    print(&capsule::table(&stages))?;
    if let Some(out) = &args.out {
        files::prepare_directory(out)?;
        let photo = args.photo.as_ref().map(Photo::open).transpose()?;
        let fit = args.fit.map_or(Fit::Crop, |fit| fit.0);
        let framing = |size: Size| match &photo {
            Some(_) => Framing::new(fit, size, Size::square(96), 0),
            None => Framing::whole(size),
        };
        let asked = args.text.as_deref().zip(photo.as_ref());
        let own = asked.map(|(text, photo)| explained(args, text, photo)).transpose()?;
        let checked = match &own {
            Some((explanation, _)) => capsule::check_photo(&args.capsule, explanation)?,
            None => false,
        };
        let notes: Vec<String> = photo.iter().filter(|_| !checked).map(|_| drawn_as("capsule", fit)).collect();
        let mut files = capsule::draw(&args.capsule, photo.as_ref(), framing, notes.clone(), out)?;
        let mut said = String::new();
        if let (Some((explanation, headline)), Some(photo)) = (&own, &photo) {
            let own = (explanation, &headline[..]);
            let (beside, alike) = capsule::draw_beside(&args.capsule, photo, framing(photo.size()), own, out)?;
            files.extend(beside);
            said = alike.map(|alike| capsule::alike_in_words(alike) + "\n").unwrap_or_default();
            warn(&explanation.warnings);
        }
        notes.iter().for_each(|note| super::output::note(note));
        print(&format!("\n{said}{}", wrote(&files)))?;
    }
    let differing = stages.iter().filter(|(_, difference)| difference.is_some()).count();
    ensure!(
        differing == 0,
        "capsule `{}`: {differing} of {} stages differ from the recording; was it made by another version of the core?",
        args.capsule.display(),
        stages.len()
    );
    Ok(())
}

/// What this program makes of the photo, and the question as a headline.
fn explained(args: &ReplayArgs, text: &str, photo: &Photo) -> Result<(Explanation, String)> {
    let mut options = SessionOptions::new();
    options.fit = args.fit.map(|fit| fit.0);
    let session = Session::open_with(args.model.as_deref().unwrap_or("lite"), &options)?;
    let prompt = session.prompt(text)?;
    Ok((session.explain(photo, &prompt, &Options::new().unchecked())?, prompt.headline()))
}

/// What cannot be known of maps that are drawn on a photo.
pub fn drawn_as(what: &str, fit: Fit) -> String {
    let how = match fit {
        Fit::Crop => "cut to a square around its centre",
        Fit::Pad => "filled up to a square",
        Fit::Stretch => "stretched to a square",
    };
    format!(
        "A {what} does not say of which photo it is, nor how that was made to fit: the maps are drawn as if of this photo, {how} (--fit {fit})."
    )
}
