//! A model's manifest as data: what it says, and whether it can be true.

use crate::error::Sorted as _;
use crate::onnx::layout::LayerLayout;
use crate::onnx::normal::Reading;
use crate::photo::{Filter, Fit};
use crate::{Error, Size};
use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::path::{Component, Path};

/// Least channels of a layer that tells positions apart.
const GUIDE_CHANNELS: usize = 8;

/// Version of the manifest's schema that this program reads.
pub const SCHEMA: u32 = 1;

/// Largest height or width that a picture may be given to a network with, in pixels.
///
/// The wide inner layers of an image tower at this size already take gigabytes.
pub const LARGEST_SIDE: usize = 2048;

/// Most token ids that a text tower may take.
pub const LONGEST_CONTEXT: usize = 8192;

/// What a `model.toml` says.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the schema: [`SCHEMA`].
    pub schema: u32,
    /// Short name, as given on the command line.
    pub name: String,
    /// One line on what the model is.
    pub description: String,
    /// Licence of the whole, as an SPDX expression.
    pub licence: String,
    /// The image tower.
    pub image: ImageSide,
    /// The text tower, of a dual encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSide>,
    /// The classes, of a classifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassSide>,
    /// What a dual encoder knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<KnowledgeSide>,
    /// How the two sides are compared.
    pub scores: Vec<Score>,
    /// Which scores an explanation uses.
    pub explain: Explain,
    /// Where the files come from and under which licence.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// The image tower: its file, and how a picture becomes its input.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSide {
    /// ONNX file, in the manifest's directory.
    pub file: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub sha256: String,
    /// Name of the network's input: 1 x 3 x height x width.
    pub input: String,
    /// The size the model was made for, in pixels: one number for a square, or `[height, width]`.
    #[serde(deserialize_with = "size")]
    pub size: Size,
    /// Heights and widths must be multiples of this, in pixels.
    pub multiple: usize,
    /// How a picture of another shape is made to fit.
    #[serde(serialize_with = "fit_name")]
    pub fit: Fit,
    /// With [`Fit::Crop`] and [`Fit::Stretch`]: pixels cut off in total along the shorter side after resizing it to `size + margin`.
    pub margin: usize,
    /// Resampling filter.
    pub filter: Filter,
    /// Subtracted from red, green and blue, which run from 0 to 255.
    pub mean: [f32; 3],
    /// What red, green and blue are divided by after that.
    pub std: [f32; 3],
    /// The order of the channels that the network wants.
    #[serde(default)]
    pub channels: ChannelOrder,
    /// Outputs that are read as one number for each class, of a segmentation or a detector: scores name these by [`Reading::name_of`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<(String, Reading)>,
    /// Of a segmentation or a detector: the tensors that hold the numbers of every place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<Places>,
    /// Layer that is explained unless another is asked for.
    pub default_layer: String,
    /// Inner tensors that can be explained.
    pub layers: Vec<Layer>,
}

/// Where a segmentation or a detector has its numbers: a number for each class at many places.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// How the tensors are laid out.
    pub reading: Reading,
    /// The tensor that is explained.
    pub explained: String,
    /// The tensor that is reported, of the same shape.
    pub reported: String,
    /// Of a detector, the tensor of boxes x 4 if the boxes are not beside the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes: Option<String>,
}

/// [`Score::text`] of scores that are asked at one place of a picture.
pub const AT_A_PLACE: &str = "place";

/// [`Score::text`] of scores that compare two pictures.
pub const OF_A_PICTURE: &str = "picture";

/// The order of a picture's channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV has them.
    Bgr,
}

/// An inner tensor of the image tower: maps of height/stride x width/stride positions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Name of the tensor in the ONNX file.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Pixels of the input per position, along each side.
    pub stride: usize,
    /// How the tensor is laid out.
    #[serde(default)]
    pub layout: LayerLayout,
    /// With [`LayerLayout::Tokens`]: tokens before those of the grid, such as a class token.
    #[serde(default)]
    pub prefix_tokens: usize,
    /// With [`LayerLayout::Tokens`]: tokens after those of the grid, such as registers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suffix_tokens: usize,
    /// Whether padding is missing on the way to the layer, so that it has fewer positions than size / stride.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpadded: bool,
    /// One line on what the layer is.
    pub description: String,
}

/// A classifier's classes: the text vector of one is 1 at its place and 0 elsewhere.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSide {
    /// Names, one a line in the order of the outputs; synonyms are separated by commas.
    pub labels: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub labels_sha256: String,
}

/// The text tower: its files, and how a prompt becomes its input.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TextSide {
    /// ONNX file, in the manifest's directory.
    pub file: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub sha256: String,
    /// Name of the network's input: token ids, 1 x length.
    pub input: String,
    /// Vocabulary file, in the manifest's directory.
    pub vocabulary: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub vocabulary_sha256: String,
    /// How words are cut into tokens.
    pub tokenizer: TokenizerKind,
    /// Number of token ids the network takes; as many as there are if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Token id that fills up a shorter prompt to `context`.
    #[serde(default)]
    pub pad: i64,
    /// Whether a shorter prompt is filled up at its beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pad_first: bool,
    /// Whether a mask, if the network takes one, says that what fills a prompt up is to be read like the prompt's own tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_padding: bool,
    /// Most token ids that the network takes, if it takes as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<usize>,
    /// The sentence the network sees; `{}` stands for what the user typed.
    pub template: String,
}

/// What a dual encoder knows, if its image tower has a number for each of a list of classes: their names, the words that it has classes for, and
/// below which share of a photo it does not see a thing. [`crate::score::Support`] says what a share is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeSide {
    /// The score whose image output holds a number for each class, and whose text output holds how much each class fits the prompt.
    pub score: String,
    /// Names, one a line in the order of that output.
    pub classes: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub classes_sha256: String,
    /// The words that there are classes for, one or several words a line, in lower case, a to z; after a tab the numbers of their classes, such as
    /// `12 151-268 934/2` with `/2` after those of a word's second meaning. Without numbers, the prompt's evidence says what it means.
    pub words: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub words_sha256: String,
    /// A share of a photo, from 0 to 1. These three were measured with photos that show a thing and photos that do not. Below this one the model does not see a thing that it has classes for.
    pub least_share: f32,
    /// From this share on the model sees a thing that it has classes for; between the two that is doubtful.
    pub sure_share: f32,
    /// Below this share the model does not see a thing that it has no class for; from it on it sees what it reads that as.
    pub least_share_without_class: f32,
}

/// A way of cutting words into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum TokenizerKind {
    /// The tokenizer of the bundled model, over the letters a to z.
    #[serde(rename = "wordpiece-az")]
    WordPieceAz,
    /// A `tokenizer.json` of Hugging Face's `tokenizers`: byte pairs, WordPiece, SentencePiece, ...
    #[serde(rename = "huggingface")]
    HuggingFace,
}

/// A number that says how well a picture and a prompt go together.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Name, as given on the command line.
    pub name: String,
    /// How the two vectors are compared.
    pub kind: ScoreKind,
    /// The image tower's output that goes in.
    pub image: String,
    /// The text tower's output that goes in.
    pub text: String,
    /// With [`ScoreKind::Cosine`]: softmax(scale * score) over several prompts gives their probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Whether that scale is what such models usually have, because the files do not say the model's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scale_assumed: bool,
    /// One line on what the score measures.
    pub description: String,
}

/// How a score compares an image vector with a text vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// Sum of products, both vectors scaled to length one.
    Cosine,
    /// Sum of products.
    Dot,
    /// log sum_c t_c exp(v_c): how much of what the photo shows is what the prompt may mean.
    Posterior,
}

/// Names of the scores that an explanation uses.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The score that is shown.
    pub reported: String,
    /// The score whose gradient is taken.
    pub explained: String,
    /// 1: maps are taken at the network's own input size; 2: also at twice that size.
    #[serde(default = "one")]
    pub scales: usize,
    /// A layer whose positions are finer than those of the default layer, at which finished maps are averaged over near positions with similar
    /// activations; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guide: Option<String>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn one() -> usize {
    1
}

/// Where a file comes from, and under which licence.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// One of the model's files.
    pub file: String,
    /// Its licence, as an SPDX identifier.
    pub licence: String,
    /// Where it was taken or made from.
    pub source: String,
}

/// One number for a square, or height and width.
fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size in pixels: one number, or [height, width]")]
    enum Sides {
        Square(usize),
        Both([usize; 2]),
    }
    Ok(match Sides::deserialize(from)? {
        Sides::Square(side) => Size::square(side),
        Sides::Both([height, width]) => Size::new(height, width),
    })
}

fn fit_name<S: Serializer>(fit: &Fit, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(fit.name())
}

impl Layer {
    /// Height and width in positions, for an input of this size in pixels; other than there are if the layer is `unpadded`:
    /// [`layer_size`](crate::encoders::image::layer_size) tells those.
    pub fn size(&self, input: Size) -> Size {
        Size::new(input.height.div_ceil(self.stride), input.width.div_ceil(self.stride))
    }

    /// Shape of the tensor for an input of this size in pixels.
    pub fn shape(&self, input: Size) -> Vec<usize> {
        let positions = self.size(input);
        match self.layout {
            LayerLayout::Maps => vec![1, self.channels, positions.height, positions.width],
            LayerLayout::Tokens => vec![1, self.prefix_tokens + positions.area() + self.suffix_tokens, self.channels],
            LayerLayout::ChannelsLast => vec![1, positions.height, positions.width, self.channels],
        }
    }
}

impl ImageSide {
    /// The layer that can refine the maps of the default layer: of those with finer positions the coarsest, and of these the last.
    pub(super) fn finer_layer(&self) -> Option<&Layer> {
        let default = self.layers.iter().find(|layer| layer.name == self.default_layer)?;
        let finer =
            self.layers.iter().filter(|layer| layer.stride < default.stride && layer.channels >= GUIDE_CHANNELS);
        // Of equals the last.
        finer.max_by_key(|layer| layer.stride)
    }

    /// The 8-bit colour that becomes zero, which is the mean; padding has this colour.
    pub fn padding(&self) -> [u8; 3] {
        self.mean.map(|level| level.round().clamp(0.0, 255.0) as u8)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.multiple > 0, "image.multiple: expected at least 1, found 0");
        check_side("image.size", self.size.height, self.multiple)?;
        check_side("image.size", self.size.width, self.multiple)?;
        ensure!(self.margin <= LARGEST_SIDE, "image.margin: expected at most {LARGEST_SIDE}, found {}", self.margin);
        ensure!(
            self.mean.iter().chain(&self.std).all(|value| value.is_finite()) && self.std.iter().all(|&std| std > 0.),
            "image.mean and image.std: expected finite numbers, std above zero; found {:?} and {:?}",
            self.mean,
            self.std
        );
        ensure!(
            !self.layers.is_empty() || self.default_layer.is_empty(),
            "image.layers: expected at least one, found none"
        );
        distinct("image.layers", self.layers.iter().map(|layer| layer.name.as_str()))?;
        for layer in &self.layers {
            ensure!(
                layer.channels > 0 && layer.stride > 0,
                "image.layers, \"{}\": expected channels and stride of at least 1",
                layer.name
            );
        }
        Ok(())
    }
}

impl TextSide {
    fn check(&self) -> Result<()> {
        ensure!(
            self.template.matches("{}").count() == 1,
            "text.template: expected {{}} once, for the prompt; found \"{}\"",
            self.template
        );
        ensure!(
            self.context.is_none_or(|context| (2..=LONGEST_CONTEXT).contains(&context)),
            "text.context: expected 2 to {LONGEST_CONTEXT}, found {:?}",
            self.context
        );
        Ok(())
    }
}

impl KnowledgeSide {
    fn check(&self) -> Result<()> {
        let Self { least_share, sure_share, least_share_without_class, .. } = *self;
        ensure!(
            0.0 <= least_share && least_share <= sure_share && sure_share <= 1.0,
            "knowledge.least_share and sure_share: expected shares from 0 to 1 of which the first is the smaller, found {least_share} and {sure_share}"
        );
        ensure!(
            (0.0..=1.0).contains(&least_share_without_class),
            "knowledge.least_share_without_class: expected a share from 0 to 1, found {least_share_without_class}"
        );
        Ok(())
    }
}

impl Score {
    fn check(&self) -> Result<()> {
        let usable = match self.scale {
            Some(scale) => self.kind == ScoreKind::Cosine && scale.is_finite() && scale > 0.,
            None => true,
        };
        ensure!(
            usable,
            "scores, \"{}\": expected no scale, or one above zero on a cosine; found {:?} on a {:?}",
            self.name,
            self.scale,
            self.kind
        );
        Ok(())
    }
}

impl Manifest {
    /// Reads and checks the text of a manifest.
    ///
    /// # Errors
    /// Text that does not follow the schema, and values that contradict each other; the message names the field.
    pub fn parse(text: &str) -> crate::Result<Manifest> {
        let parsed = toml::from_str(text).map_err(|error| {
            // The parser's own message is a drawing over several lines.
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            anyhow!("line {line}: {}", error.message().replace('\n', " "))
        });
        let manifest: Manifest = parsed.kind(Error::Model)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether the manifest can be true: every name leads somewhere, every number is in its range.
    ///
    /// # Errors
    /// Values that contradict each other or the schema; the message names the field.
    pub fn check(&self) -> crate::Result<()> {
        self.check_sides().and_then(|()| self.check_scores()).and_then(|()| self.check_files()).kind(Error::Model)
    }

    fn check_sides(&self) -> Result<()> {
        ensure!(self.schema == SCHEMA, "schema: expected {SCHEMA}, found {}", self.schema);
        self.image.check()?;
        if !self.image.layers.is_empty() {
            self.layer(&self.image.default_layer).context("image.default_layer")?;
        }
        ensure!(
            self.text.is_some() != self.classes.is_some(),
            "expected either text, of a dual encoder, or classes, of a classifier"
        );
        self.text.as_ref().map_or(Ok(()), TextSide::check)
    }

    fn check_scores(&self) -> Result<()> {
        distinct("scores", self.scores.iter().map(|score| score.name.as_str()))?;
        self.scores.iter().try_for_each(Score::check)?;
        ensure!(
            (1..=2).contains(&self.explain.scales),
            "explain.scales: expected 1 or 2, found {}",
            self.explain.scales
        );
        if let Some(guide) = &self.explain.guide {
            let (guide, layer) = (self.layer(guide).context("explain.guide")?, self.layer(&self.image.default_layer)?);
            ensure!(
                guide.stride < layer.stride,
                "explain.guide: expected a layer with finer positions than \"{}\", found \"{}\" of stride {}",
                layer.name,
                guide.name,
                guide.stride
            );
        }
        if let Some(knowledge) = &self.knowledge {
            ensure!(
                self.text.is_some(),
                "knowledge: expected it beside text; a classifier's classes say what it knows"
            );
            self.score(&knowledge.score).context("knowledge.score")?;
            knowledge.check()?;
        }
        self.score(&self.explain.reported).context("explain.reported")?;
        self.score(&self.explain.explained).context("explain.explained")?;
        Ok(())
    }

    fn check_files(&self) -> Result<()> {
        let files = self.files();
        for (name, sha256) in &files {
            ensure!(
                is_plain_name(name),
                "file \"{name}\": expected the name of a file in the manifest's own directory, without folders"
            );
            ensure!(
                sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
                "file \"{name}\": expected a SHA-256 of 64 digits and letters a to f, found \"{sha256}\""
            );
        }
        distinct("files", files.iter().map(|(name, _)| name.as_str()))?;
        for notice in &self.notices {
            ensure!(
                files.iter().any(|(name, _)| *name == notice.file),
                "notices: expected one of the model's files, found \"{}\"",
                notice.file
            );
        }
        Ok(())
    }

    /// The files that the manifest names, each with its SHA-256.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![(self.image.file.clone(), self.image.sha256.clone())];
        if let Some(text) = &self.text {
            // Both towers may be in one file.
            if (&text.file, &text.sha256) != (&self.image.file, &self.image.sha256) {
                files.push((text.file.clone(), text.sha256.clone()));
            }
            files.push((text.vocabulary.clone(), text.vocabulary_sha256.clone()));
        }
        if let Some(classes) = &self.classes {
            files.push((classes.labels.clone(), classes.labels_sha256.clone()));
        }
        if let Some(knowledge) = &self.knowledge {
            files.push((knowledge.classes.clone(), knowledge.classes_sha256.clone()));
            files.push((knowledge.words.clone(), knowledge.words_sha256.clone()));
        }
        files
    }

    /// The layer of that name.
    ///
    /// # Errors
    /// No such layer; the message lists the layers there are.
    pub fn layer(&self, name: &str) -> crate::Result<&Layer> {
        let layers = &self.image.layers;
        let found = layers.iter().find(|layer| layer.name == name).with_context(|| {
            let known: Vec<String> = layers
                .iter()
                .map(|layer| format!("{} ({} channels, stride {})", layer.name, layer.channels, layer.stride))
                .collect();
            format!("no layer \"{name}\" in model \"{}\"; its layers are: {}", self.name, known.join(", "))
        });
        found.kind(Error::Options)
    }

    /// The score of that name.
    ///
    /// # Errors
    /// No such score; the message lists the scores there are.
    pub fn score(&self, name: &str) -> crate::Result<&Score> {
        let found = self.scores.iter().find(|score| score.name == name).with_context(|| {
            let known: Vec<&str> = self.scores.iter().map(|score| score.name.as_str()).collect();
            format!("no score \"{name}\" in model \"{}\"; its scores are: {}", self.name, known.join(", "))
        });
        found.kind(Error::Options)
    }

    /// Checks that a network input of this size in pixels is possible.
    ///
    /// # Errors
    /// A side that is no multiple of `image.multiple`, zero, or above [`LARGEST_SIDE`].
    pub fn check_size(&self, size: Size) -> crate::Result<()> {
        check_side("height", size.height, self.image.multiple)
            .and_then(|()| check_side("width", size.width, self.image.multiple))
            .kind(Error::Options)
    }
}

fn check_side(what: &str, pixels: usize, multiple: usize) -> Result<()> {
    ensure!(
        (multiple..=LARGEST_SIDE).contains(&pixels) && pixels.is_multiple_of(multiple),
        "{what}: expected a multiple of {multiple} from {multiple} to {LARGEST_SIDE} pixels, found {pixels}"
    );
    Ok(())
}

fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

fn distinct<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        ensure!(seen.insert(name), "{what}: expected each name once, found \"{name}\" twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Optimum exports both towers of a dual encoder into one file.
    #[test]
    fn both_towers_may_be_in_one_file() {
        let lite = include_str!("../../../models/lite/model.toml");
        let apart = Manifest::parse(lite).unwrap();
        let text = apart.text.as_ref().unwrap();
        let shared = lite.replace(&text.file, &apart.image.file);
        let refused = Manifest::parse(&shared).unwrap_err();
        assert!(format!("{refused:#}").contains("expected each name once, found \"image.onnx\" twice"), "{refused:#}");
        let together = Manifest::parse(&shared.replace(&text.sha256, &apart.image.sha256)).unwrap();
        assert_eq!(together.files().len(), apart.files().len() - 1);
    }
}
