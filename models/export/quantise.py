"""Writes the int8 form of an exported folder: `python quantise.py FOLDER --out FOLDER [--photos FOLDER]`.

The image tower: QuantizeLinear/DequantizeLinear pairs ("QDQ") around Conv, MatMul and Gemm only, u8 activations with
one scale and zero point, s8 weights with a scale per output channel. What a matrix product puts out stays f32 until the
next one reads it, so logits and embeddings are not rounded. The text tower runs once per prompt and keeps f32
activations; its matrices and its table of tokens are stored as s8.
"""

import argparse
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from exporting import Preparation, add_calibration_arguments, compare, fresh, sha256, tidy


class Calibration(CalibrationDataReader):
    def __init__(self, images: Iterator[np.ndarray]):
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image}


def quantise_image(source: Path, target: Path, images: Iterator[np.ndarray]) -> None:
    with TemporaryDirectory() as work:
        written = Path(work, "int8.onnx")
        quantize_static(
            source,
            written,
            Calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
        model = onnx.load(written)
    tidy(model, [output.name for output in model.graph.output])
    onnx.save(model, target)


def codes_of(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric s8 codes and the scale of each slice along an axis."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), 1e-8) / 127
    return np.round(values / scale).astype(np.int8), scale.astype(np.float32)


def quantise_text(source: Path, target: Path) -> None:
    """Stores the weights of matrix products, and the table that token ids look up, as s8."""
    model = onnx.load(source)
    graph = model.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    nodes, constants, done = [], [], set()

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights and node.input[1] not in done:
            name = node.input[1]
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            axis = 0 if transposed else 1
            codes, scale = codes_of(numpy_helper.to_array(weights[name]), axis)
            inputs = [constant(f"{name}_int8", codes), constant(f"{name}_scale", scale.ravel())]
            inputs.append(constant(f"{name}_zero", np.zeros(scale.size, np.int8)))
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_dequantised", axis=axis))
            done.add(name)
        if node.op_type == "Gather" and node.input[1] == "ids":
            name, output = node.input[0], node.output[0]
            codes, scale = codes_of(numpy_helper.to_array(weights[name]), axis=0)
            table, scales = constant(f"{name}_int8", codes), constant(f"{name}_scale", scale)
            nodes += [
                helper.make_node("Gather", [table, "ids"], [f"{output}_codes"], name=f"{output}_codes"),
                helper.make_node(
                    "Cast", [f"{output}_codes"], [f"{output}_floats"], name=f"{output}_floats", to=TensorProto.FLOAT
                ),
                helper.make_node("Gather", [scales, "ids"], [f"{output}_scales"], name=f"{output}_scales"),
                helper.make_node("Mul", [f"{output}_floats", f"{output}_scales"], [output], name=output),
            ]
            done.add(name)
            continue
        nodes.append(node)
    kept = [initializer for initializer in graph.initializer if initializer.name not in done]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *constants])
    tidy(model, [output.name for output in graph.output])
    onnx.save(model, target)


def quantise_folder(source: Path, target: Path, photos: Path | None, count: int) -> None:
    """The whole folder: networks quantised, the manifest with new hashes, the check against torch repeated."""
    text = (source / "model.toml").read_text()
    manifest = tomllib.loads(text)
    image = manifest["image"]
    preparation = Preparation(image["size"], image["margin"], image["mean"], image["std"])
    fresh(target)
    for path in source.iterdir():
        if path.suffix != ".onnx":
            shutil.copy(path, target)
    quantise_image(source / "image.onnx", target / "image.onnx", preparation.pictures(photos, count, 2))
    files = ["image.onnx"]
    if "text" in manifest:
        quantise_text(source / "text.onnx", target / "text.onnx")
        files.append("text.onnx")
    for file in files:
        text = text.replace(sha256(source / file), sha256(target / file))
    text = re.sub(r'^(description = ".*)"$', r'\1; int8 weights"', text, count=1, flags=re.MULTILINE)
    (target / "model.toml").write_text(text)
    compare(target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Writes the int8 form of a folder that clip.py or classifier.py wrote."
    )
    parser.add_argument("folder", type=Path, help="folder with the f32 form")
    parser.add_argument("--out", type=Path, required=True, help="folder for the int8 form")
    add_calibration_arguments(parser)
    args = parser.parse_args()
    quantise_folder(args.folder, args.out, args.photos, args.calibration)


if __name__ == "__main__":
    main()
