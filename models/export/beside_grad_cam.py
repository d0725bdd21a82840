"""Grad-CAM in decomcam beside PyPI's `grad-cam`, on the same networks, in turns, two threads each: a Markdown table on standard output.

    cargo build --release -p decomcam --bins
    python beside_grad_cam.py [--program ../../target/release/decomcam]

Networks of torchvision with random weights: the time does not depend on them. Needs `grad-cam` beside requirements.txt.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

PHOTO = Path(__file__).parents[2] / "tests/photos/chelsea.png"
ROUNDS, REPEATS, THREADS, CLASS = 3, 9, 2, 5
# The module whose output both explain: the last maps.
NETWORKS = {
    "mobilenet_v2": lambda network: network.features[-1],
    "efficientnet_b0": lambda network: network.features[-1],
    "resnet50": lambda network: network.layer4[-1],
}


def theirs_ms(cam: GradCAM, picture: torch.Tensor) -> float:
    """Median time of a map, after one that is not counted."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        cam(input_tensor=picture, targets=[ClassifierOutputTarget(CLASS)])
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def ours_ms(program: Path, network: Path) -> float:
    command = [program, "bench", PHOTO, "--model", network, "--text", str(CLASS), "--method", "grad-cam"]
    options = ["--threads", str(THREADS), "--repeat", str(REPEATS), "--json"]
    return json.loads(subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout)["warm_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=Path(__file__).parents[2] / "target/release/decomcam")
    program = parser.parse_args().program
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    picture = torch.randn(1, 3, 224, 224)
    print("| network | decomcam | PyPI's grad-cam | ratio |\n|---|---|---|---|")
    for name, layer in NETWORKS.items():
        network = getattr(torchvision.models, name)(weights=None).eval()
        cam = GradCAM(model=network, target_layers=[layer(network)])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.onnx"
            torch.onnx.export(network, (picture,), file, dynamo=False, opset_version=17, input_names=["image"])
            rounds = [(ours_ms(program, file), theirs_ms(cam, picture)) for _ in range(ROUNDS)]
        ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {name} | {ours:.0f} ms | {theirs:.0f} ms | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
