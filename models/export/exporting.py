"""What the exporters share: arguments, random weights, ONNX files with named layers, manifest, check against torch."""

import hashlib
import json
import math
import shutil
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import helper
from PIL import Image
from torch import Tensor, nn

OPSET = 17
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass
class Preparation:
    """How a photo becomes a network's input. Sizes in pixels; mean and std for pixel values from 0 to 255."""

    size: int
    margin: int  # cut off in total along the shorter side, after resizing it to size + margin
    mean: list[float]
    std: list[float]

    @classmethod
    def from_unit_range(cls, size: int, crop: float, mean: tuple, std: tuple) -> "Preparation":
        """From mean and std for values from 0 to 1; `crop` is the part of the shorter side that is kept."""
        to_pixels = [[round(255 * float(v), 6) for v in values] for values in (mean, std)]
        return cls(size, math.floor(size / crop) - size, *to_pixels)

    def photo(self, path: Path) -> np.ndarray:
        """1 x 3 x size x size."""
        photo = Image.open(path).convert("RGB")
        scale = (self.size + self.margin) / min(photo.size)
        photo = photo.resize([max(self.size, round(side * scale)) for side in photo.size], Image.Resampling.BICUBIC)
        x, y = ((side - self.size) // 2 for side in photo.size)
        return self.normalised(np.asarray(photo.crop((x, y, x + self.size, y + self.size)), np.float32))

    def noise(self, rng: np.random.Generator) -> np.ndarray:
        """A picture of random blobs of all sizes, 1 x 3 x size x size: white noise would average out."""
        total = np.zeros((3, self.size, self.size))
        for cells in (2, 4, 8, 16, 32, 64):
            grid = torch.from_numpy(rng.standard_normal((1, 3, cells, cells)))
            total += F.interpolate(grid, (self.size, self.size), mode="bicubic")[0].numpy()
        pixels = np.clip(127.5 + 40 * total, 0, 255).astype(np.float32)
        return self.normalised(pixels.transpose(1, 2, 0))

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        values = (pixels - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])

    def pictures(self, photos: Path | None, count: int, seed: int) -> Iterator[np.ndarray]:
        """The first photos of a folder, or noise if there is no folder."""
        if photos is None:
            rng = np.random.default_rng(seed)
            yield from (self.noise(rng) for _ in range(count))
            return
        paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
        if not paths:
            raise SystemExit(f"{photos}: expected photos ({', '.join(sorted(PHOTO_SUFFIXES))}), found none")
        yield from (self.photo(path) for path in paths[:count])


# ---- command line


def add_arguments(parser: ArgumentParser, pretrained: str) -> None:
    """The arguments that every exporter takes; `pretrained` says what `--pretrained` may be."""
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--pretrained", metavar="TAG|FILE", help=pretrained)
    weights.add_argument("--random-seed", type=int, help="no trained weights: random ones, for tests")
    parser.add_argument("--licence", default="LicenseRef-unknown", help="SPDX expression for the weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for the f32 form")
    parser.add_argument("--int8", type=Path, help="also write the quantised form to this folder")
    add_calibration_arguments(parser)


def add_calibration_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--photos", type=Path, help="folder of photos to calibrate on (default: noise)")
    parser.add_argument("--calibration", type=int, default=32, help="number of pictures to calibrate on")


def origin(args: Namespace) -> str:
    """Where the weights come from, for the manifest."""
    if args.random_seed is not None:
        return f"random weights, seed {args.random_seed}"
    return f"weights {Path(args.pretrained).name}"


# ---- random weights


@torch.no_grad()
def settle(model: nn.Module, preparation: Preparation, seed: int) -> None:
    """Makes random weights behave like trained ones, as far as sizes go.

    Initialisers often switch residual branches off (a last gain of zero, a layer scale of 1e-6), some the classifier.
    They are switched on, though branches are kept small, and most units are kept on by a positive bias: otherwise the
    network amplifies rounding errors as no trained one does. The statistics of every batch normalisation are set from
    pictures of noise.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("gamma", "layer_scale")):
            parameter.uniform_(0.1, 0.3)
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.trunc_normal_(module.weight, std=0.02)
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        closes_branch = not norm.weight.any()
        norm.weight.uniform_(*((0.1, 0.3) if closes_branch else (0.5, 1)))
        norm.bias.uniform_(0.2, 1)
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    if norms:
        model(torch.from_numpy(np.concatenate(list(preparation.pictures(None, 8, seed)))))
    model.eval()


# ---- ONNX


def plain_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_, **__) -> Tensor:
    """softmax(q k^T / sqrt(width) + mask) v, as few plain operators; torch's own export adds computed scales."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value


@contextmanager
def exportable_attention():
    original = F.scaled_dot_product_attention
    torch.backends.mha.set_fastpath_enabled(False)
    F.scaled_dot_product_attention = plain_attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original
        torch.backends.mha.set_fastpath_enabled(True)


class Seen(nn.Module):
    """A network that also returns what the modules in `layers` put out."""

    def __init__(self, network: nn.Module, layers: dict[str, nn.Module]):
        super().__init__()
        self.network, self.layers, self.captured = network, list(layers), {}
        for name, module in layers.items():
            module.register_forward_hook(lambda _module, _input, output, name=name: self.keep(name, output))

    def keep(self, name: str, output: Tensor) -> None:
        self.captured[name] = output

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.network(x)
        return y, *(self.captured[name] for name in self.layers)


def session(model: onnx.ModelProto | Path, extra: list[str] | None = None) -> onnxruntime.InferenceSession:
    """One thread, on the CPU; `extra` inner tensors become outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if isinstance(model, Path):
        model = onnx.load(model)
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in extra or [])
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def export(module: nn.Module, example: Tensor, path: Path, input: str, outputs: list[str]) -> None:
    """Writes the first output; the others stay in the file as named inner tensors. Shapes are those of the example.

    onnxruntime's basic optimisation folds constants and what is left of shape computations; the layers are outputs
    while it runs, so that it leaves them alone.
    """
    with TemporaryDirectory() as work, warnings.catch_warnings(), torch.no_grad(), exportable_attention():
        raw, folded = Path(work, "raw.onnx"), Path(work, "folded.onnx")
        warnings.filterwarnings("ignore", category=UserWarning)  # on shapes that are fixed here anyway
        torch.onnx.export(
            module, (example,), raw, input_names=[input], output_names=outputs, opset_version=OPSET, dynamo=False
        )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        model = onnx.load(folded)
    tidy(model, outputs[:1])
    onnx.save(model, path)


def export_image(network: nn.Module, layers: list["Layer"], picture: np.ndarray, path: Path, output: str) -> Seen:
    """Writes the image tower, whose first output is named `output`, and fills in the shapes of its layers."""
    seen = Seen(network, {layer.name: layer.module for layer in layers}).eval()
    export(seen, torch.from_numpy(picture), path, "image", [output, *seen.layers])
    for layer in layers:
        layer.shape = tuple(seen.captured[layer.name].shape)
    return seen


def tidy(model: onnx.ModelProto, outputs: list[str]) -> None:
    """Leaves only the named outputs and what is needed to run the graph; `value_info` of optimisers misleads others."""
    graph = model.graph
    kept = [output for output in graph.output if output.name in outputs]
    del graph.output[:], graph.value_info[:]
    graph.output.extend(kept)
    domains = {node.domain for node in graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in domains]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(imports)
    for node in graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)


# ---- manifest


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashed(path: Path, key: str = "file") -> dict[str, str]:
    """A file's name and SHA-256, as a manifest has them."""
    return {key: path.name, "sha256" if key == "file" else f"{key}_sha256": sha256(path)}


def table(header: str, **values) -> str:
    """A table of a TOML file. JSON's strings, numbers and lists of them are TOML's."""
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]) + "\n"


@dataclass
class Layer:
    """An inner tensor that can be explained: maps (1 x channels x height x width) or tokens (1 x tokens x channels)."""

    name: str
    module: nn.Module
    shape: tuple[int, ...] = ()  # filled in when the network has run
    prefix_tokens: int = 0  # class tokens before the grid

    def entry(self, size: int) -> str:
        values = {"name": self.name}
        if len(self.shape) == 4:
            values |= {"channels": self.shape[1], "stride": size // self.shape[3]}
            description = f"{self.shape[2]} x {self.shape[3]} positions"
        else:
            side = math.isqrt(self.shape[1] - self.prefix_tokens)
            values |= {"channels": self.shape[2], "stride": size // side, "layout": "tokens"}
            values["prefix_tokens"] = self.prefix_tokens
            description = f"tokens that leave the block: {self.prefix_tokens} for the whole, then {side} x {side}"
        return table("[[image.layers]]", **values, description=description)


def manifest_head(
    folder: Path, name: str, description: str, licence: str, preparation: Preparation, layers: list[Layer]
) -> list[str]:
    """The part of a manifest that says what the model is and how a photo goes in. The first layer is the default."""
    return [
        table("# Written by models/export", schema=1, name=name, description=description, licence=licence),
        table(
            "[image]",
            **hashed(folder / "image.onnx"),
            input="image",
            size=preparation.size,
            multiple=preparation.size,  # the file's shapes are fixed
            fit="crop",
            margin=preparation.margin,
            filter="bicubic",
            mean=preparation.mean,
            std=preparation.std,
            default_layer=layers[0].name,
        ),
        *(layer.entry(preparation.size) for layer in layers),
    ]


# ---- check


def raw(folder: Path, name: str, values) -> str:
    """Writes numbers as little-endian f32 and returns the file's name."""
    values = values.detach().numpy() if isinstance(values, Tensor) else values
    file = f"check_{name}.f32"
    (folder / file).write_bytes(np.ascontiguousarray(values, "<f4").tobytes())
    return file


def errors(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """The largest difference relative to the largest value, and the cosine."""
    found, expected = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    cosine = found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected))
    return {
        "relative": float(f"{np.abs(found - expected).max() / np.abs(expected).max():.2e}"),
        "cosine": round(float(cosine), 6),
    }


def write_check(
    folder: Path,
    seen: Seen,
    picture: np.ndarray,
    layers: list[Layer],
    score: Callable[[Tensor], Tensor],
    extra: dict,
    text: Tensor | None = None,
) -> None:
    """Writes what torch gets for one picture in f64, rounded to f32, then compares its f32 and the ONNX file with it.

    `score` maps the network's output to a number; its gradient is taken at the first layer. `text` is the vector that
    the score compares with; `extra` goes into check.json as it is.
    """

    def seen_in(dtype: torch.dtype) -> tuple[Tensor, ...]:
        output, *activations = seen.to(dtype)(torch.from_numpy(picture).to(dtype))
        value = score(output)
        return value, torch.autograd.grad(value, activations[0])[0], output, *activations

    _, gradient_f32, _, activations_f32, *_ = seen_in(torch.float32)
    value, gradient, output, *activations = seen_in(torch.float64)
    seen.float()
    if not gradient.any():
        raise SystemExit(f"the score does not depend on layer {layers[0].name}")
    arrays = {"input": picture, "output": output, "activations": activations[0], "gradient": gradient}
    if text is not None:
        arrays["text"] = text
    check = {
        "made_with": f"torch {torch.__version__.split('+')[0]}",
        "layer": layers[0].name,
        "score": value.item(),
        **extra,
        **{name: raw(folder, name, values) for name, values in arrays.items()},
        **{f"{name}_shape": list(values.shape) for name, values in arrays.items()},
        "largest_gradient": gradient.abs().max().item(),
        "torch_f32_errors": {
            "activations": errors(activations_f32.detach().numpy(), activations[0].detach().numpy()),
            "gradient": errors(gradient_f32.numpy(), gradient.numpy()),
        },
    }
    for layer, values in zip(layers, activations, strict=True):
        np.save(folder / f"check_{layer.name}.npy", values.detach().numpy().astype(np.float32))
    save_check(folder, check)
    compare(folder)


def save_check(folder: Path, check: dict) -> None:
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in check.items())
    (folder / "check.json").write_text("{\n" + lines + "\n}\n")


def compare(folder: Path) -> None:
    """Adds to check.json, and prints, how far the ONNX files in a folder are from torch."""
    check = json.loads((folder / "check.json").read_text())
    expected = {path.stem.removeprefix("check_"): np.load(path) for path in sorted(folder.glob("check_*.npy"))}
    network = session(folder / "image.onnx", list(expected))
    output, *found = network.run(None, {"image": read(folder, check, "input")})
    layers = dict(zip(expected, found, strict=True))
    check["errors"] = {"output": errors(output, read(folder, check, "output"))}
    check["errors"] |= {name: errors(values, expected[name]) for name, values in layers.items()}
    if "text" in check:
        (embedding,) = session(folder / "text.onnx").run(None, {"ids": np.int64([check["ids"]])})
        check["errors"]["text"] = errors(embedding, read(folder, check, "text"))
        score = float(output[0] @ embedding[0] / np.linalg.norm(output) / np.linalg.norm(embedding))
    else:
        score = float(output[0, check["class"]])
    check["onnxruntime_score"] = score
    for name, values in {"output": output, "activations": layers[check["layer"]]}.items():
        check[f"onnxruntime_{name}"] = raw(folder, f"onnxruntime_{name}", values)
    save_check(folder, check)
    print(f"{folder.name}: score {check['score']:.6f}, from the ONNX files {score:.6f}")
    for name, error in check["torch_f32_errors"].items():
        print(f"  torch's own f32 {name:14} relative error {error['relative']:.0e}")
    for name, error in check["errors"].items():
        print(f"  {name:14} relative error {error['relative']:.0e}, cosine {error['cosine']:.6f}")


def read(folder: Path, check: dict, name: str) -> np.ndarray:
    return np.fromfile(folder / check[name], "<f4").reshape(check[f"{name}_shape"])


def fresh(folder: Path) -> Path:
    """An empty folder in the place of an earlier export."""
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if found and not found & {"model.toml", "tokenizer.json", "labels.txt"}:
        raise SystemExit(f"{folder}: expected a new folder, an empty one or an earlier export; found other files")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
