//! A model on disk or in the program: a manifest and the files it names.
//!
//! A model is a directory with a `model.toml` that says how to prepare a picture, which inner layers can be looked at,
//! how a prompt is read and how both are scored. It names every other file together with its SHA-256, so a report that
//! quotes the manifest's hash pins every byte that went into it.

use crate::encoders::image::contained;
use crate::onnx::inspect;
use crate::onnx::quantised::Pairs;
use crate::photo::Fit;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Version of the manifest's schema that this program reads.
pub const SCHEMA: u32 = 1;

/// Largest height or width that a picture may be given to a network with, in pixels.
///
/// The wide inner layers of an image tower at this size already take gigabytes.
pub const LARGEST_SIDE: usize = 2048;

/// Most token ids that a text tower may take.
pub const LONGEST_CONTEXT: usize = 8192;

const MANIFEST: &str = "model.toml";

/// What a `model.toml` says.
#[derive(Debug, Clone, Deserialize)]
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
    pub text: Option<TextSide>,
    /// The classes, of a classifier.
    pub classes: Option<ClassSide>,
    /// How the two sides are compared.
    pub scores: Vec<Score>,
    /// Which scores an explanation uses.
    pub explain: Explain,
    /// Where the files come from and under which licence.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// The image tower: its file, and how a picture becomes its input.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSide {
    /// ONNX file, in the manifest's directory.
    pub file: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub sha256: String,
    /// Name of the network's input: 1 x 3 x height x width.
    pub input: String,
    /// Height and width the model was made for, in pixels.
    pub size: usize,
    /// Heights and widths must be multiples of this, in pixels.
    pub multiple: usize,
    /// How a picture of another shape is made to fit.
    pub fit: Fit,
    /// With [`Fit::Crop`]: pixels cut off in total along the shorter side after resizing it to `size + margin`.
    pub margin: usize,
    /// Resampling filter.
    pub filter: Filter,
    /// Subtracted from red, green and blue, which run from 0 to 255.
    pub mean: [f32; 3],
    /// What red, green and blue are divided by after that.
    pub std: [f32; 3],
    /// Layer that is explained unless another is asked for.
    pub default_layer: String,
    /// Inner tensors that can be explained.
    pub layers: Vec<Layer>,
}

/// A resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution.
    Bicubic,
}

/// An inner tensor of the image tower: maps of height/stride x width/stride positions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
    /// One line on what the layer is.
    pub description: String,
}

/// How an inner tensor is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerLayout {
    /// 1 x channels x height x width.
    #[default]
    Maps,
    /// 1 x tokens x channels: a transformer's. After the prefix, the tokens are a grid, row by row.
    Tokens,
}

impl Layer {
    /// Height and width in positions, for an input of this height and width in pixels.
    pub fn size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        (height.div_ceil(self.stride), width.div_ceil(self.stride))
    }

    /// Shape of the tensor for an input of this height and width in pixels.
    pub fn shape(&self, side: (usize, usize)) -> Vec<usize> {
        let (height, width) = self.size(side);
        match self.layout {
            LayerLayout::Maps => vec![1, self.channels, height, width],
            LayerLayout::Tokens => vec![1, self.prefix_tokens + height * width, self.channels],
        }
    }
}

/// A classifier's classes: the text vector of one is 1 at its place and 0 elsewhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSide {
    /// Names, one a line in the order of the outputs; synonyms are separated by commas.
    pub labels: String,
    /// SHA-256 of that file, in lower-case hexadecimal.
    pub labels_sha256: String,
}

/// The text tower: its files, and how a prompt becomes its input.
#[derive(Debug, Clone, Deserialize)]
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
    pub context: Option<usize>,
    /// Token id that fills up a shorter prompt to `context`.
    #[serde(default)]
    pub pad: i64,
    /// The sentence the network sees; `{}` stands for what the user typed.
    pub template: String,
}

/// A way of cutting words into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenizerKind {
    /// [`crate::encoders::text::Tokenizer`].
    #[serde(rename = "wordpiece-az")]
    WordPieceAz,
    /// A `tokenizer.json` of Hugging Face's `tokenizers`: byte pairs, WordPiece, SentencePiece, ...
    #[serde(rename = "huggingface")]
    HuggingFace,
}

/// A number that says how well a picture and a prompt go together.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    pub scale: Option<f32>,
    /// One line on what the score measures.
    pub description: String,
}

/// How a score compares an image vector with a text vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// Sum of products, both vectors scaled to length one.
    Cosine,
    /// Sum of products.
    Dot,
    /// log sum_c t_c exp(v_c): how much of what the photo shows is what the prompt may mean ([`crate::score::posterior`]).
    Posterior,
}

/// Names of the scores that an explanation uses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The score that is shown.
    pub reported: String,
    /// The score whose gradient is taken.
    pub explained: String,
    /// Sizes of the photo that the maps are taken from: 1, the network's own; 2, also twice that.
    #[serde(default = "one")]
    pub scales: usize,
}

fn one() -> usize {
    1
}

/// Where a file comes from, and under which licence.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// One of the model's files.
    pub file: String,
    /// Its licence, as an SPDX identifier.
    pub licence: String,
    /// Where it was taken or made from.
    pub source: String,
}

impl ImageSide {
    /// The 8-bit colour that becomes zero, the mean: the padding that says least.
    pub fn padding(&self) -> [u8; 3] {
        self.mean.map(|level| level.round().clamp(0.0, 255.0) as u8)
    }
}

impl Manifest {
    /// Reads and checks the text of a manifest.
    ///
    /// # Errors
    /// Text that does not follow the schema, and values that contradict each other; the message names the field.
    pub fn parse(text: &str) -> Result<Manifest> {
        // The parser's own message is a drawing over several lines.
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            anyhow!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.schema == SCHEMA, "schema: expected {SCHEMA}, found {}", self.schema);
        let image = &self.image;
        ensure!(image.multiple > 0, "image.multiple: expected at least 1, found 0");
        check_side("image.size", image.size, image.multiple)?;
        ensure!(image.margin <= LARGEST_SIDE, "image.margin: expected at most {LARGEST_SIDE}, found {}", image.margin);
        ensure!(
            image.mean.iter().chain(&image.std).all(|value| value.is_finite()) && image.std.iter().all(|&std| std > 0.),
            "image.mean and image.std: expected finite numbers, std above zero; found {:?} and {:?}",
            image.mean,
            image.std
        );
        ensure!(!image.layers.is_empty(), "image.layers: expected at least one, found none");
        distinct("image.layers", image.layers.iter().map(|layer| layer.name.as_str()))?;
        for layer in &image.layers {
            ensure!(
                layer.channels > 0 && layer.stride > 0,
                "image.layers, \"{}\": expected channels and stride of at least 1",
                layer.name
            );
        }
        self.layer(&image.default_layer).context("image.default_layer")?;
        ensure!(
            self.text.is_some() != self.classes.is_some(),
            "expected either text, of a dual encoder, or classes, of a classifier"
        );
        if let Some(text) = &self.text {
            ensure!(
                text.template.matches("{}").count() == 1,
                "text.template: expected {{}} once, for the prompt; found \"{}\"",
                text.template
            );
            ensure!(
                text.context.is_none_or(|context| (2..=LONGEST_CONTEXT).contains(&context)),
                "text.context: expected 2 to {LONGEST_CONTEXT}, found {:?}",
                text.context
            );
        }
        distinct("scores", self.scores.iter().map(|score| score.name.as_str()))?;
        for score in &self.scores {
            let usable = match score.scale {
                Some(scale) => score.kind == ScoreKind::Cosine && scale.is_finite() && scale > 0.,
                None => true,
            };
            ensure!(
                usable,
                "scores, \"{}\": expected no scale, or one above zero on a cosine; found {:?} on a {:?}",
                score.name,
                score.scale,
                score.kind
            );
        }
        ensure!(
            (1..=2).contains(&self.explain.scales),
            "explain.scales: expected 1 or 2, found {}",
            self.explain.scales
        );
        self.score(&self.explain.reported).context("explain.reported")?;
        self.score(&self.explain.explained).context("explain.explained")?;
        let files = self.files();
        for (name, sha256) in &files {
            let mut parts = Path::new(name).components();
            ensure!(
                matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name.as_str()),
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
    fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![(self.image.file.clone(), self.image.sha256.clone())];
        if let Some(text) = &self.text {
            files.push((text.file.clone(), text.sha256.clone()));
            files.push((text.vocabulary.clone(), text.vocabulary_sha256.clone()));
        }
        if let Some(classes) = &self.classes {
            files.push((classes.labels.clone(), classes.labels_sha256.clone()));
        }
        files
    }

    /// The layer of that name.
    ///
    /// # Errors
    /// No such layer; the message lists the layers there are.
    pub fn layer(&self, name: &str) -> Result<&Layer> {
        let layers = &self.image.layers;
        layers.iter().find(|layer| layer.name == name).with_context(|| {
            let known: Vec<String> = layers
                .iter()
                .map(|layer| format!("{} ({} channels, stride {})", layer.name, layer.channels, layer.stride))
                .collect();
            format!("no layer \"{name}\" in model \"{}\"; its layers are: {}", self.name, known.join(", "))
        })
    }

    /// The score of that name.
    ///
    /// # Errors
    /// No such score; the message lists the scores there are.
    pub fn score(&self, name: &str) -> Result<&Score> {
        self.scores.iter().find(|score| score.name == name).with_context(|| {
            let known: Vec<&str> = self.scores.iter().map(|score| score.name.as_str()).collect();
            format!("no score \"{name}\" in model \"{}\"; its scores are: {}", self.name, known.join(", "))
        })
    }

    /// Checks that a network input of this height and width is possible.
    ///
    /// # Errors
    /// A side that is no multiple of `image.multiple`, zero, or above [`LARGEST_SIDE`].
    pub fn check_side(&self, (height, width): (usize, usize)) -> Result<()> {
        check_side("height", height, self.image.multiple)?;
        check_side("width", width, self.image.multiple)
    }
}

fn check_side(what: &str, pixels: usize, multiple: usize) -> Result<()> {
    ensure!(
        (multiple..=LARGEST_SIDE).contains(&pixels) && pixels.is_multiple_of(multiple),
        "{what}: expected a multiple of {multiple} from {multiple} to {LARGEST_SIDE} pixels, found {pixels}"
    );
    Ok(())
}

fn distinct<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        ensure!(seen.insert(name), "{what}: expected each name once, found \"{name}\" twice");
    }
    Ok(())
}

/// A manifest and the bytes of its files.
#[derive(Debug, Clone)]
pub struct Model {
    /// What the manifest says.
    pub manifest: Manifest,
    manifest_text: Cow<'static, str>,
    files: BTreeMap<String, Cow<'static, [u8]>>,
    origin: String,
    /// Where a bare ONNX file lies, which may have its weights beside it.
    folder: Option<PathBuf>,
    pairs: Pairs,
}

/// What an ONNX file without a manifest does not say.
#[derive(Debug, Clone, Default)]
pub struct OnnxOptions {
    /// Names of the classes, one a line; their numbers if not given.
    pub labels: Option<PathBuf>,
    /// Height and width of the input, in pixels; the file's own, or 224, if not given.
    pub size: Option<usize>,
    /// The layer that will be explained; the suggested one if not given.
    pub layer: Option<String>,
    /// The output that scores the classes; the first with two axes if not given.
    pub output: Option<String>,
    /// How a picture is prepared.
    pub preprocessing: Preprocessing,
}

/// How a picture is prepared for a classifier: cut to a square, then (value - mean) / std with values from 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// Of red, green and blue.
    pub mean: [f32; 3],
    /// Of red, green and blue.
    pub std: [f32; 3],
    /// Pixels cut off the shorter side, of 224 that are left.
    pub cut: usize,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self::IMAGENET
    }
}

impl Preprocessing {
    /// torchvision's and most of timm's: ImageNet's mean and deviation; 256 pixels, the middle 224.
    pub const IMAGENET: Self = Self { mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375], cut: 32 };
    /// OpenAI's CLIP: the mean and deviation of its photos; nothing cut off the shorter side.
    pub const CLIP: Self =
        Self { mean: [122.770_93, 116.746_01, 104.093_735], std: [68.500_53, 66.632_16, 70.323_16], cut: 0 };
    /// -1 to 1, as many of timm's: mean and deviation one half.
    pub const HALF: Self = Self { mean: [127.5; 3], std: [127.5; 3], cut: 32 };
    /// TensorFlow Lite's: (value - 127) / 128.
    pub const TF: Self = Self { mean: [127.0; 3], std: [128.0; 3], cut: 32 };

    fn margin(&self, size: usize) -> usize {
        self.cut * size / 224
    }
}

/// A model compiled into the program: its name, its manifest, its files.
struct Bundled {
    name: &'static str,
    manifest: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

const BUNDLED: &[Bundled] = &[Bundled {
    name: decomcam_model_lite::NAME,
    manifest: decomcam_model_lite::MANIFEST,
    files: decomcam_model_lite::FILES,
}];

/// Names of the models compiled into the program.
pub fn bundled_names() -> Vec<&'static str> {
    BUNDLED.iter().map(|bundled| bundled.name).collect()
}

impl Model {
    /// A model compiled into the program: no file, no network, no copy of its bytes.
    ///
    /// Its hashes are not checked again on every run; [`Model::verify`] does that.
    ///
    /// # Errors
    /// No bundled model of that name; the message lists those there are.
    pub fn bundled(name: &str) -> Result<Model> {
        let bundled = BUNDLED
            .iter()
            .find(|bundled| bundled.name == name)
            .with_context(|| format!("no bundled model \"{name}\"; there is: {}", bundled_names().join(", ")))?;
        let files = bundled.files.iter().map(|&(name, bytes)| (name.to_string(), Cow::Borrowed(bytes)));
        let origin = format!("bundled model \"{name}\"");
        Ok(Model {
            manifest: Manifest::parse(bundled.manifest).with_context(|| format!("{MANIFEST} of the {origin}"))?,
            manifest_text: Cow::Borrowed(bundled.manifest),
            files: files.collect(),
            origin,
            folder: None,
            pairs: Pairs::default(),
        })
    }

    /// Reads a model from a directory that holds a `model.toml`, and verifies its files.
    ///
    /// # Errors
    /// A missing file, a manifest that breaks the schema or names a file outside the directory, a file whose SHA-256 is
    /// not the manifest's.
    pub fn from_dir(directory: &Path) -> Result<Model> {
        let path = directory.join(MANIFEST);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{}: expected a model's manifest, could not read it; give the directory of a model", path.display())
        })?;
        let manifest = Manifest::parse(&text)
            .with_context(|| format!("{}: expected a manifest of schema {SCHEMA}; correct it", path.display()))?;
        let mut files = BTreeMap::new();
        for (name, _) in manifest.files() {
            let path = directory.join(&name);
            let read = || {
                ensure!(std::fs::metadata(&path)?.is_file(), "not a regular file");
                Ok(std::fs::read(&path)?)
            };
            let bytes = read().with_context(|| {
                format!(
                    "{}: expected a file, because {MANIFEST} names it, but could not read it; fetch the model again",
                    path.display()
                )
            })?;
            files.insert(name, Cow::Owned(bytes));
        }
        let origin = directory.display().to_string();
        let model =
            Model { manifest, manifest_text: Cow::Owned(text), files, origin, folder: None, pairs: Pairs::default() };
        model.verify()?;
        Ok(model)
    }

    /// The bundled model of that name or else the model in the directory of that name.
    ///
    /// A directory that shares a bundled model's name is reached as `./name`.
    ///
    /// # Errors
    /// Those of [`Model::from_dir`], and a name that is neither.
    pub fn open(name_or_directory: &str) -> Result<Model> {
        if bundled_names().contains(&name_or_directory) {
            return Model::bundled(name_or_directory);
        }
        let directory = Path::new(name_or_directory);
        if !directory.is_dir() {
            bail!(
                "\"{name_or_directory}\": expected a bundled model ({}) or a model's directory, with a {MANIFEST}; \
                 found neither",
                bundled_names().join(", ")
            );
        }
        Model::from_dir(directory)
    }

    /// A classifier without a manifest: an ONNX file alone. Its layers and size are found by looking into it.
    ///
    /// # Errors
    /// A file that is no network of pictures, a layer that cannot be explained, labels that are not as many as the outputs.
    pub fn from_onnx(path: &Path, options: &OnnxOptions) -> Result<Model> {
        let origin = path.display().to_string();
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("{}: could not read the file", path.display()));
        let onnx = read(path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")).to_owned();
        let side = options.size.map(|size| (size, size));
        let found = contained(|| inspect::inspect(&onnx, Some(&folder), side)).with_context(|| origin.clone())?;
        ensure!(
            found.side.0 == found.side.1,
            "{origin}: expected a square input, found {} x {} pixels; give --size",
            found.side.0,
            found.side.1
        );
        let layer = match &options.layer {
            Some(layer) => found.layer(layer).with_context(|| origin.clone())?,
            None => {
                let name = found.suggested.as_ref().with_context(|| {
                    format!("{origin}: no layer that can be explained; see decomcam inspect {origin}")
                })?;
                found.layer(name)?
            }
        };
        let output = found.class_output(options.output.as_deref()).with_context(|| origin.clone())?;
        let classes = output.shape.last().copied().flatten().with_context(|| {
            format!("{origin}: expected an output of 1 x classes, found \"{}\" of {:?}", output.name, output.shape)
        })?;
        let labels = match &options.labels {
            Some(path) => {
                let labels = read(path)?;
                let lines = String::from_utf8_lossy(&labels).lines().count();
                ensure!(
                    lines == classes,
                    "{}: expected {classes} names, one for each class of {origin}, found {lines}",
                    path.display()
                );
                labels
            }
            None => (0..classes).map(|class| format!("{class}\n")).collect::<String>().into_bytes(),
        };
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let mut text = format!(
            "schema = {SCHEMA}\nname = {}\ndescription = \"a network without a manifest\"\nlicence = \"unknown\"\n\n\
             [image]\nfile = \"image.onnx\"\nsha256 = \"{}\"\ninput = {}\nsize = {}\nmultiple = {}\nfit = \"crop\"\n\
             margin = {}\nfilter = \"bicubic\"\nmean = {:?}\nstd = {:?}\ndefault_layer = {}\n",
            quoted(&name),
            hex_sha256(&onnx),
            quoted(&found.input.name),
            found.side.0,
            // Pinned to the size that was looked at: layers have been found for this one.
            found.side.0,
            options.preprocessing.margin(found.side.0),
            options.preprocessing.mean,
            options.preprocessing.std,
            quoted(&layer.name),
        );
        for layer in found.explainable() {
            let layout = match layer.layout {
                LayerLayout::Maps => "maps",
                LayerLayout::Tokens => "tokens",
            };
            text += &format!(
                "\n[[image.layers]]\nname = {}\nchannels = {}\nstride = {}\nlayout = \"{layout}\"\nprefix_tokens = {}\n\
                 description = {}\n",
                quoted(&layer.name),
                layer.channels,
                layer.stride(found.side),
                layer.prefix_tokens,
                quoted(&format!("output of {}", layer.operator)),
            );
        }
        text += &format!(
            "\n[classes]\nlabels = \"labels.txt\"\nlabels_sha256 = \"{}\"\n\n[[scores]]\nname = \"logit\"\nkind = \"dot\"\n\
             image = {}\ntext = \"class\"\ndescription = \"the class's output\"\n\n[explain]\nreported = \"logit\"\n\
             explained = \"logit\"\n",
            hex_sha256(&labels),
            quoted(&output.name),
        );
        let manifest = Manifest::parse(&text).with_context(|| origin.clone())?;
        let files =
            [("image.onnx", onnx), ("labels.txt", labels)].map(|(name, bytes)| (name.to_owned(), Cow::Owned(bytes)));
        let files = BTreeMap::from(files);
        Ok(Model {
            manifest,
            manifest_text: Cow::Owned(text),
            files,
            origin,
            folder: Some(folder),
            pairs: Pairs::default(),
        })
    }

    /// Checks every file against the SHA-256 in the manifest.
    ///
    /// # Errors
    /// The first file that differs.
    pub fn verify(&self) -> Result<()> {
        for (name, expected) in self.manifest.files() {
            let found = hex_sha256(self.file(&name)?);
            ensure!(
                found == expected,
                "{name} of {}: expected SHA-256 {expected}, found {found}; the file is damaged or was changed after \
                 its manifest was written: fetch the model again, or correct {MANIFEST} if the change is yours",
                self.origin
            );
        }
        Ok(())
    }

    /// The bytes of one of the manifest's files.
    ///
    /// # Errors
    /// A name the manifest does not have.
    pub fn file(&self, name: &str) -> Result<&[u8]> {
        let bytes = self.files.get(name).with_context(|| format!("{}: no file \"{name}\"", self.origin))?;
        Ok(bytes)
    }

    /// Names of the manifest's files.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// SHA-256 of the manifest's text, in lower-case hexadecimal. The manifest holds the hashes of all other files, so
    /// this number stands for the whole model.
    pub fn sha256(&self) -> String {
        hex_sha256(self.manifest_text.as_bytes())
    }

    /// The same model, its image tower computed as an integer device does: see [`Pairs::Round`].
    pub fn faithful(self) -> Model {
        Model { pairs: Pairs::Round, ..self }
    }

    /// What becomes of the image tower's pairs around activations.
    pub fn pairs(&self) -> Pairs {
        self.pairs
    }

    /// Where weights may lie that are in files of their own; none for models with a manifest, which would not pin them.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Where the model comes from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
