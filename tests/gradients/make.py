"""Writes the reference gradients in this folder: `python make.py`. README.md says what is in the files.

Each case states one small network twice, as ONNX nodes and in torch. Before a file is written,

- onnxruntime must get the same layer and the same output from the ONNX nodes as torch from its own operators;
- torch's gradient must agree with central differences, with a step wide enough to notice a kink or a tie nearby.
"""

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

HERE = Path(__file__).parent
IR_VERSION = {9: 4, 11: 6, 17: 8, 18: 8, 20: 9, 21: 10}  # of each opset: what its time's exporters wrote
MAPS = (1, 4, 5, 3)  # batch, channels, height, width
TOKENS = (1, 5, 8)  # batch, tokens, width
STEP = 1e-4  # of the central differences

Onnx = Callable[["Graph", str], str]
Torch = Callable[[Tensor], Tensor]


class Graph:
    """Collects nodes: `g.Conv(x, kernel, strides=[2, 2])` adds one and returns the name of its output.

    Names stand for tensors of the graph, torch tensors and numbers become initialisers (floats as f32).
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value) -> str:
        array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def __getattr__(self, op: str) -> Callable:
        def node(*inputs, outputs: int = 1, output: str | None = None, **attributes):
            names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
            index = len(self.nodes)
            results = [output or f"t{index}"] if outputs == 1 else [f"t{index}_{i}" for i in range(outputs)]
            self.nodes.append(helper.make_node(op, names, results, name=f"n{index}", **attributes))
            return results[0] if outputs == 1 else results

        return node


class Weights:
    """Random weights that f32 holds exactly, as float64 for torch."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, low: float = -1, high: float = 1) -> Tensor:
        return torch.from_numpy(self.rng.uniform(low, high, shape).astype(np.float32).astype(np.float64))


@dataclass
class Case:
    """From the input `x` to `layer` (the front), and from there to the output (the rest)."""

    name: str
    make: Callable[[Weights], tuple[Onnx, Torch]]
    shape: tuple[int, ...] = MAPS  # of the input
    low: float = -2  # of the input
    high: float = 2
    opset: int = 17
    batch: int | str = 1  # as declared in the file
    front: Callable[[Weights, int], tuple[Onnx, Torch]] | None = None  # None: `affine`
    note: str | None = None
    smooth: bool = True  # False: the gradient is a convention, not a limit of differences


CASES: list[Case] = []


def case(**options):
    """Registers a function that makes the two networks from a source of weights."""

    def register(make):
        CASES.append(Case(make.__name__, make, **options))
        return make

    return register


def unary(name: str, nodes: Onnx, network: Torch, **options) -> None:
    """Registers a case without weights."""
    CASES.append(Case(name, lambda _: (nodes, network), **{"shape": (1, 3, 4, 2), **options}))


# ---- fronts: from the input to the layer


def affine(w: Weights, axis1: int) -> tuple[Onnx, Torch]:
    """layer = a x + b, with one a and b for each index of axis 1. Keeps the input's signs and bounds, roughly."""
    a, b = w(axis1, low=0.9, high=1.1), w(axis1, low=0.001, high=0.01)

    def shaped(v: Tensor, rank: int) -> Tensor:
        return v.reshape(1, -1, *[1] * (rank - 2))

    def nodes(g: Graph, x: str) -> str:
        rank = g.rank_of_input
        return g.Add(g.Mul(x, shaped(a, rank)), shaped(b, rank), output="layer")

    return nodes, lambda x: x * shaped(a, x.ndim) + shaped(b, x.ndim)


def convolved(w: Weights, channels: int) -> tuple[Onnx, Torch]:
    """layer = relu(conv(x)), as in most networks."""
    k, b = w(4, channels, 3, 3, low=-0.5, high=0.5), w(4, low=0.1, high=0.3)
    return (
        lambda g, x: g.Relu(g.Conv(x, k, b, pads=[1, 1, 1, 1]), output="layer"),
        lambda x: F.relu(F.conv2d(x, k, b, padding=1)),
    )


def channels_last(w: Weights, _height: int) -> tuple[Onnx, Torch]:
    """The input has its channels last; the network wants them first, as in converted TensorFlow networks."""
    k = w(4, 3, 1, 1)
    return (
        lambda g, x: g.Conv(g.Transpose(x, perm=[0, 3, 1, 2]), k, output="layer"),
        lambda x: F.conv2d(x.permute(0, 3, 1, 2), k),
    )


# ---- convolutions


@case()
def conv(w):
    k, b = w(3, 4, 3, 3), w(3)
    return lambda g, x: g.Conv(x, k, b, pads=[1, 1, 1, 1]), lambda x: F.conv2d(x, k, b, padding=1)


@case(shape=(1, 4, 8, 5))
def conv_strided(w):
    """The last row is read by no output."""
    k = w(2, 4, 3, 2)
    return lambda g, x: g.Conv(x, k, strides=[2, 1], pads=[0, 1, 0, 1]), lambda x: F.conv2d(
        x, k, stride=(2, 1), padding=(0, 1)
    )


@case(shape=(1, 2, 7, 6))
def conv_dilated(w):
    k = w(2, 2, 3, 2)
    return lambda g, x: g.Conv(x, k, dilations=[2, 3], pads=[2, 1, 2, 1]), lambda x: F.conv2d(
        x, k, dilation=(2, 3), padding=(2, 1)
    )


@case()
def conv_grouped(w):
    k, b = w(6, 2, 3, 3), w(6)
    return lambda g, x: g.Conv(x, k, b, group=2, pads=[1, 1, 1, 1]), lambda x: F.conv2d(x, k, b, padding=1, groups=2)


@case(shape=(1, 4, 6, 5))
def conv_depthwise(w):
    k, b = w(4, 1, 3, 3), w(4)
    return lambda g, x: g.Conv(x, k, b, group=4, strides=[2, 2], pads=[1, 1, 1, 1]), lambda x: F.conv2d(
        x, k, b, stride=2, padding=1, groups=4
    )


@case()
def conv_depthwise_multiplier(w):
    """Two outputs for each channel."""
    k = w(8, 1, 3, 3)
    return lambda g, x: g.Conv(x, k, group=4), lambda x: F.conv2d(x, k, groups=4)


@case()
def conv_asymmetric_pads(w):
    k = w(2, 4, 3, 3)
    return lambda g, x: g.Conv(x, k, pads=[0, 1, 2, 0], strides=[2, 2]), lambda x: F.conv2d(
        F.pad(x, (1, 0, 0, 2)), k, stride=2
    )


@case(shape=(1, 3, 6, 4))
def conv_same_upper(w):
    """TensorFlow's padding: the odd row at the end."""
    k = w(3, 3, 3, 3)
    return lambda g, x: g.Conv(x, k, auto_pad="SAME_UPPER", strides=[2, 2]), lambda x: F.conv2d(
        F.pad(x, (0, 1, 0, 1)), k, stride=2
    )


@case()
def conv_1x1(w):
    k, b = w(3, 4, 1, 1), w(3)
    return lambda g, x: g.Conv(x, k, b), lambda x: F.conv2d(x, k, b)


@case()
def conv_1x1_strided(w):
    k = w(3, 4, 1, 1)
    return lambda g, x: g.Conv(x, k, strides=[2, 2]), lambda x: F.conv2d(x, k, stride=2)


@case(shape=(1, 4, 9))
def conv_1d(w):
    k = w(3, 4, 3)
    return lambda g, x: g.Conv(x, k, strides=[2], pads=[1, 1]), lambda x: F.conv1d(x, k, stride=2, padding=1)


@case(shape=(1, 3, 8, 6))
def conv_patches(w):
    """A vision transformer's first layer: kernel = stride, then tokens."""
    k, b = w(5, 3, 2, 2), w(5)
    return (
        lambda g, x: g.Transpose(g.Reshape(g.Conv(x, k, b, strides=[2, 2]), [1, 5, 12]), perm=[0, 2, 1]),
        lambda x: F.conv2d(x, k, b, stride=2).flatten(2).transpose(1, 2),
    )


@case(shape=(1, 3, 3, 4))
def conv_transpose(w):
    k, b = w(3, 2, 3, 3), w(2)
    return lambda g, x: g.ConvTranspose(x, k, b, strides=[2, 2], pads=[1, 1, 1, 1]), lambda x: F.conv_transpose2d(
        x, k, b, stride=2, padding=1
    )


@case(shape=(1, 3, 3, 2))
def conv_transpose_output_padding(w):
    k = w(3, 2, 3, 3)
    return (
        lambda g, x: g.ConvTranspose(x, k, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        lambda x: F.conv_transpose2d(x, k, stride=2, padding=1, output_padding=1),
    )


@case(shape=(1, 4, 3, 2))
def conv_transpose_grouped(w):
    k = w(4, 2, 2, 2)
    return lambda g, x: g.ConvTranspose(x, k, group=2, strides=[2, 2]), lambda x: F.conv_transpose2d(
        x, k, stride=2, groups=2
    )


# ---- normalisation


@case()
def batch_normalization(w):
    gain, bias, mean, variance = w(4), w(4), w(4), w(4, low=0.5, high=2)
    return lambda g, x: g.BatchNormalization(x, gain, bias, mean, variance, epsilon=1e-3), lambda x: F.batch_norm(
        x, mean, variance, gain, bias, eps=1e-3
    )


@case()
def conv_batch_normalization_relu(w):
    k, gain, bias, mean, variance = w(4, 4, 3, 3), w(4), w(4), w(4), w(4, low=0.5, high=2)
    return (
        lambda g, x: g.Relu(g.BatchNormalization(g.Conv(x, k, pads=[1, 1, 1, 1]), gain, bias, mean, variance)),
        lambda x: F.relu(F.batch_norm(F.conv2d(x, k, padding=1), mean, variance, gain, bias)),
    )


@case()
def instance_normalization(w):
    gain, bias = w(4), w(4)
    return lambda g, x: g.InstanceNormalization(x, gain, bias, epsilon=1e-3), lambda x: F.instance_norm(
        x, weight=gain, bias=bias, eps=1e-3
    )


@case()
def group_normalization(w):
    """As torch exports it: an instance normalisation of the reshaped groups."""
    gain, bias = w(4), w(4)
    ones, zeros = torch.ones(2), torch.zeros(2)
    return (
        lambda g, x: g.Add(
            g.Mul(
                g.Reshape(g.InstanceNormalization(g.Reshape(x, [0, 2, -1]), ones, zeros), list(MAPS)),
                gain.reshape(4, 1, 1),
            ),
            bias.reshape(4, 1, 1),
        ),
        lambda x: F.group_norm(x, 2, gain, bias),
    )


@case(shape=TOKENS)
def layer_normalization(w):
    gain, bias = w(8), w(8)
    return lambda g, x: g.LayerNormalization(x, gain, bias, axis=-1, epsilon=1e-5), lambda x: F.layer_norm(
        x, (8,), gain, bias
    )


@case(shape=TOKENS)
def layer_normalization_decomposed(w):
    gain, bias = w(8), w(8)

    def nodes(g: Graph, x: str) -> str:
        centred = g.Sub(x, g.ReduceMean(x, axes=[-1]))
        variance = g.ReduceMean(g.Pow(centred, 2.0), axes=[-1])
        return g.Add(g.Mul(g.Div(centred, g.Sqrt(g.Add(variance, 1e-5))), gain), bias)

    return nodes, lambda x: F.layer_norm(x, (8,), gain, bias)


@case()
def layer_normalization_over_channels(w):
    """ConvNeXt's: channels are moved last and back."""
    gain, bias = w(4), w(4)
    return (
        lambda g, x: g.Transpose(
            g.LayerNormalization(g.Transpose(x, perm=[0, 2, 3, 1]), gain, bias, epsilon=1e-6), perm=[0, 3, 1, 2]
        ),
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,), gain, bias, 1e-6).permute(0, 3, 1, 2),
    )


@case(shape=TOKENS)
def rms_normalization_decomposed(w):
    gain = w(8)

    def nodes(g: Graph, x: str) -> str:
        mean = g.ReduceMean(g.Mul(x, x), axes=[-1])
        return g.Mul(g.Mul(x, g.Reciprocal(g.Sqrt(g.Add(mean, 1e-6)))), gain)

    return nodes, lambda x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * gain


# ---- pooling


POOLED = (1, 2, 7, 6)
unary(
    "max_pool",
    lambda g, x: g.MaxPool(x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    lambda x: F.max_pool2d(x, 3, 2, 1),
    shape=POOLED,
)
unary(
    "max_pool_ceil",
    lambda g, x: g.MaxPool(x, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    lambda x: F.max_pool2d(x, (3, 2), 2, ceil_mode=True),
    shape=(1, 2, 6, 5),
)
unary(
    "max_pool_plain",
    lambda g, x: g.MaxPool(x, kernel_shape=[2, 2], strides=[2, 2]),
    lambda x: F.max_pool2d(x, 2),
    shape=POOLED,
)
unary(
    "average_pool_without_pads",
    lambda g, x: g.AveragePool(x, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1], count_include_pad=0),
    lambda x: F.avg_pool2d(x, 3, (2, 1), 1, count_include_pad=False),
    shape=POOLED,
)
unary(
    "average_pool_with_pads",
    lambda g, x: g.AveragePool(x, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1], count_include_pad=1),
    lambda x: F.avg_pool2d(x, 3, (2, 1), 1, count_include_pad=True),
    shape=POOLED,
)
unary(
    # The last windows reach beyond the padding, and count no place there; 1 x 4 x 5 x 4 pooled to rows of 3 and columns of 3.
    "average_pool_with_pads_and_ceil",
    lambda g, x: g.AveragePool(x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1),
    lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=True),
    shape=(1, 4, 6, 4),
)
unary(
    "average_pool_plain",
    lambda g, x: g.AveragePool(x, kernel_shape=[2, 2], strides=[2, 2]),
    lambda x: F.avg_pool2d(x, 2),
    shape=POOLED,
)
unary("global_average_pool", lambda g, x: g.GlobalAveragePool(x), lambda x: x.mean((2, 3), keepdim=True), shape=MAPS)
unary("global_max_pool", lambda g, x: g.GlobalMaxPool(x), lambda x: x.amax((2, 3), keepdim=True), shape=MAPS)


# ---- activation functions


def gelu_by_erf(g: Graph, x: str) -> str:
    return g.Mul(g.Mul(x, g.Add(g.Erf(g.Div(x, math.sqrt(2))), 1.0)), 0.5)


def gelu_by_tanh(g: Graph, x: str) -> str:
    inner = g.Mul(g.Add(x, g.Mul(g.Mul(g.Mul(x, x), x), 0.044715)), math.sqrt(2 / math.pi))
    return g.Mul(g.Mul(x, 0.5), g.Add(g.Tanh(inner), 1.0))


def gelu_by_tanh_pow(g: Graph, x: str) -> str:
    """As torch exports it: with Pow."""
    inner = g.Mul(g.Add(x, g.Mul(g.Pow(x, 3.0), 0.044715)), math.sqrt(2 / math.pi))
    return g.Mul(g.Mul(x, 0.5), g.Add(g.Tanh(inner), 1.0))


unary("relu", lambda g, x: g.Relu(x), F.relu)
unary("clip_0_6", lambda g, x: g.Clip(x, 0.0, 6.0), F.relu6, low=-4, high=10)
unary("clip_low_only", lambda g, x: g.Clip(x, -0.5), lambda x: x.clamp(min=-0.5))
unary("leaky_relu", lambda g, x: g.LeakyRelu(x, alpha=0.1), lambda x: F.leaky_relu(x, 0.1))
unary("silu", lambda g, x: g.Mul(x, g.Sigmoid(x)), F.silu, low=-4, high=4)
unary("hard_swish", lambda g, x: g.HardSwish(x), F.hardswish, low=-6, high=6)
unary(
    "hard_swish_decomposed",
    lambda g, x: g.Mul(x, g.Div(g.Clip(g.Add(x, 3.0), 0.0, 6.0), 6.0)),
    F.hardswish,
    low=-6,
    high=6,
)
unary("hard_sigmoid", lambda g, x: g.HardSigmoid(x, alpha=1 / 6, beta=0.5), F.hardsigmoid, low=-6, high=6)
unary("hard_swish_by_hard_sigmoid", lambda g, x: g.Mul(x, g.HardSigmoid(x, alpha=1 / 6)), F.hardswish, low=-6, high=6)
unary("sigmoid", lambda g, x: g.Sigmoid(x), torch.sigmoid, low=-4, high=4)
unary("tanh", lambda g, x: g.Tanh(x), torch.tanh)
unary("erf", lambda g, x: g.Erf(x), torch.erf)
unary("gelu_erf", gelu_by_erf, F.gelu, low=-3, high=3)
unary("gelu_op", lambda g, x: g.Gelu(x), F.gelu, opset=20, low=-3, high=3)
unary("gelu_tanh", gelu_by_tanh, lambda x: F.gelu(x, approximate="tanh"), low=-3, high=3)
unary("gelu_tanh_pow", gelu_by_tanh_pow, lambda x: F.gelu(x, approximate="tanh"), low=-3, high=3)
unary(
    "gelu_tanh_op",
    lambda g, x: g.Gelu(x, approximate="tanh"),
    lambda x: F.gelu(x, approximate="tanh"),
    opset=20,
    low=-3,
    high=3,
)
unary(
    "quick_gelu",
    lambda g, x: g.Mul(x, g.Sigmoid(g.Mul(x, 1.702))),
    lambda x: x * torch.sigmoid(1.702 * x),
    low=-3,
    high=3,
)
unary("elu", lambda g, x: g.Elu(x, alpha=0.7), lambda x: F.elu(x, 0.7))
unary("softplus", lambda g, x: g.Softplus(x), F.softplus)
unary("mish", lambda g, x: g.Mul(x, g.Tanh(g.Softplus(x))), F.mish)


@case()
def prelu(w):
    slope = w(4, 1, 1)
    return lambda g, x: g.PRelu(x, slope), lambda x: torch.where(x > 0, x, slope * x)


# ---- softmax


unary("softmax_last_axis", lambda g, x: g.Softmax(x, axis=-1), lambda x: x.softmax(-1), shape=TOKENS)
unary("softmax_axis_1", lambda g, x: g.Softmax(x, axis=1), lambda x: x.softmax(1), shape=MAPS)
unary(
    "softmax_opset_11",
    lambda g, x: g.Softmax(x, axis=2),
    lambda x: x.flatten(2).softmax(2),
    shape=(1, 3, 4, 2),
    opset=11,
    note="before opset 13 the softmax runs over all axes from `axis` on",
)
unary("log_softmax", lambda g, x: g.LogSoftmax(x, axis=-1), lambda x: x.log_softmax(-1), shape=TOKENS)


# ---- reductions


unary("reduce_mean", lambda g, x: g.ReduceMean(x, axes=[2, 3], keepdims=0), lambda x: x.mean((2, 3)))
unary("reduce_mean_opset_18", lambda g, x: g.ReduceMean(x, [1], keepdims=1), lambda x: x.mean(1), opset=18)
unary("reduce_mean_all", lambda g, x: g.ReduceMean(x), lambda x: x.mean((0, 1, 2, 3), keepdim=True))
unary("reduce_sum", lambda g, x: g.ReduceSum(x, [1], keepdims=0), lambda x: x.sum(1))
unary("reduce_max", lambda g, x: g.ReduceMax(x, axes=[2, 3], keepdims=1), lambda x: x.amax((2, 3), keepdim=True))
unary("reduce_min", lambda g, x: g.ReduceMin(x, axes=[1], keepdims=0), lambda x: x.amin(1))
unary("reduce_l2", lambda g, x: g.ReduceL2(x, axes=[1], keepdims=1), lambda x: x.norm(dim=1, keepdim=True))
unary("reduce_l1", lambda g, x: g.ReduceL1(x, axes=[-1], keepdims=0), lambda x: x.abs().sum(-1))
unary("reduce_sum_square", lambda g, x: g.ReduceSumSquare(x, axes=[2], keepdims=0), lambda x: (x * x).sum(2))
unary("reduce_log_sum_exp", lambda g, x: g.ReduceLogSumExp(x, axes=[1], keepdims=0), lambda x: x.logsumexp(1))
unary("unit_length", lambda g, x: g.Div(x, g.ReduceL2(x, axes=[-1])), lambda x: F.normalize(x, dim=-1), shape=(1, 12))


# ---- arithmetic

BINARY = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Pow": torch.pow,
    "Min": torch.minimum,
    "Max": torch.maximum,
}


def binary_cases(op: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The layer against a smaller constant, a larger constant against the layer, the layer against its own mean."""
    shape = (1, 3, 4, 2)

    def constant(w):
        c = w(3, 1, 1, low=0.5, high=2)
        return lambda g, x: getattr(g, op)(x, c), lambda x: function(x, c)

    def constant_left(w):
        c = w(1, 3, 4, 2, low=0.5, high=2)
        return (
            lambda g, x: getattr(g, op)(c, g.ReduceMean(x, axes=[2])),
            lambda x: function(c, x.mean(2, keepdim=True)),
        )

    def both(_):
        return (
            lambda g, x: getattr(g, op)(x, g.ReduceMean(x, axes=[1, 3])),
            lambda x: function(x, x.mean((1, 3), keepdim=True)),
        )

    for suffix, make in {"constant": constant, "constant_left": constant_left, "both": both}.items():
        CASES.append(Case(f"{op.lower()}_{suffix}", make, shape=shape, low=0.3, high=2.2))


for op, function in BINARY.items():
    binary_cases(op, function)

POSITIVE = {"low": 0.3, "high": 3}
unary("square", lambda g, x: g.Pow(x, 2.0), torch.square)
unary("pow_3", lambda g, x: g.Pow(x, 3.0), lambda x: x**3)
unary("pow_half", lambda g, x: g.Pow(x, 0.5), torch.sqrt, **POSITIVE)
unary("pow_integer_exponent", lambda g, x: g.Pow(x, torch.tensor(2)), torch.square)
unary("times_itself", lambda g, x: g.Mul(x, x), torch.square)
unary("sqrt", lambda g, x: g.Sqrt(x), torch.sqrt, **POSITIVE)
unary("reciprocal", lambda g, x: g.Reciprocal(x), torch.reciprocal, **POSITIVE)
unary("exp", lambda g, x: g.Exp(x), torch.exp)
unary("log", lambda g, x: g.Log(x), torch.log, **POSITIVE)
unary("neg", lambda g, x: g.Neg(x), torch.neg)
unary("abs", lambda g, x: g.Abs(x), torch.abs)
unary("sin_cos", lambda g, x: g.Mul(g.Sin(x), g.Cos(x)), lambda x: torch.sin(x) * torch.cos(x))
unary("sum_of_three", lambda g, x: g.Sum(x, g.Mul(x, 2.0), g.Exp(x)), lambda x: 3 * x + torch.exp(x))


@case()
def where_constant(w):
    chosen, other = w(4, 5, 3) > 0, w(1, 1, 3)
    return lambda g, x: g.Where(chosen, g.Mul(x, x), other), lambda x: torch.where(chosen, x * x, other)


@case()
def where_computed(_):
    return (
        lambda g, x: g.Where(g.Greater(x, 0.5), g.Mul(x, x), g.ReduceMean(x, axes=[1])),
        lambda x: torch.where(x > 0.5, x * x, x.mean(1, keepdim=True)),
    )


# ---- shapes

SMALL = (1, 3, 4, 2)


def permuted(g: Graph, x: str) -> str:
    """Makes a wrong order of the elements visible: multiplies by 1, 2, 3, ..."""
    return g.Mul(g.Reshape(x, [1, 24]), torch.arange(1.0, 25.0))


def permuted_torch(x: Tensor) -> Tensor:
    return x.reshape(1, 24) * torch.arange(1.0, 25.0)


unary("reshape", lambda g, x: permuted(g, g.Reshape(x, [2, -1, 3])), lambda x: permuted_torch(x.reshape(2, -1, 3)))
unary(
    "transpose",
    lambda g, x: permuted(g, g.Transpose(x, perm=[3, 1, 0, 2])),
    lambda x: permuted_torch(x.permute(3, 1, 0, 2)),
)
unary(
    "squeeze_unsqueeze",
    lambda g, x: permuted(g, g.Transpose(g.Unsqueeze(g.Squeeze(x, [0]), [1, 4]), perm=[1, 3, 2, 0, 4])),
    lambda x: permuted_torch(x[0][:, None, :, :, None].permute(1, 3, 2, 0, 4)),
)
unary("flatten", lambda g, x: permuted(g, g.Flatten(x, axis=2)), lambda x: permuted_torch(x.flatten(2)))
unary(
    "expand",
    lambda g, x: g.Mul(g.Expand(g.ReduceMean(x, axes=[3]), [2, 3, 4, 5]), torch.arange(1.0, 6.0)),
    lambda x: x.mean(3, keepdim=True).expand(2, 3, 4, 5) * torch.arange(1.0, 6.0),
)
unary(
    "slice_step",
    lambda g, x: g.Slice(x, [1, 0], [2**31 - 1, -1], [2, 3], [2, 1]),
    lambda x: x[:, :, 1::2, :-1],
    shape=(1, 3, 6, 4),
)
unary(
    "split_equal",
    lambda g, x: g.Mul(*g.Split(x, outputs=2, axis=1)),
    lambda x: x[:, :2] * x[:, 2:],
    shape=MAPS,
)


def swin_like(g: Graph, x: str) -> str:
    first, _, last = g.Split(x, [1, 1, 2], outputs=3, axis=1)
    return g.Mul(first, g.Exp(last))


unary("split_unequal", swin_like, lambda x: x[:, :1] * torch.exp(x[:, 2:]), shape=MAPS)
unary(
    "gather_class_token",
    lambda g, x: g.Mul(g.Gather(x, torch.tensor(0), axis=1), torch.arange(1.0, 9.0)),
    lambda x: x[:, 0] * torch.arange(1.0, 9.0),
    shape=TOKENS,
)
unary(
    "gather_repeated",
    lambda g, x: g.Gather(x, torch.tensor([2, 0, 2, -1]), axis=1),
    lambda x: x[:, [2, 0, 2, -1]],
    shape=TOKENS,
    note="position 2 is read twice: its gradients add up",
)


@case()
def concat(w):
    c = w(1, 2, 5, 3)
    return (
        lambda g, x: g.Mul(g.Concat(x, c, g.Exp(x), axis=1), torch.arange(1.0, 11.0).reshape(10, 1, 1)),
        lambda x: torch.cat([x, c, torch.exp(x)], 1) * torch.arange(1.0, 11.0).reshape(10, 1, 1),
    )


@case(shape=TOKENS)
def concat_class_token(w):
    """A learnt token in front, positions added, the class token read out after mixing."""
    token, position, mix = w(1, 1, 8), w(1, 6, 8), w(6, 6)
    return (
        lambda g, x: g.Gather(g.MatMul(mix, g.Add(g.Concat(token, x, axis=1), position)), torch.tensor(0), axis=1),
        lambda x: (mix @ (torch.cat([token, x], 1) + position))[:, 0],
    )


unary("pad_constant", lambda g, x: g.Pad(x, [0, 0, 1, 0, 0, 0, 2, 3], 0.5), lambda x: F.pad(x, (0, 3, 1, 2), value=0.5))
unary(
    "pad_reflect",
    lambda g, x: g.Pad(x, [0, 0, 1, 1, 0, 0, 2, 0], mode="reflect"),
    lambda x: F.pad(x, (1, 0, 1, 2), mode="reflect"),
)
unary(
    "pad_edge",
    lambda g, x: g.Pad(x, [0, 0, 1, 2, 0, 0, 0, 1], mode="edge"),
    lambda x: F.pad(x, (2, 1, 1, 0), mode="replicate"),
)
unary(
    "pad_reflect_with_a_number",
    lambda g, x: g.Pad(x, [0, 0, 1, 1, 0, 0, 2, 0], 0.5, mode="reflect"),
    lambda x: F.pad(x, (1, 0, 1, 2), mode="reflect"),
)
unary(
    "pad_edge_with_a_number",
    lambda g, x: g.Pad(x, [0, 0, 1, 2, 0, 0, 0, 1], 0.5, mode="edge"),
    lambda x: F.pad(x, (2, 1, 1, 0), mode="replicate"),
)
ROI = torch.zeros(0)
DOUBLE = torch.tensor([1.0, 1, 2, 2])
unary(
    "resize_nearest",
    lambda g, x: g.Resize(
        x, ROI, DOUBLE, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    shape=(1, 2, 4, 3),
)
unary(
    "resize_linear_half_pixel",
    lambda g, x: g.Resize(x, ROI, DOUBLE, mode="linear", coordinate_transformation_mode="half_pixel"),
    lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    shape=(1, 2, 4, 3),
)
unary(
    "resize_linear_align_corners",
    lambda g, x: g.Resize(x, ROI, DOUBLE, mode="linear", coordinate_transformation_mode="align_corners"),
    lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    shape=(1, 2, 4, 3),
)
unary(
    "resize_linear_align_corners_fraction",
    lambda g, x: g.Resize(x, ROI, torch.tensor([1.0, 1, 0.7, 1.3]), mode="linear", coordinate_transformation_mode="align_corners"),
    lambda x: F.interpolate(x, scale_factor=(0.7, 1.3), mode="bilinear", align_corners=True),
    shape=(1, 2, 8, 6),
)
unary(
    "resize_cubic_align_corners_fraction",
    lambda g, x: g.Resize(
        x,
        ROI,
        torch.tensor([1.0, 1, 1.3, 1.3]),
        mode="cubic",
        coordinate_transformation_mode="align_corners",
        cubic_coeff_a=-0.75,
    ),
    lambda x: F.interpolate(x, scale_factor=1.3, mode="bicubic", align_corners=True),
    shape=(1, 2, 6, 5),
)
unary(
    "resize_to_the_same",
    lambda g, x: g.Resize(x, ROI, torch.tensor([1.0, 1, 1.1, 1.1]), mode="linear", coordinate_transformation_mode="half_pixel"),
    lambda x: F.interpolate(x, scale_factor=1.1, mode="bilinear"),
    shape=(1, 2, 8, 6),
)


def stretched(length: int, scale: float) -> Tensor:
    """Linear resampling of an axis to its own length as a matrix: torch leaves such an axis alone, ONNX does not."""
    matrix = torch.zeros(length, length)
    for row in range(length):
        at = min(max((row + 0.5) / scale - 0.5, 0.0), length - 1.0)
        low = int(at)
        matrix[row, low] += 1 - (at - low)
        matrix[row, min(low + 1, length - 1)] += at - low
    return matrix


unary(
    "resize_to_the_same_height",
    lambda g, x: g.Resize(x, ROI, torch.tensor([1.0, 1, 1.1, 2]), mode="linear", coordinate_transformation_mode="half_pixel"),
    lambda x: stretched(8, 1.1) @ F.interpolate(x, scale_factor=(1, 2), mode="bilinear"),
    shape=(1, 2, 8, 3),
)
unary(
    "depth_to_space_dcr",
    lambda g, x: permuted(g, g.DepthToSpace(x, blocksize=2, mode="DCR")),
    lambda x: permuted_torch(x.reshape(1, 2, 2, 2, 3, 1).permute(0, 3, 4, 1, 5, 2).reshape(1, 2, 6, 2)),
    shape=(1, 8, 3, 1),
)
unary(
    "depth_to_space_crd",
    lambda g, x: permuted(g, g.DepthToSpace(x, blocksize=2, mode="CRD")),
    lambda x: permuted_torch(F.pixel_shuffle(x, 2)),
    shape=(1, 8, 3, 1),
)
unary(
    "space_to_depth",
    lambda g, x: permuted(g, g.SpaceToDepth(x, blocksize=2)),
    lambda x: permuted_torch(x.reshape(1, 2, 3, 2, 1, 2).permute(0, 3, 5, 1, 2, 4)),
    shape=(1, 2, 6, 2),
)


# ---- matrix products


@case(shape=(1, 6))
def gemm(w):
    m, b = w(6, 4), w(4)
    return lambda g, x: g.Gemm(x, m, b, alpha=0.5, beta=2.0), lambda x: 0.5 * (x @ m) + 2 * b


@case(shape=(1, 6))
def gemm_trans_b(w):
    m, b = w(4, 6), w(4)
    return lambda g, x: g.Gemm(x, m, b, transB=1), lambda x: F.linear(x, m, b)


@case(shape=(3, 4))
def gemm_trans_a(w):
    m = w(3, 5)
    return lambda g, x: g.Gemm(x, m, transA=1), lambda x: x.T @ m


@case(shape=TOKENS)
def matmul_right(w):
    m, b = w(8, 3), w(3)
    return lambda g, x: g.Add(g.MatMul(x, m), b), lambda x: x @ m + b


@case(shape=TOKENS)
def matmul_left(w):
    m = w(4, 5)
    return lambda g, x: g.MatMul(m, x), lambda x: m @ x


@case(shape=TOKENS)
def matmul_both(_):
    return lambda g, x: g.MatMul(x, g.Transpose(x, perm=[0, 2, 1])), lambda x: x @ x.transpose(1, 2)


@case(shape=TOKENS)
def self_attention(w):
    """Two heads of width 4."""
    q, k, v, out = w(8, 8), w(8, 8), w(8, 8), w(8, 8)

    def heads(g: Graph, x: str, m: Tensor, perm: list[int]) -> str:
        return g.Transpose(g.Reshape(g.MatMul(x, m), [1, 5, 2, 4]), perm=perm)

    def nodes(g: Graph, x: str) -> str:
        query = g.Mul(heads(g, x, q, [0, 2, 1, 3]), 0.5)
        attention = g.Softmax(g.MatMul(query, heads(g, x, k, [0, 2, 3, 1])), axis=-1)
        mixed = g.MatMul(attention, heads(g, x, v, [0, 2, 1, 3]))
        return g.MatMul(g.Reshape(g.Transpose(mixed, perm=[0, 2, 1, 3]), [1, 5, 8]), out)

    def network(x: Tensor) -> Tensor:
        query, key, value = ((x @ m).reshape(1, 5, 2, 4).transpose(1, 2) for m in (q, k, v))
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(1, 5, 8) @ out

    return nodes, network


@case(shape=TOKENS)
def einsum_constant(w):
    m = w(3, 8)
    return lambda g, x: g.Einsum(x, m, equation="bnd,ed->ben"), lambda x: torch.einsum("bnd,ed->ben", x, m)


@case(shape=(1, 2, 3, 4))
def einsum_both(_):
    return (
        lambda g, x: g.Einsum(x, g.Exp(x), equation="bhid,bhjd->bhij"),
        lambda x: torch.einsum("bhid,bhjd->bhij", x, torch.exp(x)),
    )


# ---- pieces of real networks


@case(shape=(1, 3, 6, 5), front=convolved)
def residual_block(w):
    a, b, bias = w(4, 4, 3, 3, low=-0.3, high=0.3), w(4, 4, 1, 1), w(4)
    return (
        lambda g, x: g.GlobalAveragePool(g.Relu(g.Add(x, g.Conv(g.Relu(g.Conv(x, a, pads=[1, 1, 1, 1])), b, bias)))),
        lambda x: F.relu(x + F.conv2d(F.relu(F.conv2d(x, a, padding=1)), b, bias)).mean((2, 3), keepdim=True),
    )


@case(shape=(1, 3, 6, 5), front=convolved)
def squeeze_excite(w):
    a, b, c = w(2, 4, 1, 1), w(4, 2, 1, 1), w(3, 4)

    def nodes(g: Graph, x: str) -> str:
        hidden = g.Conv(g.ReduceMean(x, axes=[2, 3]), a)
        gate = g.Sigmoid(g.Conv(g.Mul(hidden, g.Sigmoid(hidden)), b))
        return g.Gemm(g.Flatten(g.GlobalAveragePool(g.Mul(x, gate))), c, transB=1)

    def network(x: Tensor) -> Tensor:
        gate = torch.sigmoid(F.conv2d(F.silu(F.conv2d(x.mean((2, 3), keepdim=True), a)), b))
        return F.linear((x * gate).mean((2, 3)), c)

    return nodes, network


@case(shape=(1, 4, 6, 5))
def convnext_block(w):
    """Depthwise convolution, then a two-layer network on channels moved last, scaled, added."""
    k, gain, bias, up, down, scale = w(4, 1, 3, 3), w(4), w(4), w(4, 8), w(8, 4), w(4)

    def nodes(g: Graph, x: str) -> str:
        y = g.Transpose(g.Conv(x, k, group=4, pads=[1, 1, 1, 1]), perm=[0, 2, 3, 1])
        y = gelu_by_erf(g, g.MatMul(g.LayerNormalization(y, gain, bias), up))
        return g.Add(x, g.Transpose(g.Mul(g.MatMul(y, down), scale), perm=[0, 3, 1, 2]))

    def network(x: Tensor) -> Tensor:
        y = F.layer_norm(F.conv2d(x, k, padding=1, groups=4).permute(0, 2, 3, 1), (4,), gain, bias)
        return x + (F.gelu(y @ up) @ down * scale).permute(0, 3, 1, 2)

    return nodes, network


@case(shape=TOKENS)
def transformer_block(w):
    """CLIP's: normalised one-head attention and a quick-gelu network, class token, projection, unit length."""
    g1, b1, g2, b2 = w(8), w(8), w(8), w(8)
    qkv, out, up, down, project = w(8, 24), w(8, 8), w(8, 16), w(16, 8), w(8, 6)

    def nodes(g: Graph, x: str) -> str:
        q, k, v = g.Split(g.MatMul(g.LayerNormalization(x, g1, b1), qkv), outputs=3, axis=-1)
        attention = g.Softmax(g.Div(g.MatMul(q, g.Transpose(k, perm=[0, 2, 1])), math.sqrt(8)), axis=-1)
        x = g.Add(x, g.MatMul(g.MatMul(attention, v), out))
        hidden = g.MatMul(g.LayerNormalization(x, g2, b2), up)
        x = g.Add(x, g.MatMul(g.Mul(hidden, g.Sigmoid(g.Mul(hidden, 1.702))), down))
        y = g.MatMul(g.Gather(x, torch.tensor(0), axis=1), project)
        return g.Div(y, g.ReduceL2(y, axes=[-1]))

    def network(x: Tensor) -> Tensor:
        q, k, v = (F.layer_norm(x, (8,), g1, b1) @ qkv).split(8, -1)
        x = x + F.scaled_dot_product_attention(q, k, v) @ out
        hidden = F.layer_norm(x, (8,), g2, b2) @ up
        x = x + (hidden * torch.sigmoid(1.702 * hidden)) @ down
        return F.normalize(x[:, 0] @ project, dim=-1)

    return nodes, network


@case(shape=(1, 3, 4, 3), front=convolved)
def attention_pool(w):
    """CLIP ResNet's: the mean of the maps asks all positions."""
    position, q, k, v = w(13, 1, 4), w(4, 4), w(4, 4), w(4, 4)

    def nodes(g: Graph, x: str) -> str:
        x = g.Transpose(g.Reshape(x, [1, 4, 12]), perm=[2, 0, 1])
        x = g.Add(g.Concat(g.ReduceMean(x, axes=[0]), x, axis=0), position)
        x = g.Transpose(x, perm=[1, 0, 2])
        query = g.Slice(x, [0], [1], [1])
        scores = g.MatMul(g.Mul(g.MatMul(query, q), 0.5), g.Transpose(g.MatMul(x, k), perm=[0, 2, 1]))
        return g.Squeeze(g.MatMul(g.Softmax(scores, axis=-1), g.MatMul(x, v)), [1])

    def network(x: Tensor) -> Tensor:
        x = x.flatten(2).permute(2, 0, 1)
        x = (torch.cat([x.mean(0, keepdim=True), x]) + position).transpose(0, 1)
        return F.scaled_dot_product_attention(x[:, :1] @ q, x @ k, x @ v)[:, 0]

    return nodes, network


# ---- quantised networks

STRAIGHT_THROUGH = (
    "straight-through: a QuantizeLinear/DequantizeLinear pair passes the gradient where the rounded value lies inside "
    "its integer range, and stops it where it saturates; y is with rounding, so a run that clamps instead of rounding "
    "gives the same gradient but another y"
)


def quantised_pair(g: Graph, x: str, scale: float, zero: int, kind=torch.uint8) -> str:
    zero_point = torch.tensor(zero, dtype=kind)
    return g.DequantizeLinear(g.QuantizeLinear(x, scale, zero_point), scale, zero_point)


def quantised_pair_torch(x: Tensor, scale: float, zero: int, low: int = 0, high: int = 255) -> Tensor:
    scale = float(np.float32(scale))
    code = torch.round(x / scale) + zero
    rounded = (code.clamp(low, high) - zero) * scale
    return torch.where((code >= low) & (code <= high), x + (rounded - x).detach(), rounded.detach())


def quantised_kernel(g: Graph, codes: Tensor, scale: Tensor) -> str:
    return g.DequantizeLinear(codes.to(torch.int8), scale, torch.zeros(len(scale), dtype=torch.int8), axis=0)


QUANTISED = {"smooth": False, "note": STRAIGHT_THROUGH}
unary(
    "quantised_pair_u8",
    lambda g, x: quantised_pair(g, x, 0.01, 80),
    lambda x: quantised_pair_torch(x, 0.01, 80),
    **QUANTISED,
)
unary(
    "quantised_pair_i8",
    lambda g, x: quantised_pair(g, x, 0.01, -20, torch.int8),
    lambda x: quantised_pair_torch(x, 0.01, -20, -128, 127),
    **QUANTISED,
)


unary(
    "quantised_softmax",
    lambda g, x: quantised_pair(g, g.Softmax(quantised_pair(g, x, 0.02, 100), axis=-1), 1 / 255, 0),
    lambda x: quantised_pair_torch(quantised_pair_torch(x, 0.02, 100).softmax(-1), 1 / 255, 0),
    shape=TOKENS,
    smooth=False,
    note=STRAIGHT_THROUGH + ". tract 0.23.9, left alone, takes the softmax for elementwise and gets y wrong",
)


@case(shape=(1, 3, 6, 5), front=convolved, **QUANTISED)
def quantised_conv(w):
    """The shipped form: u8 activations with one scale, s8 kernels with a scale for each output channel.

    The second pair starts at zero and thereby replaces a Relu.
    """
    codes = torch.round(w(4, 4, 3, 3, low=-127, high=127))
    scale = w(4, low=0.002, high=0.004)

    def nodes(g: Graph, x: str) -> str:
        y = g.Conv(quantised_pair(g, x, 0.008, 0), quantised_kernel(g, codes, scale), pads=[1, 1, 1, 1])
        return g.GlobalAveragePool(quantised_pair(g, y, 0.01, 0))

    def network(x: Tensor) -> Tensor:
        y = F.conv2d(quantised_pair_torch(x, 0.008, 0), codes * scale.reshape(-1, 1, 1, 1), padding=1)
        return quantised_pair_torch(y, 0.01, 0).mean((2, 3), keepdim=True)

    return nodes, network


@case(shape=TOKENS, **QUANTISED)
def quantised_matmul(w):
    codes = torch.round(w(8, 4, low=-127, high=127))
    scale = w(4, low=0.004, high=0.008)
    zero = torch.zeros(4, dtype=torch.int8)
    return (
        lambda g, x: g.MatMul(
            quantised_pair(g, x, 0.015, 120), g.DequantizeLinear(codes.to(torch.int8), scale, zero, axis=1)
        ),
        lambda x: quantised_pair_torch(x, 0.015, 120) @ (codes * scale),
    )


# ---- ways of writing the file


@case(batch="N", shape=(1, 4, 6, 5))
def symbolic_batch(w):
    """The batch size is read from the tensor when the network runs, as torch exports it."""
    k, m = w(3, 4, 3, 3), w(12, 4)

    def nodes(g: Graph, x: str) -> str:
        y = g.Relu(g.Conv(x, k))
        size = g.Unsqueeze(g.Gather(g.Shape(y), torch.tensor(0), axis=0), [0])
        return g.MatMul(g.Reshape(y, g.Concat(size, torch.tensor([3, 12]), axis=0)), m)

    return nodes, lambda x: F.relu(F.conv2d(x, k)).flatten(2) @ m


@case(shape=(1, 5, 4, 3), front=channels_last)
def channels_last_input(w):
    k = w(2, 4, 3, 3)
    return (
        lambda g, x: g.Transpose(g.Relu(g.Conv(x, k)), perm=[0, 2, 3, 1]),
        lambda x: F.relu(F.conv2d(x, k)).permute(0, 2, 3, 1),
    )


@case()
def half_precision_weights(w):
    """Weights stored as f16, cast to f32 in the graph."""
    k, b = w(3, 4, 3, 3).half(), w(3).half()
    return (
        lambda g, x: g.Conv(x, g.Cast(k, to=TensorProto.FLOAT), g.Cast(b, to=TensorProto.FLOAT)),
        lambda x: F.conv2d(x, k.double(), b.double()),
    )


@case(opset=9)
def opset_9(w):
    """Axes and bounds are attributes; the softmax runs over axis 1 and all after it."""
    k, gain, bias, mean, variance, m = w(4, 4, 1, 1), w(4), w(4), w(4), w(4, low=0.5, high=2), w(3, 4)
    return (
        lambda g, x: g.Softmax(
            g.Gemm(
                g.Squeeze(
                    g.ReduceSum(
                        g.Clip(g.BatchNormalization(g.Conv(x, k), gain, bias, mean, variance), min=0.0, max=6.0),
                        axes=[2, 3],
                        keepdims=1,
                    ),
                    axes=[2, 3],
                ),
                m,
                torch.zeros(3),
                transB=1,
            )
        ),
        lambda x: F.linear(F.relu6(F.batch_norm(F.conv2d(x, k), mean, variance, gain, bias)).sum((2, 3)), m).softmax(1),
    )


@case(opset=21, shape=TOKENS)
def opset_21(w):
    """Axes are inputs; LayerNormalization and Gelu are operators."""
    gain, bias, m = w(8), w(8), w(8, 3)
    return (
        lambda g, x: g.ReduceMean(
            g.MatMul(g.Gelu(g.LayerNormalization(x, gain, bias)), m), torch.tensor([1]), keepdims=0
        ),
        lambda x: (F.gelu(F.layer_norm(x, (8,), gain, bias)) @ m).mean(1),
    )


@case()
def identity_dropout_constant(w):
    """Nodes that do nothing, and a constant that is a node rather than an initialiser."""
    c = w(4, 1, 1)
    value = numpy_helper.from_array(c.numpy().astype(np.float32))
    return (
        lambda g, x: g.Exp(g.Identity(g.Dropout(g.Mul(x, g.Constant(value=value))))),
        lambda x: torch.exp(x * c),
    )


# ---- writing and checking


def row(y: Tensor) -> Tensor:
    return y if y.ndim == 2 and len(y) == 1 else y.reshape(1, -1)


def onnx_model(case: Case, front: Onnx, rest: Onnx, raw_shape: tuple[int, ...], outputs: int) -> onnx.ModelProto:
    g = Graph()
    g.rank_of_input = len(case.shape)
    y = rest(g, front(g, "x"))
    if len(raw_shape) == 2 and raw_shape[0] == 1:
        g.nodes[-1].output[0] = "y"
    else:
        g.Reshape(y, [1, -1], output="y")
    graph = helper.make_graph(
        g.nodes,
        case.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [case.batch, *case.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        g.initializers,
    )
    if case.shape[0] != 1:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = case.shape[0]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], producer_name="make.py")
    model.ir_version = IR_VERSION[case.opset]
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, x: Tensor) -> list[np.ndarray]:
    """The layer and the output, from onnxruntime without its own rewriting of the graph."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    seen.graph.output.append(helper.make_empty_tensor_value_info("layer"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["layer", "y"], {"x": x.numpy().astype(np.float32)})


def relative_error(found, expected: Tensor) -> float:
    expected = expected.detach().numpy()
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-9))


def numbers(tensor: Tensor) -> list[float]:
    """Rounded to f32, each with as few digits as tell it from its neighbours."""
    return [float(str(value)) for value in tensor.detach().numpy().astype(np.float32).ravel()]


def write(case: Case) -> tuple[float, float]:
    """Writes both files of a case; returns the relative errors of onnxruntime's output and of the differences."""
    w = Weights(zlib.crc32(case.name.encode()))
    x = torch.from_numpy(w.rng.uniform(case.low, case.high, case.shape).round(3).astype(np.float32).astype(np.float64))
    (front_nodes, front), (rest_nodes, rest) = (case.front or affine)(w, case.shape[1]), case.make(w)
    layer = front(x).detach().requires_grad_()
    raw = rest(layer)
    y = row(raw)
    text = torch.from_numpy(w.rng.uniform(-1, 1, y.shape).round(3))
    score = (text * y).sum()
    (gradient,) = torch.autograd.grad(score, layer)
    assert gradient.abs().max() > 0 and torch.isfinite(gradient).all(), case.name

    difference = 0.0
    for _ in range(3 if case.smooth else 0):
        direction = torch.from_numpy(w.rng.choice([-1.0, 1.0], layer.shape))
        up, down = ((text * row(rest(layer.detach() + s * STEP * direction))).sum() for s in (1, -1))
        scale = (gradient.abs().sum() * 1e-2).item()
        difference = max(difference, abs(((up - down) / (2 * STEP) - (gradient * direction).sum()).item()) / scale)
    model = onnx_model(case, front_nodes, rest_nodes, raw.shape, y.shape[1])
    found_layer, found_y = run(model, x)
    error = max(relative_error(found_layer, layer), relative_error(found_y, y))
    assert error < 1e-5, f"{case.name}: onnxruntime differs from torch by {error}"
    assert difference < 1e-4, f"{case.name}: central differences differ from the gradient by {difference}"

    onnx.save(model, HERE / f"{case.name}.onnx")
    values = {
        "x_shape": list(x.shape),
        "layer_shape": list(layer.shape),
        "x": numbers(x),
        "layer": numbers(layer),
        "y": numbers(y),
        "text": numbers(text),
        "gradient": numbers(gradient),
    }
    if case.note:
        values["note"] = case.note
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    (HERE / f"{case.name}.json").write_text("{\n" + lines + "\n}\n")
    return error, difference


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for case in CASES:
        error, difference = write(case)
        print(f"{case.name:38} onnxruntime {error:.0e}  differences {difference:.0e}")
    print(f"{len(CASES)} cases, with torch {torch.__version__} and onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
