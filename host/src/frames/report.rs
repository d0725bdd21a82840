//! What is said of a sequence: `frames.json`, whose schema is `host/schemas/frames.schema.json`, `curve.png`, and a sentence.

use super::tracks::{Followed, LEAST, PATIENCE};
use super::{Clip, Frame, FramesOptions};
use crate::Session;
use crate::draw::{self, Curve, Line, Region};
use crate::explain::{Explanation, Name};
use crate::program::{PROGRAM, SCHEMA_VERSION};
use crate::report::{Answer, CheckReport, Told, digits, percent};
use crate::score::{Class, Prompt, Scores, Side, Verdict, Words};
use image::RgbImage;
use serde::Serialize;
use std::collections::BTreeMap;

/// What `frames.json` holds.
#[derive(Debug, Serialize)]
pub struct FramesReport {
    schema_version: u32,
    program: &'static str,
    method: &'static str,
    model: ModelReport,
    clip: ClipReport,
    text: String,
    versus: Option<String>,
    side: Side,
    /// What was found, in words.
    sentence: String,
    tracking: Tracking,
    tracks: Vec<TrackReport>,
    frames: Vec<FrameReport>,
    warnings: Vec<String>,
    /// The files that were written with this one; empty if none were.
    files: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ModelReport {
    name: String,
    sha256: String,
    /// None for methods that look at no layer.
    layer: Option<String>,
    layer_channels: Option<usize>,
    input_height: usize,
    input_width: usize,
}

#[derive(Debug, Serialize)]
struct ClipReport {
    path: String,
    /// None of a video.
    sha256: Option<String>,
    /// In the file.
    frames: usize,
    seconds: f64,
    explained: usize,
}

/// How parts were followed.
#[derive(Debug, Serialize)]
struct Tracking {
    least_cosine: f32,
    patience: usize,
}

#[derive(Debug, Serialize)]
struct TrackReport {
    track: usize,
    /// The colour that it has in pictures, as `#56b4e9`; none if it is drawn in none.
    colour: Option<String>,
    #[serde(skip)]
    place: Option<usize>,
    /// Frames in which it was found.
    frames: usize,
    first: f64,
    last: f64,
    /// Its mean contribution over all frames, zero where it was not found.
    mean_contribution: f32,
    /// Its part of what speaks for the text in all frames together; none if nothing does.
    share: Option<f32>,
}

/// What is said of one frame.
#[derive(Debug, Serialize)]
pub(super) struct FrameReport {
    pub(super) time: f64,
    sentence: String,
    scores: Scores,
    support: Option<SupportReport>,
    class: Option<ClassReport>,
    /// Where the map is high.
    regions: Vec<Region>,
    /// The score that contributions are differences to; none without parts.
    baseline: Option<f32>,
    parts: Vec<PartReport>,
    check: Option<CheckReport>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SupportReport {
    supported: Option<bool>,
    verdict: Verdict,
    share: f32,
    /// What the model says of what was asked for, called "it".
    #[serde(skip)]
    found: String,
    #[serde(skip)]
    words: Words,
}

/// The class that is explained, of a classifier.
#[derive(Debug, Serialize)]
struct ClassReport {
    rank: usize,
    of: usize,
    #[serde(flatten)]
    explained: Class,
}

#[derive(Debug, Serialize)]
struct PartReport {
    track: usize,
    /// In this frame, by falling singular value.
    number: usize,
    /// The cosine to the track's last direction; none where the track begins.
    cosine: Option<f32>,
    contribution: f32,
    share: Option<f32>,
    weight: f32,
    place: &'static str,
    regions: Vec<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Name>,
}

/// The layer and the input, which are those of every frame.
pub(super) struct Layer {
    name: Option<String>,
    channels: Option<usize>,
    input: crate::Size,
}

impl Layer {
    pub(super) fn new(explanation: &Explanation) -> Self {
        let layer = explanation.layer.as_ref();
        Self {
            name: layer.map(|layer| layer.name.clone()),
            channels: layer.map(|layer| layer.channels),
            input: explanation.input_size,
        }
    }
}

impl FrameReport {
    pub(super) fn new<'t>(
        answer: &Answer<'_>,
        frame: &Frame,
        parts: impl Iterator<Item = (&'t Told<'t>, Followed)>,
    ) -> crate::Result<Self> {
        let e = answer.explanation;
        let parts = parts.map(|(told, followed)| {
            Ok(PartReport {
                track: followed.track,
                number: told.number,
                cosine: followed.cosine,
                contribution: told.part.contribution,
                share: told.share,
                weight: told.part.weight,
                place: told.place,
                regions: answer.part_regions(told.part)?,
                name: told.part.name.clone(),
            })
        });
        let [regions, _] = answer.regions()?;
        Ok(Self {
            time: frame.time,
            sentence: answer.found(),
            scores: e.scores.clone(),
            support: e.support.as_ref().map(|support| SupportReport {
                supported: support.supported,
                verdict: support.verdict,
                share: support.share,
                found: support.found("it"),
                words: support.words,
            }),
            class: e.standing.as_ref().map(|standing| ClassReport {
                rank: standing.rank,
                of: standing.of,
                explained: standing.explained.clone(),
            }),
            regions,
            baseline: e.parts.as_ref().map(|parts| parts.baseline),
            parts: parts.collect::<crate::Result<_>>()?,
            check: e.check.as_ref().map(CheckReport::new),
            warnings: e.warnings.clone(),
        })
    }

    /// The time, the score, and what the model makes of it.
    pub(super) fn line(&self) -> String {
        let reported = &self.scores.reported;
        let found = match (&self.support, &self.class) {
            _ if reported.versus.is_some() => String::new(),
            (Some(support), _) => format!("   the model {}", support.found),
            (None, Some(class)) => {
                let likely =
                    class.explained.probability.map_or_else(String::new, |p| format!(", {}", percent(p as f32)));
                format!("   number {} of {} classes{likely}", class.rank, class.of)
            }
            (None, None) => String::new(),
        };
        format!("{:.2} s   {} {}{found}", self.time, reported.name, digits(reported.value))
    }
}

impl FramesReport {
    pub(super) fn new(
        session: &Session,
        clip: &Clip,
        asked: &FramesOptions,
        prompt: &Prompt,
        (frames, layer, colours): (Vec<FrameReport>, Option<Layer>, &[Option<usize>]),
        (warnings, files): (Vec<String>, Vec<String>),
    ) -> Self {
        let tracks = tracks(&frames, colours, prompt.versus().is_some());
        let model = session.model();
        let input = layer.as_ref().map_or(session.view().size(), |layer| layer.input);
        Self {
            schema_version: SCHEMA_VERSION,
            program: PROGRAM,
            method: asked.options.method.name(),
            model: ModelReport {
                name: model.manifest.name.clone(),
                sha256: model.sha256(),
                layer: layer.as_ref().and_then(|layer| layer.name.clone()),
                layer_channels: layer.as_ref().and_then(|layer| layer.channels),
                input_height: input.height,
                input_width: input.width,
            },
            clip: ClipReport {
                path: clip.name().into(),
                sha256: clip.sha256().map(Into::into),
                frames: clip.count(),
                seconds: clip.seconds(),
                explained: frames.len(),
            },
            text: prompt.text().into(),
            versus: prompt.versus().map(Into::into),
            side: prompt.asked_side(),
            sentence: sentence(&frames, &tracks, prompt),
            tracking: Tracking { least_cosine: LEAST, patience: PATIENCE },
            tracks,
            frames,
            warnings,
            files,
        }
    }

    /// What was found over the sequence.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// What a reader should know before trusting the explanations.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Of the frames: how many were checked, and how many maps passed.
    pub fn checked(&self) -> (usize, usize) {
        let checks = || self.frames.iter().filter_map(|frame| frame.check.as_ref());
        (checks().count(), checks().filter(|check| check.passed()).count())
    }

    /// `curve.png`: the score and the contribution of the tracks that contribute most, over time.
    pub(super) fn curve(&self) -> RgbImage {
        let mut largest: Vec<&TrackReport> = self.tracks.iter().collect();
        let size =
            |track: usize| -> f32 { self.parts_of(track).filter_map(|(_, part)| Some(part?.contribution.abs())).sum() };
        largest.sort_by(|a, b| size(b.track).total_cmp(&size(a.track)));
        largest.truncate(draw::TRACKS.len());
        let unused = |at: usize| {
            (0..draw::TRACKS.len()).filter(|place| !largest.iter().any(|track| track.place == Some(*place))).nth(at)
        };
        let lines = largest.iter().enumerate().map(|(at, track)| Line {
            name: format!("#{}", track.track),
            words: format!(
                "{}, {} of {} frames",
                track.share.map_or_else(|| digits(track.mean_contribution), percent),
                track.frames,
                self.frames.len()
            ),
            colour: track.place.or_else(|| unused(at)).unwrap_or(at),
            points: self.parts_of(track.track).map(|(time, part)| (time, part.map(|part| part.contribution))).collect(),
        });
        let lines: Vec<Line> = lines.collect();
        let (reported, explained) = self
            .frames
            .first()
            .map_or(("score", "score"), |frame| (&*frame.scores.reported.name, &*frame.scores.explained.name));
        let title = match &self.versus {
            Some(versus) => format!("\"{}\" and not \"{versus}\"", self.text),
            None => format!("\"{}\"", self.text),
        };
        let mut notes = Vec::new();
        if !lines.is_empty() {
            notes.push(format!(
                "A track is a part, followed from frame to frame by its channels. Contribution: how much the {explained} rises when its part alone is kept. The percentage beside \
                 a track says how much of all that speaks for {} comes from it. Of {} tracks the {} that contribute most are drawn.",
                if self.versus.is_some() { "either text" } else { "the text" },
                self.tracks.len(),
                lines.len()
            ));
        }
        draw::curve(&Curve {
            title: &title,
            subtitle: vec![self.sentence.clone()],
            seconds: self.clip.seconds,
            score: (
                self.frames.iter().map(|frame| (frame.time, frame.scores.reported.value)).collect(),
                match &self.versus {
                    Some(versus) => format!("Score: {reported}, less that of \"{versus}\""),
                    None => format!("Score: {reported}"),
                },
            ),
            lines: (lines, format!("Contribution to the {explained}")),
            notes,
        })
    }

    /// The part of a track in each frame, if it was found there.
    fn parts_of(&self, track: usize) -> impl Iterator<Item = (f64, Option<&PartReport>)> {
        self.frames.iter().map(move |frame| (frame.time, frame.parts.iter().find(|part| part.track == track)))
    }
}

/// What is said of each track over all frames. Of a difference of two texts the evidence is what speaks for either.
fn tracks(frames: &[FrameReport], colours: &[Option<usize>], signed: bool) -> Vec<TrackReport> {
    let counted = |contribution: f32| if signed { contribution.abs() } else { contribution.max(0.0) };
    let mut found: BTreeMap<usize, (TrackReport, f64, f64)> = BTreeMap::new();
    let mut evidence = 0.0;
    for frame in frames {
        for part in &frame.parts {
            let (track, sum, speaks) = found.entry(part.track).or_insert_with(|| {
                let place = colours.get(part.track - 1).copied().flatten();
                let colour = place.map(|place| {
                    draw::TRACKS[place].iter().fold("#".to_owned(), |text, part| text + &format!("{part:02x}"))
                });
                let (first, last) = (frame.time, frame.time);
                (
                    TrackReport {
                        track: part.track,
                        colour,
                        place,
                        frames: 0,
                        first,
                        last,
                        mean_contribution: 0.0,
                        share: None,
                    },
                    0.0,
                    0.0,
                )
            });
            track.frames += 1;
            track.last = frame.time;
            *sum += f64::from(part.contribution);
            *speaks += f64::from(counted(part.contribution));
            evidence += f64::from(counted(part.contribution));
        }
    }
    let told = found.into_values().map(|(track, sum, speaks)| TrackReport {
        mean_contribution: (sum / frames.len().max(1) as f64) as f32,
        share: (evidence > 0.0).then(|| (speaks / evidence) as f32),
        ..track
    });
    told.collect()
}

/// What the model says of the frames, and which track carries most.
fn sentence(frames: &[FrameReport], tracks: &[TrackReport], prompt: &Prompt) -> String {
    let (count, headline) = (frames.len(), prompt.headline());
    let with = |holds: &dyn Fn(&FrameReport) -> bool| frames.iter().filter(|frame| holds(frame)).count();
    let verdict =
        |wanted: Verdict| with(&|frame| frame.support.as_ref().is_some_and(|support| support.verdict == wanted));
    let supported = frames.iter().any(|frame| frame.support.is_some());
    let without_class =
        frames.iter().filter_map(|frame| frame.support.as_ref()).any(|support| support.words == Words::NoClass);
    let classes = frames.first().and_then(|frame| frame.class.as_ref());
    let found = match (prompt.versus(), prompt.asked_side(), classes) {
        (Some(versus), ..) => {
            let more = with(&|frame| frame.scores.explained.value > 0.0);
            format!("The model finds more of \"{}\" than of \"{versus}\" in {more} of {count} frames.", prompt.text())
        }
        (None, Side::For, Some(class)) => {
            let first = with(&|frame| frame.class.as_ref().is_some_and(|class| class.rank == 1));
            format!(
                "The model sees {} (first of {} classes) in {first} of {count} frames.",
                class.explained.name, class.of
            )
        }
        (None, Side::For, None) if verdict(Verdict::UnknownWords) > 0 => {
            format!("The model knows no word of {headline}: the maps of {count} frames are not about it.")
        }
        (None, Side::For, None) if without_class => {
            let seen = verdict(Verdict::Seen);
            format!("The model has no class for {headline}, and sees what it reads it as in {seen} of {count} frames.")
        }
        (None, Side::For, None) if supported => {
            let also = |wanted: Verdict, how: &str| match verdict(wanted) {
                0 => String::new(),
                frames => format!(", {how} in {frames}"),
            };
            let less = also(Verdict::Mixed, "only some of it") + &also(Verdict::Doubtful, "hardly");
            format!("The model sees {headline} in {} of {count} frames{less}.", verdict(Verdict::Seen))
        }
        _ => scored(frames, &headline),
    };
    let carries = tracks.iter().max_by(|a, b| a.share.unwrap_or(0.0).total_cmp(&b.share.unwrap_or(0.0)));
    let carries = carries.and_then(|track| {
        let share = track.share.filter(|share| *share > 0.0)?;
        let frames = if track.frames == count { "all frames".to_owned() } else { format!("{} frames", track.frames) };
        let what = if prompt.versus().is_some() { "speaks for either" } else { "speaks for it" };
        Some(format!(" Track #{}, found in {frames}, carries {} of what {what}.", track.track, percent(share)))
    });
    found + &carries.unwrap_or_default()
}

/// The range of the score, of a model that does not say what it sees.
fn scored(frames: &[FrameReport], headline: &str) -> String {
    let by_score = |a: &&FrameReport, b: &&FrameReport| a.scores.reported.value.total_cmp(&b.scores.reported.value);
    let (Some(least), Some(most)) = (frames.iter().min_by(by_score), frames.iter().max_by(by_score)) else {
        return String::new();
    };
    format!(
        "The model scores {} frames for {headline} from {} to {} ({}), most at {:.2} s.",
        frames.len(),
        digits(least.scores.reported.value),
        digits(most.scores.reported.value),
        most.scores.reported.name,
        most.time
    )
}
