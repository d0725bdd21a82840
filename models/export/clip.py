"""Exports a CLIP of open_clip: `python clip.py RN50 --random-seed 0 --out FOLDER`. README.md says more."""

import argparse
from pathlib import Path

import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.utils import reparameterize_model
from torch import Tensor, nn

from exporting import (
    Layer,
    Preparation,
    add_arguments,
    export,
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
from tokenizer import check_tokenizer, write_tokenizer

CONTEXT = 77  # tokens
TEMPLATE = "a photo of a {}"
CHECK_WORD = "cat"


class Text(nn.Module):
    """Token ids to an embedding of unit length."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model.encode_text(ids, normalize=True)


def configuration(name: str, pretrained: str | None, tag: str | None) -> dict:
    """What open_clip knows of a set of trained weights: mean and std of the pixels, and the kind of gelu.

    Random weights take the first set's.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not tags:
        raise SystemExit(f"{name}: expected one of {', '.join(open_clip.list_models())}")
    if pretrained and pretrained not in tags and tag is None:
        raise SystemExit(
            f"--pretrained {pretrained}: no tag of {name}; for a file, say with --tag which of these it is "
            f"most like: {', '.join(tags)}"
        )
    return open_clip.get_pretrained_cfg(name, tag or pretrained or tags[0])


def created(name: str, pretrained: str | None, seed: int | None, quick_gelu: bool) -> nn.Module:
    torch.manual_seed(seed or 0)
    model = open_clip.create_model(name, pretrained=pretrained, force_quick_gelu=quick_gelu).eval()
    if model.context_length != CONTEXT or model.vocab_size != 49408:
        raise SystemExit(f"{name}: expected CLIP's tokens, 77 of 49408 kinds")
    return model


def preparation_of(visual: nn.Module, known: dict) -> Preparation:
    size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    mean, std = known.get("mean", open_clip.OPENAI_DATASET_MEAN), known.get("std", open_clip.OPENAI_DATASET_STD)
    return Preparation.from_unit_range(size, 1, mean, std)


def layers_of(visual: nn.Module) -> list[Layer]:
    """The layers worth explaining, the default first.

    Only the class token leaves the last block of a vision transformer, so its last useful block is the one before.
    """
    if isinstance(visual, ModifiedResNet):
        return [Layer(name, getattr(visual, name)) for name in ("layer4", "layer3", "layer2")]
    if isinstance(visual, VisionTransformer):
        blocks = visual.transformer.resblocks
        return [Layer(f"blocks.{i}", blocks[i], prefix_tokens=1) for i in range(len(blocks) - 2, 0, -2)][:3]
    if isinstance(visual, TimmModel) and hasattr(visual.trunk, "final_conv"):
        stages = [Layer(f"stages.{i}", visual.trunk.stages[i]) for i in (3, 2)]
        return [Layer("final_conv", visual.trunk.final_conv), *stages]
    raise SystemExit(f"no layers are known for an image tower of type {type(visual).__name__}")


def manifest(folder: Path, head: list[str], model: nn.Module, notices: dict[str, str]) -> str:
    text, vocabulary = folder / "text.onnx", folder / "tokenizer.json"
    return "\n".join(
        [
            *head,
            table(
                "[text]",
                **hashed(text),
                input="ids",
                **hashed(vocabulary, "vocabulary"),
                tokenizer="huggingface",
                context=CONTEXT,
                pad=0,
                template=TEMPLATE,
            ),
            table(
                "[[scores]]",
                name="cosine",
                kind="cosine",
                image="embedding",
                text="embedding",
                scale=round(model.logit_scale.exp().item(), 4),
                description="cosine of the two embeddings",
            ),
            table("[explain]", reported="cosine", explained="cosine"),
            *(table("[[notices]]", file=file, **notices) for file in ("image.onnx", "text.onnx")),
            table(
                "[[notices]]",
                file=vocabulary.name,
                licence="MIT",
                source="byte pairs of OpenAI's CLIP, bpe_simple_vocab_16e6 of open_clip",
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports the two towers of a CLIP, its tokenizer and a manifest.")
    parser.add_argument("model", help="name in open_clip, such as RN50, ViT-B-32, MobileCLIP-S1")
    add_arguments(parser, pretrained="open_clip's tag, or a file with weights")
    parser.add_argument("--tag", help="take mean, std and kind of gelu from this tag of open_clip")
    args = parser.parse_args()
    torch.set_num_threads(1)

    known = configuration(args.model, args.pretrained, args.tag)
    model = created(args.model, args.pretrained, args.random_seed, known.get("quick_gelu", False))
    preparation = preparation_of(model.visual, known)
    if args.random_seed is not None:
        settle(model.visual, preparation, args.random_seed)
    model = reparameterize_model(model)  # of MobileCLIP: parallel branches become one convolution
    layers = layers_of(model.visual)
    folder = fresh(args.out)
    write_tokenizer(folder / "tokenizer.json", CONTEXT)
    ids = check_tokenizer(folder / "tokenizer.json", open_clip.get_tokenizer(args.model), TEMPLATE.format(CHECK_WORD))

    picture = next(preparation.pictures(args.photos, 1, 1))
    seen = export_image(model.visual, layers, picture, folder / "image.onnx", "embedding")
    ids_tensor = torch.tensor([ids])
    export(Text(model).eval(), ids_tensor, folder / "text.onnx", "ids", ["embedding"])

    source = f"architecture {args.model} of open_clip {open_clip.__version__}, {origin(args)}"
    licence = args.licence if args.random_seed is None else "MIT"
    name = f"clip-{args.model.lower()}"
    head = manifest_head(folder, name, f"CLIP {args.model}, {origin(args)}", licence, preparation, layers)
    (folder / "model.toml").write_text(manifest(folder, head, model, {"licence": licence, "source": source}))

    with torch.no_grad():
        text = model.encode_text(ids_tensor, normalize=True)
    prompt = {"prompt": TEMPLATE.format(CHECK_WORD), "ids": ids}

    def score(embedding: Tensor) -> Tensor:
        return torch.cosine_similarity(embedding, text.to(embedding.dtype))[0]

    write_check(folder, seen, picture, layers, score, prompt, text)
    if args.int8:
        quantise_folder(folder, args.int8, args.photos, args.calibration)


if __name__ == "__main__":
    main()
