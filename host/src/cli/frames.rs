//! `decomcam explain --frames`: the frames of an animation or a video.

use super::explain::ExplainArgs;
use super::output::{Bar, note, print, print_json, usage, warn, wrote};
use anyhow::Result;
use clap::error::ErrorKind;
use decomcam::frames::{self, Clip, FramesOptions, Wanted};
use decomcam::report::Outputs;
use decomcam::{Error, Options};
use std::ops::ControlFlow;
use std::path::Path;

/// What stands in the way of explaining one sequence.
fn refused(args: &ExplainArgs) -> Option<(&'static str, &'static str)> {
    [
        (args.photos.len() > 1, "several files", "give one file in each command"),
        (args.list.is_some(), "--list", "give one file in each command"),
        (args.shard.is_some(), "--shard", "it divides photos, not frames; leave it out"),
        (args.jsonl, "--jsonl", "frames.json, or --out -, holds every frame; leave it out"),
        (args.arrays.is_some(), "--arrays", "maps of single frames are written for photos alone; leave it out"),
        (args.no_check, "--no-check", "maps of frames are checked only with --check; leave it out"),
        (args.verbose, "--verbose", "frames.json holds the numbers; leave it out"),
        (args.timings, "--timings", "it is of one photo; leave it out"),
        (args.place.like.is_some(), "--like", "it compares one photo with another; leave it out"),
        (args.out.display().to_string().contains('{'), "a pattern in --out", "give a directory"),
        (args.photos.iter().any(|path| path.is_dir()), "a directory", "give one file in each command"),
    ]
    .into_iter()
    .find_map(|(given, what, why)| given.then_some((what, why)))
}

/// Explains the frames and says what was found.
pub fn run(args: &ExplainArgs, wanted: Wanted, options: Options, outputs: Outputs) -> Result<()> {
    if let Some((what, why)) = refused(args) {
        return Err(usage(ErrorKind::ArgumentConflict, &format!("--frames does not go with {what}: {why}")));
    }
    let [path] = &args.photos[..] else { return Ok(()) };
    let json_only = args.out == Path::new("-");
    let quiet = args.quiet.quiet;
    let clip = Clip::open(path)?;
    let mut asked = FramesOptions::new((!json_only).then(|| args.out.clone()));
    asked.wanted = wanted;
    asked.options = options;
    asked.options.unchecked = !args.check;
    asked.outputs = outputs;
    asked.announce = if quiet { None } else { Some(note) };

    let bar = Bar::default();
    let session = args.request.open_for(asked.options.method, false, quiet)?;
    let asked_to_stop = super::stop::asked();
    let watch = bar.watch();
    let stop = asked_to_stop.clone();
    let session = session.watching(move |step| {
        if stop.stopped().is_some() {
            return ControlFlow::Break(());
        }
        if quiet { ControlFlow::Continue(()) } else { watch(step) }
    });
    asked.ask_each = args.place.place(&session)?.is_some();
    if asked.ask_each && args.request.text.is_none() {
        return Err(usage(
            ErrorKind::MissingRequiredArgument,
            "--frames of a place or a box needs --text, or --class: what is explained has to be the same in every frame",
        ));
    }
    let ask = args.request.ask(&session, &asked.options, Some(&args.place))?;
    let found = frames::explain(&session, &clip, &asked, &ask);
    let found = match asked_to_stop.stopped() {
        Some(stopped) if matches!(found, Err(Error::Cancelled)) => return Err(stopped.into()),
        _ => found?,
    };
    if json_only {
        print_json(&found.report)?;
    } else if !quiet {
        let mut text = format!("{}\n", found.report.sentence());
        if args.request.text.is_none() {
            text += "What is explained is what the model sees in the first frame.\n";
        }
        let (checked, passed) = found.report.checked();
        if checked > 0 {
            text += &format!("Check: {passed} of {checked} maps passed.\n");
        }
        print(&format!("{text}\n{}", wrote(&found.files)))?;
    }
    if !quiet {
        warn(found.report.warnings());
    }
    Ok(())
}
