//! A model on disk or in the program: a manifest and the files it names.
//!
//! A model is a directory with a `model.toml` that says how to prepare a picture, which inner layers can be looked at,
//! how a prompt is read and how both are scored. It names every other file together with its SHA-256, so a report that
//! quotes the manifest's hash pins every byte that went into it.

use crate::photo::Fit;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// Version of the manifest's schema that this program reads.
pub const SCHEMA: u32 = 1;

/// Largest height or width that a picture may be given to a network with, in pixels.
///
/// The wide inner layers of an image tower at this size already take gigabytes.
pub const LARGEST_SIDE: usize = 2048;

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
    /// The text tower.
    pub text: TextSide,
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

/// An inner tensor of the image tower: 1 x channels x height/stride x width/stride.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Name of the tensor in the ONNX file.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Pixels of the input per position, along each side.
    pub stride: usize,
    /// One line on what the layer is.
    pub description: String,
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
    /// The sentence the network sees; `{}` stands for what the user typed.
    pub template: String,
}

/// A way of cutting words into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenizerKind {
    /// [`crate::text::Tokenizer`].
    #[serde(rename = "wordpiece-az")]
    WordPieceAz,
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
}

/// Names of the scores that an explanation uses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The score that is shown.
    pub reported: String,
    /// The score whose gradient is taken.
    pub explained: String,
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
            self.text.template.matches("{}").count() == 1,
            "text.template: expected {{}} once, for the prompt; found \"{}\"",
            self.text.template
        );
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
    fn files(&self) -> [(String, String); 3] {
        [
            (self.image.file.clone(), self.image.sha256.clone()),
            (self.text.file.clone(), self.text.sha256.clone()),
            (self.text.vocabulary.clone(), self.text.vocabulary_sha256.clone()),
        ]
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
}

/// A model compiled into the program: its name, its manifest, its files.
struct Bundled {
    name: &'static str,
    manifest: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

const BUNDLED: &[Bundled] = &[Bundled {
    name: "lite",
    manifest: include_str!("../../models/lite/model.toml"),
    files: &[
        ("image.onnx", include_bytes!("../../models/lite/image.onnx")),
        ("text.onnx", include_bytes!("../../models/lite/text.onnx")),
        ("vocab.txt", include_bytes!("../../models/lite/vocab.txt")),
    ],
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
        let model = Model { manifest, manifest_text: Cow::Owned(text), files, origin };
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

    /// SHA-256 of the manifest's text, in lower-case hexadecimal. The manifest holds the hashes of all other files, so
    /// this number stands for the whole model.
    pub fn sha256(&self) -> String {
        hex_sha256(self.manifest_text.as_bytes())
    }

    /// Where the model comes from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
