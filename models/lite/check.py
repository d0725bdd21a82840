"""Checks the built files: `python check.py [--model FOLDER] [--photos FOLDER]`. Exits 1 if a check fails.

`--photos` adds zero-shot numbers on a folder of labelled photos, whose labels.json holds `classes` (the 1000 class
names), `photos` (objects with `photo`, a path, and `class_index`) and `words` (everyday words that are no class name,
with the classes each covers).
"""

import argparse
import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

from calibrate import softmax
from knowledge import Words
from lite import Model

PROMPTS = ["a cat", "a dog", "a cup of coffee", "a rocket", "a motorcycle", "a red car", "zebras"]
SCENES = {"chelsea.png": "a cat", "coffee.png": "a cup of coffee", "rocket.jpg": "a rocket",
          "motorcycle_left.png": "a motorcycle"}  # fmt: skip
CAT = (20, 0, 370, 300)  # left, top, right, bottom of the cat in chelsea.png (451 x 300)


class Report:
    failed = False

    def __call__(self, good: bool, what: str) -> None:
        print("ok  " if good else "FAIL", what)
        self.failed |= not good


def sample(name: str) -> Image.Image:
    """A photo that scikit-image ships."""
    spec = find_spec("skimage")
    return Image.open(Path(spec.submodule_search_locations[0]) / "data" / name).convert("RGB")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_files(model: Model, report: Report) -> None:
    for part in (model.photo, model.prompt):
        path = model.folder / part["file"]
        report(sha256(path) == part["sha256"], f"{path.name} has the manifest's SHA-256")
        graph = onnx.load(path).graph
        report(not graph.value_info, f"{path.name} has no shapes inside that a pinned input could contradict")
    vocabulary = model.folder / model.prompt["vocabulary"]
    report(sha256(vocabulary) == model.prompt["vocabulary_sha256"], "vocabulary has the manifest's SHA-256")


def check_image(model: Model, report: Report) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 3, 256, 448)).astype(np.float32)
    inputs = {"chelsea": model.prepared(sample("chelsea.png")), "noise": noise, "black": np.full_like(noise, -1)}
    for name, pixels in inputs.items():
        out = model.image(pixels)
        height, width = pixels.shape[2:]
        report(all(np.isfinite(value).all() for value in out.values()), f"{name}, {width}x{height}: all outputs finite")
        report(abs(np.linalg.norm(out["embedding"]) - 1) < 1e-4, f"{name}: embedding has length 1")
        for layer in model.photo["layers"]:
            shape = (1, layer["channels"], height // layer["stride"], width // layer["stride"])
            report(out[layer["name"]].shape == shape, f"{name}: {layer['name']} is {shape}")
        report(out["features"].min() >= 0, f"{name}: features are not negative, at most {out['features'].max():.2f}")


def check_text(model: Model, report: Report) -> None:
    out = model.text(PROMPTS)
    report(all(np.isfinite(value).all() for value in out.values()), "text outputs finite")
    length = np.linalg.norm(out["embedding"], axis=1)
    report(bool(np.abs(length - 1).max() < 1e-4), "text embeddings have length 1")
    total = out["evidence"].sum(1)
    report(bool(np.abs(total - 1).max() < 1e-4), f"evidence sums to one ({total.min():.6f} to {total.max():.6f})")
    report(out["evidence"].min() >= 0, "evidence is not negative")
    empty = model.text([""])
    report(all(np.isfinite(value).all() for value in empty.values()), "a prompt without a letter gives finite outputs")


def classifier(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The head's weight, 1280 x 1000, and bias, read back from the file."""
    stored = {i.name: numpy_helper.to_array(i) for i in onnx.load(model.folder / model.photo["file"]).graph.initializer}
    return stored["logits_weight_int8"] * stored["logits_weight_scale"], stored["logits_bias"]


def check_evidence(model: Model, report: Report) -> None:
    """The explained score is linear in the features, and its map points at the cat."""
    weight, bias = classifier(model)
    evidence = model.text(["a photo of a cat"])["evidence"][0]
    cat = sample("chelsea.png")
    whole = cat.resize((448, 288), Image.BICUBIC)
    for name, pixels, place in (
        ("centre crop", model.prepared(cat), None),
        ("whole photo", model.normalised(whole), (448 / cat.width, 288 / cat.height)),
    ):
        out = model.image(pixels)
        map = np.tensordot(weight @ evidence, out["features"][0], axes=1)
        score = float(out["logits"][0] @ evidence)
        error = abs(map.mean() + bias @ evidence - score)
        report(error < 1e-3, f"{name}: mean of the evidence map + bias = score {score:.3f} (difference {error:.1e})")
        row, column = np.unravel_index(map.argmax(), map.shape)
        print(f"     evidence for 'a cat' on chelsea.png, {name}; peak at row {row}, column {column}:")
        for line in map:
            print("     " + " ".join(f"{value:6.1f}" for value in line))
        if place:
            x, y = (column + 0.5) * 32 / place[0], (row + 0.5) * 32 / place[1]
            inside = CAT[0] <= x <= CAT[2] and CAT[1] <= y <= CAT[3]
            share = np.maximum(map, 0)
            columns = (np.arange(map.shape[1]) + 0.5) * 32 / place[0]
            on_cat = share[:, (columns >= CAT[0]) & (columns <= CAT[2])].sum() / share.sum()
            report(inside, f"peak at pixel ({x:.0f}, {y:.0f}) of the photo is on the cat; {on_cat:.2f} of the map is")


def check_scenes(model: Model, report: Report) -> None:
    text = model.templated(PROMPTS)["embedding"]
    scale = next(score["scale"] for score in model.manifest["scores"] if score["kind"] == "cosine")
    for name, expected in SCENES.items():
        cosine = text @ model.image(model.prepared(sample(name)))["embedding"][0]
        share = np.exp(scale * (cosine - cosine.max()))
        share /= share.sum()
        best = PROMPTS[cosine.argmax()]
        report(best == expected, f"{name}: '{best}' with cosine {cosine.max():.3f}, probability {share.max():.3f}")


def average_precision(score: np.ndarray, relevant: np.ndarray) -> float:
    hits = relevant[np.argsort(-score)]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def measure(model: Model, folder: Path) -> None:
    labels = json.loads((folder / "labels.json").read_text())
    truth = np.array([photo["class_index"] for photo in labels["photos"]])
    outputs = [model.image(model.prepared(Image.open(folder / photo["photo"]))) for photo in labels["photos"]]
    logits = np.concatenate([out["logits"] for out in outputs])
    embedding = np.concatenate([out["embedding"] for out in outputs])

    def prompts(names: list[str]) -> list[str]:
        return [f"a photo of {'an' if name[0] in 'aeiou' else 'a'} {name}" for name in names]

    def ranks(name: str, scores: np.ndarray) -> None:
        order = np.argsort(-scores, axis=1)[:, :5] == truth[:, None]
        print(f"{name}: top-1 {order[:, 0].mean():.3f}, top-5 {order.any(1).mean():.3f}")

    names = model.text(prompts(labels["classes"]))
    print(f"{len(truth)} photos")
    ranks("classifier", logits)
    ranks("class names, cosine", embedding @ names["embedding"].T)
    ranks("class names, evidence", logits @ names["evidence"].T)
    listed, chances = Words((model.folder / "words.txt").read_text(), logits.shape[1]), softmax(logits)
    meant = listed.meanings(labels["classes"], names["evidence"])
    ranks("class names, share for each class that is meant", chances @ (meant / meant.sum(1, keepdims=True)).T)
    words = {word: np.isin(truth, classes) for word, classes in labels["words"].items()}
    words = {word: relevant for word, relevant in words.items() if relevant.sum() >= 3}
    texts = model.text(prompts(list(words)))
    shares = chances @ listed.meanings(list(words), texts["evidence"]).T
    for name, scores in (("cosine", embedding @ texts["embedding"].T), ("evidence", logits @ texts["evidence"].T), ("share", shares)):
        each = {word: average_precision(scores[:, i], relevant) for i, (word, relevant) in enumerate(words.items())}
        worst = ", ".join(f"{word} {value:.2f}" for word, value in sorted(each.items(), key=lambda item: item[1])[:8])
        print(f"{len(each)} words, {name}: mean average precision {np.mean(list(each.values())):.3f}; lowest: {worst}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Checks the built files.")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent)
    parser.add_argument("--photos", type=Path, help="folder with labels.json")
    parser.add_argument("--margin", type=int, help="pixels cut off beyond the square, instead of the manifest's")
    args = parser.parse_args()
    model, report = Model(args.model), Report()
    if args.margin is not None:
        model.photo["margin"] = args.margin
    for check in (check_files, check_image, check_text, check_evidence, check_scenes):
        check(model, report)
    if args.photos:
        measure(model, args.photos)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
