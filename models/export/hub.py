"""Dual encoders of true size in the layout of Hugging Face's hub, and whether they are explained as they are: `python hub.py OUT --program target/release/decomcam`.

CLIP ViT-B/32 and SigLIP base-patch16-224 of transformers with random weights (seed 0), exported as Optimum does (opset 14, open batch, height, width and length): the two towers, and
one file of both; in f32, f16 (ONNX Runtime's converter), int8 (ONNX Runtime's dynamic quantisation) and q4 (ONNX Runtime's MatMulNBits, blocks of 32). The tokenizer is a small one of
whole words. Each folder is explained by one command; the cosine that it reports is held to transformers' in f32, and for the others to what ONNX Runtime gives for the same files.
Prints a table. Needs transformers 4, torch, onnx, onnxruntime, and 4 GB of disk; folders are removed again unless --keep.
"""

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, SiglipConfig, SiglipImageProcessor, SiglipModel

PHOTO = Path(__file__).parent.parent.parent / "tests/photos/chelsea.png"
WORDS = "a an the photo of cat dog sofa red two".split()
TEXTS = ["a cat", "a photo of a dog"]
FORMATS = {"fp32": "", "fp16": "_fp16", "int8": "_int8", "q4": "_q4"}


class Tower(nn.Module):
    """One tower, or both, as a function of tensors to tensors."""

    def __init__(self, model: nn.Module, kind: str):
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, first, pixels=None, mask=None):
        model = self.model
        if self.kind == "model":
            out = model(input_ids=first, pixel_values=pixels, attention_mask=mask)
            return out.logits_per_image, out.logits_per_text, out.text_embeds, out.image_embeds
        siglip = isinstance(model, SiglipModel)
        if self.kind == "vision_model":
            seen = model.vision_model(pixel_values=first)
            return (seen.last_hidden_state, seen.pooler_output) if siglip else model.visual_projection(seen.pooler_output)
        read = model.text_model(input_ids=first)
        return (read.last_hidden_state, read.pooler_output) if siglip else model.text_projection(read.pooler_output)


def export(model: nn.Module, kind: str, ids: torch.Tensor, pixels: torch.Tensor, path: Path) -> None:
    siglip = isinstance(model, SiglipModel)
    image, text = {0: "batch", 1: "channels", 2: "height", 3: "width"}, {0: "texts", 1: "length"}
    outputs = {"vision_model": ["image_embeds"], "text_model": ["text_embeds"], "model": ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]}[kind]
    if siglip and kind != "model":
        outputs = ["last_hidden_state", "pooler_output"]
    given = {"vision_model": (pixels,), "text_model": (ids,), "model": (ids, pixels, torch.ones_like(ids))}[kind]
    names = {"vision_model": ["pixel_values"], "text_model": ["input_ids"], "model": ["input_ids", "pixel_values", "attention_mask"]}[kind]
    axes = {name: image if name == "pixel_values" else text for name in names} | {name: {0: "batch"} for name in outputs}
    torch.onnx.export(Tower(model, kind).eval(), given, str(path), input_names=names, output_names=outputs, dynamic_axes=axes, opset_version=14, dynamo=False)


def converted(source: Path, target: Path, form: str) -> None:
    if form == "fp16":
        model = convert_float_to_float16(onnx.load(source), keep_io_types=True, disable_shape_infer=True)
        onnx.save(model, target)
    elif form == "int8":
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True})
    else:
        quantiser = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True)
        quantiser.process()
        quantiser.model.save_model_to_file(str(target), False)


def write_tokenizer(path: Path, siglip: bool) -> Tokenizer:
    begin, end = (None, 1) if siglip else (49406, 49407)
    vocabulary = {word: 320 + at for at, word in enumerate(WORDS)} | {"<unk>": 3, "</s>": end} | ({"<s>": begin} if begin else {})
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("</s>", end)] + ([("<s>", begin)] if begin else [])
    tokenizer.post_processor = processors.TemplateProcessing(single=("<s> " if begin else "") + "$A </s>", special_tokens=marks)
    tokenizer.save(str(path))
    return tokenizer


def token_ids(tokenizer: Tokenizer, text: str, siglip: bool) -> np.ndarray:
    ids = tokenizer.encode(text).ids
    return np.array([ids + [1] * (64 - len(ids)) if siglip else ids], np.int64)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def of_onnxruntime(folder: Path, suffix: str, ids: np.ndarray, pixels: np.ndarray) -> float:
    def run(kind: str, output: str) -> np.ndarray:
        session = onnxruntime.InferenceSession(folder / f"onnx/{kind}{suffix}.onnx", providers=["CPUExecutionProvider"])
        feeds = {"input_ids": ids, "pixel_values": pixels, "attention_mask": np.ones_like(ids)}
        names = {one.name for one in session.get_outputs()}
        return session.run([output if output in names else "pooler_output"], {one.name: feeds[one.name] for one in session.get_inputs()})[0]

    both = (folder / f"onnx/model{suffix}.onnx").exists()
    return cosine(run("model" if both else "vision_model", "image_embeds"), run("model" if both else "text_model", "text_embeds"))


def explained(program: Path, folder: Path, text: str, form: str) -> tuple[dict, float, float]:
    command = [program, "explain", PHOTO, "-t", text, "-m", folder, "--precision", form, "-o", "-", "-q"]
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{folder} {form}: {err}")
    return json.loads(out), time.monotonic() - start, usage.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description="Explains dual encoders of true size in the hub's layout.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", type=Path, required=True, help="the command decomcam")
    parser.add_argument("--keep", action="store_true", help="leave the folders in OUT")
    args = parser.parse_args()
    torch.set_num_threads(2)
    onnxruntime.set_default_logger_severity(4)
    print("| model | files | format | MB | cosine | difference | to | time | peak memory |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, made, configuration, processor in [
        ("CLIP ViT-B/32", CLIPModel, CLIPConfig(), CLIPImageProcessor()),
        ("SigLIP base-patch16-224", SiglipModel, SiglipConfig(), SiglipImageProcessor()),
    ]:
        siglip = made is SiglipModel
        torch.manual_seed(0)
        configuration._attn_implementation = "eager"
        model = made(configuration).eval()
        pixels = processor(Image.open(PHOTO).convert("RGB"), return_tensors="pt")["pixel_values"]
        for files, kinds in {"two towers": ["vision_model", "text_model"], "one file": ["model"]}.items():
            folder = args.out / f"{made.__name__}-{len(kinds)}"
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "onnx").mkdir(parents=True)
            model.config.to_json_file(folder / "config.json", use_diff=True)
            processor.to_json_file(folder / "preprocessor_config.json")
            tokenizer = write_tokenizer(folder / "tokenizer.json", siglip)
            for form, suffix in FORMATS.items():
                for kind in kinds:
                    path, plain = folder / f"onnx/{kind}{suffix}.onnx", folder / f"onnx/{kind}.onnx"
                    with torch.no_grad():
                        export(model, kind, torch.from_numpy(token_ids(tokenizer, TEXTS[1], siglip)), pixels, plain) if form == "fp32" else converted(plain, path, form)
                megabytes = sum((folder / f"onnx/{kind}{suffix}.onnx").stat().st_size for kind in kinds) / 1e6
                for text in TEXTS[:1] if form != "fp32" else TEXTS:
                    ids = token_ids(tokenizer, text, siglip)
                    answer, seconds, memory = explained(args.program, folder, text, form)
                    if form == "fp32":
                        with torch.no_grad():
                            out = model(input_ids=torch.from_numpy(ids), pixel_values=pixels, attention_mask=torch.ones(ids.shape, dtype=torch.int64))
                        expected, by = cosine(out.image_embeds.numpy(), out.text_embeds.numpy()), "transformers"
                    else:
                        expected, by = of_onnxruntime(folder, suffix, ids, pixels.numpy()), "ONNX Runtime"
                    found = answer["scores"]["reported"]["value"]
                    print(f"| {name} | {files} | {form} | {megabytes:.0f} | {found:.5f} | {abs(found - expected):.1e} | {by} | {seconds:.1f} s | {memory:.0f} MB |", flush=True)
            if not args.keep:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
