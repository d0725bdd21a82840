//! `decomcam explain`.

use super::headings::{ADVANCED, METHOD, OUTPUT, WHAT};
use super::output::{QuietArgs, note, print, print_json, usage, warn, wrote};
use super::place::PlaceArgs;
use super::request::RequestArgs;
use super::values::{ArraysArg, MethodArg};
use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use decomcam::draw::ColourMap;
use decomcam::files::{self, Files};
use decomcam::frames::Wanted;
use decomcam::many::{Kind, Naming, Source};
use decomcam::owned::Inputs;
use decomcam::report::{self, ALIKE, Alike, Answer, Outputs, timing_table};
use decomcam::timings::Timings;
use decomcam::{Options, Photo, Session, Shard};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the end of `explain --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam explain photo.jpg -t \"a cat\"
      Which parts of the photo speak for \"a cat\"? Writes explanation/report.html and pictures.
  decomcam explain photo.jpg -t \"a cat\" --versus \"a dog\"
      Why a cat and not a dog?
  decomcam explain photo.jpg -t \"a cat\" --name-parts \"an eye\" \"a nose\" fur
      Which of these texts does each part speak for most?
  decomcam explain photo.jpg -t \"a cat\" --method layer-cam
      The map of another method.
  decomcam explain photo.jpg -m resnet50.onnx --labels labels.txt
      Why the class that a classifier predicts? With --class tabby: why that class?
  decomcam explain photos -t \"a cat\" -o maps
      Every photo of a directory; maps/index.html shows all. The same command goes on where it was stopped.
  decomcam explain *.jpg -m resnet50.onnx -o 'maps/{stem}.png' --jsonl > maps.jsonl
      One picture a photo, and one line of JSON.
  decomcam explain clip.gif -t \"a cat\" -o clip --frames
      The frames of an animation or a video, their parts followed from one to the next.
  decomcam explain photo.jpg --like other.jpg
      What makes the two photos alike? Writes explanation/alike.png and the rest.
  decomcam explain street.jpg -m yolov8n.onnx --class 0 --box 2
      Why the second best box of that class? Of a segmentation: --at ROW,COLUMN or --within MASK.
  decomcam explain photo.jpg -t \"a cat\" -o - | jq .parts
      The numbers alone, as JSON.";

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Photos (JPEG, PNG, WebP, BMP, GIF, TIFF, ICO), directories of photos, patterns such as "*.jpg", or - for standard input; with --frames an animation or a video
    ///
    /// Of a directory everything below it that is a photo is explained.
    #[arg(value_name = "PHOTO", required_unless_present = "list")]
    pub photos: Vec<PathBuf>,
    /// Also explain the photos of this list, a path on each line; - reads the list from standard input
    #[arg(long, hide_short_help = true, value_name = "FILE", help_heading = WHAT, display_order = 0)]
    pub list: Option<PathBuf>,
    /// Only one of several shares of the photos, such as 3/16: for several machines, each with a directory of its own
    ///
    /// Which share a photo belongs to follows from its path alone, as it is given or found.
    #[arg(long, hide_short_help = true, value_name = "N/M", help_heading = WHAT, display_order = 0)]
    pub shard: Option<Shard>,
    /// Explain the frames of an animated GIF, PNG or WebP, or of a video that ffmpeg reads: every one, or of a longer file a hundred; or as many as given
    ///
    /// Frames are spaced evenly in time. The text is the same for all: without one, what is seen in the first frame is explained. Writes overlay.gif (of a video
    /// overlay.mp4): each frame with its map and with its parts, which are followed from frame to frame; curve.png: what each part contributes over time; and frames.json.
    #[arg(long, value_name = "N|all", num_args = 0..=1, default_missing_value = "100", help_heading = WHAT, display_order = 3)]
    pub frames: Option<Wanted>,
    /// Name each part by that one of these texts whose score it raises most
    #[arg(long, value_name = "TEXT", num_args = 1.., help_heading = WHAT, display_order = 3)]
    pub name_parts: Vec<String>,
    /// A recipe, or another method, which gives no parts [default: exact]
    #[arg(long, value_name = "NAME", conflicts_with = "recipe", help_heading = METHOD)]
    pub method: Option<MethodArg>,
    /// Directory for pictures, maps and report; - prints the numbers as JSON
    ///
    /// Of several photos each gets a directory in it, and index.html shows all. A pattern such as maps/{stem}.png writes one file a photo: the map on the
    /// photo (.png), the page (.html) or the numbers (.json).
    #[arg(short, long, value_name = "DIR", default_value = "explanation", help_heading = OUTPUT)]
    pub out: PathBuf,
    /// Print one line of JSON for each photo as soon as it is done
    #[arg(long, hide_short_help = true, help_heading = OUTPUT, conflicts_with_all = ["quiet", "verbose", "timings"])]
    pub jsonl: bool,
    /// Also print the scores, the recipe and every number of every part
    #[arg(short, long, help_heading = OUTPUT, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Also print the time of each stage
    #[arg(long, hide_short_help = true, help_heading = OUTPUT, conflicts_with = "quiet")]
    pub timings: bool,
    /// With --frames: also check the map of each frame, which takes three times as long
    #[arg(long, hide_short_help = true, requires = "frames", conflicts_with = "no_check", help_heading = OUTPUT)]
    pub check: bool,
    /// Leave out the check: hiding the brightest places of the map, and as much elsewhere (ten passes of the network)
    #[arg(long, help_heading = OUTPUT)]
    pub no_check: bool,
    /// Colours of the map: inferno, magma, plasma, viridis, cividis, grey [default: inferno; with --versus always blue and orange]
    #[arg(long, hide_short_help = true, value_name = "NAME", help_heading = OUTPUT, conflicts_with = "versus")]
    pub colormap: Option<ColourMap>,
    /// Opacity of the map at its strongest place, 0 to 1 [default: 0.6]
    #[arg(long, hide_short_help = true, value_name = "SHARE", help_heading = OUTPUT)]
    pub alpha: Option<f32>,
    /// From which share of its range on, from lowest to highest, the map counts as high, in mask.png and in boxes
    #[arg(long, hide_short_help = true, value_name = "SHARE", help_heading = OUTPUT, default_value_t = 0.5)]
    pub threshold: f32,
    /// Also write the maps as arrays for numpy: as they were computed (grid), at the size of the network's input, or at the photo's size
    #[arg(long, hide_short_help = true, value_enum, value_name = "SIZE", help_heading = OUTPUT)]
    pub arrays: Option<ArraysArg>,
    /// How much is said.
    #[command(flatten)]
    pub quiet: QuietArgs,
    /// The explanation that is asked for.
    #[command(flatten)]
    pub request: RequestArgs,
    /// The place that is asked about.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Number of random masks that --method rise draws [default: 1000]
    #[arg(long, value_name = "N", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rise_masks: Option<usize>,
}

impl ExplainArgs {
    /// What is written, and how it is drawn.
    fn outputs(&self) -> Result<Outputs> {
        let mut outputs = Outputs::default();
        if let Some(colours) = self.colormap {
            if colours.is_signed() {
                return Err(usage(
                    ErrorKind::InvalidValue,
                    "--colormap blue-orange is for the two sides of --versus, which always has it; choose another",
                ));
            }
            outputs.style = outputs.style.colours(colours);
        }
        if let Some(alpha) = self.alpha {
            outputs.style = outputs.style.alpha(alpha)?;
        }
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            let found = format!("--threshold {}: expected a share above 0 and at most 1", self.threshold);
            return Err(usage(ErrorKind::InvalidValue, &found));
        }
        outputs.threshold = self.threshold;
        outputs.style = outputs.style.contours([self.threshold]);
        outputs.arrays = self.arrays.map(|arrays| arrays.0);
        outputs.command = Some(given_command());
        Ok(outputs)
    }
}

/// The command as it was given, with quotation marks where a shell needs them.
fn given_command() -> String {
    let plain = |word: &str| {
        let harmless = |letter: char| letter.is_ascii_alphanumeric() || "-_./=,:+@%".contains(letter);
        !word.is_empty() && word.chars().all(harmless)
    };
    let quoted = |word: String| if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("decomcam".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Explains a photo and writes what came of it.
pub fn run(args: &ExplainArgs) -> Result<()> {
    let mut options = args.request.options(args.method).names(&args.name_parts);
    options.rise_masks = args.rise_masks;
    options.upsampling = args.place.upsampling();
    options.unchecked = args.no_check;
    options.check_used(&[options.method])?;
    let outputs = args.outputs()?;
    refuse_unused(args)?;
    if let Some(wanted) = args.frames {
        return super::frames::run(args, wanted, options, outputs);
    }
    if let Some(photos) = super::many::photos(args)? {
        return super::many::run(args, photos, options, outputs);
    }
    let [path] = &args.photos[..] else { return Ok(()) };
    let json_only = args.out == Path::new("-");
    if json_only && args.timings {
        return Err(usage(
            ErrorKind::ArgumentConflict,
            "--timings has no effect with --out -, because the report always holds the times; leave it out",
        ));
    }
    if !json_only {
        check_free(args, &options, &outputs)?;
        files::prepare_directory(&args.out)?;
    }
    let mut timings = Timings::default();
    let photo = timings.measure("read photo", || Source::named(path).open())?;
    let session = args.request.open_for(options.method, args.place.like.is_some(), args.quiet.quiet)?;
    if let Some(other) = &args.place.like {
        return alike(args, &session, (&options, &outputs), [&photo, &Photo::open(other)?]);
    }
    let prompt = args.request.ask(&session, &options, Some(&args.place))?(&photo)?;
    let explanation = session.explain(&photo, &prompt, &options)?;
    timings.append(&session.loading());
    timings.append(&explanation.timings);
    // A large photo needs the memory for its pictures.
    session.forget_networks();

    let (model, photo, prompt, explanation) = (session.model(), &photo, &prompt, &explanation);
    let answer = Answer { model, photo, prompt, explanation, timings: &timings, outputs: &outputs };
    if json_only {
        return print_json(&answer.report(&[])?);
    }
    let start = Instant::now();
    let files = answer.write(&args.out)?;
    if args.quiet.quiet {
        return Ok(());
    }
    let mut text = if args.verbose { answer.summary() + "\n" + &answer.details() } else { answer.summary() };
    text += "\n";
    text += &wrote(&files);
    if args.timings {
        let mut timings = timings.clone();
        timings.add("draw and write", start.elapsed());
        text += "\n";
        text += &timing_table(&timings);
    }
    print(&text)?;
    if photo.animated {
        note(ANIMATED);
    }
    warn(&explanation.warnings);
    Ok(())
}

/// Refuses options of pictures and arrays where none are written.
fn refuse_unused(args: &ExplainArgs) -> Result<()> {
    let json_only = args.out == Path::new("-") || Naming::new(&args.out)?.kind() == Kind::Json;
    let one_file = json_only || Naming::new(&args.out)?.kind() != Kind::Folder;
    for (given, name) in [
        (args.arrays.is_some() && one_file, "--arrays"),
        (args.colormap.is_some() && json_only, "--colormap"),
        (args.alpha.is_some() && json_only, "--alpha"),
    ] {
        if given {
            let out = args.out.display();
            let message = format!("{name} has no effect with --out {out}, which asks for no such file; leave it out");
            return Err(usage(ErrorKind::ArgumentConflict, &message));
        }
    }
    Ok(())
}

impl ExplainArgs {
    /// The files that are read.
    pub fn inputs(&self) -> Inputs {
        let photos = self.photos.iter().chain(&self.list).map(PathBuf::as_path);
        Inputs::new(photos.chain(self.place.files()).chain(self.request.model.files()))
    }
}

/// Refuses to write over what is read, or what others wrote.
fn check_free(args: &ExplainArgs, options: &Options, outputs: &Outputs) -> Result<()> {
    let inputs = args.inputs();
    report::check_free(&args.out, &inputs, options, outputs)?;
    if args.place.like.is_some() {
        report::check_free(&args.out.join(LIKE), &inputs, options, outputs)?;
        Files::new(&args.out).sparing(inputs).check([ALIKE])?;
    }
    Ok(())
}

/// The directory of the other photo's files.
const LIKE: &str = "like";

/// What is said of an animation that is explained as a photo.
const ANIMATED: &str =
    "the file is an animation, of which the first frame was explained; --frames explains the others too";

/// Explains what makes two photos alike, in each of them: the first one's files as ever, the second one's in the directory `like`, and both side by side.
fn alike(
    args: &ExplainArgs,
    session: &Session,
    (options, outputs): (&Options, &Outputs),
    photos: [&Photo; 2],
) -> Result<()> {
    let score = args.request.tuning.score.as_deref();
    let explained = |photo: &Photo, other: &Photo| -> Result<_> {
        let prompt = session.prompt_like(other, score, options)?.side(args.place.side());
        let explanation = session.explain(photo, &prompt, options)?;
        Ok((prompt, explanation))
    };
    let [photo, other] = photos;
    let ((prompt, first), (other_prompt, second)) = (explained(photo, other)?, explained(other, photo)?);
    let mut timings = session.loading();
    timings.append(&first.timings);
    let model = session.model();
    let first = Answer { model, photo, prompt: &prompt, explanation: &first, timings: &timings, outputs };
    let second =
        Answer { model, photo: other, prompt: &other_prompt, explanation: &second, timings: &second.timings, outputs };
    if args.out == Path::new("-") {
        return print_json(&[first.report(&[])?, second.report(&[])?]);
    }
    let within = args.out.join(LIKE);
    files::prepare_directory(&within)?;
    let mut files = first.write(&args.out)?;
    files.extend(second.write(&within)?);
    files.extend(Alike { first, second }.write(&args.out)?);
    if args.quiet.quiet {
        return Ok(());
    }
    let mut text = String::new();
    for answer in [&first, &second] {
        text += &format!("{}:\n{}\n", answer.photo.name, answer.summary());
        if args.verbose {
            text += &(answer.details() + "\n");
        }
    }
    text += &wrote(&files);
    if args.timings {
        text += "\n";
        text += &timing_table(&timings);
    }
    print(&text)?;
    warn(&first.explanation.warnings);
    warn(&second.explanation.warnings);
    Ok(())
}
