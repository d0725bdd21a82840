"""Compares every tensor of `.tflite` networks with the reference's: python3 tests/tflite/compare.py NET.tflite ... [--inputs 10]

The reference is TensorFlow Lite Micro, also for 16-bit activations (int16x8), and, for networks of bytes without sign (uint8), which it no longer computes, the
reference kernels of LiteRT. Linear layers of uint8 may differ by one in a few numbers: that package rounds them once, the source of its reference kernels twice, as
it is done here.

Needs `pip install tflite-micro ai-edge-litert tflite numpy` (0.dev20261023182759, 2.3.0, 2.18.0 and 2.4.6 were used), and builds `--example tflite` with cargo.
Inputs are noise and smooth surfaces, seeded. Tensors that Micro keeps as 32-bit integers, shapes, are left out. Prints how many numbers were compared; fails if
one differs.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

ROOT = pathlib.Path(__file__).resolve().parents[2]


def inputs(shape: tuple[int, ...], count: int, kind: type = np.int8) -> np.ndarray:
    """Noise and smooth surfaces, by turns."""
    rng, made = np.random.default_rng(0), []
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    for at in range(count):
        noise = rng.integers(low, high + 1, shape)
        smooth = np.cumsum(np.cumsum(rng.normal(0, 3 * high / 127, shape), 1), -2 if len(shape) > 2 else -1)
        made.append(noise if at % 2 == 0 else np.clip(smooth, low, high))
    return np.stack(made).astype(kind)


def fnv(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def lite(path: pathlib.Path, values: np.ndarray, made: list[int]) -> list[dict[int, np.ndarray]]:
    """Each tensor of bytes that LiteRT's reference kernels compute, for each input of signed bytes, as signed bytes."""
    kernels = OpResolverType.BUILTIN_REF
    net = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True)
    net.allocate_tensors()
    given, found = net.get_input_details()[0], []
    for value in values:
        net.set_tensor(given["index"], (value.astype(np.int16) + 128).astype(np.uint8))
        net.invoke()
        tensors = {tensor: net.get_tensor(tensor) for tensor in made}
        found.append({t: (data.astype(np.int16) - 128).astype(np.int8) for t, data in tensors.items() if data.dtype == np.uint8})
    return found


def is_without_sign(graph) -> bool:
    """Whether a network has bytes without sign only, rather than at its ends."""
    kinds = {graph.Tensors(at).Type() for at in range(graph.TensorsLength())}
    return tflite.TensorType.UINT8 in kinds and tflite.TensorType.INT8 not in kinds


def graph_of(path: pathlib.Path):
    return tflite.Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0)


def taken(graph) -> tuple[int, type, float, int]:
    """The tensor that takes the input's integers, their type, scale and zero point: what the first operator rounds a float input to, or the input itself. Bytes without
    sign are given with one."""
    at = graph.Inputs(0)
    if graph.Tensors(at).Type() == tflite.TensorType.FLOAT32:
        readers = [graph.Operators(k) for k in range(graph.OperatorsLength())]
        at = next(op.Outputs(0) for op in readers if at in op.InputsAsNumpy())
    tensor = graph.Tensors(at)
    steps = tensor.Quantization()
    kind = np.int16 if tensor.Type() == tflite.TensorType.INT16 else np.int8
    return at, kind, np.float32(steps.Scale(0)), int(steps.ZeroPoint(0))


def reference(path: pathlib.Path, values: np.ndarray) -> list[dict[int, np.ndarray]]:
    """Each tensor that the reference computes, for each input, as signed integers."""
    graph = graph_of(path)
    made = sorted({graph.Operators(at).Outputs(k) for at in range(graph.OperatorsLength()) for k in range(graph.Operators(at).OutputsLength())})
    if is_without_sign(graph):
        return lite(path, values, made)
    kinds = {t: graph.Tensors(t).Type() for t in [*made, graph.Inputs(0)]}
    found = []
    for value in values:
        keep = runtime.InterpreterConfig.kPreserveAllTensors
        micro = runtime.Interpreter.from_file(str(path), intrepreter_config=keep, arena_size=1 << 24)
        given = value
        kind = kinds[graph.Inputs(0)]
        if kind == tflite.TensorType.FLOAT32:
            _, _, scale, zero = taken(graph)
            given = ((value.astype(np.float32) - np.float32(zero)) * scale).astype(np.float32)
        if kind == tflite.TensorType.UINT8:
            given = (value.astype(np.int16) + 128).astype(np.uint8)
        micro.set_input(given, 0)
        micro.invoke()
        tensors = {}
        for tensor in made:
            data = micro.GetTensor(tensor, 0)["tensor_data"]
            if kinds[tensor] == tflite.TensorType.INT8:
                tensors[tensor] = np.asarray(data, np.int8)
            if kinds[tensor] == tflite.TensorType.INT16:
                tensors[tensor] = np.asarray(data, "<i2")
            if kinds[tensor] == tflite.TensorType.UINT8:
                tensors[tensor] = (np.asarray(data).astype(np.int16) - 128).astype(np.int8)
        found.append(tensors)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", type=pathlib.Path)
    parser.add_argument("--inputs", type=int, default=10)
    parser.add_argument("--program", help="the example, built already")
    options = parser.parse_args()
    program = [options.program] if options.program else "cargo run --quiet --release -p decomcam --example tflite --".split()
    compared, different = 0, 0
    for path in options.networks:
        graph = graph_of(path)
        values = inputs(tuple(graph.Tensors(graph.Inputs(0)).ShapeAsNumpy()), options.inputs, taken(graph)[1])
        with tempfile.NamedTemporaryFile() as file:
            file.write(values.tobytes())
            file.flush()
            lines = subprocess.run([*program, str(path.resolve()), file.name], check=True, capture_output=True, text=True, cwd=ROOT).stdout
        ours = {}
        for line in lines.splitlines():
            at, tensor, count, hashed = line.split()
            ours[int(at), int(tensor)] = (int(count), int(hashed, 16))
        numbers, wrong = 0, []
        for at, tensors in enumerate(reference(path, values)):
            for tensor, data in tensors.items():
                numbers += data.size
                if ours.get((at, tensor)) != (data.nbytes, fnv(data.tobytes())):
                    wrong.append(f"input {at}: tensor {tensor}, {graph.Tensors(tensor).Name().decode()[:60]}")
        print(f"{path.name}: {numbers} numbers compared, {len(wrong)} tensors differ", *wrong[:5], sep="\n  " if wrong else "")
        compared, different = compared + numbers, different + len(wrong)
    print(f"{compared} numbers of {len(options.networks)} networks compared with the reference; tensors that differ: {different}")
    sys.exit(different != 0)


if __name__ == "__main__":
    main()
