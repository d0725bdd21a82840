"""Writes small networks in other dialects and number formats, and what they must give: `python make.py`, after `tests/gradients/README.md`, whose files these are like.

Each case states one network twice, as people's files have it and in torch. A file is written only if onnxruntime gets torch's output, as far as the file's own numbers go.
"""

import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent.parent / "gradients"))
import make as plain  # noqa: E402
from make import Graph, Weights, numbers, relative_error, row  # noqa: E402

HERE = Path(__file__).parent
MS = {"domain": "com.microsoft"}
onnxruntime.set_default_logger_severity(4)


@dataclass
class Case:
    name: str
    make: object
    shape: tuple = (1, 4, 5, 3)
    opset: int = 17
    error: float = 1e-5  # of onnxruntime
    front: object = None
    convert: object = None  # of the finished model
    feed: object = None  # of the input


CASES = []


def case(**options):
    def register(make):
        CASES.append(Case(make.__name__, make, **options))
        return make

    return register


TOKENS = (1, 5, 8)


# ---- ONNX Runtime's fused operators


@case()
def fused_conv(w):
    k, b, z = w(3, 4, 3, 3), w(3), w(1, 3, 3, 1)
    return (
        lambda g, x: g.FusedConv(x, k, b, z, activation="Relu", **MS),
        lambda x: F.relu(F.conv2d(x, k, b) + z),
    )


@case()
def fused_conv_leaky(w):
    k = w(3, 4, 3, 3)
    return (
        lambda g, x: g.FusedConv(x, k, activation="LeakyRelu", activation_params=[0.2], **MS),
        lambda x: F.leaky_relu(F.conv2d(x, k), 0.2),
    )


@case(shape=(1, 8))
def fused_gemm(w):
    m, b = w(8, 3), w(3)
    return lambda g, x: g.FusedGemm(x, m, b, activation="Tanh", **MS), lambda x: torch.tanh(x @ m + b)


@case(shape=TOKENS)
def fused_matmul(w):
    m = w(4, 8)
    return (
        lambda g, x: g.FusedMatMul(x, m, transB=1, alpha=0.25, **MS),
        lambda x: 0.25 * x @ m.T,
    )


@case(shape=TOKENS)
def fused_matmul_both(w):
    """Scores of attention: x' x."""
    return lambda g, x: g.FusedMatMul(x, x, transA=1, alpha=0.5, **MS), lambda x: 0.5 * x.transpose(1, 2) @ x


@case(shape=(1, 5, 2, 4))
def fused_matmul_of_moved_batches(w):
    """Attention of torch's MultiheadAttention at the extended level: tokens x heads x width, both with their first axis moved inwards."""
    m = w(5, 1, 2, 4)
    k = m.permute(1, 2, 0, 3)
    moved = lambda x: x.permute(1, 2, 0, 3)
    return (
        lambda g, x: g.FusedMatMul(g.Transpose(x, perm=[1, 0, 2, 3]), m, transBatchA=1, transBatchB=1, transB=1, alpha=0.5, **MS),
        lambda x: 0.5 * moved(x.permute(1, 0, 2, 3)) @ k.transpose(-1, -2),
    )


@case(shape=TOKENS)
def gelu_of_two_kinds(w):
    b = w(8)
    return (
        lambda g, x: g.BiasGelu(g.Gelu(x, **MS), b, **MS),
        lambda x: F.gelu(F.gelu(x) + b),
    )


@case(shape=TOKENS, error=1e-3)
def fast_and_quick_gelu(w):
    b = w(8)
    return (
        lambda g, x: g.QuickGelu(g.FastGelu(x, b, **MS), alpha=1.5, **MS),
        lambda x: (lambda y: y * torch.sigmoid(1.5 * y))(F.gelu(x + b, approximate="tanh")),
    )


@case(shape=TOKENS)
def skip_layer_normalization(w):
    s, gain, bias, b, m = w(1, 5, 8), w(8), w(8), w(8), w(8, 3)

    def nodes(g, x):
        names = [i if isinstance(i, str) else g.constant(i) for i in (x, s, gain, bias, b)]
        g.nodes.append(helper.make_node("SkipLayerNormalization", names, ["normal", "", "", "sum"], name="skip", epsilon=1e-5, **MS))
        return g.MatMul(g.Add("normal", "sum"), m)

    return nodes, lambda x: (F.layer_norm(x + s + b, (8,), gain, bias) + x + s + b) @ m


def heads(x, n):
    return x.reshape(*x.shape[:2], n, -1).transpose(1, 2)


def attended(q, k, v, n, mask=None):
    return F.scaled_dot_product_attention(heads(q, n), heads(k, n), heads(v, n), mask).transpose(1, 2).flatten(2)


@case(shape=TOKENS)
def attention_with_one_matrix(w):
    m, b = w(8, 24), w(24)
    return (
        lambda g, x: g.Attention(x, m, b, num_heads=2, **MS),
        lambda x: attended(*(x @ m + b).split(8, 2), 2),
    )


@case(shape=TOKENS)
def attention_with_a_number_of_keys(w):
    m, b = w(8, 24), w(24)
    seen = torch.arange(5).reshape(1, 5) < 3
    return (
        lambda g, x: g.Attention(x, m, b, torch.tensor([3], dtype=torch.int32), num_heads=2, **MS),
        lambda x: attended(*(x @ m + b).split(8, 2), 2, torch.where(seen, 0.0, -10000.0)),
    )


@case(shape=TOKENS)
def attention_with_a_mask_of_keys(w):
    m, b = w(8, 24), w(24)
    mask = torch.tensor([[1, 0, 1, 1, 0]], dtype=torch.int32)
    return (
        lambda g, x: g.Attention(x, m, b, mask, num_heads=2, mask_filter_value=-1.5, **MS),
        lambda x: attended(*(x @ m + b).split(8, 2), 2, torch.where(mask > 0, 0.0, -1.5)),
    )


@case(shape=TOKENS)
def attention_with_a_mask_of_pairs(w):
    m, b, more = w(8, 24), w(24), w(1, 2, 5, 5)
    mask = torch.tensor([[[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]]], dtype=torch.int32)
    return (
        lambda g, x: g.Attention(x, m, b, mask, "", more, num_heads=2, **MS),
        lambda x: attended(*(x @ m + b).split(8, 2), 2, more + torch.where(mask > 0, 0.0, -10000.0)),
    )


@case(shape=TOKENS)
def multi_head_attention(w):
    q, k, v, b = w(8, 8), w(8, 8), w(8, 8), w(24)
    return (
        lambda g, x: g.MultiHeadAttention(g.MatMul(x, q), g.MatMul(x, k), g.MatMul(x, v), b, num_heads=2, **MS),
        lambda x: attended(*[x @ m + part for m, part in zip((q, k, v), b.split(8))], 2),
    )


# ---- new and old operators of ONNX


@case(shape=TOKENS, opset=23)
def attention_23(w):
    q, k, v = w(8, 8), w(8, 8), w(8, 8)
    return (
        lambda g, x: g.Attention(g.MatMul(x, q), g.MatMul(x, k), g.MatMul(x, v), q_num_heads=2, kv_num_heads=2),
        lambda x: attended(x @ q, x @ k, x @ v, 2),
    )


@case(shape=(1, 2, 5, 4), opset=23)
def attention_23_causal(w):
    k, v = w(4, 4), w(4, 6)
    return (
        lambda g, x: g.Attention(x, g.MatMul(x, k), g.MatMul(x, v), is_causal=1, scale=0.7),
        lambda x: F.scaled_dot_product_attention(x, x @ k, x @ v, is_causal=True, scale=0.7),
    )


@case(shape=TOKENS, opset=23)
def rms_normalization_23(w):
    gain, m = w(8), w(8, 3)
    return (
        lambda g, x: g.MatMul(g.RMSNormalization(x, gain, epsilon=1e-3), m),
        lambda x: (x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-3) * gain) @ m,
    )


@case(shape=(1, 2, 5, 4), opset=23)
def rotary_embedding_23(w):
    cos, sin = w(1, 5, 2), w(1, 5, 2)

    def network(x):
        a, b = x.split(2, -1)
        c, s = cos.unsqueeze(1), sin.unsqueeze(1)
        return torch.cat([a * c - b * s, a * s + b * c], -1)

    return lambda g, x: g.RotaryEmbedding(x, cos, sin), network


def turned(x, cos, sin, interleaved=False):
    """Pairs of the last axis turned; angles are of positions x pairs."""
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    a, b = a * cos - b * sin, a * sin + b * cos
    return torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)


@case(shape=(1, 2, 5, 4), opset=23)
def rotary_embedding_interleaved_23(w):
    cos, sin = w(7, 2), w(7, 2)
    positions = torch.tensor([[6, 0, 1, 3, 2]])
    return (
        lambda g, x: g.RotaryEmbedding(x, cos, sin, positions, interleaved=1),
        lambda x: turned(x, cos[positions[0]], sin[positions[0]], True),
    )


@case(shape=TOKENS, opset=23)
def rotary_embedding_of_a_part_23(w):
    cos, sin = w(1, 5, 1), w(1, 5, 1)

    def network(x):
        x = heads(x, 2)
        x = torch.cat([turned(x[..., :2], cos, sin), x[..., 2:]], -1)
        return x.transpose(1, 2).flatten(2)

    return lambda g, x: g.RotaryEmbedding(x, cos, sin, num_heads=2, rotary_embedding_dim=2), network


@case(shape=TOKENS)
def rotary_embedding_of_runtime(w):
    cos, sin = w(8, 2), w(8, 2)
    positions = torch.tensor([[3, 0, 7, 1, 2]])
    return (
        lambda g, x: g.RotaryEmbedding(x, positions, cos, sin, **MS),
        lambda x: turned(heads(x, 2), cos[positions[0]], sin[positions[0]]).transpose(1, 2).flatten(2),
    )


@case(shape=TOKENS)
def rotary_embedding_of_runtime_behind_an_offset(w):
    cos, sin = w(8, 2), w(8, 2)
    return (
        lambda g, x: g.RotaryEmbedding(x, torch.tensor([2]), cos, sin, interleaved=1, **MS),
        lambda x: turned(heads(x, 2), cos[2:7], sin[2:7], True).transpose(1, 2).flatten(2),
    )


@case(shape=TOKENS, opset=18)
def zeros_without_a_value(w):
    """torch's current exporter makes the mask of shifted windows so: zeros, into which numbers are written."""
    at, ones, m = torch.tensor([[1], [3]]), torch.ones(2, 8), w(8, 8)

    def nodes(g, x):
        zeros = g.ConstantOfShape(np.array([5, 8], np.int64))
        mask = g.ScatterND(zeros, np.array([[1], [3]], np.int64), np.ones((2, 8), np.float32), reduction="none")
        return g.MatMul(g.Softmax(g.Add(x, mask), axis=1), m)

    return nodes, lambda x: torch.softmax(x + torch.zeros(5, 8).index_put((at[:, 0],), ones), 1) @ m


@case(opset=9)
def upsample_9(w):
    m = w(4, 3, 3)
    return (
        lambda g, x: g.Conv(g.Upsample(x, torch.tensor([1.0, 1, 2, 3]), mode="nearest"), m.unsqueeze(0)),
        lambda x: F.conv2d(F.interpolate(x, scale_factor=(2, 3)), m.unsqueeze(0)),
    )


@case()
def dropout_with_a_mask(w):
    k = w(3, 4, 3, 3)
    return lambda g, x: g.Conv(g.Dropout(x, 0.3, outputs=2)[0], k), lambda x: F.conv2d(x, k)


@case(error=1e-4)
def batch_normalization_in_training(w):
    gain, bias = w(4), w(4)

    def nodes(g, x):
        names = [x, *map(g.constant, (gain, bias, torch.zeros(4), torch.ones(4)))]
        g.nodes.append(helper.make_node("BatchNormalization", names, ["normal", "m", "v"], name="bn", training_mode=1))
        return g.Exp("normal")

    return nodes, lambda x: torch.exp(F.batch_norm(x, None, None, gain, bias, training=True))


@case(error=1e-4)
def weight_standardisation(w):
    """Kernels are normalised in the graph, as timm exports NFNet and BiT."""
    k, gain = w(3, 4, 3, 3), w(3)

    def nodes(g, x):
        flat = g.Reshape(g.Identity(k), torch.tensor([1, 3, -1]))
        names = [flat, *map(g.constant, (gain, torch.zeros(3), torch.zeros(3), torch.ones(3)))]
        g.nodes.append(helper.make_node("BatchNormalization", names, ["kernel", "m", "v"], name="bn", training_mode=1))
        return g.Conv(x, g.Reshape("kernel", torch.tensor([3, 4, 3, 3])))

    normal = F.batch_norm(k.reshape(1, 3, -1), None, None, gain, None, training=True).reshape(k.shape)
    return nodes, lambda x: F.conv2d(x, normal)


@case()
def local_response(w):
    return (
        lambda g, x: g.LRN(x, size=3, alpha=0.6, beta=0.7, bias=0.9),
        lambda x: F.local_response_norm(x, 3, 0.6, 0.7, 0.9),
    )


@case()
def celu_with_an_alpha(w):
    return lambda g, x: g.Celu(x, alpha=0.7), lambda x: F.celu(x, 0.7)


@case(opset=24)
def swish_with_an_alpha(w):
    return lambda g, x: g.Swish(x, alpha=1.7), lambda x: x * torch.sigmoid(1.7 * x)


@case()
def global_lengths(w):
    k = w(3, 4, 1, 1)
    return (
        lambda g, x: g.Concat(*(g.GlobalLpPool(x, p=p) for p in (1, 2, 3)), g.GlobalAveragePool(g.Conv(x, k)), axis=1),
        lambda x: torch.cat(
            [*(x.abs().pow(p).sum((2, 3), keepdim=True).pow(1 / p) for p in (1, 2, 3)), F.conv2d(x, k).mean((2, 3), keepdim=True)], 1
        ),
    )


@case(opset=18)
def softplus_and_mish_of_large_numbers(w):
    k = w(3, 4, 1, 1)

    def nodes(g, x):
        large = g.Mul(x, 100.0)
        return g.Concat(g.Conv(g.Softplus(large), k), g.Mish(large), axis=1)

    return nodes, lambda x: torch.cat([F.conv2d(F.softplus(100 * x, threshold=1e3), k), F.mish(100 * x)], 1)


def log_sum_exp(axes):
    """As attributes or as inputs; over two axes, and over all."""

    def nodes(g, x):
        large = g.Add(x, 100.0)
        few, all = axes(g, large)
        return g.Add(g.Sub(large, few), all)

    return nodes, lambda x: x - torch.logsumexp(x, (1, 2), keepdim=True) + torch.logsumexp(x + 100, (0, 1, 2, 3))


@case()
def log_sum_exp_of_large_numbers(w):
    return log_sum_exp(lambda g, x: (g.ReduceLogSumExp(x, axes=[1, -2]), g.ReduceLogSumExp(x, keepdims=0)))


@case(opset=18)
def log_sum_exp_of_large_numbers_18(w):
    def axes(g, x):
        few = g.ReduceLogSumExp(x, torch.tensor([1, -2]), keepdims=0)
        return g.Unsqueeze(few, torch.tensor([1, 2])), g.ReduceLogSumExp(x)

    return log_sum_exp(axes)


@case()
def padding_that_cuts(w):
    k = w(3, 4, 2, 2)
    return (
        lambda g, x: g.Conv(g.Pad(x, np.array([0, 0, -1, 1, 0, 0, 2, -1]), 0.3), k),
        lambda x: F.conv2d(F.pad(x[:, :, 1:, :-1], (1, 0, 0, 2), value=0.3), k),
    )


@case(opset=19)
def padding_that_wraps(w):
    k = w(3, 4, 2, 2)
    return (
        lambda g, x: g.Conv(g.Pad(x, np.array([1, 2, 0, 1]), "", np.array([-2, 3]), mode="wrap"), k),
        lambda x: F.conv2d(F.pad(x, (2, 1, 1, 0), mode="circular"), k),
    )


@case()
def constant_branch(w):
    k = w(3, 4, 3, 3)

    def nodes(g, x):
        def branch(name, op):
            node = helper.make_node(op, [x], [f"{name}_out"], name=name)
            return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)])

        condition = g.constant(torch.tensor(True))
        g.nodes.append(helper.make_node("If", [condition], ["chosen"], name="if", then_branch=branch("a", "Sigmoid"), else_branch=branch("b", "Tanh")))
        return g.Conv("chosen", k)

    return nodes, lambda x: F.conv2d(torch.sigmoid(x), k)


def branch(nodes, output, initializers=()):
    return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], initializers)


@case()
def branches_of_the_same_names(w):
    """Tensors and weights of branches need not differ from those of other branches."""
    k = w(3, 4, 3, 3)

    def taken(x, op, factor):
        nodes = [helper.make_node("Mul", [x, "factor"], ["scaled"]), helper.make_node(op, ["scaled"], ["out"])]
        return branch(nodes, "out", [numpy_helper.from_array(np.array(factor, np.float32), "factor")])

    def nodes(g, x):
        yes, no = g.constant(torch.tensor(True)), g.constant(torch.tensor(False))
        first = g.If(yes, then_branch=taken(x, "Sigmoid", 0.5), else_branch=taken(x, "Tanh", 3))
        second = g.If(no, then_branch=taken(first, "Exp", 7), else_branch=taken(first, "Tanh", 2))
        return g.Conv(second, k)

    return nodes, lambda x: F.conv2d(torch.tanh(2 * torch.sigmoid(x / 2)), k)


@case()
def branch_by_a_length(w):
    """As torch exports a squeeze: whether the axis has length one is asked in the graph. One If lies in another."""
    k, m = w(1, 4, 3, 3), w(1, 4)

    def nodes(g, x):
        def squeezed(x, axis):
            length = g.Gather(g.Shape(x), torch.tensor([axis]), axis=0)
            asked = g.And(g.Equal(length, torch.tensor([1])), g.Not(g.Constant(value=numpy_helper.from_array(np.array([False])))))
            squeeze = helper.make_node("Squeeze", [x, g.constant(torch.tensor([axis]))], ["out"])
            keep = helper.make_node("Identity", [x], ["out"])
            inner = helper.make_node("If", [asked], ["inner"], then_branch=branch([squeeze], "out"), else_branch=branch([keep], "out"))
            other = helper.make_node("Exp", [x], ["other"])
            return g.If(g.Less(length, torch.tensor([9])), then_branch=branch([inner], "inner"), else_branch=branch([other], "other"))

        pooled = g.ReduceMean(squeezed(g.Conv(x, k, pads=[1, 1, 1, 1]), 1), axes=[-1], keepdims=1)
        return g.Mul(squeezed(squeezed(pooled, 2), 1), g.MatMul(m, g.ReduceMean(x, axes=[3], keepdims=0)))

    return nodes, lambda x: F.conv2d(x, k, padding=1)[:, 0].mean(-1) * (m @ x.mean(3)[0])


def with_function(model):
    body = [
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
    ]
    model.functions.append(helper.make_function("own", "swish", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


@case(convert=with_function)
def local_function(w):
    k = w(3, 4, 3, 3)
    return lambda g, x: g.Conv(g.swish(g.swish(x, domain="own"), domain="own"), k), lambda x: F.conv2d(F.silu(F.silu(x)), k)


def function(name, nodes, overload="", **options):
    made = helper.make_function("own", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], **options)
    if overload:
        made.overload = overload
    return made


def with_functions(*functions, ir_version=8):
    def convert(model):
        model.functions.extend(functions)
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.ir_version = ir_version
        return model

    return convert


def of_the_call(node, **names):
    """Attributes of a function's node that are the call's."""
    for name, of_call in names.items():
        node.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=of_call, type=onnx.AttributeProto.FLOAT))
    return node


BENT = [
    of_the_call(helper.make_node("LeakyRelu", ["a"], ["l"]), alpha="slope"),
    of_the_call(helper.make_node("Elu", ["l"], ["b"]), alpha="curve"),
]


@case(convert=with_functions(function("bent", BENT, attributes=["curve"], attribute_protos=[helper.make_attribute("slope", 0.5)])))
def function_with_a_default(w):
    """What a call leaves out is the function's own, or else the operator's."""
    k = w(3, 4, 3, 3)
    return (
        lambda g, x: g.Conv(g.bent(g.bent(x, domain="own"), domain="own", slope=0.25, curve=0.75), k),
        lambda x: F.conv2d(F.elu(F.leaky_relu(F.elu(F.leaky_relu(x, 0.5)), 0.25), 0.75), k),
    )


@case(
    convert=with_functions(
        function("bend", [helper.make_node("Tanh", ["a"], ["b"])], overload="soft"),
        function("bend", [helper.make_node("LeakyRelu", ["a"], ["b"])], overload="hard"),
        function("bend", [helper.make_node("Neg", ["a"], ["b"])]),
        ir_version=10,
    )
)
def functions_of_one_name(w):
    k = w(3, 4, 3, 3)

    def nodes(g, x):
        for overload in ("soft", "", "hard"):
            x = g.bend(x, domain="own", overload=overload or None)
        return g.Conv(x, k)

    return nodes, lambda x: F.conv2d(F.leaky_relu(-torch.tanh(x), 0.01), k)


CHOICE = [
    helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
    helper.make_node("Sigmoid", ["a"], ["s"]),
    helper.make_node(
        "If",
        ["yes"],
        ["b"],
        then_branch=branch([of_the_call(helper.make_node("Elu", ["s"], ["t"]), alpha="curve"), helper.make_node("Mul", ["s", "t"], ["u"])], "u"),
        else_branch=branch([helper.make_node("Tanh", ["a"], ["u"])], "u"),
    ),
]


@case(convert=with_functions(function("choice", CHOICE, attributes=["curve"])))
def function_with_a_branch(w):
    k = w(3, 4, 3, 3)
    return (
        lambda g, x: g.Conv(g.choice(g.choice(x, domain="own", curve=0.5), domain="own", curve=0.5), k),
        lambda x: F.conv2d(torch.sigmoid(torch.sigmoid(x) ** 2) ** 2, k),
    )


# ---- number formats


def in_format(kind, array):
    def convert(model):
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(tensor)
                if kind == TensorProto.BFLOAT16:
                    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
                    tensor.CopyFrom(helper.make_tensor(tensor.name, kind, values.shape, bits.tobytes(), raw=True))
                else:
                    tensor.CopyFrom(numpy_helper.from_array(values.astype(array), tensor.name))
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.elem_type = kind
        return model

    return convert


def exact(w, *shape):
    """Numbers that eight bits of fraction hold."""
    return torch.round(w(*shape) * 64) / 64


@case(convert=in_format(TensorProto.FLOAT16, np.float16), feed=lambda x: x.astype(np.float16), error=1e-2, front="exact")
def half_precision(w):
    k, b = exact(w, 3, 4, 3, 3), exact(w, 3)
    return lambda g, x: g.Sigmoid(g.Conv(x, k, b)), lambda x: torch.sigmoid(F.conv2d(x, k, b))


@case(shape=(1, 8), convert=in_format(TensorProto.DOUBLE, np.float64), feed=lambda x: x.astype(np.float64), front="exact")
def double_precision(w):
    m, b = w(8, 3), w(3)
    return lambda g, x: g.Sigmoid(g.Gemm(x, m, b)), lambda x: torch.sigmoid(x @ m + b)


@case(shape=(1, 8), convert=in_format(TensorProto.BFLOAT16, None), feed=None, error=None, front="exact")
def brain_floats(w):
    """onnxruntime's CPU has no kernels for these: torch alone says what is right."""
    m, b = exact(w, 8, 3), exact(w, 3)
    return lambda g, x: g.Sigmoid(g.Gemm(x, m, b)), lambda x: torch.sigmoid(x @ m + b)


@case(shape=(1, 16), opset=21)
def four_bits_in_blocks(w):
    codes, scale = torch.round(w(16, 6, low=-8, high=7)), w(2, 6, low=0.05, high=0.1)

    def nodes(g, x):
        q = helper.make_tensor("q", TensorProto.INT4, (16, 6), codes.numpy().astype(np.int8).ravel())
        g.initializers.append(q)
        return g.MatMul(x, g.DequantizeLinear("q", scale, axis=0, block_size=8))

    return nodes, lambda x: x @ (codes * scale.repeat_interleave(8, 0))


@case(shape=(1, 32), error=1e-3)
def matmul_nbits(w):
    codes, scale = torch.round(w(5, 32, low=0, high=15)), w(5, 2, low=0.05, high=0.1)

    def nodes(g, x):
        low, high = codes[:, 0::2].numpy().astype(np.uint8), codes[:, 1::2].numpy().astype(np.uint8)
        packed = torch.from_numpy((low | high << 4).reshape(5, 2, 8))
        return g.MatMulNBits(x, packed, scale.reshape(-1), N=5, K=32, bits=4, block_size=16, **MS)

    return nodes, lambda x: x @ ((codes - 8) * scale.repeat_interleave(16, 1)).T


# ---- integers: y is with rounding, the gradient straight through


def pair(x, scale, zero, low=0, high=255):
    return plain.quantised_pair_torch(x, scale, zero, low, high)


def u8(zero):
    return torch.tensor(zero, dtype=torch.uint8)


def s8(*values):
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.int8)


def q(g, x, scale, zero):
    return g.QuantizeLinear(x, scale, u8(zero))


@case(error=6e-2)
def quantised_qlinear(w):
    """QLinearConv, QLinearAdd, QLinearGlobalAveragePool and QGemm, with what moves between them."""
    codes, scales = torch.round(w(4, 4, 3, 3, low=-127, high=127)), w(4, low=0.002, high=0.004)
    bias = torch.round(w(4, low=-400, high=400))
    m = torch.round(w(4, 3, low=-127, high=127))

    def nodes(g, x):
        a = q(g, x, 0.02, 128)
        b = g.QLinearConv(a, 0.02, u8(128), codes.to(torch.int8), scales, torch.zeros(4, dtype=torch.int8), 0.03, u8(120), bias.to(torch.int32), pads=[1, 1, 1, 1])
        c = g.QLinearAdd(a, 0.02, u8(128), b, 0.03, u8(120), 0.04, u8(125), **MS)
        d = g.QLinearGlobalAveragePool(c, 0.04, u8(125), 0.01, u8(130), channels_last=0, **MS)
        e = g.Reshape(d, torch.tensor([1, -1]))
        f = g.QGemm(e, 0.01, u8(130), m.to(torch.int8), 0.005, s8(0), "", 0.01, u8(128), **MS)
        return g.DequantizeLinear(f, 0.01, u8(128))

    def network(x):
        a = pair(x, 0.02, 128)
        s = scales.reshape(-1, 1, 1, 1)
        b = pair(F.conv2d(a, codes * s, bias * float(np.float32(0.02)) * scales, padding=1), 0.03, 120)
        d = pair(pair(a + b, 0.04, 125).mean((2, 3)), 0.01, 130)
        return pair(d @ (m * float(np.float32(0.005))), 0.01, 128)

    return nodes, network


@case(error=6e-2)
def quantised_channels_last(w):
    """What ONNX Runtime makes of a convolution on integers at its highest level; and integers that are resized."""
    codes, scales = torch.round(w(4, 4, 3, 3, low=-127, high=127)), w(4, low=0.002, high=0.004)

    def nodes(g, x):
        a = g.Transpose(q(g, x, 0.02, 128), perm=[0, 2, 3, 1])
        b = g.QLinearConv(a, 0.02, u8(128), codes.to(torch.int8), scales, torch.zeros(4, dtype=torch.int8), 0.03, u8(120), pads=[1, 1, 1, 1], channels_last=1, **MS)
        c = g.Resize(g.Transpose(b, perm=[0, 3, 1, 2]), "", torch.tensor([1.0, 1, 2, 2]), mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
        return g.DequantizeLinear(c, 0.03, u8(120))

    def network(x):
        a = pair(x, 0.02, 128)
        return F.interpolate(pair(F.conv2d(a, codes * scales.reshape(-1, 1, 1, 1), padding=1), 0.03, 120), scale_factor=2)

    return nodes, network


@case(shape=TOKENS, error=2e-2)
def quantised_qlinear_matmul(w):
    m = torch.round(w(8, 4, low=-127, high=127))
    return (
        lambda g, x: g.DequantizeLinear(g.QLinearMatMul(q(g, x, 0.015, 120), 0.015, u8(120), m.to(torch.int8), 0.005, s8(0), 0.05, u8(128)), 0.05, u8(128)),
        lambda x: pair(pair(x, 0.015, 120) @ (m * float(np.float32(0.005))), 0.05, 128),
    )


def dynamic(x):
    """ONNX's DynamicQuantizeLinear, straight through."""
    low, high = x.detach().min().clamp(max=0), x.detach().max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round(-low / scale)
    rounded = ((torch.round(x / scale) + zero).clamp(0, 255) - zero) * scale
    return x + (rounded - x).detach()


@case(error=1e-2)
def quantised_dynamic_conv(w):
    codes = torch.round(w(3, 4, 3, 3, low=-127, high=127))

    def nodes(g, x):
        y, s, z = g.DynamicQuantizeLinear(x, outputs=3)
        product = g.Cast(g.ConvInteger(y, codes.to(torch.int8), z), to=TensorProto.FLOAT)
        return g.Mul(product, g.Mul(s, 0.01))

    return nodes, lambda x: F.conv2d(dynamic(x), codes * float(np.float32(0.01)))


@case(shape=TOKENS, error=1e-2)
def quantised_dynamic_matmul(w):
    codes = torch.round(w(8, 4, low=0, high=255))

    def nodes(g, x):
        y, s, z = g.DynamicQuantizeLinear(x, outputs=3)
        product = g.Cast(g.MatMulInteger(y, codes.to(torch.uint8), z, u8(100)), to=TensorProto.FLOAT)
        return g.Mul(product, g.Mul(s, 0.01))

    return nodes, lambda x: dynamic(x) @ ((codes - 100) * float(np.float32(0.01)))


@case(opset=21, error=1e-3)
def quantised_sixteen_bits(w):
    k = w(3, 4, 3, 3)
    zero = torch.from_numpy(np.array(30000, np.uint16))
    return (
        lambda g, x: g.Conv(g.DequantizeLinear(g.QuantizeLinear(x, 0.0001, zero), 0.0001, zero), k),
        lambda x: F.conv2d(pair(x, 0.0001, 30000, 0, 65535), k),
    )


@case(error=1e-3)
def quantised_moved(w):
    """What moves integers lies between the two halves of a pair, and the last half is missing."""
    m = w(15, 4)

    def nodes(g, x):
        a = g.Transpose(g.Reshape(q(g, x, 0.02, 128), torch.tensor([1, 4, 15])), perm=[0, 2, 1])
        b = g.MatMul(g.Transpose(g.DequantizeLinear(a, 0.02, u8(128)), perm=[0, 2, 1]), m)
        return g.DequantizeLinear(g.Flatten(g.QuantizeLinear(b, 0.05, u8(128)), axis=1), 0.05, u8(128))

    return nodes, lambda x: pair(pair(x, 0.02, 128).flatten(2) @ m, 0.05, 128).flatten(1)


# ---- pictures: x is 1 x 3 x height x width in every test, the file's input is another


def picture(kind):
    shape = {"last": [1, 6, 5, 3], "grey": [1, 1, 6, 5], "opaque": [1, 4, 6, 5], "bytes": [1, 3, 6, 5], "twice": [2, 3, 6, 5]}[kind]

    def convert(model):
        value = model.graph.input[0].type.tensor_type
        value.shape.CopyFrom(helper.make_tensor_value_info("", 1, shape).type.tensor_type.shape)
        if kind == "bytes":
            value.elem_type = TensorProto.UINT8
        return model

    return convert


WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)


@case(shape=(1, 3, 6, 5), front="last", convert=picture("last"), feed=lambda x: x.transpose(0, 2, 3, 1))
def picture_channels_last(w):
    return lambda g, x: g.Exp(x), torch.exp


@case(shape=(1, 3, 6, 5), front="opaque", convert=picture("opaque"), feed=lambda x: np.concatenate([x, np.ones_like(x[:, :1])], 1))
def picture_opaque(w):
    return lambda g, x: g.Exp(x), torch.exp


@case(shape=(1, 3, 6, 5), front="bytes", convert=picture("bytes"), feed=lambda x: x.astype(np.uint8))
def picture_bytes(w):
    return lambda g, x: g.Exp(x), torch.exp


@case(shape=(1, 3, 6, 5), front="twice", convert=picture("twice"), feed=lambda x: np.concatenate([x, x]))
def picture_repeated(w):
    return lambda g, x: g.Slice(g.Exp(x), torch.tensor([0]), torch.tensor([1]), torch.tensor([0])), torch.exp


def front(case, w):
    """From the input to `layer`."""
    if case.front is None:
        return plain.affine(w, case.shape[1])
    if case.front == "exact":
        rank = len(case.shape)
        a = exact(w, case.shape[1]).reshape(1, -1, *[1] * (rank - 2))
        return lambda g, x: g.Mul(x, a, output="layer"), lambda x: x * a
    channels = 4 if case.front == "opaque" else 3
    k = w(4, channels, 1, 1) / (255 if case.front == "bytes" else 1)
    k = torch.from_numpy(k.numpy().astype(np.float32).astype(np.float64))

    def nodes(g, x):
        if case.front == "last":
            x = g.Transpose(x, perm=[0, 3, 1, 2])
        if case.front == "bytes":
            x = g.Cast(x, to=TensorProto.FLOAT)
        y = g.Conv(x, k)
        return g.Slice(y, torch.tensor([0]), torch.tensor([1]), torch.tensor([0]), output="layer") if case.front == "twice" else g.Identity(y, output="layer")

    def network(x):
        if case.front == "opaque":
            x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return F.conv2d(x, k)

    return nodes, network


def write(case):
    w = Weights(zlib.crc32(case.name.encode()))
    x = torch.from_numpy(w.rng.uniform(-2, 2, case.shape).round(3).astype(np.float32).astype(np.float64))
    if case.front == "exact":
        x = torch.round(x * 64) / 64
    if case.front == "bytes":
        x = torch.from_numpy(w.rng.integers(0, 256, case.shape).astype(np.float64))
    (front_nodes, first), (rest_nodes, rest) = front(case, w), case.make(w)
    layer = first(x).detach().requires_grad_()
    y = row(rest(layer))
    text = torch.from_numpy(w.rng.uniform(-1, 1, y.shape).round(3))
    (gradient,) = torch.autograd.grad((text * y).sum(), layer)
    assert gradient.abs().max() > 0 and torch.isfinite(gradient).all(), case.name

    g = Graph()
    g.rank_of_input = len(case.shape)
    out = rest_nodes(g, front_nodes(g, "x"))
    g.Reshape(out, torch.tensor([1, -1]), output="y")
    graph = helper.make_graph(
        g.nodes,
        case.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, case.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y.shape)],
        g.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset), helper.make_opsetid("com.microsoft", 1)], producer_name="make.py")
    model.ir_version = 11 if case.opset >= 23 else 10 if case.opset >= 21 else 8
    if case.convert:
        model = case.convert(model)
    error = float("nan")
    if case.error is not None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = x.numpy().astype(np.float32)
        (found,) = session.run(["y"], {"x": case.feed(given) if case.feed else given})
        error = relative_error(found.astype(np.float64), y)
        assert error < case.error, f"{case.name}: onnxruntime differs from torch by {error}"
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
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    (HERE / f"{case.name}.json").write_text("{\n" + lines + "\n}\n")
    return error


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for case in CASES:
        print(f"{case.name:38} onnxruntime {write(case):.0e}", flush=True)
    print(f"{len(CASES)} cases, with torch {torch.__version__} and onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
