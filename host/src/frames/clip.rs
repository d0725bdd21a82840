//! What a sequence comes from: an animation or a video; and which of its frames are explained.

use super::ffmpeg::Video;
use crate::error::Sorted as _;
use crate::many::Source;
use crate::photo::Animation;
use crate::{Error, Photo, Result};
use anyhow::{Context as _, anyhow};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;

/// How many frames are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every one.
    All,
    /// Every one, or of a longer sequence so many: the first of each of so many equal stretches of its time.
    AtMost(usize),
}

impl Default for Wanted {
    /// A hundred: some minutes of work, and more than are looked at one by one.
    fn default() -> Self {
        Self::AtMost(100)
    }
}

impl Wanted {
    /// The number of stretches that a sequence of so many frames is cut into; none if every frame is explained.
    pub(super) fn of(self, frames: usize) -> Option<usize> {
        match self {
            Self::AtMost(most) if most < frames => Some(most),
            _ => None,
        }
    }
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    /// A number of at least two, or `all`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = text.parse().ok().filter(|number| *number >= 2);
        let number = number.context("expected a number of frames from 2 on, or all; for the usual number put --frames behind the file, at the end")?;
        Ok(Self::AtMost(number))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.pad("all"),
            Self::AtMost(most) => most.fmt(formatter),
        }
    }
}

/// One frame of a sequence.
#[derive(Clone, Debug)]
pub struct Frame {
    /// From zero on, among those that are explained.
    pub number: usize,
    /// When it begins, in seconds.
    pub time: f64,
    /// What is seen.
    pub photo: Photo,
}

/// An animation, or a video that ffmpeg reads.
#[derive(Clone, Debug)]
pub struct Clip(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Animation(Box<Animation>),
    Video(Video),
}

impl Clip {
    /// Opens a file, or standard input, which may be an animation.
    ///
    /// # Errors
    /// [`Error::Photo`]: what cannot be read, is neither an animation nor a video, or has one picture only.
    pub fn open(path: &Path) -> Result<Self> {
        let kind = if Source::is_standard_input(path) {
            Kind::Animation(Box::new(Animation::read("standard input", std::io::stdin().lock())?))
        } else {
            let mut start = Vec::new();
            let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
            // What is no file, or cannot be read, is told of as a photo is.
            if read.is_err() || start.is_empty() || Photo::is_begun_by(&start) {
                Kind::Animation(Box::new(Animation::open(path)?))
            } else {
                Kind::Video(Video::open(path)?)
            }
        };
        let clip = Self(kind);
        if clip.count() < 2 {
            let found = match (clip.count(), clip.damage()) {
                (0, _) => "none".into(),
                (_, Some(damage)) => format!("one that is followed by damage ({damage})"),
                (_, None) if clip.pages() > 1 => {
                    let pages = clip.pages();
                    format!(
                        "a TIFF of {pages} pages, which are no frames; save each as a file of its own and explain their directory"
                    )
                }
                (_, None) => "one; leave --frames out to explain it as a photo".into(),
            };
            let why = anyhow!("--frames of `{}`: expected two pictures or more, found {found}", clip.name());
            return Err(why).kind(Error::Photo);
        }
        Ok(clip)
    }

    /// How many pages it has, if it is a TIFF.
    fn pages(&self) -> usize {
        match &self.0 {
            Kind::Animation(animation) => animation.pages,
            Kind::Video(_) => 0,
        }
    }

    /// Its path, as given.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Animation(animation) => &animation.name,
            Kind::Video(video) => &video.name,
        }
    }

    /// SHA-256 of the bytes of an animation.
    pub fn sha256(&self) -> Option<&str> {
        match &self.0 {
            Kind::Animation(animation) => Some(&animation.sha256),
            Kind::Video(_) => None,
        }
    }

    /// How many frames it has; of a video as many as its container says.
    pub fn count(&self) -> usize {
        match &self.0 {
            Kind::Animation(animation) => animation.begins.len(),
            Kind::Video(video) => video.count,
        }
    }

    /// When its last frame ends, in seconds.
    pub fn seconds(&self) -> f64 {
        match &self.0 {
            Kind::Animation(animation) => animation.seconds,
            Kind::Video(video) => video.seconds,
        }
    }

    /// Of a video, how many pictures what is drawn of its frames has in a second, as a fraction; none of an animation, in which each picture has a time of its
    /// own.
    pub(super) fn rate(&self, wanted: Wanted) -> Option<String> {
        match &self.0 {
            Kind::Animation(_) => None,
            Kind::Video(video) => Some(video.rate(wanted)),
        }
    }

    fn damage(&self) -> Option<&str> {
        match &self.0 {
            Kind::Animation(animation) => animation.damage.as_deref(),
            Kind::Video(_) => None,
        }
    }

    /// How many frames are explained, at most.
    pub fn chosen(&self, wanted: Wanted) -> usize {
        match (&self.0, wanted.of(self.count())) {
            (Kind::Animation(animation), Some(stretches)) => {
                chosen(&animation.begins, animation.seconds, stretches).filter(|chosen| *chosen).count()
            }
            (_, stretches) => stretches.unwrap_or(self.count()),
        }
    }

    /// Gives the frames in turn. Returns what is damaged in the file, in words, if something is.
    ///
    /// # Errors
    /// A video that ffmpeg cannot read.
    pub fn each(&self, wanted: Wanted, mut show: impl FnMut(Frame) -> ControlFlow<()>) -> Result<Option<String>> {
        let animation = match &self.0 {
            Kind::Video(video) => return video.each(wanted, show),
            Kind::Animation(animation) => animation,
        };
        let stretches = wanted.of(self.count());
        let chosen: Vec<bool> = match stretches {
            Some(stretches) => chosen(&animation.begins, animation.seconds, stretches).collect(),
            None => vec![true; self.count()],
        };
        let mut number = 0;
        animation.each(|at, pixels| {
            if !chosen.get(at).is_some_and(|chosen| *chosen) {
                return ControlFlow::Continue(());
            }
            let time = animation.begins[at];
            let photo = Photo::from_pixels(format!("{} at {time:.2} s", animation.name), pixels);
            number += 1;
            show(Frame { number: number - 1, time, photo })
        });
        Ok(animation
            .damage
            .as_ref()
            .map(|why| format!("it is damaged behind these frames ({why}), and what comes there is left out")))
    }
}

/// Of frames that begin at these times, whether each is the first in its stretch, if the whole time is cut into so many.
fn chosen(begins: &[f64], seconds: f64, stretches: usize) -> impl Iterator<Item = bool> {
    let stretch = move |time: f64| (time * stretches as f64 / seconds + 1e-9).floor();
    let mut before = None;
    begins.iter().map(move |time| {
        let first = before.is_none_or(|before| stretch(*time) > before);
        if first {
            before = Some(stretch(*time));
        }
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_chosen_evenly_in_time() {
        let chosen = |begins: &[f64], stretches| -> Vec<usize> {
            let seconds = begins.last().unwrap() + 1.0;
            super::chosen(begins, seconds, stretches)
                .enumerate()
                .filter(|(_, chosen)| *chosen)
                .map(|(at, _)| at)
                .collect()
        };
        let even: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(chosen(&even, 4), [0, 3, 6, 9]);
        assert_eq!(chosen(&even, 5), [0, 3, 5, 8, 10]);
        assert_eq!(chosen(&even, 12), (0..12).collect::<Vec<_>>());
        // Many quick frames, then slow ones: those that stand long count as long.
        assert_eq!(chosen(&[0.0, 0.1, 0.2, 0.3, 5.0, 9.0], 2), [0, 4]);
    }

    #[test]
    fn numbers_from_two_on_or_all() {
        assert_eq!("all".parse::<Wanted>().unwrap(), Wanted::All);
        assert_eq!("2".parse::<Wanted>().unwrap(), Wanted::AtMost(2));
        for wrong in ["1", "0", "-3", "clip.gif", "", "2.5"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }
}
