"""Times a `.tflite` network on this machine, one thread, beside the reference kernels of LiteRT: python3 tests/tflite/speed.py NET.tflite ...

Needs `pip install ai-edge-litert numpy` (2.3.0 and 2.4.6 were used), and builds `--example tflite` with cargo. Both are timed by turns, the least time counts.
"""

import pathlib
import subprocess
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS, RUNS = 5, 30


def main() -> None:
    build = ["cargo", "build", "--quiet", "--release", "-p", "decomcam", "--example", "tflite"]
    subprocess.run(build, cwd=ROOT, check=True)
    for net in sys.argv[1:]:
        reference = Interpreter(net, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        reference.allocate_tensors()
        given = reference.get_input_details()[0]
        levels = (np.arange(np.prod(given["shape"])) * 37 >> 3) & 255
        picture = levels.astype(np.uint8).view(given["dtype"]).reshape(given["shape"])
        own, theirs = float("inf"), float("inf")
        for _ in range(ROUNDS):
            run = subprocess.run([ROOT / "target/release/examples/tflite", net, "--time"], capture_output=True, text=True, check=True)
            own = min(own, float(run.stdout))
            for _ in range(RUNS):
                reference.set_tensor(given["index"], picture)
                start = time.perf_counter()
                reference.invoke()
                theirs = min(theirs, 1e3 * (time.perf_counter() - start))
        print(f"{net}: {own:.2f} ms, the reference kernels {theirs:.2f} ms, {own / theirs:.2f} of that")


if __name__ == "__main__":
    main()
