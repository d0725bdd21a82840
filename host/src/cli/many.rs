//! `decomcam explain` of many photos.

use super::explain::ExplainArgs;
use super::output::{Bar, note, print, print_json_text, usage, warn, wrote};
use anyhow::{Context as _, Result, ensure};
use clap::error::ErrorKind;
use decomcam::many::{self, Event, ManyOptions, Naming, Outcome, Source};
use decomcam::report::Outputs;
use decomcam::{Options, Session};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Warnings that are printed at most.
const WARNINGS: usize = 8;

/// What is explained, if that is more than one photo named by its path.
pub fn photos(args: &ExplainArgs) -> Result<Option<Vec<PathBuf>>> {
    let mut photos = args.photos.clone();
    if let Some(list) = &args.list {
        let name = list.display().to_string();
        photos.extend(if Source::is_standard_input(list) {
            many::list("standard input", std::io::stdin().lock())?
        } else {
            many::list(&name, File::open(list).with_context(|| format!("--list `{name}`: expected a text file"))?)?
        });
    }
    let pattern = args.out.display().to_string().contains('{');
    let one = match &photos[..] {
        [one] => {
            args.list.is_none()
                && args.shard.is_none()
                && !args.jsonl
                && !pattern
                && (one.is_file() || !is_several(one))
        }
        _ => false,
    };
    Ok((!one).then_some(photos))
}

/// Whether a path stands for what is found there: a directory or a pattern.
fn is_several(path: &Path) -> bool {
    path.is_dir() || path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

/// Explains many photos.
pub fn run(args: &ExplainArgs, photos: Vec<PathBuf>, options: Options, outputs: Outputs) -> Result<()> {
    for (given, name, why) in [
        (args.place.like.is_some(), "--like", "it compares one photo with another"),
        (args.verbose, "--verbose", "the numbers of each photo are in its explanation.json"),
        (args.timings, "--timings", "the times of each photo are in its explanation.json"),
    ] {
        if given {
            return Err(usage(ErrorKind::ArgumentConflict, &format!("{name} is for one photo: {why}; leave it out")));
        }
    }
    let out = if args.out == Path::new("-") { None } else { Some(Naming::new(&args.out)?) };
    let lines = args.jsonl || out.is_none();
    let mut asked = ManyOptions::new(photos, out);
    asked.question =
        format!("{:?}", (&args.request.text, &args.request.versus, &args.request.tuning.score, &args.place));
    asked.options = options;
    asked.outputs = outputs;
    asked.shard = args.shard;
    asked.read = args.list.iter().map(PathBuf::as_path).chain(args.place.files()).map(Path::to_owned).collect();
    let bar = Bar::default();
    let session = args.request.open_for(asked.options.method, false, args.quiet.quiet)?;
    let session = if args.quiet.quiet { session } else { session.watching(bar.watch()) };
    if asked.out.is_some() {
        super::stop::say_how_to_go_on();
    }
    let outcome = explained(args, &session, &asked, (&bar, lines))?;
    if !args.quiet.quiet && !lines {
        print(&summary(&outcome))?;
    }
    if !args.quiet.quiet {
        warn(&warnings(&outcome));
    }
    let all = outcome.explained + outcome.before + outcome.failed;
    ensure!(outcome.failed == 0, "{} of {all} photos could not be explained; they are named above", outcome.failed);
    Ok(())
}

fn explained(
    args: &ExplainArgs,
    session: &Session,
    asked: &ManyOptions,
    (bar, lines): (&Bar, bool),
) -> Result<Outcome> {
    let ask = args.request.ask(session, &asked.options, Some(&args.place))?;
    let quiet = args.quiet.quiet;
    // The first failure of printing: a reader who went away ends the work.
    let failure = Mutex::new(None);
    let printed = |result: Result<()>| {
        if let Err(error) = result {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    let broken = || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let tell = |event: Event<'_>| {
        bar.aside(|| match event {
            Event::LeftOut { pictures } if !quiet => note(&left_out(pictures)),
            Event::GoingOn { before, of } if !quiet => {
                note(&format!("{before} of {of} photos were explained before: going on"))
            }
            Event::Anew { before } if !quiet => {
                note(&format!(
                    "{before} photos were explained with other options: what was written of them is replaced"
                ));
            }
            Event::Done { line, .. } if lines => printed(print_json_text(&format!("{line}\n"))),
            Event::Done { path, sentence, before: false, .. } if !quiet => {
                printed(print(&format!("{path}: {sentence}\n")))
            }
            Event::Failed { reason } => eprintln!("skipped: {}", super::output::harmless(reason)),
            _ => {}
        });
    };
    let outcome = many::explain(
        session,
        asked,
        &|photo| if broken() { Err(decomcam::Error::Cancelled) } else { ask(photo) },
        &tell,
    );
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}

/// What is said of pictures in folders that are not explained.
pub fn left_out(pictures: usize) -> String {
    match pictures {
        1 => "1 picture was left out: decomcam wrote it; name it to have it explained".into(),
        _ => format!("{pictures} pictures were left out: decomcam wrote them; name one to have it explained"),
    }
}

fn summary(outcome: &Outcome) -> String {
    let Outcome { explained, before, checked, passed, .. } = outcome;
    let photos = |count: usize| if count == 1 { "1 photo".to_owned() } else { format!("{count} photos") };
    let mut text = format!("\nExplained {}", photos(*explained));
    if *before > 0 {
        text += &format!(", {before} more before");
    }
    text += ".";
    if *checked > 0 {
        text += &format!(" Check: {passed} of {checked} maps passed.");
    }
    text + "\n" + &wrote(&outcome.files)
}

/// Each warning once, with the photos that it is of.
fn warnings(outcome: &Outcome) -> Vec<String> {
    let mut sorted: Vec<_> = outcome.warnings.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut lines: Vec<String> = sorted
        .iter()
        .take(WARNINGS)
        .map(|(warning, count, first)| match count {
            1 => format!("{first}: {warning}"),
            _ => format!("{count} photos, such as {first}: {warning}"),
        })
        .collect();
    if sorted.len() > WARNINGS {
        lines.push(format!("{} other warnings stand in the lines of the photos", sorted.len() - WARNINGS));
    }
    lines
}
