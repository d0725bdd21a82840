"""Exports an ImageNet classifier of timm or torchvision. README.md says more.

python classifier.py --source timm --model resnet50 --random-seed 0 --out FOLDER
"""

import argparse
from pathlib import Path

import timm
import torch
import torchvision
from timm.data import ImageNetInfo
from torch import Tensor, nn

from exporting import (
    Layer,
    Preparation,
    add_arguments,
    export_image,
    fresh,
    hashed,
    manifest_head,
    origin,
    settle,
    table,
    write_check,
)
from quantise import quantise_folder

CHECK_CLASS = 281  # tabby cat

# Of each family (the start of the model's name): the layers worth explaining, the default first, and their modules.
# Only the class token leaves the last block of a vision transformer, so its last useful block is the one before.
LAYERS = {
    "timm": {
        "resnet": {"layer4": "layer4", "layer3": "layer3", "layer2": "layer2"},
        "mobilenetv2": {"features": "bn2", "blocks.5": "blocks.5", "blocks.4": "blocks.4"},
        "mobilenetv3": {"blocks.6": "blocks.6", "blocks.5": "blocks.5", "blocks.4": "blocks.4"},
        "efficientnet": {"features": "bn2", "blocks.5": "blocks.5", "blocks.4": "blocks.4"},
        "convnext": {"stages.3": "stages.3", "stages.2": "stages.2"},
        "vit_base": {"blocks.10": "blocks.10", "blocks.8": "blocks.8", "blocks.6": "blocks.6"},
    },
    "torchvision": {
        "resnet": {"layer4": "layer4", "layer3": "layer3", "layer2": "layer2"},
        "mobilenet_v2": {"features": "features", "blocks.13": "features.13"},
        "mobilenet_v3_large": {"features": "features", "blocks.12": "features.12"},
        "efficientnet": {"features": "features", "blocks.5": "features.5"},
        "convnext": {"features": "features", "blocks.5": "features.5"},
        "vit_b": {f"blocks.{i}": f"encoder.layers.encoder_layer_{i}" for i in (10, 8, 6)},
    },
}


def created(source: str, name: str, pretrained: str | None) -> tuple[nn.Module, Preparation]:
    """The network, with weights from a file, from the package's own tag, or without any; and its preparation."""
    file = pretrained if pretrained and Path(pretrained).is_file() else None
    if source == "timm":
        timm.layers.set_fused_attn(False)
        full_name = name if file or not pretrained else f"{name}.{pretrained}"
        model = timm.create_model(full_name, pretrained=bool(pretrained) and not file)
        config = timm.data.resolve_model_data_config(model)
        preparation = Preparation.from_unit_range(
            config["input_size"][-1], config["crop_pct"], config["mean"], config["std"]
        )
    else:
        weights = torchvision.models.get_model_weights(name)
        model = torchvision.models.get_model(name, weights=None if file else pretrained)
        default = (weights[pretrained] if pretrained and not file else weights.DEFAULT).transforms()
        size, resized = default.crop_size[0], default.resize_size[0]
        preparation = Preparation.from_unit_range(size, size / resized, default.mean, default.std)
    if file:
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model.eval(), preparation


def layers_of(source: str, name: str, model: nn.Module, asked: list[str] | None) -> list[Layer]:
    modules = {path: path for path in asked} if asked else None
    for family, known in LAYERS[source].items():
        if modules is None and name.startswith(family):
            modules = known
    if modules is None:
        raise SystemExit(f"{name}: no layers are known for it; name its modules with --layers")
    tokens = getattr(model, "num_prefix_tokens", 1)
    return [Layer(layer, model.get_submodule(path), prefix_tokens=tokens) for layer, path in modules.items()]


def manifest(folder: Path, head: list[str], notice: dict[str, str]) -> str:
    labels = folder / "labels.txt"
    return "\n".join(
        [
            *head,
            table("[classes]", **hashed(labels, "labels")),
            table(
                "[[scores]]",
                name="logit",
                kind="dot",
                image="logits",
                text="class",
                description="the class's logit",
            ),
            table("[explain]", reported="logit", explained="logit"),
            table("[[notices]]", file="image.onnx", **notice),
            table(
                "[[notices]]",
                file=labels.name,
                licence="Apache-2.0",
                source=f"ImageNet's classes, timm {timm.__version__}",
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports an ImageNet classifier, its labels and a manifest.")
    parser.add_argument("--source", choices=list(LAYERS), required=True)
    parser.add_argument("--model", required=True, help="name in that package, such as resnet50")
    add_arguments(parser, pretrained="the package's tag, or a file with a state_dict")
    parser.add_argument("--layers", nargs="+", help="modules to explain, the default first (default: by family)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    random = args.random_seed is not None
    torch.manual_seed(args.random_seed or 0)

    model, preparation = created(args.source, args.model, args.pretrained)
    if random:
        settle(model, preparation, args.random_seed)
    layers = layers_of(args.source, args.model, model, args.layers)
    folder = fresh(args.out)
    info = ImageNetInfo()
    (folder / "labels.txt").write_text("".join(f"{info.index_to_description(i)}\n" for i in range(1000)))

    picture = next(preparation.pictures(args.photos, 1, 1))
    with torch.no_grad():
        logits = model(torch.from_numpy(picture))
    if logits.shape != (1, 1000):
        raise SystemExit(f"{args.model}: expected ImageNet's 1000 classes, found {logits.shape[1]}")
    seen = export_image(model, layers, picture, folder / "image.onnx", "logits")

    version = {"timm": timm, "torchvision": torchvision}[args.source].__version__.split("+")[0]
    source = f"architecture {args.model} of {args.source} {version}, {origin(args)}"
    licence = {"timm": "Apache-2.0", "torchvision": "BSD-3-Clause"}[args.source] if random else args.licence
    head = manifest_head(folder, args.model, f"ImageNet classifier, {source}", licence, preparation, layers)
    (folder / "model.toml").write_text(manifest(folder, head, {"licence": licence, "source": source}))

    def score(logits: Tensor) -> Tensor:
        return logits[0, CHECK_CLASS]

    write_check(folder, seen, picture, layers, score, {"class": CHECK_CLASS})
    if args.int8:
        quantise_folder(folder, args.int8, args.photos, args.calibration)


if __name__ == "__main__":
    main()
