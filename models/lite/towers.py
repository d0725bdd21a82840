"""The two towers as ONNX graphs: EfficientNet-Lite0 with a softmax head, and the bag of WordPieces.

Only plain operators of opset 13, so that small runtimes can load the files. int8 is written as
QuantizeLinear/DequantizeLinear pairs around float operators ("QDQ"): every runtime can run that, and a runtime that
knows better can fuse it.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from PIL import Image

from lite import normalised

OPSET = 13
IR_VERSION = 8
TINY = 1e-12

# EfficientNet-Lite0: repeats, kernel, stride, expansion, input and output channels of each stage.
STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]
INNER_BLOCK = 10  # the last block at stride 16
BATCH_NORM_EPSILON = 1e-3
MEAN, STD = [127.0] * 3, [128.0] * 3


class Graph:
    """Collects nodes and initialisers."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def int8_weight(self, name: str, value: np.ndarray, axis: int) -> str:
        """A weight stored as int8 with one scale per slice along `axis`, dequantised when the model is loaded."""
        codes, scale = quantise(value, axis)
        self.constant(f"{name}_int8", codes)
        self.constant(f"{name}_scale", scale)
        self.constant(f"{name}_zero", np.zeros_like(scale, np.int8))
        return self.node("DequantizeLinear", [f"{name}_int8", f"{name}_scale", f"{name}_zero"], name, axis=axis)

    def linear(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray, int8: bool = True) -> str:
        """x @ weight + bias."""
        w = self.int8_weight(f"{name}_weight", weight, axis=1) if int8 else self.constant(f"{name}_weight", weight)
        product = self.node("MatMul", [x, w], f"{name}_product")
        return self.node("Add", [product, self.constant(f"{name}_bias", bias)], name)

    def unit_rows(self, x: str, output: str) -> str:
        norm = self.node("ReduceL2", [x], f"{output}_norm", axes=[1], keepdims=1)
        return self.node("Div", [x, norm], output)

    def model(self, name: str, inputs: list, outputs: list) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="lite")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def quantise(value: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 codes and the scale of each slice along `axis`."""
    others = tuple(i for i in range(value.ndim) if i != axis)
    scale = np.maximum(np.abs(value).max(axis=others, keepdims=True), 1e-8) / 127
    return np.round(value / scale).astype(np.int8), scale.reshape(-1).astype(np.float32)


def float_tensor(name: str, shape: list) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


# ---- image tower


def folded(weights: dict[str, np.ndarray], conv: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """A convolution's kernel and bias with the batch normalisation after it folded in."""
    variance = weights[f"{norm}.running_var"].astype(np.float64)
    gain = weights[f"{norm}.weight"] / np.sqrt(variance + BATCH_NORM_EPSILON)
    kernel = weights[f"{conv}.weight"] * gain[:, None, None, None]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    return kernel.astype(np.float32), bias.astype(np.float32)


class Backbone(Graph):
    """EfficientNet-Lite0 up to the global average pool. Input and spatial sizes stay symbolic."""

    def __init__(self, weights: dict[str, np.ndarray]):
        super().__init__()
        self.weights = weights
        self.convolutions = 0
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))
        x = self.convolution("image", "_conv_stem", "_bn0", 3, stride=2)
        block = 0
        for repeats, kernel, first_stride, expansion, in_channels, out_channels in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                channels = in_channels if repeat == 0 else out_channels
                x = self.block(x, block, kernel, stride, expansion, channels, out_channels)
                block += 1
        x = self.convolution(x, "_conv_head", "_bn1", 1, output="features")
        self.node("GlobalAveragePool", [x], "average")
        self.node("Flatten", ["average"], "pooled", axis=1)

    def block(self, x: str, index: int, kernel: int, stride: int, expansion: int, channels: int, out: int) -> str:
        """Expand, convolve each channel, project; add the input if the shapes allow."""
        name, inner, entry = f"_blocks.{index}", channels * expansion, x
        if expansion != 1:
            x = self.convolution(x, f"{name}._expand_conv", f"{name}._bn0", 1)
        x = self.convolution(x, f"{name}._depthwise_conv", f"{name}._bn1", kernel, stride, groups=inner)
        residual = stride == 1 and channels == out
        output = f"block{index}"
        projected = f"{output}_projected" if residual else output
        x = self.convolution(x, f"{name}._project_conv", f"{name}._bn2", 1, clip=False, output=projected)
        return self.node("Add", [x, entry], output) if residual else x

    def convolution(
        self,
        x: str,
        conv: str,
        norm: str,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        clip: bool = True,
        output: str | None = None,
    ) -> str:
        """Convolution, batch norm, ReLU6. TensorFlow's "same" padding puts the odd pixel at the end."""
        index = self.convolutions
        self.convolutions += 1
        output = output or f"conv{index}"
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        weight, bias = folded(self.weights, conv, norm)
        inputs = [x, self.constant(f"kernel{index}", weight), self.constant(f"bias{index}", bias)]
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [before, before, after, after]}
        raw = f"{output}_linear" if clip else output
        self.node("Conv", inputs, raw, group=groups, **shape)
        return self.node("Clip", [raw, "zero", "six"], output) if clip else raw


def backbone(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    outputs = [
        float_tensor("features", ["N", 1280, "H32", "W32"]),
        float_tensor(f"block{INNER_BLOCK}", ["N", 112, "H16", "W16"]),
        float_tensor("pooled", ["N", 1280]),
    ]
    return Backbone(weights).model("lite_image", [float_tensor("image", ["N", 3, "H", "W"])], outputs)


def calibration_crops(photos: list[Path], count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Random square crops of a few photos, half of them mirrored."""
    rng = random.Random(seed)
    opened = [Image.open(path).convert("RGB") for path in photos]
    for i in range(count):
        photo = opened[i % len(opened)]
        side = int(min(photo.size) * rng.uniform(0.35, 1))
        x, y = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
        crop = photo.crop((x, y, x + side, y + side))
        if rng.random() < 0.5:
            crop = crop.transpose(Image.FLIP_LEFT_RIGHT)
        yield normalised(crop.resize((size, size), Image.BICUBIC), MEAN, STD)


class Calibration(CalibrationDataReader):
    def __init__(self, images: Iterator[np.ndarray]):
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image}


def quantised(model: onnx.ModelProto, images: Iterator[np.ndarray], work: Path) -> onnx.ModelProto:
    """The backbone in QDQ form: u8 activations, s8 weights with a scale per output channel.

    One scale per tensor instead would cost seven points of accuracy. Pooling is left alone, so that whatever is
    linear in `pooled` is exactly linear in `features`.
    """
    source, target = work / "backbone_f32.onnx", work / "backbone_int8.onnx"
    onnx.save(model, source)
    quantize_static(
        source,
        target,
        Calibration(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        op_types_to_quantize=["Conv", "Add", "Clip"],
    )
    return onnx.load(target)


def with_head(
    body: onnx.ModelProto, weight: np.ndarray, bias: np.ndarray, classes: np.ndarray, temperature: float, int8: bool
) -> onnx.ModelProto:
    """Adds logits = (centred classifier) / temperature and embedding = unit(softmax(logits) @ classes).

    Centring the classifier over the classes does not change the softmax, but it takes out what all classes share,
    so that one logit alone already says "this class rather than the others".
    """
    head = Graph()
    centred = ((weight - weight.mean(0)) / temperature).T.astype(np.float32)
    head.linear("pooled", "logits", centred, ((bias - bias.mean()) / temperature).astype(np.float32), int8)
    head.node("Softmax", ["logits"], "probabilities", axis=1)
    rows = head.int8_weight("classes", classes, axis=1) if int8 else head.constant("classes", classes)
    head.node("MatMul", ["probabilities", rows], "embedding_raw")
    head.unit_rows("embedding_raw", "embedding")

    model = onnx.ModelProto()
    model.CopyFrom(body)
    model.producer_name = "lite"
    model.producer_version = ""
    graph = model.graph
    graph.node.extend(head.nodes)
    graph.initializer.extend(head.initializers)
    layers = [output for output in graph.output if output.name != "pooled"]
    del graph.output[:]
    graph.output.append(float_tensor("embedding", ["N", classes.shape[1]]))
    graph.output.append(float_tensor("logits", ["N", len(classes)]))
    graph.output.extend(layers)
    del graph.value_info[:]  # left by the quantiser; it contradicts an input size that a runtime pins later
    onnx.checker.check_model(model, full_check=True)
    return model


# ---- text tower


def text_tower(student: dict[str, np.ndarray], classes: np.ndarray) -> onnx.ModelProto:
    """The bag of WordPieces: unit(linear(x) + mlp(x)) of the weighted mean x of the prompt's token vectors.

    `evidence` says how much each class supports the prompt: relu(cosine)^4, scaled to sum to one (to zero for a
    prompt that no class supports).
    """
    g = Graph()
    importance = np.exp(student["importance.weight"][:, 0]).astype(np.float32)
    importance[0] = 0  # padding
    table = student["table.weight"] * importance[:, None]
    codes, scale = quantise(table, axis=0)
    g.constant("table_int8", codes)
    g.constant("table_scale", scale[:, None])
    g.constant("importance", importance)
    g.constant("token_axis", np.int64([1]))
    g.constant("class_axis", np.int64([1]))
    g.constant("tiny", np.float32([TINY]))

    g.node("Gather", ["table_int8", "ids"], "token_codes")
    g.node("Cast", ["token_codes"], "token_floats", to=TensorProto.FLOAT)
    g.node("Gather", ["table_scale", "ids"], "token_scales")
    g.node("Mul", ["token_floats", "token_scales"], "tokens")
    g.node("Gather", ["importance", "ids"], "token_importance")
    g.node("ReduceSum", ["tokens", "token_axis"], "token_sum", keepdims=0)
    g.node("ReduceSum", ["token_importance", "token_axis"], "importance_sum", keepdims=1)
    g.node("Add", ["importance_sum", "tiny"], "importance_total")
    g.node("Div", ["token_sum", "importance_total"], "mean")

    g.linear("mean", "direct", student["direct.weight"].T, student["direct.bias"])
    g.linear("mean", "hidden_linear", student["hidden.weight"].T, student["hidden.bias"])
    g.node("Relu", ["hidden_linear"], "hidden")
    g.linear("hidden", "correction", student["output.weight"].T, student["output.bias"])
    g.node("Add", ["direct", "correction"], "embedding_raw")
    g.unit_rows("embedding_raw", "embedding")

    unit = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    g.int8_weight("classes", np.ascontiguousarray(unit.T), axis=1)
    g.node("MatMul", ["embedding", "classes"], "cosine")
    g.node("Relu", ["cosine"], "support")
    g.node("Mul", ["support", "support"], "support2")
    g.node("Mul", ["support2", "support2"], "support4")
    g.node("ReduceSum", ["support4", "class_axis"], "support_sum", keepdims=1)
    g.node("Add", ["support_sum", "tiny"], "support_total")
    g.node("Div", ["support4", "support_total"], "evidence")

    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "L"])
    outputs = [float_tensor("embedding", ["N", classes.shape[1]]), float_tensor("evidence", ["N", len(classes)])]
    return g.model("lite_text", [ids], outputs)
