"""Writes golden.json: small int8 networks of every operator and option, each with the hashes of its tensors as TensorFlow Lite Micro computes them; the same in
bytes without sign (uint8), as LiteRT's reference kernels compute them, and in 16 bits (int16x8); and the networks that are explained: blocks.tflite, grey.tflite,
unsigned.tflite and sixteen.tflite.

python3 tests/tflite/make.py; needs `pip install tflite-micro ai-edge-litert tflite flatbuffers numpy` (0.dev20261023182759, 2.3.0, 2.18.0, 25.12.19 and 2.4.6
were used). The files are written field by field in the order of TensorFlow Lite's schema; weights are noise, seeded; scales are such that outputs fill their
range, or half of it.
"""

import base64
import json
import pathlib
import tempfile

import flatbuffers
import numpy as np
import tflite

from compare import fnv, graph_of, reference, taken

HERE = pathlib.Path(__file__).resolve().parent
B, O, T = tflite.BuiltinOperator, tflite.BuiltinOptions, tflite.TensorType
INPUTS = 3
NUMPY = {T.INT8: np.int8, T.UINT8: np.uint8, T.INT16: np.int16, T.INT32: np.int32, T.INT64: np.int64, T.FLOAT32: np.float32}
SAME, VALID = 0, 1
NONE, RELU, N1, RELU6 = 0, 1, 2, 3


def generated(count: int, seed: int) -> np.ndarray:
    """Bytes that any language can make again: the upper byte of a linear congruence (Knuth's MMIX)."""
    state, made = seed, np.empty(count, np.int8)
    for at in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        made[at] = np.uint8(state >> 56).astype(np.int8)
    return made


class Net:
    """A network that grows operator by operator."""

    def __init__(self, seed: int = 0):
        self.tensors, self.operators, self.rng = [], [], np.random.default_rng(seed)

    def tensor(self, shape, scale=None, zero=0, kind=T.INT8, data=None, axis=0, name=None) -> int:
        scale = [] if scale is None else np.atleast_1d(np.float32(scale))
        self.tensors.append((name or f"t{len(self.tensors)}", list(shape), kind, data, scale, np.broadcast_to(zero, len(scale)), axis))
        return len(self.tensors) - 1

    def shape(self, tensor: int) -> list[int]:
        return self.tensors[tensor][1]

    def scale(self, tensor: int) -> float:
        return float(self.tensors[tensor][4][0])

    def input(self, *shape, scale=0.0243, zero=3, **more) -> int:
        return self.tensor(shape, scale, zero, **more)

    def constant(self, values, kind=T.INT32) -> int:
        values = np.asarray(values, NUMPY[kind])
        return self.tensor(values.shape, kind=kind, data=values)

    def weights(self, shape, axis, per_channel=True, small=1.0) -> int:
        count = shape[axis] if per_channel else 1
        scale = small * self.rng.uniform(0.002, 0.02, count)
        return self.tensor(shape, scale, 0, data=self.rng.integers(-127, 128, shape).astype(np.int8), axis=axis)

    def bias(self, count, spread=2000) -> int:
        return self.tensor([count], kind=T.INT32, data=self.rng.integers(-spread, spread, count).astype(np.int32))

    def op(self, code, inputs, outputs, options_kind=0, **fields) -> int:
        self.operators.append((code, inputs, outputs, options_kind, fields))
        return outputs[0]

    # Layers.
    def conv(self, x, channels, size, stride=(1, 1), dilation=(1, 1), padding=SAME, act=NONE, bias=True, per_channel=True, groups=1, fill=1.0, name=None, zero=-5):
        n, h, w, c = self.shape(x)
        weights = self.weights([channels, *size, c // groups], 0, per_channel)
        return self.convolved(x, weights, channels, size, stride, dilation, padding, act, bias, fill, name, zero, False, c // groups)

    def depthwise(self, x, multiple, size, stride=(1, 1), dilation=(1, 1), padding=SAME, act=NONE, bias=True, per_channel=True, fill=1.0, name=None, zero=-5):
        channels = self.shape(x)[3] * multiple
        weights = self.weights([1, *size, channels], 3, per_channel)
        return self.convolved(x, weights, channels, size, stride, dilation, padding, act, bias, fill, name, zero, True, 1)

    def convolved(self, x, weights, channels, size, stride, dilation, padding, act, bias, fill, name, zero, depthwise, depth):
        n, h, w, c = self.shape(x)
        reach = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
        rows, columns = [-(-a // s) if padding == SAME else (a - r) // s + 1 for a, s, r in zip((h, w), stride, reach)]
        spread = 74 * self.scale(x) * 73 * float(np.median(self.tensors[weights][4])) * np.sqrt(size[0] * size[1] * depth)
        y = self.tensor([n, rows, columns, channels], 3 * spread / 128 / fill, zero, name=name)
        inputs = [x, weights] + ([self.bias(channels)] if bias else [])
        shared = {0: ("b", padding), 1: ("i", stride[1]), 2: ("i", stride[0])}
        if depthwise:
            fields = {3: ("i", channels // c), 4: ("b", act), 5: ("i", dilation[1]), 6: ("i", dilation[0])}
            return self.op(B.DEPTHWISE_CONV_2D, inputs, [y], O.DepthwiseConv2DOptions, **named(shared | fields))
        fields = {3: ("b", act), 4: ("i", dilation[1]), 5: ("i", dilation[0])}
        return self.op(B.CONV_2D, inputs, [y], O.Conv2DOptions, **named(shared | fields))

    def dense(self, x, outputs, act=NONE, bias=True, per_channel=False, zero=7, fill=1.0, name=None, rows=None, small=1.0):
        rows = rows or 1
        inputs = int(np.prod(self.shape(x))) // rows
        weights = self.weights([outputs, inputs], 0, per_channel, small)
        spread = 74 * self.scale(x) * 73 * float(np.median(self.tensors[weights][4])) * np.sqrt(inputs)
        y = self.tensor([rows, outputs], 3 * spread / 128 / fill, zero, name=name)
        if bias:
            bias = self.bias(outputs)
            self.tensors[bias] = (*self.tensors[bias][:4], np.float32([self.scale(x) * self.scale(weights)]), np.zeros(1), 0) if not per_channel else self.tensors[bias]
            return self.op(B.FULLY_CONNECTED, [x, weights, bias], [y], O.FullyConnectedOptions, **named({0: ("b", act)}))
        return self.op(B.FULLY_CONNECTED, [x, weights, -1], [y], O.FullyConnectedOptions, **named({0: ("b", act)}))

    def both(self, code, a, b, act=NONE, scale=None, zero=-9, name=None):
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        if scale is None:
            scale = 60 * self.scale(a) * self.scale(b) if code == B.MUL else 1.3 * max(self.scale(a), self.scale(b))
        y = self.tensor(shape, scale, zero, name=name)
        kind = {B.ADD: O.AddOptions, B.SUB: O.SubOptions, B.MUL: O.MulOptions}[code]
        return self.op(code, [a, b], [y], kind, **named({0: ("b", act)}))

    def pool(self, code, x, size, stride, padding, act=NONE):
        n, h, w, c = self.shape(x)
        rows, columns = [-(-a // s) if padding == SAME else (a - k) // s + 1 for a, s, k in zip((h, w), stride, size)]
        y = self.like(x, [n, rows, columns, c])
        fields = {0: ("b", padding), 1: ("i", stride[1]), 2: ("i", stride[0]), 3: ("i", size[1]), 4: ("i", size[0]), 5: ("b", act)}
        return self.op(code, [x], [y], O.Pool2DOptions, **named(fields))

    def like(self, x, shape=None, **more) -> int:
        _, own, kind, _, scale, zero, _ = self.tensors[x]
        return self.tensor(own if shape is None else shape, scale, zero, kind=kind, **more)

    def mean(self, x, axes, keep, scale=None, zero=11):
        shape = [1 if k in axes else n for k, n in enumerate(self.shape(x)) if keep or k not in axes]
        y = self.tensor(shape, scale or self.scale(x) * 0.4, zero)
        return self.op(B.MEAN, [x, self.constant(axes)], [y], O.ReducerOptions, **named({0: ("?", keep)}))

    def plain(self, code, x, y, kind=0, more=(), **fields):
        return self.op(code, [x, *more], [y], kind, **named(fields.get("fields", {})))

    def softmax(self, x, beta=1.0, name=None):
        y = self.tensor(self.shape(x), 1 / 256, -128, name=name)
        return self.op(B.SOFTMAX, [x], [y], O.SoftmaxOptions, **named({0: ("f", beta)}))

    def bytes(self, inputs, outputs) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1024)

        def vector(values, prepend, size):
            b.StartVector(size, len(values), size)
            for value in reversed(values):
                prepend(value)
            return b.EndVector()

        def table(fields):
            slots = max(fields, default=-1) + 1
            b.StartObject(slots)
            for at, (kind, value) in fields.items():
                slot = {"b": b.PrependInt8Slot, "?": b.PrependBoolSlot, "i": b.PrependInt32Slot, "u": b.PrependUint32Slot, "f": b.PrependFloat32Slot,
                        "B": b.PrependUint8Slot, "o": b.PrependUOffsetTRelativeSlot}[kind]
                slot(at, value, 0)
            return b.EndObject()

        def ints(values):
            return vector([int(v) for v in values], b.PrependInt32, 4)

        def offsets(values):
            return vector(values, b.PrependUOffsetTRelative, 4)

        def blob(data):
            if data is None:
                return table({})
            raw = np.ascontiguousarray(data).tobytes()
            b.StartVector(1, len(raw), 16)
            for byte in reversed(raw):
                b.PrependByte(byte)
            return table({0: ("o", b.EndVector())})

        codes = sorted({op[0] for op in self.operators})
        buffers = offsets([blob(None)] + [blob(t[3]) for t in self.tensors])
        tensors = []
        for at, (name, shape, kind, _, scale, zero, axis) in enumerate(self.tensors):
            text, lengths = b.CreateString(name), ints(shape)
            fields = {0: ("o", lengths), 1: ("b", kind), 2: ("u", at + 1), 3: ("o", text)}
            if len(scale):
                scales = vector([float(s) for s in scale], b.PrependFloat32, 4)
                zeros = vector([int(z) for z in zero], b.PrependInt64, 8)
                fields[4] = ("o", table({2: ("o", scales), 3: ("o", zeros), 6: ("i", axis)}))
            tensors.append(table(fields))
        tensors = offsets(tensors)
        operators = []
        for code, takes, gives, kind, options in self.operators:
            takes, gives = ints(takes), ints(gives)
            fields = {0: ("u", codes.index(code)), 1: ("o", takes), 2: ("o", gives)}
            if kind:
                fields |= {3: ("B", kind), 4: ("o", table({int(at[1:]): value for at, value in options.items()}))}
            operators.append(table(fields))
        operators = offsets(operators)
        takes, gives = ints(inputs), ints(outputs)
        graph = offsets([table({0: ("o", tensors), 1: ("o", takes), 2: ("o", gives), 3: ("o", operators)})])
        known = offsets([table({0: ("b", min(code, 127)), 2: ("i", 1), 3: ("i", code)}) for code in codes])
        text = b.CreateString("decomcam's tests")
        b.Finish(table({0: ("u", 3), 1: ("o", known), 2: ("o", graph), 3: ("o", text), 4: ("o", buffers)}), b"TFL3")
        return bytes(b.Output())


def named(fields: dict) -> dict:
    return {f"f{at}": value for at, value in fields.items()}


def cases():
    """Name, network, inputs, outputs."""

    def one(name, build, seed=0):
        net = Net(seed)
        x, y = build(net)
        return name, net, [x], y if isinstance(y, list) else [y]

    def conv(name, *args, shape=(1, 9, 7, 5), depthwise=False, **more):
        def build(net):
            x = net.input(*shape)
            return x, (net.depthwise if depthwise else net.conv)(x, *args, **more)

        return one(name, build, seed=len(name))

    yield conv("conv_same", 6, (3, 3))
    yield conv("conv_valid_strides", 6, (3, 2), stride=(2, 3), padding=VALID)
    yield conv("conv_same_strides", 6, (5, 3), stride=(2, 2))
    yield conv("conv_dilated", 6, (3, 3), dilation=(2, 3), shape=(1, 11, 12, 5))
    yield conv("conv_relu", 6, (3, 3), act=RELU)
    yield conv("conv_relu6", 6, (3, 3), act=RELU6)
    yield conv("conv_relu_n1_to_1", 6, (3, 3), act=N1)
    yield conv("conv_without_bias", 6, (3, 3), bias=False)
    yield conv("conv_per_tensor", 6, (3, 3), per_channel=False)
    yield conv("conv_pointwise_wide", 37, (1, 1), shape=(1, 5, 4, 70))
    yield conv("conv_two_pictures", 4, (3, 3), shape=(2, 6, 5, 3))
    yield conv("conv_groups", 6, (3, 3), groups=3, shape=(1, 7, 6, 9))
    yield conv("conv_saturated", 6, (3, 3), fill=8.0)
    yield conv("depthwise", 1, (3, 3), depthwise=True)
    yield conv("depthwise_wide", 1, (3, 3), depthwise=True, shape=(1, 6, 5, 71), act=RELU6)
    yield conv("depthwise_of_one", 8, (3, 3), depthwise=True, shape=(1, 9, 8, 1), stride=(2, 2))
    yield conv("depthwise_multiplied", 3, (3, 5), depthwise=True, padding=VALID)
    yield conv("depthwise_multiplied_wide", 2, (3, 3), depthwise=True, shape=(1, 4, 5, 33))
    yield conv("depthwise_dilated", 1, (3, 3), depthwise=True, dilation=(2, 2), shape=(1, 8, 9, 4))
    yield conv("depthwise_per_tensor", 1, (3, 3), depthwise=True, per_channel=False, bias=False, act=RELU)

    def dense(name, shape=(1, 50), **more):
        return one(name, lambda net: (x := net.input(*shape), net.dense(x, 13, **more)), seed=len(name))

    yield dense("dense")
    yield dense("dense_without_bias", bias=False)
    yield dense("dense_per_channel", per_channel=True)
    yield dense("dense_rows", shape=(4, 700), rows=4, act=RELU)
    yield dense("dense_of_maps", shape=(1, 3, 4, 5), act=RELU6)

    def both(name, code, other=None, shape=(1, 6, 5, 7), **more):
        def build(net):
            x = net.input(*shape)
            a = net.conv(x, shape[3], (1, 1), zero=20) if other is None else x
            b = net.conv(x, shape[3], (3, 3), fill=0.5) if other is None else net.tensor(other, 0.031, -4, data=net.rng.integers(-128, 128, other).astype(np.int8))
            return x, net.both(code, a, b, **more)

        return one(name, build, seed=len(name))

    for name, code in {"add": B.ADD, "sub": B.SUB, "mul": B.MUL}.items():
        yield both(name, code)
        yield both(f"{name}_relu6", code, act=RELU6)
        yield both(f"{name}_channels", code, other=[1, 1, 1, 7])
        yield both(f"{name}_column", code, other=[1, 6, 1, 1], act=RELU)
        yield both(f"{name}_number", code, other=[1, 1, 1, 1])

    def pool(name, code, *args, **more):
        return one(name, lambda net: (x := net.input(1, 9, 7, 66), net.pool(code, x, *args, **more)), seed=len(name))

    for name, code in {"average": B.AVERAGE_POOL_2D, "max": B.MAX_POOL_2D}.items():
        yield pool(f"{name}_valid", code, (2, 3), (2, 1), VALID)
        yield pool(f"{name}_same", code, (3, 3), (2, 2), SAME)
        yield pool(f"{name}_relu", code, (3, 2), (1, 1), SAME, act=RELU)
        yield pool(f"{name}_all_relu6", code, (9, 7), (9, 7), VALID, act=RELU6)

    def mean(name, axes, keep, shape=(1, 5, 6, 70), **more):
        return one(name, lambda net: (x := net.input(*shape), net.mean(x, axes, keep, **more)), seed=len(name))

    yield mean("mean", [1, 2], False)
    yield mean("mean_kept", [1, 2], True)
    yield mean("mean_rows", [1], False)
    yield mean("mean_channels", [3], True)
    yield mean("mean_columns_and_channels", [2, 3], False)
    yield mean("mean_apart", [1, 3], False)
    yield mean("mean_large", [1, 2], False, shape=(1, 40, 33, 3), scale=0.0012)

    def pad(net, value=None):
        x = net.input(1, 4, 5, 3)
        y = net.like(x, [1, 7, 6, 5])
        pads = net.constant([[0, 0], [1, 2], [0, 1], [2, 0]])
        if value is None:
            return x, net.plain(B.PAD, x, y, O.PadOptions, [pads])
        constant = net.tensor([1], net.scale(x), 3, data=np.int8([value]))
        return x, net.plain(B.PADV2, x, y, O.PadV2Options, [pads, constant])

    yield one("pad", pad)
    yield one("padv2", lambda net: pad(net, 77))

    def joined(axis):
        def build(net):
            x = net.input(1, 4, 5, 6)
            shape = [1, 4, 5, 6]
            shape[axis] *= 3
            y = net.like(x, shape)
            turned = net.pool(B.MAX_POOL_2D, x, (3, 3), (1, 1), SAME)
            return x, net.op(B.CONCATENATION, [x, turned, x], [y], O.ConcatenationOptions, **named({0: ("i", axis - 4 if axis == 3 else axis)}))

        return build

    for axis in (1, 2, 3):
        yield one(f"concatenation_{axis}", joined(axis))

    def reshape(net):
        x = net.input(1, 4, 5, 6)
        y = net.conv(x, 6, (1, 1))
        flat = net.like(y, [1, 120])
        net.op(B.RESHAPE, [y, net.constant([1, -1])], [flat], O.ReshapeOptions)
        more = net.like(y, [1, 120, 1])
        net.op(B.EXPAND_DIMS, [flat, net.constant(2)], [more], O.ExpandDimsOptions)
        less = net.like(y, [120, 1])
        net.op(B.SQUEEZE, [more], [less], O.SqueezeOptions)
        return x, net.plain(B.QUANTIZE, less, net.tensor([120, 1], 0.9 * net.scale(y), 2), O.QuantizeOptions)

    yield one("reshape_expand_squeeze", reshape)

    def counted(net):
        x = net.input(1, 4, 5, 6)
        y = net.conv(x, 6, (1, 1))
        shape = net.tensor([4], kind=T.INT32)
        net.op(B.SHAPE, [y], [shape], O.ShapeOptions, **named({0: ("b", T.INT32)}))
        first = net.tensor([], kind=T.INT32)
        slicing = {4: ("i", 1)}
        net.op(B.STRIDED_SLICE, [shape, net.constant([0]), net.constant([1]), net.constant([1])], [first], O.StridedSliceOptions, **named(slicing))
        pair = net.tensor([2], kind=T.INT32)
        net.op(B.PACK, [first, net.constant(120)], [pair], O.PackOptions, **named({0: ("i", 2)}))
        flat = net.like(y, [1, 120])
        return x, net.op(B.RESHAPE, [y, pair], [flat], O.ReshapeOptions)

    yield one("shape_slice_pack_reshape", counted)

    for name, scale, beta in [("softmax", 0.05, 1.0), ("softmax_sharp", 0.9, 1.0), ("softmax_flat", 0.001, 1.0), ("softmax_beta", 0.1, 0.5)]:
        yield one(name, lambda net, scale=scale, beta=beta: (x := net.input(7, 10, scale=scale), net.softmax(x, beta)))

    def function(name, code, scale, zero, out, out_zero, kind=0, **fields):
        def build(net):
            x = net.input(1, 8, 8, 8, scale=scale, zero=zero)
            return x, net.plain(code, x, net.tensor([1, 8, 8, 8], out, out_zero), kind, fields=fields.get("fields", {}))

        return one(name, build)

    yield function("logistic", B.LOGISTIC, 0.06, 4, 1 / 256, -128)
    yield function("logistic_wide", B.LOGISTIC, 0.31, -40, 1 / 256, -128)
    yield function("tanh", B.TANH, 0.03, -7, 1 / 128, 0)
    yield function("tanh_wide", B.TANH, 0.2, 60, 1 / 128, 0)
    yield function("hard_swish", B.HARD_SWISH, 0.0471, -11, 0.0261, -110, O.HardSwishOptions)
    yield function("hard_swish_wide", B.HARD_SWISH, 0.31, 5, 0.17, -100, O.HardSwishOptions)
    yield function("hard_swish_narrow", B.HARD_SWISH, 0.009, 0, 0.007, -9, O.HardSwishOptions)
    yield function("relu", B.RELU, 0.04, -3, 0.021, -120)
    yield function("relu6", B.RELU6, 0.07, -20, 0.07, -20)
    yield function("leaky_relu", B.LEAKY_RELU, 0.04, 9, 0.033, -60, O.LeakyReluOptions, fields={0: ("f", 0.1)})
    yield function("leaky_relu_steep", B.LEAKY_RELU, 0.04, 9, 0.1, 3, O.LeakyReluOptions, fields={0: ("f", 1.7)})
    yield function("leaky_relu_turned", B.LEAKY_RELU, 0.04, 9, 0.04, -90, O.LeakyReluOptions, fields={0: ("f", -0.4)})
    yield function("quantize", B.QUANTIZE, 0.04, 9, 0.0137, -50, O.QuantizeOptions)

    def unsigned(net):
        x = net.input(1, 6, 5, 3, scale=1 / 255, zero=0, kind=T.UINT8)
        inner = net.tensor([1, 6, 5, 3], 1 / 255, -128)
        net.plain(B.QUANTIZE, x, inner, O.QuantizeOptions)
        y = net.conv(inner, 4, (3, 3))
        out = net.tensor(net.shape(y), net.scale(y), 123, kind=T.UINT8)
        return x, net.plain(B.QUANTIZE, y, out, O.QuantizeOptions)

    yield one("bytes_in_and_out", unsigned)

    def floats(net):
        x = net.tensor([1, 6, 5, 3], kind=T.FLOAT32)
        inner = net.tensor([1, 6, 5, 3], 0.0078, -3)
        net.plain(B.QUANTIZE, x, inner, O.QuantizeOptions)
        y = net.conv(inner, 4, (3, 3))
        return x, net.plain(B.DEQUANTIZE, y, net.tensor(net.shape(y), kind=T.FLOAT32), O.DequantizeOptions)

    yield one("floats_in_and_out", floats)

    def resize(name, code, size, align, half):
        def build(net):
            x = net.input(1, 5, 4, 3)
            y = net.like(x, [1, *size, 3])
            kind, first = (O.ResizeBilinearOptions, 2) if code == B.RESIZE_BILINEAR else (O.ResizeNearestNeighborOptions, 0)
            return x, net.plain(code, x, y, kind, [net.constant(size)], fields={first: ("?", align), first + 1: ("?", half)})

        return one(name, build)

    for name, code in {"bilinear": B.RESIZE_BILINEAR, "nearest": B.RESIZE_NEAREST_NEIGHBOR}.items():
        yield resize(f"{name}_twice", code, [10, 8], False, False)
        yield resize(f"{name}_corners", code, [11, 9], True, False)
        yield resize(f"{name}_half_pixels", code, [12, 7], False, True)
        yield resize(f"{name}_smaller", code, [3, 2], False, True)

    def transposed(net):
        x = net.input(1, 5, 4, 3)
        return x, net.plain(B.TRANSPOSE, x, net.like(x, [3, 1, 4, 5]), O.TransposeOptions, [net.constant([3, 0, 2, 1])])

    yield one("transpose", transposed)

    def split(net):
        x = net.input(1, 5, 4, 6)
        parts = [net.like(x, [1, 5, 4, 2]) for _ in range(3)]
        net.op(B.SPLIT, [net.constant(3), x], parts, O.SplitOptions, **named({0: ("i", 3)}))
        return x, net.both(B.ADD, net.both(B.SUB, parts[0], parts[1]), parts[2])

    yield one("split", split)

    def split_unequal(net):
        x = net.input(1, 5, 4, 6)
        parts = [net.like(x, [1, n, 4, 6]) for n in (1, 4)]
        net.op(B.SPLIT_V, [x, net.constant([1, 4]), net.constant(1)], parts, O.SplitVOptions, **named({0: ("i", 2)}))
        return x, net.both(B.MUL, parts[0], parts[1])

    yield one("split_v", split_unequal)

    def sliced(net):
        x = net.input(1, 5, 6, 7)
        y = net.like(x, [1, 3, 6, 2])
        return x, net.plain(B.SLICE, x, y, O.SliceOptions, [net.constant([0, 1, 0, 4]), net.constant([1, 3, -1, 2])])

    yield one("slice", sliced)

    def strided(name, begin, end, steps, shape, **masks):
        def build(net):
            x = net.input(1, 5, 6, 7)
            fields = {["begins", "ends", "ellipses", "news", "shrinks"].index(k): ("i", v) for k, v in masks.items()}
            return x, net.plain(B.STRIDED_SLICE, x, net.like(x, shape), O.StridedSliceOptions, [net.constant(v) for v in (begin, end, steps)], fields=fields)

        return one(name, build)

    yield strided("strided_slice", [0, 1, -5, 0], [1, 5, 6, 7], [1, 2, 1, 3], [1, 2, 5, 3])
    yield strided("strided_slice_masks", [9, 9, 1, 2], [0, 0, 6, 0], [1, 2, 2, 1], [1, 3, 3, 5], begins=3, ends=11)
    yield strided("strided_slice_backwards", [0, 4, 0, 6], [1, 0, 6, -8], [1, -1, 1, -2], [1, 4, 6, 4])
    yield strided("strided_slice_shrunk", [0, 2, 0, 3], [1, 3, 6, 4], [1, 1, 1, 1], [6], shrinks=11)

    # Scales are divided in double precision: in single, 752 of all 65,536 differences would be others.
    def differences(net):
        x, y = net.input(1, 16, 32, 1, scale=0.0325, zero=14), net.tensor([1, 16, 32, 256], 0.0546, 10)
        other = net.tensor([1, 1, 1, 256], 0.0104, -8, data=np.arange(-128, 128).astype(np.int8).reshape(1, 1, 1, 256))
        return x, net.op(B.SUB, [x, other], [y], O.SubOptions, **named({0: ("b", NONE)}))

    yield one("sub_in_double_precision", differences)
    # The quotient is a half too little or too much for 42 of 256 numbers, if it is taken in single precision.
    yield function("leaky_relu_in_double_precision", B.LEAKY_RELU, 0.02904, 0, 0.01936, 0, O.LeakyReluOptions, fields={0: ("f", 0.2)})


# Cases that are made of bytes without sign, too: not ResizeBilinear, which is refused there, nor weights per channel or convolutions without a bias, which the
# reference refuses.
WITHOUT_SIGN = """
    conv_same conv_valid_strides conv_same_strides conv_dilated conv_relu conv_relu6 conv_relu_n1_to_1 conv_pointwise_wide conv_two_pictures conv_groups
    conv_saturated depthwise depthwise_wide depthwise_of_one depthwise_multiplied depthwise_multiplied_wide depthwise_dilated dense dense_without_bias
    dense_rows dense_of_maps add add_relu6 add_channels add_column add_number sub sub_relu6 sub_channels mul mul_relu6 mul_channels mul_column mul_number
    average_valid average_same average_relu average_all_relu6 max_valid max_same max_relu mean mean_kept mean_rows mean_channels mean_apart mean_large pad
    padv2 concatenation_1 concatenation_2 concatenation_3 reshape_expand_squeeze softmax softmax_sharp softmax_flat softmax_beta logistic logistic_wide tanh
    tanh_wide hard_swish hard_swish_wide hard_swish_narrow relu relu6 leaky_relu leaky_relu_steep leaky_relu_turned nearest_twice nearest_corners
    nearest_half_pixels transpose split slice strided_slice strided_slice_masks
""".split()
WEIGHED = {B.CONV_2D, B.DEPTHWISE_CONV_2D, B.FULLY_CONNECTED}


def without_sign(net: Net, seed: int, moved: int = 60) -> Net:
    """The same network in bytes without sign: weights have one scale and a zero point of their own."""
    rng = np.random.default_rng(seed)
    weights = {op[1][1] for op in net.operators if op[0] in WEIGHED}
    for at, (name, shape, kind, data, scale, zero, axis) in enumerate(net.tensors):
        if kind != T.INT8:
            continue
        data = None if data is None else (data.astype(np.int16) + 128).astype(np.uint8)
        scale, zero = scale[:1], np.int64([128 + (zero[0] if at not in weights else rng.integers(-moved, moved + 1))])
        net.tensors[at] = (name, shape, T.UINT8, data, scale, zero, 0)
    for code, inputs, *_ in net.operators:
        if code in WEIGHED and inputs[2:] not in ([], [-1]):
            scale = np.float32([net.tensors[inputs[0]][4][0] * net.tensors[inputs[1]][4][0]])
            net.tensors[inputs[2]] = (*net.tensors[inputs[2]][:4], scale, np.zeros(1, np.int64), 0)
    return net


# Cases that are made in 16 bits, too: all that TensorFlow Lite Micro computes there.
IN_SIXTEEN_BITS = """
    conv_same conv_valid_strides conv_same_strides conv_dilated conv_relu conv_relu6 conv_relu_n1_to_1 conv_without_bias conv_per_tensor conv_pointwise_wide
    conv_two_pictures conv_groups conv_saturated depthwise depthwise_wide depthwise_of_one depthwise_multiplied depthwise_multiplied_wide depthwise_dilated
    depthwise_per_tensor dense dense_without_bias dense_per_channel dense_rows dense_of_maps add add_relu6 add_channels add_column add_number sub sub_relu6
    sub_channels sub_column sub_number mul mul_relu6 mul_channels mul_column mul_number average_valid average_same average_relu average_all_relu6 max_valid
    max_same max_relu max_all_relu6 mean mean_kept mean_rows mean_channels mean_columns_and_channels mean_apart mean_large pad padv2 concatenation_1
    concatenation_2 concatenation_3 reshape_expand_squeeze shape_slice_pack_reshape softmax softmax_sharp softmax_flat softmax_beta logistic logistic_wide
    tanh tanh_wide relu relu6 leaky_relu leaky_relu_steep leaky_relu_turned quantize floats_in_and_out nearest_twice nearest_corners nearest_half_pixels
    nearest_smaller transpose split split_v slice strided_slice strided_slice_masks strided_slice_backwards strided_slice_shrunk
""".split()


def in_sixteen_bits(net: Net, seed: int) -> Net:
    """The same network in 16 bits: zero points are 0, steps a 256th, biases 64 bits wide."""
    rng = np.random.default_rng(seed)
    weights = {op[1][1] for op in net.operators if op[0] in WEIGHED}
    biases = {op[1][2] for op in net.operators if op[0] in WEIGHED and op[1][2:] not in ([], [-1])}
    # The reference takes these for granted.
    of_one = {op[2][0] for op in net.operators if op[0] in {B.SOFTMAX, B.LOGISTIC, B.TANH}}
    for at, (name, shape, kind, data, scale, zero, axis) in enumerate(net.tensors):
        if at in biases:
            net.tensors[at] = (name, shape, T.INT64, data.astype(np.int64) * 256 + rng.integers(0, 256, shape), scale, zero, axis)
        if kind != T.INT8 or at in weights:
            continue
        data = None if data is None else (data.astype(np.int16) * 256 + rng.integers(0, 256, shape)).astype(np.int16)
        scale = np.float32([1 / 32768]) if at in of_one else scale / np.float32(256)
        net.tensors[at] = (name, shape, T.INT16, data, scale, np.zeros(1, np.int64), axis)
    for code, inputs, *_ in net.operators:
        if code in WEIGHED and inputs[2:] not in ([], [-1]) and len(net.tensors[inputs[2]][4]):
            scale = np.float32([net.tensors[inputs[0]][4][0] * net.tensors[inputs[1]][4][0]])
            net.tensors[inputs[2]] = (*net.tensors[inputs[2]][:4], scale, np.zeros(1), 0)
    return net


def cases_in_sixteen_bits():
    """Name, network, inputs, outputs: those of `cases`, and some that only such networks have."""

    def wide(net, shape, scale, name=None):
        return net.tensor(shape, scale, 0, T.INT16, name=name)

    def narrow_bias(net, spread=1 << 24):
        return net.tensor([6], kind=T.INT32, data=net.rng.integers(-spread, spread, 6).astype(np.int32))

    # Sums of 32 bits are rounded twice and, where they are too large, wrap.
    for name, small in {"conv_narrow": 1.0, "conv_wrapped": 0.1}.items():
        net = Net(3)
        x = wide(net, [1, 9, 7, 60], 0.0243 / 256)
        y = net.conv(x, 6, (3, 3), bias=False, zero=0, fill=small)
        code, inputs, *rest = net.operators[-1]
        net.operators[-1] = (code, [*inputs, narrow_bias(net)], *rest)
        _, shape, _, data, scale, zero, axis = net.tensors[y]
        net.tensors[y] = ("y", shape, T.INT16, data, scale / np.float32(256 if small == 1.0 else 20), zero, axis)
        if name == "conv_wrapped":
            weights = net.tensors[inputs[1]]
            net.tensors[inputs[1]] = (*weights[:3], np.full(weights[1], 127, np.int8), *weights[4:])
        yield name, net, [x], [y]

    def between(code, first, second, kind=0, shape=(1, 16, 32, 8), **fields):
        net = Net()
        x, y = net.tensor(shape, *first), net.tensor(shape, *second)
        return net, [x], [net.op(code, [x], [y], kind, **named(fields.get("fields", {})))]

    yield "quantize_wider", *between(B.QUANTIZE, (0.0386, 53, T.INT8), (0.0386 / 199, 0, T.INT16), O.QuantizeOptions)
    yield "quantize_much_wider", *between(B.QUANTIZE, (0.05, -128, T.INT8), (0.0001, 0, T.INT16), O.QuantizeOptions)
    yield "quantize_narrower", *between(B.QUANTIZE, (0.0001, 0, T.INT16), (0.0207, -31, T.INT8), O.QuantizeOptions)
    # Scales that are powers of two, which the reference takes in another way, and some that are far from them.
    for power in (-13, -12, -11, -10):
        for name, code in {"logistic": B.LOGISTIC, "tanh": B.TANH}.items():
            yield f"{name}_scale_2_{-power}", *between(code, (2.0**power, 0, T.INT16), (2.0**-15, 0, T.INT16))
    for scale in (0.3, 0.00002):
        for name, code in {"logistic": B.LOGISTIC, "tanh": B.TANH}.items():
            yield f"{name}_scale_{scale}", *between(code, (scale, 0, T.INT16), (2.0**-15, 0, T.INT16))
    net = Net(5)
    x, y = wide(net, [1, 16, 32, 1], 0.00018477), wide(net, [1, 16, 32, 256], 0.00010664)
    other = net.tensor([1, 1, 1, 256], 0.00010664, 0, T.INT16, net.rng.integers(-32768, 32768, [1, 1, 1, 256]).astype(np.int16))
    yield "sub_in_double_precision_of_sixteen_bits", net, [x], [net.op(B.SUB, [x, other], [y], O.SubOptions, **named({0: ("b", NONE)}))]
    yield "softmax_of_rows_in_sixteen_bits", *between(B.SOFTMAX, (0.0004, 0, T.INT16), (2.0**-15, 0, T.INT16), O.SoftmaxOptions, (300, 40), fields={0: ("f", 1.0)})
    yield "leaky_relu_in_double_precision_of_sixteen_bits", *between(
        B.LEAKY_RELU, (0.00016235813, 0, T.INT16), (0.00016161223, 0, T.INT16), O.LeakyReluOptions, (1, 256, 256), fields={0: ("f", 0.3)}
    )
    yield "relu6_in_steps_of_six", *between(B.RELU6, (0.0003, 0, T.INT16), (0.0003, 0, T.INT16))

    # Around an inside of 16 bits, 8 bits.
    net = Net(12)
    x = net.input(1, 8, 9, 3, name="picture")
    inner = wide(net, [1, 8, 9, 3], 0.0243 / 200, "wider")
    net.plain(B.QUANTIZE, x, inner, O.QuantizeOptions)
    inside = Net(13)
    inside.tensors, inside.operators = net.tensors, []
    y = inside.conv(inner, 5, (3, 3), act=RELU, zero=0)
    in_sixteen_bits(inside, 4)
    net.tensors[x] = ("picture", [1, 8, 9, 3], T.INT8, None, np.float32([0.0243]), np.array([3]), 0)
    net.tensors[inner] = ("wider", [1, 8, 9, 3], T.INT16, None, np.float32([0.0243 / 200]), np.zeros(1, np.int64), 0)
    net.operators += inside.operators
    last = net.tensor(net.shape(y), 256 * net.scale(y), -120)
    yield "eight_bits_outside", net, [x], [net.plain(B.QUANTIZE, y, last, O.QuantizeOptions)]

    for at, (name, net, inputs, outputs) in enumerate(cases()):
        if name in IN_SIXTEEN_BITS:
            yield f"{name}_in_sixteen_bits", in_sixteen_bits(net, at), inputs, outputs


def sixteen():
    """A residual network in 16 bits with a gate, hyperbolic tangent, LeakyRelu, softmax: 24 x 20 pixels in colour, 5 classes."""
    net = Net(8)
    x = net.input(1, 24, 20, 3, scale=1 / 128, zero=0, name="picture")
    y = net.conv(x, 8, (3, 3), stride=(2, 2), act=RELU6, name="first")
    z = net.depthwise(y, 1, (3, 3), act=RELU, name="deep")
    z = net.conv(z, 8, (1, 1), name="project")
    y = net.both(B.ADD, y, z, name="residual")
    z = net.tensor(net.shape(y), 0.8 * net.scale(y), 0, name="leaky")
    net.plain(B.LEAKY_RELU, y, z, O.LeakyReluOptions, fields={0: ("f", 0.1)})
    bent = net.tensor(net.shape(y), 1 / 128, 0, name="bent")
    net.plain(B.TANH, z, bent)
    gate = net.dense(net.mean(bent, [1, 2], False), 8, zero=0)
    share = net.tensor([1, 8], 1 / 256, -128)
    net.plain(B.LOGISTIC, gate, share)
    shaped = net.tensor([1, 1, 1, 8], 1 / 128, 0)
    net.op(B.RESHAPE, [share, net.constant([1, 1, 1, 8])], [shaped], O.ReshapeOptions)
    z = net.both(B.MUL, bent, shaped, scale=0.7 / 128, name="excited")
    z = net.pool(B.MAX_POOL_2D, z, (2, 2), (1, 1), SAME)
    z = net.conv(z, 12, (3, 3), act=RELU, name="last")
    y = net.dense(net.mean(z, [1, 2], False, scale=net.scale(z) * 0.5), 5, name="logits", small=0.05)
    y = net.softmax(y, name="probabilities")
    return in_sixteen_bits(net, 6), x, y


def cases_without_sign():
    """Name, network, inputs, outputs: some that only such networks have, and those of `cases`."""

    def pairs(code, first, second, result):
        """All pairs of bytes, but for the few that the inputs lack. Scales and zero points are such that another rounding would show."""
        net = Net()
        x, y = net.tensor([1, 16, 32, 1], *first, T.UINT8), net.tensor([1, 16, 32, 256], *result, T.UINT8)
        shape = [256, 1, 1, 1] if code == B.CONV_2D else [1, 1, 1, 256]
        w = net.tensor(shape, *second, T.UINT8, np.arange(256, dtype=np.uint8).reshape(shape))
        if code != B.CONV_2D:
            return net, [x], [net.op(code, [x, w], [y], {B.MUL: O.MulOptions, B.SUB: O.SubOptions}[code], **named({0: ("b", NONE)}))]
        bias = net.tensor([256], np.float32(first[0]) * np.float32(second[0]), 0, T.INT32, np.zeros(256, np.int32))
        fields = {0: ("b", VALID), 1: ("i", 1), 2: ("i", 1), 3: ("b", NONE), 4: ("i", 1), 5: ("i", 1)}
        return net, [x], [net.op(code, [x, w, bias], [y], O.Conv2DOptions, **named(fields))]

    # Scales are multiplied and divided in single precision here, in double precision there.
    yield "mul_of_pairs", *pairs(B.MUL, (0.011231693, 130), (0.013849714, 119), (0.07050398, 100))
    yield "conv_of_pairs", *pairs(B.CONV_2D, (0.016880753, 130), (0.015708145, 119), (0.06508779, 100))
    yield "sub_of_pairs", *pairs(B.SUB, (0.0333, 94), (0.0386, 153), (0.0834, 115))
    # What is taken away is rounded as what is added: halves show it.
    yield "sub_of_halves", *pairs(B.SUB, (0.0354, 141), (0.0352, 177), (0.0272, 91))

    def between(code, first, second, kind=0, **fields):
        net = Net()
        x, y = net.tensor([1, 8, 16, 4], *first, T.UINT8), net.tensor([1, 8, 16, 4], *second, T.UINT8)
        return net, [x], [net.op(code, [x], [y], kind, **named(fields.get("fields", {})))]

    yield "relu_in_single_precision", *between(B.RELU, (0.0756, 141), (0.1008, 108))
    yield "relu6_requantised", *between(B.RELU6, (0.0243, 131), (0.0151, 7))
    yield "leaky_relu_in_single_precision", *between(B.LEAKY_RELU, (0.02904, 128), (0.01936, 128), O.LeakyReluOptions, fields={0: ("f", 0.2)})
    yield "quantize_without_sign", *between(B.QUANTIZE, (0.0386, 153), (0.0834, 115), O.QuantizeOptions)

    for name, first, second in [("finer", (0.0398, 114), (0.0232, 174)), ("coarser", (0.0386, 153), (0.0834, 115)), ("moved", (0.0243, 131), (0.0243, 7))]:
        net = Net()
        x, z = net.tensor([1, 8, 9, 6], *first, T.UINT8), net.tensor([1, 8, 9, 12], *second, T.UINT8)
        y = net.tensor([1, 8, 9, 6], 0.0151, 77, T.UINT8)
        net.op(B.QUANTIZE, [x], [y], O.QuantizeOptions)
        yield f"concatenation_{name}", net, [x], [net.op(B.CONCATENATION, [x, y], [z], O.ConcatenationOptions, **named({0: ("i", 3)}))]

    # A number of the table in real numbers is not that of the table in integers.
    yield "logistic_in_real_numbers", *between(B.LOGISTIC, (0.030177062, 83), (1 / 256, 0))
    yield "tanh_in_real_numbers", *between(B.TANH, (0.030177062, 83), (1 / 128, 128))
    net = Net()
    x, y = net.tensor([40, 60], 0.07, 120, T.UINT8), net.tensor([40, 60], 1 / 256, 0, T.UINT8)
    yield "softmax_of_rows", net, [x], [net.op(B.SOFTMAX, [x], [y], O.SoftmaxOptions, **named({0: ("f", 1.0)}))]
    for at, (name, net, inputs, outputs) in enumerate(cases()):
        if name in WITHOUT_SIGN:
            yield f"{name}_without_sign", without_sign(net, at), inputs, outputs


def unsigned():
    """A network in the manner of TensorFlow 1, in bytes without sign: separable convolutions, branches of other scales side by side, an average, a linear layer.
    20 x 24 pixels in colour, 4 classes."""
    net = Net(30)
    x = net.input(1, 20, 24, 3, scale=1 / 128, zero=0, name="picture")
    y = net.conv(x, 8, (3, 3), stride=(2, 2), act=RELU6, name="first", zero=-128, per_channel=False)
    z = net.depthwise(y, 1, (3, 3), act=RELU6, name="deep", zero=-128, per_channel=False)
    z = net.conv(z, 8, (1, 1), name="project", zero=4, per_channel=False)
    y = net.both(B.ADD, y, z, name="residual", zero=-30)
    wide = net.conv(y, 6, (1, 1), act=RELU6, name="narrow", zero=-128, per_channel=False)
    tall = net.conv(y, 10, (3, 3), act=RELU6, name="wide", zero=-128, per_channel=False)
    most = net.pool(B.MAX_POOL_2D, y, (3, 3), (1, 1), SAME)
    joined = net.tensor([1, 10, 12, 24], 1.1 * net.scale(tall), -110, name="joined")
    net.op(B.CONCATENATION, [wide, tall, most], [joined], O.ConcatenationOptions, **named({0: ("i", 3)}))
    y = net.conv(joined, 12, (1, 1), act=RELU6, name="last", zero=-128, per_channel=False)
    y = net.pool(B.AVERAGE_POOL_2D, y, (10, 12), (10, 12), VALID)
    y = net.softmax(net.dense(y, 4, name="logits", zero=0, fill=4.0, small=0.02), name="probabilities")
    return without_sign(net, 5, 8), x, y


def blocks():
    """A residual network with hard swish, squeeze-and-excitation, softmax: 24 x 20 pixels in colour, 5 classes."""
    net = Net(4)
    x = net.input(1, 24, 20, 3, scale=1 / 255, zero=-128, name="picture")
    y = net.conv(x, 8, (3, 3), stride=(2, 2), act=RELU6, name="first", zero=-128)
    z = net.depthwise(y, 1, (3, 3), act=RELU6, name="deep", zero=-128)
    z = net.conv(z, 8, (1, 1), name="project", zero=4)
    y = net.both(B.ADD, y, z, name="residual", zero=-30)
    z = net.tensor(net.shape(y), 0.8 * net.scale(y), -100, name="swish")
    net.plain(B.HARD_SWISH, y, z, O.HardSwishOptions)
    gate = net.dense(net.mean(z, [1, 2], False), 8, zero=0)
    share = net.tensor([1, 8], 1 / 256, -128)
    net.plain(B.LOGISTIC, gate, share)
    shaped = net.like(share, [1, 1, 1, 8])
    net.op(B.RESHAPE, [share, net.constant([1, 1, 1, 8])], [shaped], O.ReshapeOptions)
    z = net.both(B.MUL, z, shaped, scale=0.7 * net.scale(z), zero=-100, name="excited")
    z = net.pool(B.MAX_POOL_2D, z, (2, 2), (1, 1), SAME)
    z = net.conv(z, 12, (3, 3), act=RELU, name="last", zero=-128)
    y = net.dense(net.mean(z, [1, 2], False, scale=net.scale(z) * 0.5, zero=-128), 5, name="logits", zero=0, small=0.05)
    return net, x, net.softmax(y, name="probabilities")


def grey():
    """A network of grey pictures of 16 x 28 pixels that ends in a convolution: 2 classes."""
    net = Net(9)
    x = net.input(1, 16, 28, 1, scale=1 / 128, zero=0, name="grey")
    y = net.depthwise(x, 6, (3, 3), stride=(2, 2), act=RELU6, name="first", zero=-128)
    y = net.conv(y, 10, (1, 1), act=RELU6, name="second", zero=-128)
    y = net.pool(B.AVERAGE_POOL_2D, y, (8, 14), (8, 14), VALID)
    y = net.conv(y, 2, (1, 1), name="answer", zero=0, fill=6.0)
    out = net.like(y, [1, 2])
    return net, x, net.op(B.RESHAPE, [y, net.constant([1, 2])], [out], O.ReshapeOptions)


def golden(name, data: bytes, net: Net, x: int) -> dict:
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(data)
        file.flush()
        shape, (_, kind, *_) = net.shape(x), taken(graph_of(pathlib.Path(file.name)))
        values = generated(INPUTS * int(np.prod(shape)) * kind().itemsize, 1).view(kind).reshape([INPUTS, *shape])
        tensors = reference(pathlib.Path(file.name), values)
    assert all(tensors), name
    for tensor, numbers in tensors[0].items():
        if len(np.unique(numbers)) < 3:
            print(f"{name}: tensor {tensor} has {np.unique(numbers)} only")
    return {str(t): [f"{fnv(run[t].tobytes()):016x}" for run in tensors] for t in tensors[0]}


def main() -> None:
    found = []
    for name, net, inputs, outputs in [*cases(), *cases_without_sign(), *cases_in_sixteen_bits()]:
        data = net.bytes(inputs, outputs)
        found.append({"name": name, "network": base64.b64encode(data).decode(), "tensors": golden(name, data, net, inputs[0])})
    for name, (net, x, y) in {"blocks": blocks(), "grey": grey(), "unsigned": unsigned(), "sixteen": sixteen()}.items():
        data = net.bytes([x], [y])
        (HERE / f"{name}.tflite").write_bytes(data)
        found.append({"name": name, "network": base64.b64encode(data).decode(), "tensors": golden(name, data, net, x)})
    (HERE / "golden.json").write_text(json.dumps({"inputs": INPUTS, "cases": found}, indent=0) + "\n")
    print(len(found), "networks")


if __name__ == "__main__":
    main()
