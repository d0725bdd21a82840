"""Where to draw the line between a thing that the model sees and one that it does not: `python calibrate.py --masks DIR --photos DIR`.

`--masks` is a folder with annotations.jsonl (`image`; `objects` with `category` and `polygon`, x and y as shares of the photo); `--photos` one
with labels.json, as for check.py. The share of knowledge.py is measured for every category that is on a photo (2% to 70% of what
the model sees) and for every one that is not. For each half of the photos it prints the share under which one in fifty of the things
that are there would be called absent, and what that share does on the other half; then what the shares in knowledge.py do on all.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lite import Model
from knowledge import LEAST_SHARE, LEAST_SHARE_WITHOUT_CLASS, SURE_SHARE, Words
from wordnet import with_article

LEAST_MASK, MOST_MASK = 0.02, 0.7
ABSENT_CALLED = 0.02  # of the things that are there: a half has 33 or 38 of them, so that the other half may well show twice as many


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def shares(model: Model, words: Words, prompts: list[str], logits: np.ndarray) -> np.ndarray:
    """Photos x prompts."""
    evidence = np.concatenate([model.templated([prompt])["evidence"] for prompt in prompts])
    return softmax(logits) @ words.meanings(prompts, evidence).T


def mask_shares(photo: Image.Image, objects: list[dict], size: int = 224) -> dict[str, float]:
    """How much of the centre square each category covers."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    masks: dict[str, Image.Image] = {}
    for thing in objects:
        mask = masks.setdefault(thing["category"], Image.new("1", (size, size)))
        x = (np.array(thing["polygon"][0::2]) * photo.width - left) * size / side
        y = (np.array(thing["polygon"][1::2]) * photo.height - top) * size / side
        if len(x) > 2:
            ImageDraw.Draw(mask).polygon(list(zip(x, y)), fill=1)
    return {category: float(np.asarray(mask).mean()) for category, mask in masks.items()}


class Measured:
    """Shares of things that are on a photo and of things that are not, each with the number of its photo."""

    def __init__(self, name: str):
        self.name, self.there, self.absent = name, [], []

    def add(self, photo: int, there: bool, share: float) -> None:
        (self.there if there else self.absent).append((photo, share))

    def rates(self, least: float, half: int | None = None) -> str:
        def below(pairs: list[tuple[int, float]]) -> tuple[int, int]:
            chosen = [share for photo, share in pairs if half is None or photo % 2 == half]
            return sum(share < least for share in chosen), len(chosen)

        (missed, there), (caught, absent) = below(self.there), below(self.absent)
        rate = lambda count, of: f"{count / of:.3f} ({count} of {of})" if of else "-"
        return f"{self.name}: called absent though there {rate(missed, there)}, absent and called so {rate(caught, absent)}"


def in_scenes(model: Model, folder: Path) -> tuple[Measured, Measured]:
    """Photos with masks: categories that have classes, and those that have none."""
    words = Words((model.folder / "words.txt").read_text(), 1000)
    lines = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    photos = [Image.open(folder / line["image"]).convert("RGB") for line in lines]
    masks = [mask_shares(photo, line["objects"]) for photo, line in zip(photos, lines)]
    categories = sorted({category for mask in masks for category in mask})
    logits = np.concatenate([model.image(model.prepared(photo))["logits"] for photo in photos])
    share = shares(model, words, [with_article(category) for category in categories], logits)
    known, foreign = Measured("scenes, categories with classes"), Measured("scenes, categories without")
    for i, mask in enumerate(masks):
        for j, category in enumerate(categories):
            if category not in mask or LEAST_MASK <= mask[category] <= MOST_MASK:
                (foreign if words.meant(category) is None else known).add(i, category in mask, share[i, j])
    return known, foreign


def single_things(model: Model, folder: Path) -> Measured:
    """Photos of one thing each: its class's name, against the names of the other photos' classes."""
    labels = json.loads((folder / "labels.json").read_text())
    truth = [photo["class_index"] for photo in labels["photos"]]
    logits = np.concatenate([model.image(model.prepared(Image.open(folder / p["photo"])))["logits"] for p in labels["photos"]])
    prompts = [with_article(labels["classes"][c]) for c in truth]
    share = shares(model, Words((model.folder / "words.txt").read_text(), 1000), prompts, logits)
    found = Measured("photos of one thing")
    for i in range(len(truth)):
        for j in range(len(truth)):
            found.add(i, truth[i] == truth[j], share[i, j])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what the least shares of knowledge.py do.")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent)
    parser.add_argument("--masks", type=Path, required=True, help="folder with annotations.jsonl")
    parser.add_argument("--photos", type=Path, required=True, help="folder with labels.json")
    args = parser.parse_args()
    model = Model(args.model)
    known, foreign = in_scenes(model, args.masks)
    single = single_things(model, args.photos)
    for half in (0, 1):
        chosen = [share for photo, share in known.there if photo % 2 == half]
        least = float(np.quantile(chosen, ABSENT_CALLED))
        print(f"chosen on half {half} of the scenes: share {least:.6f}; on the other half")
        for measured in (known, single):
            print("   ", measured.rates(least, 1 - half))
    print("on all photos")
    for least in sorted({0.00005, LEAST_SHARE, 0.0002, 0.0005, 0.001, SURE_SHARE}):
        for measured in (known, single):
            print(f"    share {least:.6f}", measured.rates(least))
    for least in sorted({0.01, 0.05, LEAST_SHARE_WITHOUT_CLASS, 0.2}):
        print(f"    share {least:.6f}", foreign.rates(least))


if __name__ == "__main__":
    main()
