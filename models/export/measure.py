"""What exported models cost in decomcam, beside ONNX Runtime in the same run: a Markdown table on standard output.

    cargo build --release -p decomcam --bins --example check_export
    python measure.py NAME... [--forms f32] [--models DIR] [--program ../../target/release]

DIR/NAME-f32 and DIR/NAME-int8 are folders that `clip.py` or `classifier.py` wrote. One thread for passes, two for explanations.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime

REPEATS = 9
PHOTO = Path(__file__).parents[2] / "tests/photos/chelsea.png"


def onnx_runtime_ms(folder: Path) -> float:
    """Median time of a forward pass in ONNX Runtime, one thread, in milliseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "image.onnx"), options, providers=["CPUExecutionProvider"])
    check = json.loads((folder / "check.json").read_text())
    image = np.fromfile(folder / check["input"], dtype="<f4").reshape(check["input_shape"])
    feed = {session.get_inputs()[0].name: image}
    session.run(None, feed)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def passes(program: Path, folder: Path, *flags: str) -> dict[str, float]:
    """Errors against torch, and the times of loading, of a forward pass and of one with the gradient."""
    command = [program / "examples/check_export", *flags, folder]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\t")
    names = ("activations", "gradient", "cosine", "load", "forward", "both", "memory")
    return dict(zip(names, map(float, line[1:]), strict=True))


def explanation(program: Path, folder: Path) -> tuple[float, float]:
    """Milliseconds of a further explanation with ten parts, and megabytes of peak memory."""
    prompt = "281" if (folder / "labels.txt").exists() else "a cat"
    recipe = ["--recipe", "aligned", "--integrate", "photo", "--threads", "2", "--repeat", "3", "--json"]
    command = [program / "decomcam", "bench", PHOTO, "--model", folder, "--text", prompt, *recipe]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["warm_ms"], found["peak_memory_mb"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--models", type=Path, default=Path("."))
    parser.add_argument("--program", type=Path, default=Path(__file__).parents[2] / "target/release")
    parser.add_argument("--forms", nargs="+", default=["f32", "int8"], help="which of the folders [default: f32 int8]")
    args = parser.parse_args()
    print("| model | form | forward | ONNX Runtime | with gradient | explanation | bar | load | memory | gradient to torch |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in args.names:
        for form, flags in (("f32", ()), ("int8", ()), ("int8", ("--faithful",))):
            if form not in args.forms:
                continue
            folder = args.models / f"{name}-{form}"
            run = passes(args.program, folder, *flags)
            other = onnx_runtime_ms(folder)
            warm, memory = ("", f"{run['memory']:.0f} MB") if flags else explanation(args.program, folder)
            bar = "" if flags else f"{1.15 * 12 * run['forward'] / 2:.0f} ms"
            if not flags:
                warm, memory = f"{warm:.0f} ms", f"{memory:.0f} MB"
            exact = f"{run['gradient']:.0e}" if form == "f32" else f"cosine {run['cosine']:.4f}"
            label = " ".join((form, *flags))
            print(
                f"| {name} | {label} | {run['forward']:.0f} ms | {other:.0f} ms | {run['both']:.0f} ms | {warm} | {bar} "
                f"| {run['load']:.0f} ms | {memory} | {exact} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
