//! What is asked besides the score of a text: one place of a segmentation or a detector, another photo, the other side. And how the answer is drawn.

use super::headings::{ADVANCED, WHAT};
use super::output::usage;
use super::values::{AskArg, SideArg, UpsampleArg};
use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use decomcam::model::Reading;
use decomcam::photo::{Rect, Upsampling};
use decomcam::score::{Region, boxes::OVERLAP};
use decomcam::{Options, Photo, Place, Prompt, Question, Session, Size};
use std::path::{Path, PathBuf};

/// Which question is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = WHAT)]
pub struct PlaceArgs {
    /// Explain what speaks for the score, or what speaks against it [default: for]
    #[arg(long, hide_short_help = true, value_enum, value_name = "SIDE", display_order = 4)]
    pub side: Option<SideArg>,
    /// How like this photo is it? Explains the cosine of the two embeddings, in both photos
    ///
    /// Of a classifier the embedding is an output that is called so, or else the features by which its last matrix tells classes apart. --output names another one.
    #[arg(long, value_name = "PHOTO", display_order = 5, conflicts_with_all = ["text", "versus", "at", "within", "box"])]
    pub like: Option<PathBuf>,
    /// Of a segmentation: the class's number at this pixel of the photo
    #[arg(long, value_name = "ROW,COLUMN", display_order = 6, value_parser = pixel, conflicts_with_all = ["within", "box"])]
    pub at: Option<[usize; 2]>,
    /// Of a segmentation: the mean over a region: a picture of the photo's size, bright inside, or top,left,height,width in pixels
    #[arg(long, hide_short_help = true, value_name = "MASK|T,L,H,W", display_order = 7, conflicts_with = "box")]
    pub within: Option<String>,
    /// Of a detector: the n-th best box of the class, after suppression of those that overlap [default: 1]
    #[arg(long = "box", id = "box", value_name = "N", display_order = 8, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub number: Option<usize>,
    /// Of a detector: which number of the box is explained [default: class]
    #[arg(long, hide_short_help = true, value_enum, value_name = "NUMBER", display_order = 9)]
    pub ask: Option<AskArg>,
    /// Of a detector: boxes that overlap by more, as intersection over union, are one object's [default: 0.5]
    #[arg(long, value_name = "SHARE", display_order = 10, hide_short_help = true)]
    pub overlap: Option<f64>,
    /// How the finished map is upsampled to the photo [default: bicubic]
    #[arg(long, value_enum, value_name = "HOW", help_heading = ADVANCED, hide_short_help = true)]
    pub upsample: Option<UpsampleArg>,
}

/// ROW,COLUMN.
fn pixel(text: &str) -> std::result::Result<[usize; 2], String> {
    numbers(text).ok_or_else(|| "expected the row and the column of a pixel, such as 120,80".into())
}

fn numbers<const N: usize>(text: &str) -> Option<[usize; N]> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers?.try_into().ok()
}

impl PlaceArgs {
    /// What of it may be files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.like.as_deref().into_iter().chain(self.within.as_deref().map(Path::new))
    }

    /// The place that is asked about, if one is. A detector is asked about its best box.
    pub fn place(&self, session: &Session) -> Result<Option<Place>> {
        if let Some([row, column]) = self.at {
            return self.of_pixels(Place::Pixel { row, column });
        }
        if let Some(within) = &self.within {
            let region = match numbers(within) {
                Some([top, left, height, width]) => Region::Rect(Rect { top, left, size: Size::new(height, width) }),
                None if Path::new(within).exists() => Region::mask(&Photo::open_mask(within)?),
                None => {
                    return Err(usage(
                        ErrorKind::InvalidValue,
                        &format!(
                            "--within: expected the file of a mask, or top,left,height,width in pixels such as 20,40,100,80; found \"{within}\""
                        ),
                    ));
                }
            };
            return self.of_pixels(Place::Within(region));
        }
        let places = session.model().manifest.image.places.as_ref();
        let is_detector = places.is_some_and(|places| matches!(places.reading, Reading::Boxes { .. }));
        if self.number.is_none() && self.ask.is_none() && self.overlap.is_none() && !is_detector {
            return Ok(None);
        }
        let ask = self.ask.map(|ask| ask.0).unwrap_or_default();
        Ok(Some(Place::Box { number: self.number.unwrap_or(1), ask, overlap: self.overlap.unwrap_or(OVERLAP) }))
    }

    fn of_pixels(&self, place: Place) -> Result<Option<Place>> {
        for (name, given) in [("--ask", self.ask.is_some()), ("--overlap", self.overlap.is_some())] {
            if given {
                let message = format!("{name} has no effect with --at or --within: it is of boxes; leave it out");
                return Err(usage(ErrorKind::ArgumentConflict, &message));
            }
        }
        Ok(Some(place))
    }

    /// The question, encoded. `text` is asked for if the question needs one that was not given.
    pub fn prompt(
        &self,
        session: &Session,
        photo: &Photo,
        options: &Options,
        (text, versus, score): (Option<&str>, Option<&str>, Option<&str>),
        needed: impl FnOnce() -> Result<String>,
    ) -> Result<Prompt> {
        let place = self.place(session)?;
        let prompt = match place {
            // A score that was named is asked as it is.
            Some(place) if score.is_none() => {
                session.prompt_at(photo, Question { text: text.unwrap_or_default(), versus, score }, &place, options)?
            }
            _ => {
                let found;
                let text = match text {
                    Some(text) => text,
                    None => {
                        found = needed()?;
                        &found
                    }
                };
                session.prompt(Question { text, versus, score })?
            }
        };
        Ok(prompt.side(self.side()))
    }

    /// How the finished map is upsampled.
    pub fn upsampling(&self) -> Upsampling {
        self.upsample.map(|upsample| upsample.0).unwrap_or_default()
    }

    /// Which side is asked for.
    pub fn side(&self) -> decomcam::Side {
        self.side.map(|side| side.0).unwrap_or_default()
    }
}
