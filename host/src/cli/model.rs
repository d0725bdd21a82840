//! The model and how it is run.

use super::headings::{ADVANCED, MODEL, ONNX};
use super::output::{progress_bar, usage};
use super::values::{ChannelOrderArg, FitArg, PresetArg};
use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use decomcam::model::ModelOptions;
use decomcam::{Session, SessionOptions, Size};
use std::path::{Path, PathBuf};

/// The model and how it is run.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A bundled model, hf:OWNER/NAME, a directory, or the ONNX or .tflite file of a classifier
    ///
    /// hf:OWNER/NAME, or hf:OWNER/NAME@REVISION, is a model of Hugging Face's hub with networks in onnx/; it is fetched once. A directory holds a model.toml, or
    /// is a folder of the hub. `decomcam models` lists models.
    #[arg(short, long, value_name = "NAME|DIR|FILE", default_value = "lite", help_heading = MODEL)]
    pub model: String,
    /// Height and width of the network's input [default: the model's own]
    ///
    /// One number for a square, or height x width, such as 240x320.
    #[arg(long, hide_short_help = true, value_name = "PX|HxW", help_heading = MODEL, value_parser = size)]
    pub size: Option<Size>,
    /// How the photo is made to fit the input [default: the model's own]
    #[arg(long, value_enum, help_heading = MODEL)]
    pub fit: Option<FitArg>,
    /// With --fit crop and stretch: pixels of the input that are cut off the shorter side as well, both ends together [default: the model's own]
    #[arg(long, value_name = "PX", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::value_parser!(u16).range(..=2048))]
    pub margin: Option<u16>,
    /// Round the activations of a quantised network as an integer device does, instead of only clamping them; slower
    #[arg(long, help_heading = ADVANCED, hide_short_help = true)]
    pub faithful: bool,
    /// Number of worker threads [default: one per core]
    #[arg(long, value_name = "N", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What an ONNX file does not say.
    #[command(flatten)]
    pub onnx: OnnxArgs,
}

/// What an ONNX file without a manifest does not say.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = ONNX)]
pub struct OnnxArgs {
    /// A file with the names of the classes, one on each line, or as JSON [default: numbers]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How the network wants its colours [default: imagenet]
    #[arg(long, hide_short_help = true, value_enum, value_name = "NAME")]
    pub preset: Option<PresetArg>,
    /// Mean of red, green and blue on a scale of 0 to 1, such as 0.485,0.456,0.406 [default: the preset's]
    #[arg(long, value_name = "R,G,B", hide_short_help = true, value_delimiter = ',', num_args = 1..=3)]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of red, green and blue on a scale of 0 to 1 [default: the preset's]
    #[arg(long, value_name = "R,G,B", hide_short_help = true, value_delimiter = ',', num_args = 1..=3)]
    pub std: Option<Vec<f32>>,
    /// The order of the colour channels that the network wants [default: rgb]
    #[arg(long, value_enum, value_name = "ORDER", hide_short_help = true)]
    pub channel_order: Option<ChannelOrderArg>,
    /// Of a model of Hugging Face's hub: the number format whose files are used, such as fp16, int8 or q4 [default: the first that is there]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub precision: Option<String>,
    /// The output that is explained, by its name or its number from 0 on [default: the only one that scores classes]
    #[arg(long, value_name = "NAME|INDEX", hide_short_help = true)]
    pub output: Option<String>,
}

/// A side, or height x width.
pub fn size(text: &str) -> std::result::Result<Size, String> {
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|side| (1..=8192).contains(side));
    let size = match text.split_once(['x', 'X']) {
        None => number(text).map(Size::square),
        Some((height, width)) => number(height).zip(number(width)).map(|(height, width)| Size::new(height, width)),
    };
    size.ok_or_else(|| "expected pixels, such as 224, or height x width, such as 240x320".into())
}

/// One number for all colours, or three.
fn levels(name: &str, given: Option<&[f32]>) -> Result<Option<[f32; 3]>> {
    match given {
        None => Ok(None),
        Some(&[grey]) => Ok(Some([grey; 3])),
        Some(&[red, green, blue]) => Ok(Some([red, green, blue])),
        Some(other) => {
            let message =
                format!("{name}: expected one number, or three for red, green and blue; found {}", other.len());
            Err(usage(ErrorKind::WrongNumberOfValues, &message))
        }
    }
}

impl ModelArgs {
    /// What of it may be files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [Path::new(&self.model)].into_iter().chain(self.onnx.labels.as_deref())
    }

    /// Opens the model, with a progress bar unless `quiet`; `layer` is the one that will be explained, if one `needs_layer`.
    pub fn open(&self, layer: Option<&str>, needs_layer: bool, quiet: bool) -> Result<Session> {
        self.open_for(layer, needs_layer, false, quiet)
    }

    /// The same; `alike` if photos will be compared with photos.
    pub fn open_for(&self, layer: Option<&str>, needs_layer: bool, alike: bool, quiet: bool) -> Result<Session> {
        let onnx = &self.onnx;
        let mut model = ModelOptions::new().faithful(self.faithful);
        model.labels = onnx.labels.clone().map(Into::into);
        model.preset = onnx.preset.map(|preset| preset.0);
        model.mean = levels("--mean", onnx.mean.as_deref())?;
        model.std = levels("--std", onnx.std.as_deref())?;
        model.channels = onnx.channel_order.map(|order| order.0);
        model.precision.clone_from(&onnx.precision);
        model.output.clone_from(&onnx.output);
        model.layer = layer.map(str::to_owned);
        model.layerless = !needs_layer;
        model.alike = alike;
        if !quiet {
            model = model.watching(progress_bar());
        }
        let mut options = SessionOptions::new().model(model);
        options.size = self.size;
        options.fit = self.fit.map(|fit| fit.0);
        options.margin = self.margin.map(usize::from);
        options.threads = self.threads.map(usize::from);
        options.after_loading = super::GIVE_MEMORY_BACK.get().copied();
        let session = Session::open_with(&self.model, &options)?;
        Ok(if quiet { session } else { session.watching(progress_bar()) })
    }
}
