//! A model on disk or in the program: a manifest and the files it names.
//!
//! A model is a directory with a `model.toml` that says how to prepare a picture, which inner layers can be looked at,
//! how a prompt is read and how both are scored. It names every other file together with its SHA-256, so a report that
//! quotes the manifest's hash pins every byte that went into it. For a network alone, a manifest is made by looking into it.

mod bare;
mod bundled;
mod hub;
mod known;
mod labels;
pub mod manifest;
mod options;
mod padding;
mod preparation;
#[cfg(feature = "hub")]
mod remote;

pub use crate::onnx::normal::Reading;
pub use bundled::bundled_names;
pub use known::{KNOWN, KnownModel};
pub use manifest::{
    AT_A_PLACE, ChannelOrder, ClassSide, Explain, ImageSide, KnowledgeSide, LARGEST_SIDE, LONGEST_CONTEXT, Layer,
    Manifest, Notice, OF_A_PICTURE, Places, SCHEMA, Score, ScoreKind, TextSide, TokenizerKind,
};
pub use options::{Labels, ModelOptions, Preprocessing};

use crate::error::Sorted as _;
use crate::hash::sha256_hex;
use crate::onnx::inspect;
use crate::onnx::normal::data_file;
use crate::onnx::quantised::Pairs;
use crate::tflite::Integers;
use crate::{Error, Result};
use anyhow::{Context, bail, ensure};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MANIFEST: &str = "model.toml";

/// The bytes of a file, which whatever is loaded of it later may hold on to without a copy.
pub(crate) type Bytes = Arc<Cow<'static, [u8]>>;

/// A manifest and the bytes of its files.
#[derive(Clone)]
pub struct Model {
    /// What the manifest says.
    pub manifest: Manifest,
    sha256: String,
    files: BTreeMap<String, Bytes>,
    origin: String,
    /// Of a network without a manifest, what gave the names of its classes.
    names_from: Option<String>,
    /// Where the networks lie, which may have their weights beside them.
    folder: Option<PathBuf>,
    /// Whether it was opened by a manifest that someone wrote.
    has_manifest: bool,
    pairs: Pairs,
    /// Of an int8 network of TensorFlow Lite: what a board computes.
    integers: Option<Arc<Integers>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Model")
            .field("manifest", &self.manifest)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Opens a model: the bundled one of that name, the ONNX or `.tflite` file of that name, the directory of that name, which holds a `model.toml` or is a folder of
    /// Hugging Face's hub, or, with the feature `hub`, the model `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` of the hub, which is fetched if the cache does not have it.
    ///
    /// A directory that shares a bundled model's name is reached as `./name`.
    ///
    /// # Errors
    /// A name that is none of these; those of [`Model::bundled`] and [`Model::from_dir`]; a network alone in which no layer can be explained, or whose
    /// labels are not as many as its outputs; an option that has no effect on this model; a size or a layer that the model does not have.
    pub fn open(name: &str, options: &ModelOptions) -> Result<Model> {
        let path = Path::new(name);
        let model = if bundled_names().contains(&name) {
            Model::bundled(name)?
        } else if let Some(model) = Model::from_hub(name, options) {
            model?
        } else if is_network(path) {
            refuse_options_without_effect(&format!("the name of \"{name}\""), &options.of_hub_folders())
                .kind(Error::Options)?;
            bare::open(path, options).kind(Error::Model)?
        } else {
            Model::from_named_dir(name, path, options)?
        };
        if model.has_manifest {
            refuse_options_without_effect(
                &format!("the manifest among the files of \"{name}\""),
                &[options.of_bare_networks(), options.of_hub_folders()].concat(),
            )
            .kind(Error::Options)?;
        }
        model.chosen(options)
    }

    /// Opens a network that is in memory: the bytes of an ONNX or `.tflite` file, with all its weights. `name` is what the file is called.
    ///
    /// # Errors
    /// Those that [`Model::open`] has for a network alone; a network whose weights lie in files of their own.
    pub fn from_network(name: &str, bytes: Vec<u8>, options: &ModelOptions) -> Result<Model> {
        refuse_options_without_effect(&format!("the name of \"{name}\""), &options.of_hub_folders())
            .kind(Error::Options)?;
        bare::of(Path::new(name), bytes, None, None, options).kind(Error::Model)?.chosen(options)
    }

    /// The model, if it has the size and the layer that will be used.
    fn chosen(self, options: &ModelOptions) -> Result<Model> {
        if let Some(layer) = &options.layer {
            self.manifest.layer(layer)?;
        }
        if let Some(size) = options.size {
            self.manifest.check_size(size)?;
        }
        Ok(if options.faithful { self.faithful() } else { self })
    }

    /// A model compiled into the program: no file, no network, no copy of its bytes.
    ///
    /// Its hashes are not checked again on every run; [`Model::verify`] does that.
    ///
    /// # Errors
    /// No bundled model of that name; the message lists those there are.
    pub fn bundled(name: &str) -> Result<Model> {
        let known = || format!("no bundled model \"{name}\"; there is: {}", bundled_names().join(", "));
        let bundled = bundled::find(name).with_context(known).kind(Error::Model)?;
        let files = bundled.files.iter().map(|&(name, bytes)| (name.to_string(), Arc::new(Cow::Borrowed(bytes))));
        let origin = format!("bundled model \"{name}\"");
        let manifest = Manifest::parse(bundled.manifest).with_context(|| format!("{MANIFEST} of the {origin}"));
        Ok(Model {
            manifest: manifest.kind(Error::Model)?,
            sha256: sha256_hex(bundled.manifest.as_bytes()),
            files: files.collect(),
            origin,
            names_from: None,
            folder: None,
            has_manifest: true,
            pairs: Pairs::default(),
            integers: None,
        })
    }

    /// Reads a model from a directory that holds a `model.toml`, and verifies its files.
    ///
    /// # Errors
    /// A missing file, a manifest that breaks the schema or names a file outside the directory, a file whose SHA-256 is
    /// not the manifest's.
    pub fn from_dir(directory: &Path) -> Result<Model> {
        let model = Model::read_dir(directory).kind(Error::Model)?;
        model.verify()?;
        Ok(model)
    }

    fn read_dir(directory: &Path) -> anyhow::Result<Model> {
        let path = directory.join(MANIFEST);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{}: expected a model's manifest, could not read it; give the directory of a model", path.display())
        })?;
        let manifest = Manifest::parse(&text)
            .with_context(|| format!("{}: expected a manifest of schema {SCHEMA}; correct it", path.display()))?;
        let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
        for (name, _) in manifest.files() {
            let bytes = read_regular(&directory.join(&name))?;
            files.insert(name, Arc::new(Cow::Owned(bytes)));
        }
        Ok(Model {
            manifest,
            sha256: sha256_of(&text, files.values().map(|bytes| &bytes[..]), Some(directory))?,
            files,
            origin: directory.display().to_string(),
            names_from: None,
            folder: Some(directory.to_owned()),
            has_manifest: true,
            pairs: Pairs::default(),
            integers: None,
        })
    }

    /// The model of the hub that a name means, if it means one.
    #[cfg(feature = "hub")]
    fn from_hub(name: &str, options: &ModelOptions) -> Option<Result<Model>> {
        let address = remote::Address::parse(name)?;
        let open = |address: remote::Address| {
            refuse_options_without_effect(&format!("config.json of \"{name}\""), &options.of_bare_networks())
                .kind(Error::Options)?;
            let fetched = remote::fetch(&address, options).kind(Error::Model)?;
            let known = hub::Known { name: address.name, origin: fetched.origin };
            hub::open(&fetched.folder, Some(known), options).kind(Error::Model)
        };
        Some(address.kind(Error::Model).and_then(open))
    }

    #[cfg(not(feature = "hub"))]
    fn from_hub(name: &str, _: &ModelOptions) -> Option<Result<Model>> {
        let refusal = || -> anyhow::Result<Model> {
            bail!(
                "\"{name}\": this program was built without the feature \"hub\"; fetch the model's folder and give its path"
            )
        };
        name.starts_with("hf:").then(|| refusal().kind(Error::Model))
    }

    fn from_named_dir(name: &str, directory: &Path, options: &ModelOptions) -> Result<Model> {
        if hub::is_one(directory) && !directory.join(MANIFEST).is_file() {
            refuse_options_without_effect(&format!("config.json of \"{name}\""), &options.of_bare_networks())
                .kind(Error::Options)?;
            return hub::open(directory, None, options).kind(Error::Model);
        }
        if directory.is_dir() {
            return Model::from_dir(directory);
        }
        let neither = || -> anyhow::Result<Model> {
            bail!(
                "\"{name}\": expected a bundled model ({}), a model's directory, with a {MANIFEST} or a config.json, an .onnx or .tflite file, or hf:OWNER/NAME; found none of these",
                bundled_names().join(", ")
            )
        };
        neither().kind(Error::Model)
    }

    /// Checks every file against the SHA-256 in the manifest.
    ///
    /// # Errors
    /// The first file that differs.
    pub fn verify(&self) -> Result<()> {
        for (name, expected) in self.manifest.files() {
            let found = sha256_hex(self.file(&name)?);
            let verify = || {
                ensure!(
                    found == expected,
                    "{name} of {}: expected SHA-256 {expected}, found {found}; the file is damaged or was changed after \
                     its manifest was written: fetch the model again, or correct {MANIFEST} if the change is yours",
                    self.origin
                );
                Ok(())
            };
            verify().kind(Error::Model)?;
        }
        Ok(())
    }

    /// The bytes of one of the manifest's files.
    ///
    /// # Errors
    /// A name the manifest does not have.
    pub fn file(&self, name: &str) -> Result<&[u8]> {
        Ok(self.bytes(name)?)
    }

    /// The same bytes, to be kept.
    pub(crate) fn bytes(&self, name: &str) -> Result<&Bytes> {
        let bytes = self.files.get(name).with_context(|| format!("{}: no file \"{name}\"", self.origin));
        bytes.kind(Error::Model)
    }

    /// Names of the manifest's files.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// SHA-256 of the manifest, in lower-case hexadecimal: of the file's text, or of the JSON of one that was made for a network alone. The manifest
    /// holds the hashes of all other files, so this number stands for the whole model.
    pub fn sha256(&self) -> String {
        self.sha256.clone()
    }

    /// The same model, its image tower computed as an integer device does: see [`Pairs::Round`].
    pub fn faithful(self) -> Model {
        Model { pairs: Pairs::Round, ..self }
    }

    /// What becomes of the image tower's pairs around activations.
    pub fn pairs(&self) -> Pairs {
        self.pairs
    }

    /// What a board computes, of an int8 network of TensorFlow Lite.
    pub fn integers(&self) -> Option<&Arc<Integers>> {
        self.integers.as_ref()
    }

    /// The bytes of the `.tflite` file that the model was made of, if it was.
    pub fn flashed(&self) -> Option<&[u8]> {
        self.files.get(bare::FLASHED).map(|bytes| &bytes[..])
    }

    /// Where weights may lie that are in files of their own; none for models in the program.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Where the model comes from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where the names of its classes come from, for messages: a file that a manifest names, one that was given, or else the network itself.
    pub(crate) fn origin_of_names(&self) -> String {
        match (&self.manifest.classes, &self.names_from) {
            (_, Some(file)) => file.clone(),
            (Some(classes), None) if self.has_manifest => format!("{} of {}", classes.labels, self.origin),
            _ => self.origin.clone(),
        }
    }
}

/// Whether a name is that of a network alone.
fn is_network(path: &Path) -> bool {
    let kind = path.extension().unwrap_or_default();
    ["onnx", "tflite"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

fn read_regular(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        ensure!(std::fs::metadata(path)?.is_file(), "not a regular file");
        Ok(std::fs::read(path)?)
    };
    read().with_context(|| {
        format!(
            "{}: expected a file, because {MANIFEST} names it, but could not read it; fetch the model again",
            path.display()
        )
    })
}

fn refuse_options_without_effect(teller: &str, given: &[&str]) -> anyhow::Result<()> {
    ensure!(
        given.is_empty(),
        "{} would have no effect: {teller} says this itself; leave it out, or change what that says",
        given.join(", ")
    );
    Ok(())
}

/// SHA-256 of what a manifest says, and of the weights that lie in files of their own beside the networks.
fn sha256_of<'f>(text: &str, files: impl Iterator<Item = &'f [u8]>, folder: Option<&Path>) -> anyhow::Result<String> {
    let mut all = text.to_owned();
    for file in files {
        for name in inspect::data_files(file).unwrap_or_default() {
            let path = data_file(folder.context("no folder")?, &name)?;
            let data =
                std::fs::read(&path).with_context(|| format!("{}: could not read the weights", path.display()))?;
            all += &format!("\n{name} {}", sha256_hex(&data));
        }
    }
    Ok(sha256_hex(all.as_bytes()))
}
