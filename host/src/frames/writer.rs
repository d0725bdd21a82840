//! The film that is written while frames are explained: an animated GIF, in which each picture has its own time, or of a video an MP4 file.

use super::ffmpeg::Recorder;
use crate::error::Sorted as _;
use crate::{Error, Result, Size};
use anyhow::Context as _;
use gif::{Encoder, Frame, Repeat};
use image::RgbImage;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// A picture is shown for so many seconds at most: a long film of which few frames are explained would stand still.
pub const LONGEST: f64 = 5.0;

/// A picture that is ready to be written.
pub(super) enum Picture {
    /// With 256 colours of its own, and packed.
    Gif(Box<Frame<'static>>),
    /// As it is.
    Video(RgbImage),
}

/// Which of both is made.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Gif,
    /// With so many pictures in a second, as a fraction.
    Video(String),
}

impl Format {
    /// The name of the file.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Gif => "overlay.gif",
            Self::Video(_) => "overlay.mp4",
        }
    }

    /// Does the part of the work for which the pictures need not wait for each other.
    pub(super) fn prepared(&self, picture: RgbImage) -> Picture {
        /// Of 1, the best colours, to 30: every so-many-th pixel is looked at to find them.
        const SPEED: i32 = 10;
        match self {
            Self::Gif => {
                let (width, height) = picture.dimensions();
                let mut frame = Frame::from_rgb_speed(width as u16, height as u16, picture.as_raw(), SPEED);
                frame.make_lzw_pre_encoded();
                Picture::Gif(Box::new(frame))
            }
            Self::Video(_) => Picture::Video(picture),
        }
    }
}

/// A film that is being written. A picture is written when it is known how long it is shown: with the next one.
pub(super) struct Writer {
    file: Kind,
    /// What messages call it.
    name: String,
    waiting: Option<(Picture, f64)>,
    /// When the waiting picture begins in the film, which is behind the time of the sequence once a picture was shown for less time than there.
    now: f64,
    /// In the units of the file, how much of the film is written: hundredths of a second, or pictures.
    written: usize,
}

enum Kind {
    Gif(Box<Encoder<BufWriter<File>>>),
    Video { recorder: Recorder, rate: f64 },
}

impl Writer {
    /// Begins a film of pictures of this size in an empty file, which will have its name in `directory`.
    pub(super) fn new(format: &Format, path: &Path, size: Size, directory: &Path) -> Result<Self> {
        let new = || -> anyhow::Result<Kind> {
            Ok(match format {
                Format::Gif => {
                    let out = BufWriter::new(File::options().write(true).open(path)?);
                    let mut encoder =
                        Encoder::new(out, size.width as u16, size.height as u16, &[]).map_err(said_once)?;
                    encoder.set_repeat(Repeat::Infinite).map_err(said_once)?;
                    Kind::Gif(Box::new(encoder))
                }
                Format::Video(rate) => {
                    let recorder = Recorder::new(path, size, rate)?;
                    Kind::Video { recorder, rate: super::ffmpeg::fraction(rate).unwrap_or(25.0) }
                }
            })
        };
        let name = directory.join(format.name()).display().to_string();
        let file = new().with_context(|| unwritten(&name)).kind(Error::Output)?;
        Ok(Self { file, name, waiting: None, now: 0.0, written: 0 })
    }

    /// Adds a picture that begins at this time of the sequence.
    pub(super) fn add(&mut self, picture: Picture, time: f64) -> Result<()> {
        self.write_waiting(time)?;
        self.waiting = Some((picture, time));
        Ok(())
    }

    /// Completes the film: the last picture is shown until this time.
    pub(super) fn finish(mut self, end: f64) -> Result<()> {
        self.write_waiting(end)?;
        let finished = match self.file {
            // The buffer is written here, where that can fail.
            Kind::Gif(encoder) => {
                let flushed =
                    |out: BufWriter<File>| out.into_inner().map_err(|error| error.into_error().into()).map(drop);
                encoder.into_inner().map_err(said_once).and_then(flushed)
            }
            Kind::Video { recorder, .. } => recorder.finish(),
        };
        finished.with_context(|| unwritten(&self.name)).kind(Error::Output)
    }

    fn write_waiting(&mut self, until: f64) -> Result<()> {
        let Some((picture, since)) = self.waiting.take() else { return Ok(()) };
        self.now += (until - since).clamp(0.0, LONGEST);
        let units = match &self.file {
            Kind::Gif(_) => 100.0,
            Kind::Video { rate, .. } => *rate,
        };
        let upto = (self.now * units).round() as usize;
        let written = match (&mut self.file, picture) {
            (Kind::Gif(encoder), Picture::Gif(mut frame)) => {
                // Below two hundredths browsers show a picture for ten.
                let delay = upto.saturating_sub(self.written).max(2);
                self.written += delay;
                frame.delay = delay as u16;
                encoder.write_lzw_pre_encoded_frame(&frame).map_err(said_once)
            }
            (Kind::Video { recorder, .. }, Picture::Video(picture)) => {
                let times = upto.saturating_sub(self.written).max(1);
                self.written += times;
                recorder.add(&picture, times)
            }
            _ => Ok(()),
        };
        written.with_context(|| unwritten(&self.name)).kind(Error::Output)
    }
}

fn unwritten(name: &str) -> String {
    format!("cannot write `{name}`: is there space on the disk?")
}

/// The system's own message, which the encoder repeats as its own.
fn said_once(error: gif::EncodingError) -> anyhow::Error {
    match error {
        gif::EncodingError::Io(error) => error.into(),
        other => other.into(),
    }
}
