//! A recorded explanation that any machine can compute again and compare, bit by bit.
//!
//! A capsule holds the inputs of the core (activations, channel weights, scores of masked photos, weighing) and the bits of every [`Stage`] that the
//! recording machine computed from them. [`compute`] is the one path from inputs to stages: the recorder keeps what it emits, [`Capsule::replay`] compares it.
//!
//! # Format, version 1
//! All numbers are little-endian words of four bytes, except byte activations.
//!
//! | what | words |
//! |---|---|
//! | `DECOMCAM` | 2 |
//! | version | 1 |
//! | header: channels, height, width, element (0 `f32`, 1 `u8`), order (0 C x H x W, 1 H x W x C), scale (`f32`), zero point, P, Q, weighing (0 to 3 `Paper`, `Notebook`, `V1`, `V25`; 4 `Aligned`; 5 `Exact`), sign (0 `Score`, 1 `LargestLoading`, 2 `LargestEntry`), output height, output width | 13 |
//! | activations, padded with zeros to a whole word | C H W elements |
//! | channel weights | C |
//! | scores: of the blurred photo, then of each masked one; zeros for the closed form | 1 + Q |
//! | the stages in the order of [`Stage::ALL`], each its length and its words | 1 + length each |
//! | FNV-1a (32 bits) of all bytes before | 1 |
//!
//! Signed bytes are recorded as unsigned ones, byte and zero point raised by 128: the same values.

use crate::activations::{Layout, Maps, Quantisation};
use crate::integrate::{ScoreFormula, Weighing};
use crate::mask::Range;
use crate::resample::{self, Bicubic, Tap};
use crate::{Error, SignRule, channels, decompose, head, integrate, maths};

/// The version that this build writes and reads.
pub const VERSION: u32 = 1;

/// Largest height or width of the upsampled saliency in a capsule: bounds the buffers that a damaged one can ask for.
pub const OUT_MAX: usize = 4096;

const MAGIC: [u8; 8] = *b"DECOMCAM";
const HEADER_WORDS: usize = 13;

/// A word of the file.
type Word = [u8; 4];

/// What is computed, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stage {
    /// Indices of the P selected channels.
    TopChannels,
    /// The centred first-order map of the selected channels.
    FirstOrder,
    /// The singular values.
    SingularValues,
    /// Signed components, Q x H x W.
    Components,
    /// The contributions that the gradient predicts, Q.
    Predicted,
    /// OSSMs, Q x H x W.
    Ossms,
    /// The contributions measured on a linear head, Q.
    Contributions,
    /// Weights as asked for, Q.
    Weights,
    /// Saliency at the layer's size, not scaled.
    Saliency,
    /// Hash (FNV-1a, 32 bits) of the clamped and scaled saliency at the output's size, row by row.
    Upsampled,
}

impl Stage {
    /// Every stage, in the order of computation.
    pub const ALL: [Stage; 10] = [
        Stage::TopChannels,
        Stage::FirstOrder,
        Stage::SingularValues,
        Stage::Components,
        Stage::Predicted,
        Stage::Ossms,
        Stage::Contributions,
        Stage::Weights,
        Stage::Saliency,
        Stage::Upsampled,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::TopChannels => "top channels",
            Stage::FirstOrder => "first-order map",
            Stage::SingularValues => "singular values",
            Stage::Components => "components",
            Stage::Predicted => "predicted contributions",
            Stage::Ossms => "OSSMs",
            Stage::Contributions => "contributions on the features",
            Stage::Weights => "weights",
            Stage::Saliency => "saliency",
            Stage::Upsampled => "upsampled saliency",
        }
    }
}

/// The numbers of a stage.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Floats, compared by their bits.
    Floats(&'a [f32]),
    /// Channel indices.
    Channels(&'a [channels::Channel]),
    /// A hash.
    Hash(u32),
}

impl Numbers<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Numbers::Floats(values) => values.len(),
            Numbers::Channels(values) => values.len(),
            Numbers::Hash(_) => 1,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number at `index` as a word.
    pub fn word(&self, index: usize) -> Option<u32> {
        match self {
            Numbers::Floats(values) => values.get(index).map(|value| value.to_bits()),
            Numbers::Channels(values) => values.get(index).map(|value| (*value).into()),
            Numbers::Hash(hash) => (index == 0).then_some(*hash),
        }
    }
}

/// How an explanation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// P.
    pub channels: usize,
    /// Q.
    pub components: usize,
    /// How the weights come about.
    pub weighing: Weighing,
    /// Which side of a component is kept.
    pub sign: SignRule,
    /// Height of the upsampled saliency.
    pub out_height: usize,
    /// Width of the upsampled saliency.
    pub out_width: usize,
}

/// Buffers of [`compute`], owned by the caller.
#[derive(Debug)]
pub struct Buffers<'w> {
    /// At least [`workspace_len`] long.
    pub workspace: &'w mut [f32],
    /// At least the output's width.
    pub taps: &'w mut [Tap],
}

/// `f32`s that [`compute`] needs for a layer of `height` x `width` positions.
pub const fn workspace_len(height: usize, width: usize, settings: &Settings) -> usize {
    let positions = height.saturating_mul(width);
    decompose::workspace_len(positions, settings.channels)
        .saturating_add(positions.saturating_mul(3))
        .saturating_add(settings.components.saturating_mul(2))
        .saturating_add(resample::scratch_len(width))
        .saturating_add(settings.out_width)
}

/// Every stage from the same inputs, each given to `emit` as soon as it is there.
///
/// # Shapes
/// `weights` C; `scores` 1 + Q, of the blurred photo first; `P` the capacity of the selection.
///
/// # Errors
/// Those of the stages; [`Error::WorkspaceTooSmall`] if a buffer is too short.
pub fn compute<const P: usize>(
    activations: &Maps,
    weights: &[f32],
    scores: &[f32],
    settings: &Settings,
    buffers: Buffers,
    mut emit: impl FnMut(Stage, Numbers),
) -> Result<(), Error> {
    let (height, width) = (activations.height(), activations.width());
    let (positions, q) = (activations.positions(), settings.components);
    let top = channels::top::<P>(weights, settings.channels)?;
    if q == 0 || q > decompose::components_max(positions, settings.channels) {
        return Err(Error::Components);
    }
    let small = Error::WorkspaceTooSmall;
    let own = decompose::workspace_len(positions, settings.channels);
    let (workspace, rest) = buffers.workspace.split_at_mut_checked(own).ok_or(small)?;
    let (map, rest) = rest.split_at_mut_checked(positions).ok_or(small)?;
    let (row, rest) = rest.split_at_mut_checked(positions).ok_or(small)?;
    let (saliency, rest) = rest.split_at_mut_checked(positions).ok_or(small)?;
    let (predicted, rest) = rest.split_at_mut_checked(q).ok_or(small)?;
    let (part_weights, rest) = rest.split_at_mut_checked(q).ok_or(small)?;
    let (scratch, rest) = rest.split_at_mut_checked(resample::scratch_len(width)).ok_or(small)?;
    let out = rest.get_mut(..settings.out_width).ok_or(small)?;
    let taps = buffers.taps.get_mut(..settings.out_width).ok_or(small)?;

    emit(Stage::TopChannels, Numbers::Channels(&top));
    let parts = decompose::decompose(activations, weights, &top, q, settings.sign, workspace)?;
    emit(Stage::FirstOrder, Numbers::Floats(parts.centred_first_order()));
    emit(Stage::SingularValues, Numbers::Floats(parts.singular_values()));
    emit(Stage::Components, Numbers::Floats(parts.maps()));
    integrate::predicted(&parts, predicted)?;
    emit(Stage::Predicted, Numbers::Floats(predicted));
    match settings.weighing {
        Weighing::Exact => {
            integrate::exact_weights(&parts, part_weights)?;
            // Only now: the components are about to lose their signs.
            let mean = head::first_order_mean(activations, weights)?;
            integrate::exact_sum(mean, parts.maps(), part_weights, saliency)?;
        }
        Weighing::Aligned => integrate::aligned_weights(&parts, part_weights)?,
        Weighing::Scores(formula) => {
            let (blurred, scores) = scores.split_first().ok_or(Error::Shape)?;
            integrate::score_weights(formula, scores, *blurred, part_weights)?;
        }
    }
    let ossms = parts.rectify();
    emit(Stage::Ossms, Numbers::Floats(ossms.maps()));
    head::centred_first_order(activations, weights, row, map)?;
    // Predicted contributions have been emitted: their place serves the measured ones.
    head::contributions(ossms.maps(), map, row, predicted)?;
    emit(Stage::Contributions, Numbers::Floats(predicted));
    emit(Stage::Weights, Numbers::Floats(part_weights));
    if settings.weighing != Weighing::Exact {
        integrate::sum(ossms.maps(), part_weights, saliency)?;
    }
    emit(Stage::Saliency, Numbers::Floats(saliency));

    let bicubic = Bicubic::new(height, width, settings.out_height, taps)?;
    let mut range = Range::EMPTY;
    let mut hash = Hash::new();
    for scaled in [false, true] {
        for y in 0..settings.out_height {
            bicubic.row(saliency, y, scratch, out)?;
            for value in out.iter_mut() {
                *value = maths::greater(*value, 0.0);
            }
            if scaled {
                range.scale(out);
                out.iter().for_each(|value| hash.write(&value.to_le_bytes()));
            } else {
                range.include(out);
            }
        }
    }
    emit(Stage::Upsampled, Numbers::Hash(hash.0));
    Ok(())
}

/// FNV-1a with 32 bits (Fowler, Noll and Vo 1991).
struct Hash(u32);

impl Hash {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

/// Where a replay first differs from the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Difference {
    /// Position among the stage's numbers; their count if the lengths differ.
    pub index: usize,
    /// The recorded bits.
    pub recorded: u32,
    /// The bits computed here.
    pub computed: u32,
}

/// A capsule in borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct Capsule<'a> {
    activations: Maps<'a>,
    settings: Settings,
    weights: &'a [Word],
    scores: &'a [Word],
    stages: &'a [Word],
}

impl<'a> Capsule<'a> {
    /// Reads a capsule, checking every length and the checksum before anything is computed.
    ///
    /// # Errors
    /// [`Error::NotACapsule`] if the bytes do not begin like one, [`Error::CapsuleVersion`] if the version is another, [`Error::CapsuleDamaged`] if the
    /// bytes are cut short, changed, or contradict each other.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (words, odd) = bytes.as_chunks::<4>();
        let mut reader = Reader(words);
        if bytes.get(..8) != Some(&MAGIC) {
            return Err(Error::NotACapsule);
        }
        reader.take(2)?;
        if reader.number()? != VERSION {
            return Err(Error::CapsuleVersion);
        }
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(Error::CapsuleDamaged)?;
        let mut hash = Hash::new();
        hash.write(content);
        if !odd.is_empty() || hash.0 != u32::from_le_bytes(*checksum) {
            return Err(Error::CapsuleDamaged);
        }
        let &[c, h, w, element, order, scale, zero_point, p, q, weighing, sign, out_h, out_w] =
            reader.take(HEADER_WORDS)?.first_chunk::<HEADER_WORDS>().ok_or(Error::CapsuleDamaged)?;
        let size = |word: Word| u32::from_le_bytes(word) as usize;
        let (channels, height, width) = (size(c), size(h), size(w));
        let layout = match size(order) {
            0 => Layout::chw(channels, height, width),
            1 => Layout::hwc(height, width, channels),
            _ => return Err(Error::CapsuleDamaged),
        };
        let damaged = Error::CapsuleDamaged;
        let values = channels.checked_mul(height).and_then(|n| n.checked_mul(width)).ok_or(damaged)?;
        let activations = match size(element) {
            0 => Maps::f32_words(reader.take(values)?, layout),
            1 => {
                let bytes = reader.take(values.div_ceil(4))?.as_flattened();
                let zero_point = i16::try_from(u32::from_le_bytes(zero_point)).map_err(|_| damaged)?;
                let quantisation = Quantisation::PerTensor { scale: f32::from_le_bytes(scale), zero_point };
                Maps::u8(bytes.get(..values).ok_or(damaged)?, layout, quantisation)
            }
            _ => Err(damaged),
        }
        .map_err(|_| damaged)?;
        let settings = Settings {
            channels: size(p),
            components: size(q),
            weighing: *WEIGHINGS.get(size(weighing)).ok_or(damaged)?,
            sign: *SIGNS.get(size(sign)).ok_or(damaged)?,
            out_height: size(out_h),
            out_width: size(out_w),
        };
        let components_max = decompose::components_max(activations.positions(), settings.channels);
        let possible = (1..=channels).contains(&settings.channels)
            && (1..=components_max).contains(&settings.components)
            && (1..=OUT_MAX).contains(&settings.out_height)
            && (1..=OUT_MAX).contains(&settings.out_width);
        if !possible {
            return Err(damaged);
        }
        let weights = reader.take(channels)?;
        let scores = reader.take(settings.components.checked_add(1).ok_or(damaged)?)?;
        let stages = reader.0;
        for _ in Stage::ALL {
            let len = reader.number()? as usize;
            reader.take(len)?;
        }
        // The checksum is the last word, and nothing follows.
        if reader.0.len() != 1 {
            return Err(damaged);
        }
        Ok(Self { activations, settings, weights, scores, stages })
    }

    /// The recorded activations.
    pub fn activations(&self) -> &Maps<'a> {
        &self.activations
    }

    /// What was asked for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The numbers of a stage as they were recorded: the bits of floats, channel indices, or the hash.
    pub fn recorded(&self, stage: Stage) -> impl Iterator<Item = u32> + use<'a> {
        let mut reader = Reader(self.stages);
        let mut words: &[Word] = &[];
        for candidate in Stage::ALL {
            // Lengths were checked when the capsule was read.
            words = reader.number().and_then(|len| reader.take(len as usize)).unwrap_or(&[]);
            if candidate == stage {
                break;
            }
        }
        words.iter().map(|word| u32::from_le_bytes(*word))
    }

    /// `f32`s of workspace that [`Capsule::replay`] needs.
    pub const fn workspace_len(&self) -> usize {
        let (height, width) = self.activations.size();
        let inputs = self.weights.len().saturating_add(self.scores.len());
        workspace_len(height, width, &self.settings).saturating_add(inputs)
    }

    /// Computes every stage again and tells `report` of each whether it is equal (None) or where it first differs.
    ///
    /// # Errors
    /// Those of [`compute`].
    pub fn replay<const P: usize>(
        &self,
        buffers: Buffers,
        mut report: impl FnMut(Stage, Option<Difference>),
    ) -> Result<(), Error> {
        let small = Error::WorkspaceTooSmall;
        let (weights, rest) = buffers.workspace.split_at_mut_checked(self.weights.len()).ok_or(small)?;
        let (scores, workspace) = rest.split_at_mut_checked(self.scores.len()).ok_or(small)?;
        let floats = weights.iter_mut().zip(self.weights).chain(scores.iter_mut().zip(self.scores));
        floats.for_each(|(place, word)| *place = f32::from_le_bytes(*word));
        let buffers = Buffers { workspace, taps: buffers.taps };
        let mut recorded = Reader(self.stages);
        compute::<P>(&self.activations, weights, scores, &self.settings, buffers, |stage, numbers| {
            let words = recorded.number().and_then(|len| recorded.take(len as usize)).unwrap_or(&[]);
            report(stage, difference(words, numbers));
        })
    }
}

fn difference(recorded: &[Word], computed: Numbers) -> Option<Difference> {
    for (index, word) in recorded.iter().enumerate() {
        let recorded = u32::from_le_bytes(*word);
        match computed.word(index) {
            Some(computed) if computed == recorded => {}
            computed => {
                return Some(Difference { index, recorded, computed: computed.unwrap_or(0) });
            }
        }
    }
    let len = recorded.len();
    (len != computed.len()).then(|| Difference { index: len, recorded: 0, computed: computed.word(len).unwrap_or(0) })
}

/// Numbers in the file stand for these.
const WEIGHINGS: [Weighing; 6] = [
    Weighing::Scores(ScoreFormula::Paper),
    Weighing::Scores(ScoreFormula::Notebook),
    Weighing::Scores(ScoreFormula::V1),
    Weighing::Scores(ScoreFormula::V25),
    Weighing::Aligned,
    Weighing::Exact,
];
const SIGNS: [SignRule; 3] = [SignRule::Score, SignRule::LargestLoading, SignRule::LargestEntry];

struct Reader<'a>(&'a [Word]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [Word], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::CapsuleDamaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, Error> {
        let word = self.take(1)?.first().ok_or(Error::CapsuleDamaged)?;
        Ok(u32::from_le_bytes(*word))
    }
}

/// The activations that a capsule records.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Floats.
    Floats(&'a [f32]),
    /// Unsigned bytes, value = (byte - zero point) * scale.
    Bytes {
        /// As many as the layer has values.
        bytes: &'a [u8],
        /// Finite.
        scale: f32,
        /// 0..=255.
        zero_point: u8,
    },
}

/// Writes capsules; needs no memory of its own.
#[derive(Debug)]
pub struct Recording<'a> {
    /// C, H, W.
    pub shape: [usize; 3],
    /// Whether the channels are the innermost dimension.
    pub channels_last: bool,
    /// C H W values.
    pub elements: Elements<'a>,
    /// C.
    pub weights: &'a [f32],
    /// 1 + Q.
    pub scores: &'a [f32],
    /// What is asked for.
    pub settings: Settings,
}

impl Recording<'_> {
    /// Computes every stage and gives the capsule's bytes to `write`, in order.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length does not match or a size does not fit into a word; those of [`compute`]. What was written then is no capsule.
    pub fn write<const P: usize>(&self, buffers: Buffers, mut write: impl FnMut(&[u8])) -> Result<(), Error> {
        let [channels, height, width] = self.shape;
        let layout = if self.channels_last {
            Layout::hwc(height, width, channels)
        } else {
            Layout::chw(channels, height, width)
        };
        let (maps, element, scale, zero_point) = match self.elements {
            Elements::Floats(values) => (Maps::f32(values, layout)?, 0, 0.0, 0),
            Elements::Bytes { bytes, scale, zero_point } => {
                let quantisation = Quantisation::PerTensor { scale, zero_point: zero_point.into() };
                (Maps::u8(bytes, layout, quantisation)?, 1, scale, zero_point)
            }
        };
        let s = &self.settings;
        if self.weights.len() != channels || Some(self.scores.len()) != s.components.checked_add(1) {
            return Err(Error::Shape);
        }
        let position = |index: Option<usize>| index.ok_or(Error::Shape);
        let weighing = position(WEIGHINGS.iter().position(|weighing| *weighing == s.weighing))?;
        let sign = position(SIGNS.iter().position(|sign| *sign == s.sign))?;
        let count = channels * height * width;

        let mut hash = Hash::new();
        let mut put = |bytes: &[u8]| {
            hash.write(bytes);
            write(bytes);
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        for size in [channels, height, width, element, usize::from(self.channels_last)] {
            put(&word(size)?);
        }
        put(&scale.to_le_bytes());
        for size in [zero_point.into(), s.channels, s.components, weighing, sign, s.out_height, s.out_width] {
            put(&word(size)?);
        }
        match self.elements {
            Elements::Floats(values) => values.iter().take(count).for_each(|value| put(&value.to_le_bytes())),
            Elements::Bytes { bytes, .. } => {
                put(bytes.get(..count).ok_or(Error::Shape)?);
                put([0; 3].get(..count.next_multiple_of(4) - count).ok_or(Error::Shape)?);
            }
        }
        self.weights.iter().chain(self.scores).for_each(|value| put(&value.to_le_bytes()));
        let mut fits = Ok(());
        compute::<P>(&maps, self.weights, self.scores, s, buffers, |_, numbers| {
            match word(numbers.len()) {
                Ok(len) => put(&len),
                Err(error) => fits = Err(error),
            }
            for index in 0..numbers.len() {
                put(&numbers.word(index).unwrap_or(0).to_le_bytes());
            }
        })?;
        fits?;
        let checksum = hash.0;
        write(&checksum.to_le_bytes());
        Ok(())
    }
}

fn word(size: usize) -> Result<Word, Error> {
    u32::try_from(size).map(u32::to_le_bytes).map_err(|_| Error::Shape)
}
