//! A network without a manifest: what a manifest would say is found by looking into the file.

use super::manifest::{
    AT_A_PLACE, ChannelOrder, ClassSide, Explain, ImageSide, Layer, Manifest, OF_A_PICTURE, Places, SCHEMA, Score,
    ScoreKind,
};
use super::options::{Labels, ModelOptions, Preprocessing};
use super::{Model, labels, preparation};
use crate::hash::sha256_hex;
use crate::onnx::ends::{Answer, End, Squash};
use crate::onnx::inspect::{self, FoundLayer, InspectOptions, Inspection};
use crate::onnx::normal::{Picture, Reading, Scale, in_words};
use crate::onnx::quantised::Pairs;
use crate::photo::{Filter, Fit};
use crate::tflite::{self, Preparation};
use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name under which a model made of a `.tflite` file holds that file.
pub(super) const FLASHED: &str = "network.tflite";

/// Opens a classifier's ONNX or `.tflite` file.
pub(super) fn open(path: &Path, options: &ModelOptions) -> Result<Model> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")).to_owned();
    // What the hub keeps beside a network.
    of(path, read(path)?, Some(folder), preparation::Preparation::beside(path), options)
}

/// Opens the bytes of such a file. `path` is what it is called, `folder` where weights may lie that are not in it, and `beside` says how it wants its pictures.
pub(super) fn of(
    path: &Path,
    bytes: Vec<u8>,
    folder: Option<PathBuf>,
    beside: Option<preparation::Preparation>,
    options: &ModelOptions,
) -> Result<Model> {
    let origin = path.display().to_string();
    let is_tflite = tflite::is_one(&bytes) || path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("tflite"));
    ensure!(
        !(is_tflite && options.faithful),
        "{origin}: --faithful would have no effect: activations of a .tflite network always are the board's own integers; leave it out"
    );
    let named = |labels: &Labels| match labels {
        Labels::File(path) => labels::one_a_line(&read(path)?).with_context(|| names_from(labels)),
        Labels::Text(text) => labels::one_a_line(text.as_bytes()).with_context(|| names_from(labels)),
    };
    let given = options.labels.as_ref().map(named).transpose()?;
    let classes = given.as_ref().map(|labels| String::from_utf8_lossy(labels).lines().count());
    let mut look = InspectOptions {
        folder: folder.as_deref(),
        size: options.size,
        usual: beside.as_ref().and_then(|beside| beside.size),
        output: options.output.as_deref(),
        classes,
    };
    let (mut found, onnx, integers, description) = if is_tflite {
        let (found, integers, onnx) = tflite::inspect::inspect(&bytes, &look).with_context(|| origin.clone())?;
        let description = format!("a network of TensorFlow Lite in integers, SHA-256 {}", sha256_hex(&bytes));
        (found.network, onnx, Some((Arc::new(integers), bytes)), description)
    } else {
        let found = inspect::inspect(&bytes, &look).with_context(|| origin.clone())?;
        (found, bytes, None, "a network without a manifest".to_owned())
    };
    let (integers, flashed) = integers.unzip();
    let embedding = if options.alike && look.output.is_none() { embedding_output(&found) } else { None };
    if embedding.is_some() && integers.is_none() {
        look.output = embedding.as_deref();
        found = inspect::inspect(&onnx, &look).with_context(|| origin.clone())?;
    }
    if let Some(unsound) = &found.unsound {
        bail!("{origin}: {unsound}");
    }
    let answer = found.class_answer(look.output, classes).with_context(|| origin.clone())?;
    let layer = default_layer(&found, options, &origin)?;
    let labels = class_names(options, given, answer, &origin)?;
    let name = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let given = options.preset.is_some() || options.mean.is_some() || options.std.is_some();
    let prepared = match &beside {
        Some(beside) if !given => Preprocessing { mean: beside.mean, std: beside.std, cut: 0 },
        _ => match &integers {
            Some(integers) if !given => prepared(&integers.preparation()),
            _ => preprocessing(options, &found.picture)?,
        },
    };
    let (filter, framed) = match beside.as_ref().filter(|_| !given) {
        Some(beside) => (beside.filter, Some((beside.fit, beside.margin))),
        None => (Filter::default(), None),
    };
    let channels = options.channels.or(beside.map(|beside| beside.channels)).unwrap_or_default();
    let side = image_side(&found, layer, prepared, sha256_hex(&onnx));
    let (fit, margin) = framed.unwrap_or((side.fit, side.margin));
    let image =
        ImageSide { channels, filter, fit, margin, readings: answer.readings(), places: places(answer), ..side };
    let guide = image.finer_layer().map(|layer| layer.name.clone());
    let scores = scores(answer, options.alike);
    let explained = scores[0].name.clone();
    let reported = reported_name(answer).into();
    let manifest = Manifest {
        schema: SCHEMA,
        name,
        description,
        licence: "unknown".into(),
        image,
        text: None,
        classes: Some(ClassSide { labels: "labels.txt".into(), labels_sha256: sha256_hex(&labels) }),
        knowledge: None,
        scores,
        explain: Explain { reported, explained, scales: 1, guide },
        notices: Vec::new(),
    };
    manifest.check().with_context(|| origin.clone())?;
    let files = [("image.onnx", onnx), ("labels.txt", labels)];
    Ok(Model {
        sha256: super::sha256_of(
            &serde_json::to_string(&manifest)?,
            files.iter().map(|(_, bytes)| &bytes[..]),
            folder.as_deref(),
        )?,
        manifest,
        files: files
            .into_iter()
            .chain(flashed.map(|bytes| (FLASHED, bytes)))
            .map(|(name, bytes)| (name.to_owned(), Arc::new(Cow::Owned(bytes))))
            .collect(),
        origin,
        names_from: options.labels.as_ref().map(names_from),
        folder,
        has_manifest: false,
        pairs: Pairs::default(),
        integers,
    })
}

/// How a network of integers wants its pictures: whole, as boards' cameras give them.
fn prepared(preparation: &Preparation) -> Preprocessing {
    Preprocessing { mean: [preparation.mean; 3], std: [preparation.std; 3], cut: 0 }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}: could not read the file", path.display()))
}

/// The layer asked for, or the suggested one.
pub(super) fn default_layer<'f>(
    found: &'f Inspection,
    options: &ModelOptions,
    origin: &str,
) -> Result<Option<&'f FoundLayer>> {
    if options.layerless && options.layer.is_none() && found.suggested.is_none() {
        return Ok(None);
    }
    let suggested = || {
        let none = || format!("{origin}: {}", found.refusal.as_deref().unwrap_or("no layer that can be explained"));
        found.suggested.as_deref().with_context(none)
    };
    let name = options.layer.as_deref().map_or_else(suggested, Ok)?;
    found.layer(name).map(Some).with_context(|| origin.to_owned())
}

/// The names of the classes, one a line: those of the file given, or numbers.
fn class_names(options: &ModelOptions, given: Option<Vec<u8>>, answer: &Answer, origin: &str) -> Result<Vec<u8>> {
    let classes = answer.classes_read().with_context(|| {
        format!(
            "{origin}: expected an output of 1 x classes, found \"{}\" of {}",
            answer.end.output,
            in_words(&answer.shape)
        )
    })?;
    let Some(mut labels) = given else {
        if classes == 1 {
            // One number is a value, which is called what the network calls it.
            return Ok(format!("{}\n", answer.end.output.replace(['\n', ','], " ")).into_bytes());
        }
        return Ok((0..classes).map(|class| format!("{class}\n")).collect::<String>().into_bytes());
    };
    let mut lines = String::from_utf8_lossy(&labels).lines().count();
    if answer.boxes.is_some() && lines + 1 == classes {
        // DETR's last class says that there is nothing.
        labels = [String::from_utf8_lossy(&labels).trim_end(), NOTHING].join("\n").into_bytes();
        lines = classes;
    }
    let place = options.labels.as_ref().map(names_from).unwrap_or_default();
    ensure!(lines == classes, "{place}: expected {classes} names, one for each class of {origin}, found {lines}");
    Ok(labels)
}

/// What gave the names of the classes, for messages.
fn names_from(labels: &Labels) -> String {
    match labels {
        Labels::File(path) => path.display().to_string(),
        Labels::Text(_) => "the names of the classes".to_owned(),
    }
}

/// Name of the class of a detector that stands for no object.
pub(super) const NOTHING: &str = "no object";

/// The output that is a vector of the picture.
fn embedding_output(found: &Inspection) -> Option<String> {
    let mut vectors = found.answers.iter().filter(|answer| answer.is_embedding() && answer.embedding.is_some());
    let named = vectors.clone().find(|answer| answer.end.output == "image_embeds");
    named.or_else(|| vectors.next()).map(|answer| answer.end.output.clone())
}

/// Where the numbers of every place are, if there are many.
pub(super) fn places(answer: &Answer) -> Option<Places> {
    let End { explained, reported, squash, .. } = answer.end.clone();
    // Where nothing but a clamp or a rounding lies between the two, one tensor is both.
    let reported = if squash.is_some() { reported } else { explained.clone() };
    Some(Places { reading: answer.reading?, explained, reported, boxes: answer.boxes.clone() })
}

/// The number that a network is known by.
fn reported_name(answer: &Answer) -> &'static str {
    match answer.end.squash {
        None if answer.classes_read() == Some(1) || !answer.end.logits => "value",
        None => "logit",
        Some(Squash::Softmax | Squash::Sigmoid) => "probability",
        Some(Squash::LogSoftmax) => "log-probability",
    }
}

/// What is explained, and what is reported where that is something else.
pub(super) fn scores(answer: &Answer, alike: bool) -> Vec<Score> {
    let end = &answer.end;
    let score = |name: &str, image: &str, description: String| Score {
        name: name.into(),
        kind: ScoreKind::Dot,
        image: image.into(),
        text: "class".into(),
        scale: None,
        scale_assumed: false,
        description,
    };
    let how = match answer.reading {
        None => "",
        Some(Reading::Pixels { .. }) => ", mean of the pixels where it is the largest",
        Some(Reading::Boxes { .. }) => ", largest of all boxes",
    };
    let explained = if end.squash.is_some() { "logit" } else { reported_name(answer) };
    let mut scores =
        vec![score(explained, &answer.explained(), format!("the class's number in \"{}\"{how}", end.explained))];
    if let Some(squash) = end.squash {
        let description = format!("the class's number in output \"{}\": {squash:?} of the logits", end.output);
        scores.push(score(reported_name(answer), &answer.reported(), description));
    }
    if answer.reading.is_some() {
        let at_a_place = |name: &str, tensor: &str| Score {
            text: AT_A_PLACE.into(),
            ..score(&format!("{name} there"), tensor, format!("the class's number in \"{tensor}\" at one place"))
        };
        scores.push(at_a_place(explained, &end.explained));
        if end.squash.is_some() {
            scores.push(at_a_place(reported_name(answer), &end.reported));
        }
    }
    if let Some(embedding) = answer.embedding.as_ref().filter(|_| alike) {
        scores.push(Score {
            kind: ScoreKind::Cosine,
            text: OF_A_PICTURE.into(),
            ..score("cosine", embedding, format!("cosine of \"{embedding}\" of two pictures"))
        });
    }
    scores
}

/// Mean and deviation as shares of 1 become those of values from 0 to 255. A network that prepares its pictures itself gets them as it wants them.
fn preprocessing(options: &ModelOptions, picture: &Picture) -> Result<Preprocessing> {
    let own = picture.scale.map(|scale| match scale {
        Scale::Bytes => Preprocessing::RAW,
        Scale::Signed => Preprocessing { mean: [128.0; 3], ..Preprocessing::RAW },
        Scale::Shares => Preprocessing { std: [255.0; 3], ..Preprocessing::RAW },
        Scale::Halves => Preprocessing { mean: [127.5; 3], std: [127.5; 3], ..Preprocessing::RAW },
    });
    let given = options.preset.is_some() || options.mean.is_some() || options.std.is_some();
    if let Some(own) = own.filter(|_| picture.is_whole()) {
        ensure!(
            !given || options.preset == Some(Preprocessing::RAW),
            "preset, mean and std would have no effect: the network takes pictures as {}, and prepares them itself; leave them out",
            picture.numbers
        );
        return Ok(own);
    }
    let preset = options.preset.or(own).unwrap_or_default();
    let levels = |name: &str, given: Option<[f32; 3]>, preset: [f32; 3]| -> Result<[f32; 3]> {
        let Some(given) = given else { return Ok(preset) };
        ensure!(
            given.iter().all(|level| level.abs() <= 1.0),
            "{name}: expected shares of 1, found {given:?}; these look like values of 0 to 255: divide them by 255"
        );
        Ok(given.map(|level| 255.0 * level))
    };
    let (mean, std) = (levels("mean", options.mean, preset.mean)?, levels("std", options.std, preset.std)?);
    Ok(Preprocessing { mean, std, ..preset })
}

pub(super) fn image_side(
    found: &Inspection,
    default: Option<&FoundLayer>,
    prepared: Preprocessing,
    sha256: String,
) -> ImageSide {
    let size = found.size;
    ImageSide {
        file: "image.onnx".into(),
        sha256,
        input: found.input.name.clone(),
        size,
        // Layers have been found for this size; others are possible where they follow from it.
        multiple: if size.height == size.width { size.height } else { 1 },
        fit: Fit::Crop,
        margin: prepared.margin(size.height.min(size.width)),
        filter: Filter::Bicubic,
        mean: prepared.mean,
        std: prepared.std,
        channels: ChannelOrder::default(),
        readings: Vec::new(),
        places: None,
        default_layer: default.map(|layer| layer.name.clone()).unwrap_or_default(),
        layers: match default {
            Some(_) => found.explainable().map(|layer| manifest_layer(found, layer)).collect(),
            None => Vec::new(),
        },
    }
}

fn manifest_layer(found: &Inspection, layer: &FoundLayer) -> Layer {
    Layer {
        name: layer.name.clone(),
        channels: layer.channels,
        stride: layer.stride(found.size),
        layout: layer.layout,
        prefix_tokens: layer.prefix_tokens,
        suffix_tokens: layer.suffix_tokens,
        unpadded: layer.is_unpadded(found.size),
        description: format!("output of {}", layer.operator),
    }
}
