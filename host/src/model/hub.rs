//! Folders as Hugging Face's hub has them: `config.json`, `preprocessor_config.json`, `tokenizer.json` and networks in `onnx/`. What a manifest would say is read from there.

use super::Model;
use super::bare::{NOTHING, default_layer, image_side, places, read, scores};
use super::manifest::{ClassSide, Explain, ImageSide, Manifest, SCHEMA, Score, ScoreKind, TextSide, TokenizerKind};
use super::options::{ModelOptions, Preprocessing};
use super::padding::Padding;
use super::preparation::Preparation;
use crate::hash::sha256_hex;
use crate::onnx::inspect::{self, InspectOptions, Inspection};
use crate::onnx::likeness;
use crate::onnx::normal::OfTokens;
use crate::onnx::quantised::Pairs;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number formats, and how the names of their files end.
const PRECISIONS: [(&str, &str); 9] = [
    ("fp32", ""),
    ("fp16", "_fp16"),
    ("int8", "_int8"),
    ("uint8", "_uint8"),
    ("q8", "_quantized"),
    ("quantized", "_quantized"),
    ("q4", "_q4"),
    ("q4f16", "_q4f16"),
    ("bnb4", "_bnb4"),
];

/// What the cosines of a CLIP are multiplied with at the end of its training, which holds the factor to at most this.
const CLIP_SCALE: f32 = 100.0;

/// Outputs of a network of both towers that are cosines times the model's own scale.
const LOGITS: [&str; 2] = ["logits_per_image", "logits_per_text"];

/// Kinds of text towers, or parts of their names, whose positions begin behind the number of the token that fills up.
const POSITIONS_FROM_PADDING: [&str; 7] =
    ["roberta", "altclip", "camembert", "mpnet", "longformer", "data2vec", "xmod"];

/// Whether a folder is one of these.
pub(super) fn is_one(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// What is known of a folder that was fetched from the hub.
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
pub(super) struct Known {
    /// OWNER/NAME.
    pub(super) name: String,
    /// Its address, with the commit.
    pub(super) origin: String,
}

/// Opens such a folder.
pub(super) fn open(folder: &Path, known: Option<Known>, options: &ModelOptions) -> Result<Model> {
    let folder = Folder::read(folder, known, options.precision.as_deref())?;
    match Kind::of_config(&folder.config) {
        Kind::Classifier => folder.classifier(options),
        Kind::DualEncoder => folder.dual_encoder(options),
    }
}

/// A number format: its name, and how the names of its files end.
pub(super) type Precision = (&'static str, &'static str);

/// The number format of that name.
pub(super) fn precision(wanted: Option<&str>) -> Result<Option<Precision>> {
    let known = || PRECISIONS.map(|(name, _)| name).join(", ");
    let find = |wanted: &str| {
        let found = PRECISIONS.into_iter().find(|(name, _)| *name == wanted);
        found.with_context(|| format!("no number format \"{wanted}\"; expected one of {}", known()))
    };
    wanted.map(find).transpose()
}

/// The files that a network may be in, in the order in which they are looked for.
pub(super) fn candidates(names: &[&str], precision: Option<Precision>) -> Vec<String> {
    let formats = precision.map_or_else(|| PRECISIONS.to_vec(), |one| vec![one]);
    formats.iter().flat_map(|(_, suffix)| names.iter().map(move |name| format!("{name}{suffix}.onnx"))).collect()
}

/// What kind of model `config.json` describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Classifier,
    DualEncoder,
}

impl Kind {
    fn of_config(config: &Value) -> Self {
        const ENDS: [&str; 4] = [
            "ForImageClassification",
            "ForImageClassificationWithTeacher",
            "ForSemanticSegmentation",
            "ForObjectDetection",
        ];
        let mut architectures = config["architectures"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let classifies = architectures.any(|name| ENDS.iter().any(|end| name.ends_with(end)));
        if classifies { Self::Classifier } else { Self::DualEncoder }
    }

    /// Of a folder.
    #[cfg(feature = "hub")]
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        Ok(Self::of_config(&json(folder, "config.json")?))
    }

    /// Names of each network's files, without their number formats.
    pub(super) fn networks(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Classifier => &[&["model"]],
            Self::DualEncoder => &[&["vision_model", "model"], &["text_model", "model"]],
        }
    }
}

/// A file of JSON in such a folder.
pub(super) fn json(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    let text = std::fs::read(&path).with_context(|| {
        format!("{}: expected this file in a folder of Hugging Face's; fetch it too", path.display())
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{}: expected JSON; fetch the file again", path.display()))
}

/// A folder's own words.
struct Folder {
    path: PathBuf,
    config: Value,
    preparation: Preparation,
    precision: Option<Precision>,
    known: Option<Known>,
}

impl Folder {
    fn read(path: &Path, known: Option<Known>, wanted: Option<&str>) -> Result<Self> {
        let config = json(path, "config.json")?;
        Ok(Self {
            path: path.to_owned(),
            preparation: Preparation::of(&json(path, "preprocessor_config.json")?, config["model_type"].as_str()),
            config,
            precision: precision(wanted)?,
            known,
        })
    }

    fn kind(&self) -> &str {
        self.config["model_type"].as_str().unwrap_or("unknown")
    }

    fn name(&self) -> String {
        if let Some(known) = &self.known {
            return known.name.clone();
        }
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Where the networks are.
    fn networks(&self) -> PathBuf {
        let own = self.path.join("onnx");
        if own.is_dir() { own } else { self.path.clone() }
    }

    /// The first of these networks that is there in the number format asked for, else in the first usual one.
    fn network(&self, names: &[&str]) -> Result<String> {
        let folder = self.networks();
        if let Some(file) = candidates(names, self.precision).into_iter().find(|file| folder.join(file).is_file()) {
            return Ok(file);
        }
        let mut there: Vec<String> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok().filter(|name| name.ends_with(".onnx")))
            .collect();
        there.sort();
        bail!(
            "{}: expected {}.onnx{}, found {}; fetch it too, or choose another --precision",
            folder.display(),
            names.join(".onnx or "),
            self.precision.map_or_else(String::new, |(name, _)| format!(" in {name}")),
            if there.is_empty() { "no network".into() } else { there.join(", ") }
        )
    }

    fn look(
        &self,
        onnx: &[u8],
        options: &ModelOptions,
        output: Option<&str>,
        classes: Option<usize>,
    ) -> Result<Inspection> {
        let folder = self.networks();
        let (size, usual) = (options.size, self.preparation.size);
        Ok(inspect::inspect(onnx, &InspectOptions { folder: Some(&folder), size, usual, output, classes })?)
    }

    fn image_side(&self, found: &Inspection, options: &ModelOptions, onnx: &[u8], file: String) -> Result<ImageSide> {
        let layer = default_layer(found, options, &file)?;
        let prepared = Preprocessing { mean: self.preparation.mean, std: self.preparation.std, cut: 0 };
        let preparation = &self.preparation;
        Ok(ImageSide {
            file,
            fit: preparation.fit,
            margin: preparation.margin,
            filter: preparation.filter,
            channels: preparation.channels,
            ..image_side(found, layer, prepared, sha256_hex(onnx))
        })
    }

    fn classifier(&self, options: &ModelOptions) -> Result<Model> {
        let file = self.network(Kind::Classifier.networks()[0])?;
        let path = self.networks().join(&file);
        let onnx = read(&path)?;
        let labels = self.labels()?;
        let classes = labels.as_ref().map(Vec::len);
        let found = self.look(&onnx, options, None, classes).with_context(|| path.display().to_string())?;
        let answer = found.class_answer(None, classes).with_context(|| path.display().to_string())?;
        let count = answer.classes_read().context("expected an output of 1 x classes")?;
        let mut labels = labels.unwrap_or_else(|| (0..count).map(|class| class.to_string()).collect());
        if answer.boxes.is_some() && labels.len() + 1 == count {
            labels.push(NOTHING.to_owned());
        }
        ensure!(
            labels.len() == count,
            "{}: expected {count} names in id2label, found {}",
            self.path.display(),
            labels.len()
        );
        let labels = labels.iter().map(|label| label.replace('\n', " ") + "\n").collect::<String>().into_bytes();
        let image = self.image_side(&found, options, &onnx, file.clone())?;
        let image = ImageSide { readings: answer.readings(), places: places(answer), ..image };
        let scores = scores(answer, options.alike);
        let explained = scores[0].name.clone();
        let reported =
            scores.iter().rev().find(|score| score.text == "class").map(|score| score.name.clone()).unwrap_or_default();
        let manifest = Manifest {
            classes: Some(ClassSide { labels: "labels.txt".into(), labels_sha256: sha256_hex(&labels) }),
            explain: Explain { reported, explained, scales: 1, guide: guide_of(&image) },
            ..self.manifest(image, scores)
        };
        self.model(manifest, vec![(file, onnx), ("labels.txt".to_owned(), labels)])
    }

    /// The names of the classes, in order.
    fn labels(&self) -> Result<Option<Vec<String>>> {
        let Some(labels) = self.config["id2label"].as_object() else { return Ok(None) };
        let ordered: BTreeMap<usize, &str> =
            labels.iter().filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?))).collect();
        ensure!(
            ordered.len() == labels.len() && ordered.keys().copied().eq(0..labels.len()),
            "{}: expected id2label to number the classes from 0 on",
            self.path.join("config.json").display()
        );
        Ok(Some(ordered.into_values().map(str::to_owned).collect()))
    }

    fn dual_encoder(&self, options: &ModelOptions) -> Result<Model> {
        let [image_names, text_names] = Kind::DualEncoder.networks() else { bail!("expected two towers") };
        let (image_file, text_file) = (self.network(image_names)?, self.network(text_names)?);
        let onnx = read(&self.networks().join(&image_file))?;
        let text_onnx = if text_file == image_file { None } else { Some(read(&self.networks().join(&text_file))?) };
        let place = || self.networks().join(&image_file).display().to_string();
        let image_output = embedding(&onnx, &["image_embeds", "pooler_output"]).with_context(place)?;
        let text_output = embedding(text_onnx.as_deref().unwrap_or(&onnx), &["text_embeds", "pooler_output"])
            .with_context(|| self.networks().join(&text_file).display().to_string())?;
        let found = self.look(&onnx, options, Some(&image_output), None).with_context(place)?;
        let tokenizer_path = self.path.join("tokenizer.json");
        let tokenizer = read(&tokenizer_path)?;
        let image = self.image_side(&found, options, &onnx, image_file.clone())?;
        let text = self.text_side(&text_file, text_onnx.as_deref().unwrap_or(&onnx), &tokenizer)?;
        // Of SigLIP, a softmax over texts is no probability.
        let seen = found.outputs.iter().find(|output| output.name == image_output);
        let length =
            seen.and_then(|output| *output.shape.last()?).filter(|_| !self.is_sigmoid() && text_onnx.is_none());
        let own = length.and_then(|length| {
            let embeddings = [&*image_output, &*text_output];
            let scale = |logits| likeness::scale(&onnx, Some(&self.networks()), embeddings, length, logits);
            LOGITS.into_iter().find_map(scale)
        });
        let scale = if self.is_sigmoid() { None } else { own.or(Some(CLIP_SCALE)) };
        let cosine = Score {
            name: "cosine".into(),
            kind: ScoreKind::Cosine,
            image: image_output,
            text: text_output,
            scale,
            scale_assumed: scale.is_some() && own.is_none(),
            description: "cosine of the two embeddings".into(),
        };
        let manifest = Manifest {
            text: Some(text),
            explain: Explain {
                reported: "cosine".into(),
                explained: "cosine".into(),
                scales: 1,
                guide: guide_of(&image),
            },
            ..self.manifest(image, vec![cosine])
        };
        let mut files = vec![(image_file, onnx), ("tokenizer.json".to_owned(), tokenizer)];
        files.extend(text_onnx.map(|onnx| (text_file, onnx)));
        self.model(manifest, files)
    }

    /// How prompts become the text tower's input.
    fn text_side(&self, file: &str, onnx: &[u8], tokenizer: &[u8]) -> Result<TextSide> {
        const INPUT: &str = "input_ids";
        let place = || self.networks().join(file).display().to_string();
        let config = &self.config["text_config"];
        let inputs = inspect::inputs(onnx).with_context(place)?;
        let kind = config["model_type"].as_str().unwrap_or(self.kind());
        let told_positions = inputs.iter().any(|input| input.of_tokens == Some(OfTokens::Positions));
        ensure!(
            !told_positions || !POSITIONS_FROM_PADDING.iter().any(|name| kind.contains(name)),
            "{}: its input of positions does not begin at 0 in networks of the kind \"{kind}\"; export it without this input",
            place()
        );
        let padding = Padding::of(&self.path, tokenizer)?;
        let sigmoid = self.is_sigmoid();
        let usual = if sigmoid { Some(64) } else { (self.kind() == "clip").then_some(77) };
        let positions = config["max_position_embeddings"].as_u64().map(|most| most as usize).or(usual);
        let longest = positions.into_iter().chain(padding.longest).min();
        let fixed = inputs.iter().find(|input| input.name == INPUT).and_then(|input| *input.shape.get(1)?);
        // SigLIP was trained with prompts that are filled up, and sees no difference between words and filling.
        let context = fixed.or(longest.filter(|_| sigmoid));
        let by_config = || [config, &self.config].into_iter().find_map(|config| config["pad_token_id"].as_i64());
        let pad = padding.id.or_else(by_config).or(sigmoid.then_some(1));
        ensure!(
            context.is_none() || pad.is_some(),
            "{}: it takes {} tokens, and no file of the folder says which token fills up a shorter prompt; fetch tokenizer_config.json too",
            place(),
            context.unwrap_or_default()
        );
        Ok(TextSide {
            file: file.to_owned(),
            sha256: sha256_hex(onnx),
            input: INPUT.into(),
            vocabulary: "tokenizer.json".into(),
            vocabulary_sha256: sha256_hex(tokenizer),
            tokenizer: TokenizerKind::HuggingFace,
            context,
            pad: pad.unwrap_or_default(),
            pad_first: padding.first,
            read_padding: padding.read,
            longest: if context.is_some() { None } else { longest },
            template: "{}".into(),
        })
    }

    /// Whether the two embeddings were trained with a sigmoid for each pair, not with a softmax over texts.
    fn is_sigmoid(&self) -> bool {
        self.kind().starts_with("siglip")
    }

    fn manifest(&self, image: ImageSide, scores: Vec<Score>) -> Manifest {
        Manifest {
            schema: SCHEMA,
            name: self.name(),
            description: match &self.known {
                Some(known) => format!("{} in Hugging Face's layout, {}", self.kind(), known.origin),
                None => format!("{} in Hugging Face's layout", self.kind()),
            },
            licence: "unknown".into(),
            image,
            text: None,
            classes: None,
            knowledge: None,
            scores,
            explain: Explain { reported: String::new(), explained: String::new(), scales: 1, guide: None },
            notices: Vec::new(),
        }
    }

    fn model(&self, manifest: Manifest, files: Vec<(String, Vec<u8>)>) -> Result<Model> {
        let known = self.known.as_ref().map(|known| known.origin.clone());
        let origin = known.unwrap_or_else(|| self.path.display().to_string());
        manifest.check().with_context(|| origin.clone())?;
        let folder = self.networks();
        Ok(Model {
            sha256: super::sha256_of(
                &serde_json::to_string(&manifest)?,
                files.iter().map(|(_, bytes)| &bytes[..]),
                Some(&folder),
            )?,
            manifest,
            files: files.into_iter().map(|(name, bytes)| (name, Arc::new(Cow::Owned(bytes)))).collect(),
            origin,
            names_from: None,
            folder: Some(folder),
            has_manifest: false,
            pairs: Pairs::default(),
            integers: None,
        })
    }
}

/// The first of these outputs that a network has.
fn embedding(onnx: &[u8], names: &[&str]) -> Result<String> {
    let outputs = inspect::outputs(onnx)?;
    let found = names.iter().find(|name| outputs.iter().any(|output| output == *name));
    found
        .map(|name| (*name).to_owned())
        .with_context(|| format!("expected an output named {}, found {}", names.join(" or "), outputs.join(", ")))
}

fn guide_of(image: &ImageSide) -> Option<String> {
    image.finer_layer().map(|layer| layer.name.clone())
}
