"""Runs the built model from its manifest: the reference for the tokeniser, the photo preparation and the scores.

Needs numpy, onnxruntime and pillow only.
"""

import re
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


class WordPieces:
    """Greedy longest match over runs of a-z; a piece's id is its line in the vocabulary, and line 0 pads."""

    def __init__(self, lines: list[str]):
        self.lines = lines
        self.ids = {piece: i for i, piece in enumerate(lines) if i > 0}
        self.known: dict[str, list[int]] = {}

    def word(self, word: str) -> list[int]:
        if word not in self.known:
            self.known[word] = self.split(word)
        return self.known[word]

    def split(self, word: str) -> list[int]:
        ids, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in self.ids), None)
            if end is None:
                start += 1
                continue
            ids.append(self.ids[prefix + word[start:end]])
            start = end
        return ids

    def text(self, text: str) -> list[int]:
        return [i for word in re.findall("[a-z]+", text.lower()) for i in self.word(word)]

    def batch(self, texts: list[str], longest: int | None = None) -> np.ndarray:
        """A row for each text, padded with zeros."""
        rows = [self.text(text)[:longest] for text in texts]
        ids = np.zeros((len(rows), max(1, *map(len, rows))), np.int64)
        for row, found in zip(ids, rows):
            row[: len(found)] = found
        return ids


def normalised(photo: Image.Image, mean: list[float], std: list[float]) -> np.ndarray:
    """Pixels as 1 x 3 x height x width."""
    pixels = (np.asarray(photo.convert("RGB"), np.float32) - np.float32(mean)) / np.float32(std)
    return pixels.transpose(2, 0, 1)[None]


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Model:
    """The two towers of a folder with a model.toml."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = tomllib.loads((folder / "model.toml").read_text())
        self.photo, self.prompt = self.manifest["image"], self.manifest["text"]
        self.image_tower = session(folder / self.photo["file"])
        self.text_tower = session(folder / self.prompt["file"])
        self.pieces = WordPieces((folder / self.prompt["vocabulary"]).read_text().splitlines())

    def prepared(self, photo: Image.Image) -> np.ndarray:
        """The photo's centre, at the manifest's size."""
        size, margin = self.photo["size"], self.photo["margin"]
        side = round(size / (size + margin) * min(photo.size))
        x, y = (photo.width - side) // 2, (photo.height - side) // 2
        crop = photo.convert("RGB").crop((x, y, x + side, y + side))
        return self.normalised(crop.resize((size, size), Image.BICUBIC))

    def normalised(self, photo: Image.Image) -> np.ndarray:
        return normalised(photo, self.photo["mean"], self.photo["std"])

    def image(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs of the image tower."""
        names = [output.name for output in self.image_tower.get_outputs()]
        return dict(zip(names, self.image_tower.run(names, {self.photo["input"]: pixels})))

    def text(self, prompts: list[str]) -> dict[str, np.ndarray]:
        """All outputs of the text tower. The prompts are used as they are, without the manifest's template."""
        names = [output.name for output in self.text_tower.get_outputs()]
        return dict(zip(names, self.text_tower.run(names, {self.prompt["input"]: self.pieces.batch(prompts)})))

    def templated(self, prompts: list[str]) -> dict[str, np.ndarray]:
        return self.text([self.prompt["template"].replace("{}", prompt) for prompt in prompts])
