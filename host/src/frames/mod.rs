//! A sequence of frames, each explained by [`Session::explain_on`], for one question: which thing the score comes from, and what becomes of its parts.
//!
//! | room | in | out |
//! |---|---|---|
//! | `clip` | a file | an animation or a video, and its frames that are explained, in turn |
//! | `ffmpeg` | a video, pictures | its frames; a video of them |
//! | [`tracks`] | the directions of the parts of each frame | which part continues which |
//! | `turns` | frames on several threads | the steps that are done in order |
//! | `writer` | pictures with their times | `overlay.gif`, or of a video `overlay.mp4` |
//! | `report` | what was found | `frames.json`, `curve.png`, a sentence |
//!
//! What is asked is asked of the first frame and stays: a text, or without one what is predicted there. Each thread has a frame of its own; of a frame nothing
//! stays in memory but its numbers, once its picture is written.

mod clip;
mod ffmpeg;
mod report;
pub mod tracks;
mod turns;
mod writer;

pub use clip::{Clip, Frame, Wanted};
pub use report::FramesReport;

use crate::draw::{self, Outlined};
use crate::error::Sorted as _;
use crate::files::{self, Claim, Files};
use crate::many::Ask;
use crate::owned::{self, Inputs};
use crate::photo::{resize_whole, size_of};
use crate::progress::{Steps, Watch};
use crate::report::{Answer, Outputs, Told, percent, told};
use crate::score::Prompt;
use crate::timings::Timings;
use crate::{Error, Options, Photo, Result, Session, Size, workers};
use anyhow::{Context as _, anyhow};
use report::{FrameReport, Layer};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use tempfile::NamedTempFile;
use tracks::{Followed, Tracks};
use turns::Turns;
use writer::{Format, Writer};

/// How the frames are explained, and what is written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FramesOptions {
    /// How many frames.
    pub wanted: Wanted,
    /// Where the files go; none if nothing is written.
    pub out: Option<PathBuf>,
    /// How each frame is explained.
    pub options: Options,
    /// How pictures are drawn.
    pub outputs: Outputs,
    /// Whether the question is asked of each frame anew: one about a place, such as the best box of a detector, whose text is given.
    pub ask_each: bool,
    /// Is told before the work how much there is, and how long it takes.
    pub announce: Option<fn(&str)>,
}

impl FramesOptions {
    /// The usual number of frames, with every other choice left as it is usual.
    pub fn new(out: Option<PathBuf>) -> Self {
        Self {
            wanted: Wanted::default(),
            out,
            options: Options::new(),
            outputs: Outputs::default(),
            ask_each: false,
            announce: None,
        }
    }
}

/// What was found in a sequence.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sequence {
    /// Every number: what `frames.json` holds.
    pub report: FramesReport,
    /// The files that were written.
    pub files: Vec<PathBuf>,
}

/// Explains the frames of a clip, and writes `overlay.gif` (of a video `overlay.mp4`), `curve.png` and `frames.json`. No file appears before all are complete.
///
/// # Errors
/// A clip that cannot be read, a frame that cannot be explained, a directory that cannot be written to, [`Error::Cancelled`].
pub fn explain(session: &Session, clip: &Clip, asked: &FramesOptions, ask: &Ask<'_>) -> Result<Sequence> {
    let claimed = |out: &PathBuf| {
        files_in(out, clip).check([format(clip, asked).name(), CURVE, REPORT])?;
        Claim::of(out)
    };
    // Held until everything is written.
    let _claim = asked.out.as_ref().map(claimed).transpose()?;
    let chosen = clip.chosen(asked.wanted);
    if let Some(announce) = asked.announce {
        announce(&in_words(clip, chosen));
    }
    let workers = session.threads().clamp(1, chosen.max(1));
    let (tell, frames) = mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            clip.each(asked.wanted, |frame| match tell.send(frame) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        let first = frames.recv().ok();
        let explained = first.map(|first| {
            Run::new(session, clip, asked, ask, (first, frames), (workers, chosen)).and_then(Run::explain)
        });
        let read =
            reader.join().map_err(|_| anyhow!("the thread that reads frames stopped unexpectedly; please report it"));
        let damage = read.kind(Error::Explanation)??;
        match explained {
            Some(run) => run?.finish(damage),
            None => Err(anyhow!("`{}`: expected frames, found none", clip.name())).kind(Error::Photo),
        }
    })
}

/// How many frames there are, and how many of them are explained.
fn in_words(clip: &Clip, chosen: usize) -> String {
    let (count, seconds) = (clip.count(), clip.seconds());
    if chosen == count {
        format!("{count} frames in {seconds:.2} seconds: all are explained")
    } else {
        format!(
            "{count} frames in {seconds:.2} seconds: {chosen} are explained, evenly spaced in time; --frames all explains every one"
        )
    }
}

/// What happens in the order of the frames: parts are followed, colours given.
#[derive(Default)]
struct Order {
    tracks: Tracks,
    /// By track: its colour once it was drawn, and one more than the frame in which it last was.
    known: Vec<Option<(usize, usize)>>,
    announced: bool,
}

/// A part of a frame: its track, and the colour that it is drawn in, if it is.
#[derive(Clone, Copy)]
struct Placed {
    followed: Followed,
    colour: Option<usize>,
}

impl Order {
    /// Follows the parts of the next frame: their directions, and whether each is drawn.
    fn follow(&mut self, frame: usize, parts: &[(&[f32], bool)]) -> Vec<Placed> {
        let directions: Vec<&[f32]> = parts.iter().map(|(direction, _)| *direction).collect();
        let followed = self.tracks.follow(&directions);
        let last = followed.iter().map(|followed| followed.track).max().unwrap_or(0);
        self.known.resize(self.known.len().max(last), None);
        let drawn =
            || followed.iter().zip(parts).filter(|(_, (_, drawn))| *drawn).map(|(followed, _)| followed.track - 1);
        for at in drawn() {
            if let Some((_, last)) = &mut self.known[at] {
                *last = frame + 1;
            }
        }
        for at in drawn() {
            if self.known[at].is_none() {
                self.known[at] = Some((self.free_colour(), frame + 1));
            }
        }
        let placed = followed.into_iter().zip(parts);
        placed
            .map(|(followed, (_, drawn))| {
                let known = self.known[followed.track - 1].filter(|_| *drawn);
                Placed { followed, colour: known.map(|(colour, _)| colour) }
            })
            .collect()
    }

    /// The colour that was not drawn for the longest time.
    fn free_colour(&self) -> usize {
        let last = |colour: &usize| {
            self.known.iter().flatten().filter(|(taken, _)| taken == colour).map(|(_, last)| *last).max()
        };
        (0..draw::TRACKS.len()).min_by_key(last).unwrap_or(0)
    }
}

/// The film, and the numbers of the frames that are written.
struct Written<'a> {
    film: Option<(Writer, NamedTempFile)>,
    frames: Vec<FrameReport>,
    layer: Option<Layer>,
    warnings: Vec<String>,
    steps: Steps<'a>,
}

struct Run<'a> {
    session: &'a Session,
    clip: &'a Clip,
    asked: &'a FramesOptions,
    ask: &'a Ask<'a>,
    /// What is asked, of the first frame.
    prompt: Prompt,
    format: Format,
    /// Height and width of the film.
    size: Size,
    /// The frame that was read to ask about, and those that follow.
    frames: Mutex<(Option<Frame>, mpsc::Receiver<Frame>)>,
    order: Turns<Order>,
    written: Turns<Written<'a>>,
    workers: usize,
    threads_each: usize,
    chosen: usize,
    failure: Mutex<Option<Error>>,
}

impl<'a> Run<'a> {
    fn new(
        session: &'a Session,
        clip: &'a Clip,
        asked: &'a FramesOptions,
        ask: &'a Ask<'a>,
        (first, frames): (Frame, mpsc::Receiver<Frame>),
        (workers, chosen): (usize, usize),
    ) -> Result<Self> {
        let prompt = ask(&first.photo)?;
        let format = format(clip, asked);
        let size = size_of(&blank(&first.photo, &asked.outputs)?);
        let film = match &asked.out {
            Some(out) => {
                let file = Files::new(out).begin()?;
                Some((Writer::new(&format, file.path(), size, out)?, file))
            }
            None => None,
        };
        let steps = Steps::new(session.watch(), "frames", chosen)?;
        Ok(Self {
            session,
            clip,
            asked,
            ask,
            prompt,
            format,
            size,
            frames: Mutex::new((Some(first), frames)),
            order: Turns::new(Order::default()),
            written: Turns::new(Written { film, frames: Vec::new(), layer: None, warnings: Vec::new(), steps }),
            workers,
            threads_each: session.threads().div_ceil(workers),
            chosen,
            failure: Mutex::default(),
        })
    }

    fn explain(self) -> Result<Self> {
        /// A thread that panics leaves nobody waiting.
        struct Leaving<'r, 'a>(&'r Run<'a>);
        impl Drop for Leaving<'_, '_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.stop();
                }
            }
        }
        let done = workers::each(self.workers, self.workers, |_| {
            let _leaving = Leaving(&self);
            while let Some(frame) = self.next() {
                if let Err(error) = self.frame(&frame) {
                    self.stop();
                    // The others end because this one failed: what they say is not why.
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if failure.as_ref().is_none_or(|known| matches!(known, Error::Cancelled)) {
                        *failure = Some(error);
                    }
                    return Err(Error::Cancelled);
                }
            }
            Ok(())
        });
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error) => Err(error),
            None => done.map(|_| self),
        }
    }

    fn stop(&self) {
        self.order.stop();
        self.written.stop();
    }

    fn next(&self) -> Option<Frame> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, others) = &mut *frames;
        first.take().or_else(|| others.recv().ok())
    }

    fn frame(&self, frame: &Frame) -> Result<()> {
        let Frame { number, time, photo } = frame;
        let asked;
        let prompt = if self.asked.ask_each && *number > 0 {
            asked = (self.ask)(photo).with_context(|| photo.name.clone()).kind(Error::Explanation)?;
            &asked
        } else {
            &self.prompt
        };
        let quiet: &Watch<'_> = &|_| ControlFlow::Continue(());
        let explained = self.session.explain_on(photo, prompt, &self.asked.options, (self.threads_each, quiet));
        let explanation = explained.with_context(|| photo.name.clone()).kind(Error::Explanation)?;
        let answer = Answer {
            model: self.session.model(),
            photo,
            prompt,
            explanation: &explanation,
            timings: &explanation.timings,
            outputs: &self.asked.outputs,
        };
        // By falling contribution, so that new tracks are numbered in this order.
        let told = explanation.parts.as_ref().map(|parts| told(parts, answer.is_signed())).unwrap_or_default();
        let mut sizes: Vec<f32> = told.iter().filter_map(|told| told.share).map(f32::abs).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        let least = sizes.get(DRAWN - 1).copied().unwrap_or(0.0);
        let drawn = |told: &Told<'_>| told.matters() && told.share.is_some_and(|share| share.abs() >= least);
        let placed = self.order.take(*number, |order| {
            if !std::mem::replace(&mut order.announced, true) {
                self.announce(&explanation.timings);
            }
            let parts: Vec<(&[f32], bool)> =
                told.iter().map(|told| (&told.part.component.direction[..], drawn(told))).collect();
            Ok(order.follow(*number, &parts))
        })?;
        let report =
            FrameReport::new(&answer, frame, told.iter().zip(&placed).map(|(told, placed)| (told, placed.followed)))?;
        let film = self.asked.out.as_ref().map(|_| -> Result<_> {
            let size = draw::film_tile(photo.size());
            let seen: Vec<_> =
                told.iter().zip(&placed).filter_map(|(told, placed)| Some((told, placed, placed.colour?))).collect();
            let maps: Vec<Vec<f32>> = seen
                .iter()
                .map(|(told, ..)| Ok(answer.part(told.part, size)?.into_iter().map(f32::abs).collect()))
                .collect::<Result<_>>()?;
            let strongest = seen.iter().filter_map(|(told, ..)| told.share).map(f32::abs).fold(0.0, f32::max);
            let outlined = seen.iter().zip(&maps).map(|((told, placed, colour), map)| {
                let share = told.share.unwrap_or_default();
                Outlined {
                    map,
                    name: format!("#{}", placed.followed.track),
                    words: format!("{:>4}  {}", percent(share), told.place),
                    colour: *colour,
                    bar: if strongest > 0.0 { share / strongest } else { 0.0 },
                }
            });
            let picture = draw::film(&draw::Film {
                photo: &answer.picture(),
                seen: answer.on_copy(size).seen(),
                title: &prompt.headline(),
                line: &report.line(),
                saliency: &answer.saliency(size)?,
                parts: outlined.collect(),
                captions: captions(!told.is_empty()),
                style: &answer.style(),
            })?;
            // A video may change its size on the way.
            let fits = size_of(&picture) == self.size;
            Ok(self.format.prepared(if fits { picture } else { resize_whole(&picture, self.size) }))
        });
        let film = film.transpose()?;
        self.written.take(*number, |written| {
            if let (Some((writer, _)), Some(picture)) = (&mut written.film, film) {
                writer.add(picture, *time)?;
            }
            // What is said of every frame is said of the sequence; the rest stands with its frame.
            match number {
                0 => written.warnings.clone_from(&explanation.warnings),
                _ => written.warnings.retain(|warning| explanation.warnings.contains(warning)),
            }
            written.layer.get_or_insert_with(|| Layer::new(&explanation));
            written.frames.push(report);
            written.steps.advance(1)
        })
    }

    /// Says how long the other frames will take, by the time of the first.
    fn announce(&self, first: &Timings) {
        /// From how many seconds on.
        const WORTH_SAYING: f64 = 20.0;
        let each: f64 = first.stages().iter().map(|stage| stage.time.as_secs_f64()).sum();
        let seconds = each * self.chosen as f64 / self.workers as f64;
        if let Some(announce) = self.asked.announce.filter(|_| seconds >= WORTH_SAYING) {
            let less = if self.asked.options.unchecked { "" } else { "; without --check it takes a third" };
            announce(&format!("this takes {}{less}", crate::progress::in_words(seconds)));
        }
    }

    /// Completes the film, and writes the rest.
    fn finish(self, damage: Option<String>) -> Result<Sequence> {
        let Self { session, clip, asked, prompt, format, order, written, chosen, .. } = self;
        let Written { film, frames, layer, mut warnings, .. } = written.into_kept();
        if frames.len() < chosen {
            warnings.insert(0, format!("of {chosen} frames that the file announces {} could be read", frames.len()));
        }
        if let Some(damage) = damage {
            let last = frames.last().map_or(0.0, |frame| frame.time);
            warnings.insert(0, format!("`{}`: {damage}; the last frame is that at {last:.2} s", clip.name()));
        }
        let colours: Vec<Option<usize>> =
            order.into_kept().known.into_iter().map(|known| known.map(|(colour, _)| colour)).collect();
        let names: Vec<String> = match &asked.out {
            Some(_) => [format.name(), CURVE, REPORT].map(str::to_owned).to_vec(),
            None => Vec::new(),
        };
        let report = FramesReport::new(session, clip, asked, &prompt, (frames, layer, &colours), (warnings, names));
        let Some(out) = &asked.out else { return Ok(Sequence { report, files: Vec::new() }) };
        let before = written_before(out);
        let mut files = files_in(out, clip);
        if let Some((writer, file)) = film {
            writer.finish(clip.seconds())?;
            files.keep(format.name(), file);
        }
        files.add(CURVE, |out| files::write_png(out, &report.curve()))?;
        files.add(REPORT, |out| files::write_json(out, &report))?;
        let written = files.publish()?;
        let stale = before.iter().filter(|name| !written.iter().any(|file| file.ends_with(name)));
        stale.for_each(|name| files.remove(name));
        Ok(Sequence { report, files: written })
    }
}

/// Parts that are drawn of each frame at most: those with the largest shares.
const DRAWN: usize = 5;

const CURVE: &str = "curve.png";
/// The file with all numbers.
pub const REPORT: &str = "frames.json";

fn captions(parts: bool) -> [&'static str; 2] {
    ["Saliency", if parts { "Parts, by their tracks" } else { "Frame" }]
}

/// The picture of a frame before anything is known of it.
fn blank(photo: &Photo, outputs: &Outputs) -> Result<image::RgbImage> {
    let size: Size = draw::film_tile(photo.size());
    draw::film(&draw::Film {
        photo: &photo.pixels,
        seen: crate::photo::Rect::whole(size),
        title: "",
        line: "",
        saliency: &vec![0.0; size.area()],
        parts: Vec::new(),
        captions: captions(false),
        style: &outputs.style,
    })
}

/// What kind of film is made of a clip.
fn format(clip: &Clip, asked: &FramesOptions) -> Format {
    clip.rate(asked.wanted).map_or(Format::Gif, Format::Video)
}

/// The files of a sequence in `directory`, which may replace those of an earlier one there and spare the clip.
fn files_in<'a>(directory: &'a Path, clip: &Clip) -> Files<'a> {
    Files::new(directory).sparing(Inputs::new([clip.name()])).replacing(written_before(directory))
}

/// The files that an earlier run says it wrote here, as far as they have names of ours.
fn written_before(directory: &Path) -> Vec<String> {
    let ours = ["overlay.gif", "overlay.mp4", CURVE, REPORT];
    owned::listed_in(&directory.join(REPORT)).into_iter().filter(|name| ours.contains(&&**name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_the_one_that_was_away_longest_is_given() {
        let mut order = Order::default();
        let axis = |at: usize| -> Vec<f32> { (0..12).map(|entry| f32::from(u8::from(entry == at))).collect() };
        let follow = |order: &mut Order, frame: usize, parts: &[(usize, bool)]| -> Vec<(usize, Option<usize>)> {
            let axes: Vec<Vec<f32>> = parts.iter().map(|(at, _)| axis(*at)).collect();
            let parts: Vec<(&[f32], bool)> =
                axes.iter().zip(parts).map(|(axis, (_, matters))| (&axis[..], *matters)).collect();
            order.follow(frame, &parts).iter().map(|placed| (placed.followed.track, placed.colour)).collect()
        };
        assert_eq!(follow(&mut order, 0, &[(0, true), (1, false), (2, true)]), [(1, Some(0)), (2, None), (3, Some(1))]);
        // A track has a colour from when it is first drawn, and keeps it.
        assert_eq!(
            follow(&mut order, 1, &[(2, true), (1, true), (0, true)]),
            [(3, Some(1)), (2, Some(2)), (1, Some(0))]
        );
        // When all colours are taken, one is taken twice; when some are gone, that which went first is taken.
        let all: Vec<(usize, bool)> = (0..=draw::TRACKS.len()).map(|at| (at, true)).collect();
        let colours: Vec<usize> = follow(&mut order, 2, &all).iter().filter_map(|(_, colour)| *colour).collect();
        let mut sorted = colours.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((colours.len(), sorted.len()), (draw::TRACKS.len() + 1, draw::TRACKS.len()), "{colours:?}");
        let others: Vec<(usize, bool)> = all.iter().copied().filter(|(at, _)| *at != 1).collect();
        follow(&mut order, 3, &others);
        assert_eq!(follow(&mut order, 4, &[(11, true)]), [(draw::TRACKS.len() + 2, Some(2))]);
    }
}
