//! `decomcam compare`.

use super::headings::{METRICS, OUTPUT, WHAT};
use super::model::ModelArgs;
use super::output::{QuietArgs, note, print, usage, warn, wrote};
use super::place::PlaceArgs;
use super::request::{MethodsArgs, RandomArgs, TuningArgs};
use anyhow::{Result, ensure};
use clap::Args;
use clap::error::ErrorKind;
use decomcam::compare::{self, CompareOptions, Comparison, Means};
use decomcam::files::{self, Files};
use decomcam::owned::Inputs;
use decomcam::{Method, Photo, Session, many};
use std::path::{Path, PathBuf};

/// What the end of `compare --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam compare photo.jpg -t \"a cat\"
      The default recipe beside the methods that need one pass of the network.
  decomcam compare photos -t \"a cat\"
      The same for each photo of a directory, and the means over all.
  decomcam compare photo.jpg -t \"a cat\" --method exact,grad-cam,score-cam
      These three; score-cam needs a pass for each channel and takes minutes.";

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Photos: JPEG, PNG, WebP, BMP, GIF, TIFF or ICO; also directories, patterns such as "*.jpg", or - for standard input
    #[arg(value_name = "PHOTO", required = true)]
    pub photos: Vec<PathBuf>,
    /// Words such as "a cat", or a class of a classifier
    ///
    /// A class is given by its name or its number.
    #[arg(short, long, visible_alias = "class", help_heading = WHAT, required_unless_present = "like")]
    pub text: Option<String>,
    /// Explain the score of --text less that of this text
    #[arg(long, value_name = "TEXT", help_heading = WHAT)]
    pub versus: Option<String>,
    /// The methods.
    #[command(flatten)]
    pub methods: MethodsArgs,
    /// Pixels that deletion and insertion change at each step [default: a 32nd of the input]
    #[arg(long, value_name = "PIXELS", help_heading = METRICS, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub step: Option<usize>,
    /// Directory for comparison.png and comparison.json; of several photos each gets a directory in it
    #[arg(short, long, value_name = "DIR", default_value = "comparison", help_heading = OUTPUT)]
    pub out: PathBuf,
    /// How much is said.
    #[command(flatten)]
    pub quiet: QuietArgs,
    /// The model and how it is run.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is decomposed, and how far.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// What random choices depend on.
    #[command(flatten)]
    pub random: RandomArgs,
    /// The place that is asked about.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Compares methods on a photo.
pub fn run(args: &CompareArgs) -> Result<()> {
    let mut asked = CompareOptions::default();
    asked.methods = args.methods.chosen();
    asked.options = args.random.options(&args.tuning).upsampling(args.place.upsampling());
    asked.step = args.step;
    asked.options.check_used(&asked.methods)?;
    if args.random.seed.is_some() && !asked.methods.contains(&Method::Rise) {
        return Err(usage(
            ErrorKind::ArgumentConflict,
            "--seed has no effect without rise among the methods, because nothing else here is random; leave it out",
        ));
    }
    let (photos, left_out) = many::placed(&args.photos, &args.out)?;
    let named = matches!((&photos[..], &args.photos[..]), ([photo], [given]) if photo.0.path == *given);
    let inputs = Inputs::new(photos.iter().map(|(source, _)| &*source.path).chain(args.place.files()));
    for (_, out) in &photos {
        let out = if named { &args.out } else { out };
        Files::new(out).sparing(inputs.clone()).check(compare::FILES)?;
    }
    files::prepare_directory(&args.out)?;
    if named && let [photo] = &photos[..] {
        let photo = photo.0.open()?;
        let session = opened(args, &asked)?;
        let (comparison, files) = compared(args, &session, &asked, &photo, &args.out)?;
        if args.quiet.quiet {
            return Ok(());
        }
        print(&(comparison.table() + "\n" + &wrote(&files)))?;
        warn(comparison.warnings());
        return Ok(());
    }
    if args.place.like.is_some() {
        return Err(usage(
            ErrorKind::ArgumentConflict,
            "--like is for one photo: it compares one photo with another; leave it out",
        ));
    }
    if left_out > 0 && !args.quiet.quiet {
        note(&super::many::left_out(left_out));
    }
    let session = opened(args, &asked)?;
    let mut means = Means::default();
    let mut failed = 0;
    for (source, out) in &photos {
        let done = source.open().map_err(anyhow::Error::from).and_then(|photo| {
            files::prepare_directory(out)?;
            compared(args, &session, &asked, &photo, out)
        });
        match done {
            Ok((comparison, _)) => {
                means.add(&comparison);
                if !args.quiet.quiet {
                    print(&format!("{}: wrote {}\n", source.path.display(), out.display()))?;
                }
            }
            Err(error) => {
                failed += 1;
                eprintln!("skipped: {}", super::output::harmless(&format!("{error:#}")));
            }
        }
    }
    if !args.quiet.quiet {
        print(&("\n".to_owned() + &means.table()))?;
    }
    ensure!(failed == 0, "{failed} of {} photos could not be compared; they are named above", photos.len());
    Ok(())
}

fn opened(args: &CompareArgs, asked: &CompareOptions) -> Result<Session> {
    let needs_layer = asked.methods.iter().any(|method| method.needs_layer());
    args.model.open_for(args.tuning.layer.as_deref(), needs_layer, args.place.like.is_some(), args.quiet.quiet)
}

/// Compares the methods on one photo, and writes what came of it.
fn compared(
    args: &CompareArgs,
    session: &Session,
    asked: &CompareOptions,
    photo: &Photo,
    out: &Path,
) -> Result<(Comparison, Vec<PathBuf>)> {
    let score = args.tuning.score.as_deref();
    // The place is found with the layer that the methods share.
    let method = asked.methods.iter().copied().find(|method| method.needs_layer()).unwrap_or(Method::Uniform);
    let options = asked.options.of_method(method);
    let prompt = match &args.place.like {
        Some(other) => session.prompt_like(&Photo::open(other)?, score, &options)?.side(args.place.side()),
        None => {
            let question = (args.text.as_deref(), args.versus.as_deref(), score);
            args.place.prompt(session, photo, &options, question, || Ok(String::new()))?
        }
    };
    if args.photos.len() == 1 {
        session.forget_text();
    }
    let comparison = compare::compare(session, photo, &prompt, asked)?;
    let files = comparison.write(photo, out)?;
    Ok((comparison, files))
}
