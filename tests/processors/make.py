"""Writes what transformers' image processors make of a picture: `python make.py`, with transformers 4.57.6, pillow and numpy.

Each reference is a `preprocessor_config.json`, as hubs have them, from nothing but the processor's name to everything that the processor writes, and the `model_type` of the
`config.json` beside it. The picture rises from 0 to 255 along its columns in red and along its rows in green, and is 64 in blue: the values at the first and the last pixel tell which
part of it became the network's input, and how it was normalised. The filter is the processor's own word. `host/src/model/preparation.rs` reads these.
"""

import json
from pathlib import Path

import numpy as np
import transformers
from PIL import Image
from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

HERE = Path(__file__).parent
PHOTOS = [(300, 420), (500, 400)]

# A processor's name, and model types that use it without naming it.
PROCESSORS = {
    "CLIP": ["clip"],
    "ChineseCLIP": ["chinese_clip"],
    "Bit": ["bit", "dinov2", "focalnet", "hiera"],
    "Siglip": ["siglip"],
    "Blip": ["blip"],
    "Flava": ["flava"],
    "ViT": ["vit", "swin", "swinv2", "swiftformer"],
    "Pvt": ["pvt", "pvt_v2"],
    "Segformer": ["segformer"],
    "RTDetr": ["rt_detr"],
    "DPT": ["dpt"],
    "DeiT": ["deit"],
    "Beit": ["beit", "data2vec-vision"],
    "EfficientFormer": ["efficientformer"],
    "ConvNext": ["convnext", "resnet", "regnet", "cvt", "van"],
    "Levit": ["levit"],
    "PoolFormer": ["poolformer"],
    "MobileViT": ["mobilevit", "mobilevitv2"],
    "MobileNetV1": ["mobilenet_v1"],
    "MobileNetV2": ["mobilenet_v2"],
    "EfficientNet": ["efficientnet"],
}
# What repositories of the hub say, of several ages.
SAID = {
    "ViT": [{"size": 224, "resample": 2, "do_resize": True, "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}, {"size": 384, "resample": 3}],
    "CLIP": [{"size": 224, "crop_size": 224, "do_center_crop": True, "resample": 3}, {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}],
    "Bit": [{"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}],
    "ConvNext": [{"size": 224, "crop_pct": 0.875, "resample": 3}, {"size": {"shortest_edge": 224}, "crop_pct": 0.95}, {"size": {"shortest_edge": 384}, "crop_pct": 1.0}, {"size": {"shortest_edge": 288}}],
    "DeiT": [{"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3}],
    "Beit": [{"size": 224, "do_center_crop": False, "crop_size": 224, "resample": 2}, {"size": 256, "crop_size": 224}],
    "Levit": [{"size": 224, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}],
    "PoolFormer": [{"size": 224, "crop_pct": 0.95, "crop_size": {"height": 224, "width": 224}}],
    "MobileViT": [{"size": 288, "crop_size": 256, "do_flip_channel_order": True}, {"size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}, "do_flip_channel_order": False}],
    "MobileNetV2": [{"size": {"shortest_edge": 256}, "crop_size": {"height": 192, "width": 192}, "do_normalize": False}],
    "EfficientNet": [{"size": {"height": 224, "width": 224}, "do_center_crop": False, "include_top": True, "rescale_offset": False, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163]}, {"size": {"height": 260, "width": 260}, "include_top": False}, {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "rescale_offset": True, "include_top": False}],
    "ChineseCLIP": [{"size": {"height": 224, "width": 224}, "do_center_crop": False}],
    "Siglip": [{"size": {"height": 256, "width": 256}, "resample": 2}],
    "Segformer": [{"size": 512, "do_reduce_labels": True}, {"size": {"height": 128, "width": 128}}],
    "RTDetr": [{"size": {"height": 320, "width": 320}, "do_normalize": False}],
}


def picture(height: int, width: int) -> Image.Image:
    red = np.round(255 * np.arange(width) / (width - 1))
    green = np.round(255 * np.arange(height) / (height - 1))
    return Image.fromarray(np.stack([np.tile(red, (height, 1)), np.tile(green[:, None], (1, width)), np.full((height, width), 64)], -1).astype(np.uint8))


def processor_of(name: str):
    if name == "EfficientFormer":
        from transformers.models.deprecated.efficientformer.image_processing_efficientformer import EfficientFormerImageProcessor

        return EfficientFormerImageProcessor
    return get_image_processor_class_from_name(f"{name}ImageProcessor")


def reference(name: str, config: dict, model: str | None, photo: tuple[int, int]) -> dict | None:
    made = processor_of(name)
    processor = made.from_dict({key: value for key, value in config.items() if not key.endswith("_type")})
    try:
        pixels = np.asarray(processor(picture(*photo), return_tensors="np")["pixel_values"][0])
    except KeyError:  # ChineseCLIP cannot do what it does by default
        return None
    if (pixels == 0).all(0)[0].any():  # MobileViT's default surrounds the picture with zeros, which no repository asks for
        return None
    return {
        "config": config,
        "model_type": model,
        "photo": list(photo),
        "resample": int(processor.resample),
        "size": list(pixels.shape[1:]),
        "first": [round(float(value), 4) for value in pixels[:, 0, 0]],
        "last": [round(float(value), 4) for value in pixels[:, -1, -1]],
    }


def main() -> None:
    references = []
    for at, (name, models) in enumerate(PROCESSORS.items()):
        photo, other = PHOTOS[at % 2], PHOTOS[1 - at % 2]
        references.append(reference(name, {"image_processor_type": f"{name}ImageProcessor"}, None, photo))
        references.append(reference(name, {"feature_extractor_type": f"{name}FeatureExtractor"}, "unheard-of", other))
        references.append(reference(name, {"image_processor_type": f"{name}ImageProcessorFast"}, None, other))
        whole = processor_of(name)().to_dict()
        fields = {key: value for key, value in whole.items() if key.startswith(("do_", "size", "crop", "resample", "rescale", "image_", "include"))}
        references.append(reference(name, fields, None, photo))
        references += [reference(name, {}, model, photo) for model in models]
        references += [reference(name, {"image_processor_type": f"{name}ImageProcessor"} | said, None, size) for said in SAID.get(name, []) for size in PHOTOS]
    references = [one for one in references if one]
    lines = ",\n".join(json.dumps(one) for one in references)
    (HERE / "references.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(references)} references, with transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
