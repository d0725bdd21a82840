//! How pictures are prepared, as a `preprocessor_config.json` says it and transformers' image processors read it.
//!
//! The file leaves out what its processor does anyway, and the same field means different things to different processors: `"size": 224` stretches a picture for a ViT and
//! keeps its shape for CLIP, and a ConvNext cuts off an eighth that no field mentions. So each kind of processor has a row in [`PROCESSORS`].

use super::manifest::ChannelOrder;
use crate::Size;
use crate::photo::{Filter, Fit};
use serde_json::Value;
use std::path::Path;

/// How a picture becomes the network's input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preparation {
    /// If it says one.
    pub(super) size: Option<Size>,
    pub(super) fit: Fit,
    /// Pixels cut off the shorter side.
    pub(super) margin: usize,
    pub(super) filter: Filter,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) channels: ChannelOrder,
}

/// What a kind of image processor does where the file does not say otherwise.
#[derive(Debug, Clone, Copy)]
struct Processor {
    /// Its name in the file, without "ImageProcessor", "ImageProcessorFast" or "FeatureExtractor".
    name: &'static str,
    /// Values of `model_type` in `config.json` that have it, for files that do not name it.
    models: &'static [&'static str],
    filter: Filter,
    /// Whether a size that is one number is that of a square, which the picture is stretched to, rather than of its shorter side.
    square: bool,
    size: usize,
    /// How much larger the picture is made than that, to be cut.
    larger: Larger,
    /// The square that is cut out of the centre, if one is without being asked for.
    crop: Option<usize>,
    /// Mean and deviation, as shares of 1.
    levels: ([f32; 3], [f32; 3]),
    normalises: bool,
    /// Whether blue comes first.
    flips: bool,
    /// Whether the deviation divides twice (`include_top`).
    divides_twice: bool,
}

/// How a size is read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Larger {
    /// As it is.
    No,
    /// LeViT: 256 for 224, whatever the size.
    Fixed,
    /// PoolFormer: the size by `crop_pct`.
    Share(f64),
    /// ConvNext: the size by `crop_pct`, of which the size is cut out; from 384 on nothing is cut and the picture is stretched.
    ShareBelow384(f64),
}

const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);

/// A processor that nothing is known of.
const OTHER: Processor = Processor {
    name: "",
    models: &[],
    filter: Filter::Bicubic,
    square: false,
    size: 224,
    larger: Larger::No,
    crop: None,
    levels: HALF,
    normalises: true,
    flips: false,
    divides_twice: false,
};

const OF_CLIP: Processor = Processor { crop: Some(224), levels: CLIP, ..OTHER };
const OF_VIT: Processor = Processor { filter: Filter::Bilinear, square: true, ..OTHER };
const OF_DETR: Processor = Processor { filter: Filter::Bilinear, size: 800, levels: IMAGENET, ..OTHER };
const OF_MOBILENET: Processor = Processor { filter: Filter::Bilinear, size: 256, crop: Some(224), ..OTHER };
const OF_BEIT: Processor = Processor { square: true, size: 256, crop: Some(224), ..OTHER };

/// The processors of classifiers, dual encoders, segmenters and detectors, `tests/processors` holds them to transformers'.
const PROCESSORS: [Processor; 25] = [
    Processor { name: "CLIP", models: &["clip", "metaclip_2", "aimv2", "altclip", "groupvit"], ..OF_CLIP },
    Processor { name: "ChineseCLIP", models: &["chinese_clip"], ..OF_CLIP },
    Processor { name: "Bit", models: &["bit", "dinov2", "dinov2_with_registers", "focalnet", "hiera"], ..OF_CLIP },
    Processor { name: "Siglip", models: &["siglip"], square: true, ..OTHER },
    Processor { name: "Blip", models: &["blip"], square: true, size: 384, levels: CLIP, ..OTHER },
    Processor { name: "Flava", models: &["flava"], square: true, crop: Some(224), levels: CLIP, ..OTHER },
    Processor {
        name: "ViT",
        models: &["vit", "swin", "swinv2", "dinat", "nat", "vit_mae", "vit_msn", "ijepa", "swiftformer"],
        ..OF_VIT
    },
    Processor { name: "DINOv3ViT", models: &["dinov3_vit", "dinov3_convnext"], levels: IMAGENET, ..OF_VIT },
    Processor { name: "Pvt", models: &["pvt", "pvt_v2"], levels: IMAGENET, ..OF_VIT },
    Processor { name: "Segformer", models: &["segformer", "upernet"], size: 512, levels: IMAGENET, ..OF_VIT },
    Processor {
        name: "RTDetr",
        models: &["rt_detr", "rt_detr_v2", "d_fine"],
        size: 640,
        levels: IMAGENET,
        normalises: false,
        ..OF_VIT
    },
    Processor { name: "DPT", models: &["dpt"], square: true, size: 384, ..OTHER },
    Processor { name: "DeiT", models: &["deit"], ..OF_BEIT },
    Processor { name: "Beit", models: &["beit", "data2vec-vision"], ..OF_BEIT },
    Processor { name: "EfficientFormer", models: &["efficientformer"], size: 224, levels: IMAGENET, ..OF_BEIT },
    Processor {
        name: "ConvNext",
        models: &["convnext", "convnextv2", "cvt", "regnet", "resnet", "van"],
        filter: Filter::Bilinear,
        size: 384,
        larger: Larger::ShareBelow384(224.0 / 256.0),
        ..OTHER
    },
    Processor { name: "Levit", models: &["levit"], larger: Larger::Fixed, crop: Some(224), levels: IMAGENET, ..OTHER },
    Processor {
        name: "PoolFormer",
        models: &["poolformer"],
        larger: Larger::Share(0.9),
        crop: Some(224),
        levels: IMAGENET,
        ..OTHER
    },
    Processor {
        name: "MobileViT",
        models: &["mobilevit", "mobilevitv2"],
        size: 224,
        crop: Some(256),
        normalises: false,
        flips: true,
        ..OF_MOBILENET
    },
    Processor { name: "MobileNetV1", models: &["mobilenet_v1"], ..OF_MOBILENET },
    Processor { name: "MobileNetV2", models: &["mobilenet_v2"], ..OF_MOBILENET },
    Processor {
        name: "EfficientNet",
        models: &["efficientnet", "align"],
        filter: Filter::Nearest,
        square: true,
        size: 346,
        divides_twice: true,
        ..OTHER
    },
    Processor { name: "Detr", models: &["detr", "table-transformer"], ..OF_DETR },
    Processor { name: "ConditionalDetr", models: &["conditional_detr"], ..OF_DETR },
    Processor { name: "Yolos", models: &["yolos"], ..OF_DETR },
];

impl Processor {
    /// The one that a file names, or else the usual one of the model.
    fn of(config: &Value, model: Option<&str>) -> Option<Self> {
        let named = ["image_processor_type", "feature_extractor_type"].iter().find_map(|key| config[key].as_str());
        let short = |name: &str| -> String {
            let ends = ["ImageProcessorFast", "ImageProcessor", "FeatureExtractor"];
            ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
        };
        let find = |is: &dyn Fn(&Self) -> bool| PROCESSORS.iter().find(|processor| is(processor)).copied();
        let by_name = named.map(short).and_then(|name| find(&|processor| processor.name == name));
        by_name.or_else(|| find(&|processor| model.is_some_and(|model| processor.models.contains(&model))))
    }
}

impl Preparation {
    /// Of the `preprocessor_config.json` beside a network, or in the folder above if the network lies in `onnx`.
    pub(super) fn beside(network: &Path) -> Option<Self> {
        let folder = network.parent()?;
        let above = folder.parent().filter(|_| folder.ends_with("onnx"));
        let folder = [Some(folder), above].into_iter().flatten().find(|folder| folder.join(FILE).is_file())?;
        let json =
            |name: &str| -> Option<Value> { serde_json::from_slice(&std::fs::read(folder.join(name)).ok()?).ok() };
        let model = json("config.json").and_then(|config| config["model_type"].as_str().map(str::to_owned));
        Some(Self::of(&json(FILE)?, model.as_deref()))
    }

    /// Reads a `preprocessor_config.json`. `model` is the `model_type` of the `config.json` beside it.
    pub(super) fn of(config: &Value, model: Option<&str>) -> Self {
        let known = Processor::of(config, model);
        let usual = known.unwrap_or(OTHER);
        let length = |value: &Value| value.as_u64().map(|length| length as usize);
        let sides = |value: &Value| {
            let both = length(&value["height"]).zip(length(&value["width"]));
            both.map(|(height, width)| Size::new(height, width))
        };
        let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);

        let number = length(&config["size"]).or(known.filter(|_| config["size"].is_null()).map(|known| known.size));
        let whole = sides(&config["size"]).or(number.filter(|_| usual.square).map(Size::square));
        let shortest = length(&config["size"]["shortest_edge"]).or(number.filter(|_| !usual.square));
        let crop = sides(&config["crop_size"]).or(length(&config["crop_size"]).map(Size::square));
        let crop = crop.or(usual.crop.map(Size::square));
        // Files without a processor's name that have a square to cut cut it.
        let cuts = flag("do_center_crop", usual.crop.is_some() || known.is_none());
        let mut crop = crop.filter(|_| cuts);
        let share =
            |usual: f64| config["crop_pct"].as_f64().filter(|share| *share > 0.0 && *share <= 1.0).unwrap_or(usual);
        let (mut whole, mut resized) = (whole, shortest);
        match (usual.larger, shortest) {
            (Larger::Fixed, Some(shortest)) => resized = Some(shortest * 256 / 224),
            // A share of null is none.
            (Larger::Share(_), _) if config.get("crop_pct").is_some_and(Value::is_null) => {}
            (Larger::Share(usual), _) => {
                let size = shortest.or(whole.map(|size| size.height.min(size.width)));
                resized = size.map(|size| (size as f64 / share(usual)) as usize);
                whole = None;
            }
            (Larger::ShareBelow384(usual), Some(shortest)) if shortest < 384 => {
                resized = Some((shortest as f64 / share(usual)) as usize);
                crop = Some(Size::square(shortest));
            }
            (Larger::ShareBelow384(_), Some(shortest)) => (whole, crop) = (Some(Size::square(shortest)), None),
            (Larger::No | Larger::Fixed | Larger::ShareBelow384(_), _) => {}
        }
        let shorter = |size: Size| size.height.min(size.width);
        let resized = whole.map(shorter).or(resized);
        let margin = match (crop, resized) {
            (Some(crop), Some(resized)) => resized.saturating_sub(shorter(crop)),
            _ => 0,
        };
        let (mean, std) = levels(config, &usual, known.is_some());
        Self {
            size: crop.or(whole).or(shortest.map(Size::square)),
            fit: if whole.is_some() { Fit::Stretch } else { Fit::Crop },
            margin,
            filter: config["resample"].as_u64().and_then(Filter::of_pillow).unwrap_or(usual.filter),
            mean,
            std,
            channels: if flag("do_flip_channel_order", usual.flips) { ChannelOrder::Bgr } else { ChannelOrder::Rgb },
        }
    }
}

const FILE: &str = "preprocessor_config.json";

/// Mean and deviation of values from 0 to 255.
fn levels(config: &Value, usual: &Processor, is_known: bool) -> ([f32; 3], [f32; 3]) {
    let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
    let three = |name: &str, default: [f32; 3]| -> [f32; 3] {
        let one = config[name].as_f64().map(|level| [level as f32; 3]);
        let given = config[name].as_array().filter(|given| given.len() == 3);
        let level = |at: usize| given.and_then(|given| given[at].as_f64()).map_or(default[at], |level| level as f32);
        one.unwrap_or_else(|| std::array::from_fn(level))
    };
    let factor = config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0);
    let factor = if flag("do_rescale", true) { factor as f32 } else { 1.0 };
    let normalises = flag("do_normalize", if is_known { usual.normalises } else { config["image_mean"].is_array() });
    let given = (three("image_mean", usual.levels.0), three("image_std", usual.levels.1));
    let (mut mean, mut std) = if normalises { given } else { ([0.0; 3], [1.0; 3]) };
    if flag("rescale_offset", false) {
        // 1 is subtracted first.
        mean = mean.map(|level| level + 1.0);
    }
    if flag("include_top", usual.divides_twice) && usual.divides_twice {
        std = std::array::from_fn(|at| std[at] * given.1[at]);
    }
    (mean.map(|level| level / factor), std.map(|level| level / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{Framing, Photo};
    use serde::Deserialize;

    /// What transformers makes of a picture whose red grows to the right and whose green grows downwards.
    #[derive(Deserialize)]
    struct Reference {
        config: Value,
        model_type: Option<String>,
        photo: [usize; 2],
        resample: u64,
        size: [usize; 2],
        /// Values of the three channels at the first pixel and at the last.
        first: [f32; 3],
        last: [f32; 3],
    }

    fn picture(size: Size) -> Photo {
        let level = |at: u32, side: usize| (255.0 * f64::from(at) / (side - 1) as f64).round() as u8;
        let pixel = |x: u32, y: u32| image::Rgb([level(x, size.width), level(y, size.height), 64]);
        Photo::from_pixels("slopes", image::RgbImage::from_fn(size.width as u32, size.height as u32, pixel))
    }

    #[test]
    fn pictures_are_prepared_as_transformers_prepares_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/processors/references.json");
        let references: Vec<Reference> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut failures = Vec::new();
        for reference in &references {
            let prepared = Preparation::of(&reference.config, reference.model_type.as_deref());
            let what = format!("{} of {:?}: {prepared:?}", reference.config, reference.model_type);
            let size = Size::new(reference.size[0], reference.size[1]);
            if prepared.size != Some(size) || Filter::of_pillow(reference.resample) != Some(prepared.filter) {
                failures.push(format!("{what}; expected {size} by filter {}", reference.resample));
                continue;
            }
            let photo = picture(Size::new(reference.photo[0], reference.photo[1]));
            let shape = Size::new(reference.photo[0], reference.photo[1]);
            let framing = Framing::new(prepared.fit, shape, size, prepared.margin);
            let planes = photo.network_input(framing, size, prepared.filter, [0; 3], 1);
            let values = planes.normalised(prepared.mean, prepared.std);
            for (at, expected) in [(0, reference.first), (size.area() - 1, reference.last)] {
                for (channel, expected) in expected.iter().enumerate() {
                    let own = if prepared.channels == ChannelOrder::Bgr { 2 - channel } else { channel };
                    let found = values[own * size.area() + at];
                    // Where a picture is cut may differ by one pixel of the input, along which the slopes rise so much, and each resizing rounds to levels.
                    let side = shape.height.min(shape.width).min(size.height.min(size.width));
                    let levels = 2.0 + 255.0 / side as f32;
                    if (found - expected).abs() * prepared.std[own] > levels {
                        failures.push(format!("{what}; channel {channel} at {at} is {found}, expected {expected}"));
                    }
                }
            }
        }
        assert!(references.len() >= 60, "{}", references.len());
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
