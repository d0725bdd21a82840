//! The self-test: features of a photo, or noise, and the bits of their explanation.

use super::ending::{Ending, Numbers};
use super::text::{self, Source};
use super::{Sizes, Wanted};
use crate::error::Sorted as _;
use crate::methods::{Method, Recipe};
use crate::model::ChannelOrder;
use crate::tflite::{File, Integers, Program};
use crate::{Error, Options, Photo, Result, Session};
use anyhow::{Context as _, ensure};
use decomcam_core::capsule::{Buffers, Elements, Recording, Settings};
use decomcam_core::head::{self, Explanation, LinearHead, Question};
use decomcam_core::resample::Tap;
use decomcam_core::{Layout, Maps, Quantisation, SignRule, Weighing};
use minijinja::{Value, context};
use std::path::Path;

/// Features, in the layer's own numbers.
#[derive(Debug, Clone)]
enum Features {
    Floats(Vec<f32>),
    Bytes(Vec<i8>),
}

/// What a board computes again.
#[derive(Debug)]
pub struct Recorded {
    /// What it is of, in words.
    pub what: String,
    /// How it compares with the desktop's own explanation, in words.
    pub same: String,
    /// The class that is explained.
    pub class: usize,
    /// The same as a capsule.
    pub capsule: Vec<u8>,
    features: Features,
    picture: Option<Vec<i8>>,
    score: f32,
    measured: Vec<f32>,
    saliency: Vec<f32>,
    ossms: Vec<f32>,
}

/// A class's explanation on the desktop.
struct Seen {
    class: usize,
    features: Features,
    picture: Option<Vec<i8>>,
    /// The map of the desktop's own explanation, then its OSSMs.
    desktop: Option<Vec<f32>>,
}

impl Recorded {
    pub(super) fn of(session: &Session, wanted: &Wanted, ending: &Ending, sizes: &Sizes) -> Result<Self> {
        let seen = match wanted.photo {
            Some(photo) => of_photo(session, photo, ending, sizes)?,
            None => of_noise(session, ending).kind(Error::Board)?,
        };
        let what = match wanted.photo {
            Some(photo) => {
                let name = Path::new(&photo.name).file_name().map(|name| name.to_string_lossy().into_owned());
                format!("the photo {}", name.unwrap_or_default())
            }
            None => "noise in place of a photo".to_owned(),
        };
        Self::explained(seen, what, ending, sizes).kind(Error::Board)
    }

    fn explained(seen: Seen, what: String, ending: &Ending, sizes: &Sizes) -> anyhow::Result<Self> {
        let Seen { class, features, picture, desktop } = seen;
        let [height, width, channels] = ending.shape;
        let layout = if ending.channels_last {
            Layout::hwc(height, width, channels)
        } else {
            Layout::chw(channels, height, width)
        };
        let rows = Layout::chw(ending.bias.len(), 1, channels);
        let (activations, weights) = match (&features, &ending.numbers) {
            (Features::Bytes(features), Numbers::Bytes { weights, scales, features: steps }) => {
                let quantisation =
                    Quantisation::PerTensor { scale: steps.scale, zero_point: i16::try_from(steps.zero_point)? };
                let per_class = Quantisation::PerChannel { scales, zero_points: &[] };
                (Maps::i8(features, layout, quantisation)?, Maps::i8(weights, rows, per_class)?)
            }
            (Features::Floats(features), Numbers::Floats { weights }) => {
                (Maps::f32(features, layout)?, Maps::f32(weights, rows)?)
            }
            _ => anyhow::bail!("features and weights of two kinds"),
        };
        let head = LinearHead::new(weights, Some(&ending.bias))?;
        let question = Question { class, versus: None, components: sizes.parts, sign: SignRule::Score };
        let (mut top, mut workspace) = (vec![0; sizes.top], vec![0.0; sizes.workspace]);
        let why = head::explain(&head, &activations, &question, &mut top, &mut workspace)
            .context("the features cannot be explained")?;
        let same = match &desktop {
            None => "Give --photo to record a photo of your own.".to_owned(),
            Some(desktop) => compared(desktop, &[why.saliency, why.ossms.maps()].concat()),
        };
        let capsule = recorded(&features, ending, &head, class, sizes)?;
        let Explanation { score, measured, saliency, ossms, .. } = why;
        Ok(Self {
            what,
            same,
            class,
            capsule,
            score,
            measured: measured.to_vec(),
            saliency: saliency.to_vec(),
            ossms: ossms.maps().to_vec(),
            features,
            picture,
        })
    }

    pub(super) fn values(&self) -> Value {
        let features = match &self.features {
            Features::Bytes(bytes) => Source::of_bytes(bytes),
            Features::Floats(floats) => Source::of_floats(floats),
        };
        context! {
            features, score => format!("0x{:08x}", self.score.to_bits()), measured => text::bits(&self.measured),
            saliency => text::bits(&self.saliency), ossms => text::bits(&self.ossms),
            picture => self.picture.as_ref().map_or_else(String::new, |picture| text::lines_of(picture)),
        }
    }

    pub(super) fn features_bytes(&self) -> usize {
        match &self.features {
            Features::Bytes(bytes) => bytes.len(),
            Features::Floats(floats) => 4 * floats.len(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.features_bytes() + 4 * (1 + self.measured.len() + self.saliency.len() + self.ossms.len())
    }
}

/// How the board's saliency and OSSMs compare with those of `decomcam explain`.
fn compared(desktop: &[f32], board: &[f32]) -> String {
    let differing = desktop.iter().zip(board).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    if differing == 0 {
        return format!(
            "The board's saliency and parts have the bits of `decomcam explain`, all {} numbers.",
            board.len()
        );
    }
    let largest = board.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let off = desktop.iter().zip(board).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    format!(
        "The board's saliency and parts differ from those of `decomcam explain` by {:.1e} of the largest number at most: there the gradient at the layer is that of the whole network.",
        if largest > 0.0 { off / largest } else { off }
    )
}

/// What the network makes of a photo, and the desktop's own explanation.
fn of_photo(session: &Session, photo: &Photo, ending: &Ending, sizes: &Sizes) -> Result<Seen> {
    let options = Options::new()
        .method(Method::DecomCam(Recipe::Aligned))
        .scales(1)
        .affinity(false)
        .layer(&ending.layer)
        .channels(sizes.top)
        .components(sizes.parts)
        .unchecked();
    let class = session.predicted_class(photo, &options, None)?;
    let prompt = session.prompt(class.to_string().as_str())?;
    let explanation = session.explain(photo, &prompt, &options)?;
    let parts = explanation.parts.as_ref().context("an explanation without parts").kind(Error::Board)?;
    let maps = &parts.layer.seen.activations.values;
    let [height, width, channels] = ending.shape;
    let area = height * width;
    let in_order = |at: usize| match ending.channels_last {
        true => maps[at % channels * area + at / channels],
        false => maps[at],
    };
    let numbers = (0..maps.len()).map(in_order);
    let features = match &ending.numbers {
        Numbers::Floats { .. } => Features::Floats(numbers.collect()),
        Numbers::Bytes { features, .. } => {
            Features::Bytes(numbers.map(|number| features.step_of(number).clamp(-128, 127) as i8).collect())
        }
    };
    let (features, picture) = match (session.model().flashed(), session.model().integers(), features) {
        (Some(bytes), Some(integers), Features::Bytes(features)) => {
            let (features, picture) =
                picture_of(session, photo, (bytes, integers), ending, features).kind(Error::Board)?;
            (Features::Bytes(features), Some(picture))
        }
        (_, _, features) => (features, None),
    };
    let ossms = parts.list.iter().map(|part| &part.component.ossm[..]);
    let desktop = [&explanation.map.values[..]].into_iter().chain(ossms).collect::<Vec<_>>().concat();
    Ok(Seen { class, features, picture, desktop: Some(desktop) })
}

/// The integers of the picture, and the features that they give: those that the explanation saw. A grey level that lies between two integers may be rounded otherwise
/// than in the graph, whose sums are another program's; then the features are those of the picture that is written.
fn picture_of(
    session: &Session,
    photo: &Photo,
    (bytes, integers): (&[u8], &Integers),
    ending: &Ending,
    features: Vec<i8>,
) -> anyhow::Result<(Vec<i8>, Vec<i8>)> {
    let image = &session.model().manifest.image;
    let view = session.view();
    let planes = view.planes(photo, view.framing(photo.size()), view.size(), session.threads());
    let colours = view.normalised(&planes);
    let area = view.size().area();
    let [_, _, channels] = integers.shape();
    if channels == 3 {
        let plane = |number: usize| if image.channels == ChannelOrder::Bgr { 2 - number } else { number };
        let picture: Vec<f32> =
            (0..3).flat_map(|number| colours[plane(number) * area..][..area].iter().copied()).collect();
        let picture = integers.picture(&picture)?;
        ensure!(
            run(bytes, &picture, ending)? == features,
            "the picture does not give the features that were explained"
        );
        return Ok((features, picture));
    }
    let (red, rest) = colours.split_at(area);
    let (green, blue) = rest.split_at(area);
    let fused = |[r, g, b]: [f32; 3]| 0.114f32.mul_add(b, 0.587f32.mul_add(g, 0.299 * r));
    let plain = |[r, g, b]: [f32; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
    let whole = |value: f32| ((value * image.std[0] + image.mean[0]).round_ties_even() - image.mean[0]) / image.std[0];
    let sums: [&dyn Fn([f32; 3]) -> f32; 2] = [&fused, &plain];
    let mut found = (Vec::new(), Vec::new());
    for sum in sums {
        let grey = (0..area).map(|at| whole(sum([red[at], green[at], blue[at]])));
        let picture = integers.picture(&grey.collect::<Vec<f32>>())?;
        found = (run(bytes, &picture, ending)?, picture);
        if found.0 == features {
            break;
        }
    }
    Ok(found)
}

/// The layer's tensor for a picture in integers.
fn run(bytes: &[u8], picture: &[i8], ending: &Ending) -> anyhow::Result<Vec<i8>> {
    let file = File::read(bytes)?;
    let program = Program::of(&file)?;
    let mut found = Vec::new();
    program.run(picture, |tensor, numbers| {
        if Some(tensor) == ending.tensor {
            found = numbers.to_vec();
        }
    })?;
    Ok(found)
}

/// Noise: of a network of integers what it makes of it.
fn of_noise(session: &Session, ending: &Ending) -> anyhow::Result<Seen> {
    let mut state = 1u64;
    // The upper byte of a linear congruence (Knuth's MMIX).
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as i8
    };
    let count: usize = ending.shape.iter().product();
    let (features, picture) = match (session.model().flashed(), session.model().integers()) {
        (Some(bytes), Some(integers)) => {
            let numbers: usize = integers.shape().iter().product();
            let picture: Vec<i8> = (0..numbers).map(|_| next()).collect();
            (Features::Bytes(run(bytes, &picture, ending)?), Some(picture))
        }
        _ => (Features::Floats((0..count).map(|_| f32::from(next().unsigned_abs()) / 128.0).collect()), None),
    };
    Ok(Seen { class: 0, features, picture, desktop: None })
}

/// The capsule of the explanation.
fn recorded(
    features: &Features,
    ending: &Ending,
    head: &LinearHead,
    class: usize,
    sizes: &Sizes,
) -> anyhow::Result<Vec<u8>> {
    let [height, width, channels] = ending.shape;
    let mut weights = vec![0.0; channels];
    head.channel_weights(class, None, height * width, &mut weights)?;
    let side = crate::board::capsule::OUT_SIDE;
    let settings = Settings {
        channels: sizes.top,
        components: sizes.parts,
        weighing: Weighing::Aligned,
        sign: SignRule::Score,
        out_height: side,
        out_width: side,
    };
    let unsigned: Vec<u8>;
    let elements = match (features, &ending.numbers) {
        (Features::Bytes(bytes), Numbers::Bytes { features: steps, .. }) => {
            unsigned = bytes.iter().map(|byte| (*byte as u8) ^ 0x80).collect();
            Elements::Bytes { bytes: &unsigned, scale: steps.scale, zero_point: u8::try_from(steps.zero_point + 128)? }
        }
        (Features::Floats(floats), _) => Elements::Floats(floats),
        _ => anyhow::bail!("features and weights of two kinds"),
    };
    let scores = vec![0.0; sizes.parts + 1];
    let recording = Recording {
        shape: [channels, height, width],
        channels_last: ending.channels_last,
        elements,
        weights: &weights,
        scores: &scores,
        settings,
    };
    let mut workspace = vec![0.0; decomcam_core::capsule::workspace_len(height, width, &settings)];
    let mut taps = vec![Tap::default(); side];
    let mut capsule = Vec::new();
    let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
    recording
        .write::<{ crate::explain::CHANNELS_MAX }>(buffers, |part| capsule.extend_from_slice(part))
        .context("the capsule")?;
    Ok(capsule)
}
