"""Aligns the text tower with EfficientNet-Lite0's classifier, without a photo.

1. MiniLM, a sentence encoder, reads every WordNet text once.
2. The *teacher* is a small head on MiniLM. It is trained together with one vector per class (`classes`), so that a
   text lands near the softmax-weighted mean of the class vectors of a photo that it describes. Photos are replaced by
   noisy copies of the classifier's own rows ("prototypes"): a photo's features point roughly along its class's row.
3. The *student* is the text tower that ships: a bag of WordPieces that learns the same task, and the teacher's answers.

Everything runs on one thread with fixed seeds, in a fixed order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertModel, BertTokenizerFast

from lite import WordPieces
from wordnet import ClassMap, Form, Relation, Text, with_article

DIMENSIONS = 256
LARGEST_SCALE = 50.0  # of the cosine, in the softmax over prompts


@dataclass(frozen=True)
class Schedule:
    """Steps, texts and optimiser of one training run."""

    steps: int
    texts: int  # with a target distribution, besides one text of each class
    learning_rate: float
    hidden: int
    dropout: float = 0.1
    weight_decay: float = 0.01


TEACHER = Schedule(steps=1500, texts=1024, learning_rate=1e-3, hidden=1024)
STUDENT = Schedule(steps=3000, texts=768, learning_rate=2e-3, hidden=512)
DISTILLED_TEXTS = 1024  # a step, without targets: the student only copies the teacher
DISTILLATION_WEIGHT = 6.0
SPREAD_WEIGHT = 1.0  # of the texts with a target distribution, against one text of each class
TABLE_DIMENSIONS = 128
LONGEST_PROMPT = 24  # tokens, in training

# How often a text is drawn, by how its synset relates to the classes. Nouns above the classes are few and are what
# people type, so they count most.
ABOVE_CLASSES, OWN_CLASS, WITHIN_CLASS, NEAR_CLASS = 2.0, 1.0, 0.6, 0.3
CLASS_TEXT_WEIGHT = {Form.LEMMA: 3.0, Form.LEMMA_AND_KIND: 1.5, Form.GLOSS: 1.0, Form.LEMMA_AND_GLOSS: 1.0}

# A noun outside ImageNet takes the classes whose texts MiniLM finds nearest, if any is near enough.
NEIGHBOURS, NEIGHBOUR_TEMPERATURE, NEIGHBOUR_MINIMUM = 5, 0.08, 0.25

# A synthetic photo: its cosine with its class's prototype, how much it has of random other prototypes, the length of
# its centred features.
PHOTO_COSINE = (0.2, 0.48)
PHOTO_OTHERS, PHOTO_OTHERS_SCALE = 3, 0.15
PHOTO_LENGTH = 13.3
PHOTO_TEMPERATURE = (0.8, 1.8)
PHOTOS_PER_CLASS = 8
MIXED_SHARE, MIXED_WEIGHT = 0.25, 0.65

TEMPLATES = [
    "a photo of {a}", "a photo of {a}", "a photo of the {}", "a photo of {}", "{}", "{}", "{}", "{a}", "the {}",
    "a picture of {a}", "an image of {a}", "a close up photo of {a}", "there is {a} in the scene",
    "photo of a small {}", "a photo of a large {}", "a blurry photo of {a}",
]  # fmt: skip
PLURAL_TEMPLATES = ["a photo of {}", "a photo of some {}", "{}", "{}", "the {}", "two {}", "many {}"]
PLURAL_SHARE = 0.1


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


# ---- MiniLM


class SentenceEncoder:
    """MiniLM with mean pooling, on texts or on single tokens."""

    def __init__(self, folder: Path):
        self.tokenizer = BertTokenizerFast.from_pretrained(folder)
        self.model = BertModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def texts(self, texts: list[str], batch: int = 64) -> np.ndarray:
        """Unit embeddings. Texts of equal length share a batch, as padding costs time."""
        tokens = self.tokenizer(texts, truncation=True, max_length=48)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        result = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            width = len(tokens[chosen[-1]])
            ids = torch.tensor([tokens[i] + [0] * (width - len(tokens[i])) for i in chosen])
            mask = torch.tensor([[1] * len(tokens[i]) + [0] * (width - len(tokens[i])) for i in chosen])
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            result[chosen] = F.normalize(mean, dim=1).numpy()
        return result

    @torch.inference_mode()
    def tokens(self, ids: list[int], batch: int = 512) -> np.ndarray:
        """The mean hidden state of "[CLS] token [SEP]", not normalised."""
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        result = []
        for start in range(0, len(ids), batch):
            rows = torch.tensor([[first, i, last] for i in ids[start : start + batch]])
            hidden = self.model(input_ids=rows, attention_mask=torch.ones_like(rows)).last_hidden_state
            result.append(hidden.mean(1).numpy())
        return np.concatenate(result)


def letter_pieces(vocabulary: list[str]) -> tuple[WordPieces, list[int]]:
    """The pieces of BERT's vocabulary that are spelt a-z, and their ids there."""
    kept = [(i, piece) for i, piece in enumerate(vocabulary) if re.fullmatch("(##)?[a-z]+", piece)]
    return WordPieces(["[PAD]", *(piece for _, piece in kept)]), [i for i, _ in kept]


# ---- what the texts mean


class Lessons:
    """Every distinct text with the classes it stands for."""

    def __init__(self, map: ClassMap, texts: list[Text], distinct: list[str], embeddings: np.ndarray):
        """`embeddings` are MiniLM's, a row for each of `distinct`."""
        number = {text: i for i, text in enumerate(distinct)}
        count = len(map.classes)
        own: list[list[tuple[int, float]]] = [[] for _ in range(count)]
        for text in texts:
            if text.synset in map.index:
                own[map.index[text.synset]].append((number[text.text], CLASS_TEXT_WEIGHT[text.form]))
        self.own_texts = [np.array([i for i, _ in rows]) for rows in own]
        self.own_weights = [np.cumsum([w for _, w in rows]) / sum(w for _, w in rows) for rows in own]

        class_means = np.stack([embeddings[rows].mean(0) for rows in self.own_texts])
        centre = class_means.mean(0)
        nearness = unit(embeddings - centre) @ unit(class_means - centre).T

        targets: dict[int, dict[int, float]] = {}
        weights: dict[int, float] = {}
        for text in texts:
            i = number[text.text]
            relation, classes = map.target(text.synset)
            if relation is Relation.NEAR:
                shares, weight = neighbours(nearness[i], classes), NEAR_CLASS
                if shares is None:
                    continue
            else:
                shares = {c: 1 / len(classes) for c in sorted(classes)}
                above = text.synset not in map.index
                weight = WITHIN_CLASS if relation is Relation.WITHIN else ABOVE_CLASSES if above else OWN_CLASS
            # A word's rarer meanings count less: "crane" is a bird before it is a machine.
            rank = map.wordnet.sense_rank(text.text, text.synset) if text.form is Form.LEMMA else 0
            row = targets.setdefault(i, {})
            for c, share in shares.items():
                row[c] = row.get(c, 0.0) + share / (1 + rank)
            weights[i] = max(weights.get(i, 0.0), weight)

        self.texts = np.array(sorted(targets))
        self.probabilities = np.array([weights[i] for i in self.texts])
        self.probabilities /= self.probabilities.sum()
        self.targets = [targets[i] for i in self.texts]
        self.classes = count

    def own(self, rng: np.random.Generator) -> np.ndarray:
        """One text of each class."""
        draws = rng.random(self.classes)
        picks = [min(np.searchsorted(w, r), len(w) - 1) for w, r in zip(self.own_weights, draws)]
        return np.array([rows[pick] for rows, pick in zip(self.own_texts, picks)])

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, Tensor]:
        """Some texts and their distributions over the classes."""
        picks = rng.choice(len(self.texts), count, p=self.probabilities)
        dense = np.zeros((count, self.classes), np.float32)
        for row, pick in zip(dense, picks):
            target = self.targets[pick]
            row[list(target)] = list(target.values())
        return self.texts[picks], torch.tensor(dense / dense.sum(1, keepdims=True))


def neighbours(nearness: np.ndarray, family: frozenset[int]) -> dict[int, float] | None:
    """The nearest classes, shared with the WordNet family where the two agree on anything."""
    nearest = np.argsort(-nearness, kind="stable")[:NEIGHBOURS]
    if nearness[nearest[0]] < NEIGHBOUR_MINIMUM:
        return None
    share = np.exp((nearness[nearest] - nearness[nearest[0]]) / NEIGHBOUR_TEMPERATURE)
    share /= share.sum()
    agree = len(family) <= 30 and not family.isdisjoint(nearest.tolist())
    result = {int(c): float(s) * (0.5 if agree else 1.0) for c, s in zip(nearest, share)}
    if agree:
        for c in sorted(family):
            result[c] = result.get(c, 0.0) + 0.5 / len(family)
    return result


# ---- synthetic photos


class SyntheticPhotos:
    """Class logits of made-up photos: a noisy prototype, seen through the classifier."""

    def __init__(self, weight: np.ndarray, seed: int):
        """`weight` is the classifier's, one row a class."""
        self.generator = torch.Generator().manual_seed(seed)
        rows = torch.tensor(weight - weight.mean(0))
        prototypes = F.normalize(rows, dim=1)
        self.logits = torch.stack([self.photos(prototypes) @ rows.T for _ in range(PHOTOS_PER_CLASS)])

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def photos(self, prototypes: Tensor) -> Tensor:
        count, channels = prototypes.shape
        cosine = self.uniform(count, 1, low=PHOTO_COSINE[0], high=PHOTO_COSINE[1])
        noise = torch.randn(count, channels, generator=self.generator) / channels**0.5
        others = torch.randint(count, (count, PHOTO_OTHERS), generator=self.generator)
        amount = torch.randn(count, PHOTO_OTHERS, 1, generator=self.generator) * PHOTO_OTHERS_SCALE
        noise = noise + (prototypes[others] * amount).sum(1)
        return PHOTO_LENGTH * (cosine * prototypes + (1 - cosine**2).sqrt() * noise)

    def draw(self) -> Tensor:
        """Class probabilities of one photo of each class; some show a second class as well."""
        count = self.logits.shape[1]
        pick = torch.randint(PHOTOS_PER_CLASS, (count,), generator=self.generator)
        logits = self.logits[pick, torch.arange(count)]
        second = logits[torch.randperm(count, generator=self.generator)]
        mixed = self.uniform(count, 1) < MIXED_SHARE
        logits = torch.where(mixed, MIXED_WEIGHT * logits + (1 - MIXED_WEIGHT) * second, logits)
        temperature = self.uniform(count, 1, low=PHOTO_TEMPERATURE[0], high=PHOTO_TEMPERATURE[1])
        return torch.softmax(logits / temperature, dim=1)


def alignment_loss(photos: Tensor, own: Tensor, drawn: Tensor, targets: Tensor, log_scale: Tensor) -> Tensor:
    """Photos find their class's text and texts their photo; a drawn text spreads over photos as its target says."""
    scale = log_scale.exp().clamp(max=LARGEST_SCALE)
    logits = scale * photos @ own.T
    labels = torch.arange(len(photos))
    contrast = 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
    spread = F.kl_div(F.log_softmax(scale * drawn @ photos.T, dim=1), targets, reduction="batchmean")
    return contrast + SPREAD_WEIGHT * spread


# ---- teacher


class Residual(nn.Module):
    """A linear map and a two-layer correction that starts at zero."""

    def __init__(self, inputs: int, outputs: int, hidden: int, dropout: float, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.direct = nn.Linear(inputs, outputs)
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.direct(x) + self.output(self.dropout(self.activation(self.hidden(x))))


def optimiser(schedule: Schedule, decayed: list, rest: list):
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, schedule.learning_rate, total_steps=schedule.steps, pct_start=0.1)
    return adam, rate


def train_teacher(
    lessons: Lessons, embeddings: np.ndarray, classifier: np.ndarray, seed: int, log: Callable[[str], None]
) -> tuple[np.ndarray, Residual]:
    """The class vectors, 1000 x 256, and the head that maps MiniLM embeddings beside them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos = SyntheticPhotos(classifier, seed)
    inputs = torch.tensor(embeddings)

    # Start where a class's vector is the mean of its texts, in their principal axes.
    means = np.stack([embeddings[rows].mean(0) for rows in lessons.own_texts])
    centre = means.mean(0)
    axes = np.linalg.svd(means - centre, full_matrices=False)[2][:DIMENSIONS]
    classes = nn.Parameter(torch.tensor((means - centre) @ axes.T))
    head = Residual(embeddings.shape[1], DIMENSIONS, TEACHER.hidden, TEACHER.dropout, F.gelu)
    with torch.no_grad():
        head.direct.weight.copy_(torch.tensor(axes))
        head.direct.bias.copy_(torch.tensor(-axes @ centre))
    log_scale = nn.Parameter(torch.tensor(3.0))

    adam, rate = optimiser(TEACHER, list(head.parameters()), [classes, log_scale])
    for step in range(TEACHER.steps):
        own = lessons.own(rng)
        drawn, targets = lessons.draw(rng, TEACHER.texts)
        text = F.normalize(head(inputs[np.concatenate([own, drawn])]), dim=1)
        photo = F.normalize(photos.draw() @ classes, dim=1)
        loss = alignment_loss(photo, text[: len(own)], text[len(own) :], targets, log_scale)
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
        if step % 500 == 0 or step == TEACHER.steps - 1:
            log(f"teacher step {step}: loss {loss.item():.3f}, scale {log_scale.exp().item():.1f}")
    return classes.detach().numpy(), head.eval()


# ---- student


class BagOfPieces(Residual):
    """The text tower: the importance-weighted mean of the prompt's token vectors through a small network."""

    def __init__(self, token_vectors: np.ndarray):
        super().__init__(TABLE_DIMENSIONS, DIMENSIONS, STUDENT.hidden, STUDENT.dropout, F.relu)
        centred = token_vectors - token_vectors.mean(0)
        axes = np.linalg.svd(centred[::4], full_matrices=False)[2][:TABLE_DIMENSIONS]
        start = centred @ axes.T
        # BERT's vocabulary is sorted by frequency: by Zipf's law the rank gives a word's probability, and common
        # words say less (smooth inverse frequency).
        probability = 1 / (np.arange(len(start)) + 11)
        probability /= probability.sum()
        importance = 1e-4 / (1e-4 + probability)
        padding = np.zeros((1, TABLE_DIMENSIONS), np.float32)
        table = np.concatenate([padding, 0.5 * start / start.std()]).astype(np.float32)
        log_importance = np.concatenate([[0], np.log(importance / importance.mean())]).astype(np.float32)
        self.table = nn.Embedding.from_pretrained(torch.tensor(table), freeze=False)
        self.importance = nn.Embedding.from_pretrained(torch.tensor(log_importance[:, None]), freeze=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Unit embeddings of rows of ids, padded with zeros."""
        real = ids > 0
        pieces, count = ids[real], real.sum(1)
        weight = self.importance(pieces)[:, 0].exp()
        starts = count.cumsum(0) - count
        total = F.embedding_bag(pieces, self.table.weight, starts, mode="sum", per_sample_weights=weight)
        row = torch.arange(len(ids)).repeat_interleave(count)
        weights = torch.zeros(len(ids)).index_add(0, row, weight)
        return F.normalize(super().forward(total / weights.clamp(min=1e-6)[:, None]), dim=1)


class Prompts:
    """Turns texts into prompts: short ones get a random template, now and then in the plural."""

    def __init__(self, distinct: list[str], nouns: set[str], plural: Callable[[str], str]):
        self.texts = distinct
        self.short = [len(text.split()) <= 4 for text in distinct]
        self.plurals = [plural(text) if text in nouns else None for text in distinct]

    def __call__(self, rng: np.random.Generator, chosen: np.ndarray) -> list[str]:
        draws = rng.random((len(chosen), 2))
        return [self.one(i, as_plural, template) for i, (as_plural, template) in zip(chosen, draws)]

    def one(self, i: int, as_plural: float, template: float) -> str:
        text = self.texts[i]
        if not self.short[i]:
            return text
        if self.plurals[i] and as_plural < PLURAL_SHARE:
            return PLURAL_TEMPLATES[int(template * len(PLURAL_TEMPLATES))].format(self.plurals[i])
        return TEMPLATES[int(template * len(TEMPLATES))].format(text, a=with_article(text))


def train_student(
    lessons: Lessons,
    prompts: Prompts,
    pieces: WordPieces,
    token_vectors: np.ndarray,
    taught: np.ndarray,
    class_vectors: np.ndarray,
    classifier: np.ndarray,
    seed: int,
    log: Callable[[str], None],
) -> tuple[BagOfPieces, float]:
    """The text tower and the learnt scale of the cosine. `taught` are the teacher's embeddings of all texts."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos = SyntheticPhotos(classifier, seed)
    teacher, classes = torch.tensor(taught), torch.tensor(class_vectors)
    student = BagOfPieces(token_vectors)
    log_scale = nn.Parameter(torch.tensor(3.0))
    adam, rate = optimiser(STUDENT, list(student.parameters()), [log_scale])
    for step in range(STUDENT.steps):
        own = lessons.own(rng)
        drawn, targets = lessons.draw(rng, STUDENT.texts)
        chosen = np.concatenate([own, drawn, rng.integers(len(taught), size=DISTILLED_TEXTS)])
        text = student(torch.tensor(pieces.batch(prompts(rng, chosen), LONGEST_PROMPT)))
        photo = F.normalize(photos.draw() @ classes, dim=1)
        own_text, drawn_text, _ = text.split([len(own), len(drawn), DISTILLED_TEXTS])
        loss = alignment_loss(photo, own_text, drawn_text, targets, log_scale)
        agreement = (text * teacher[chosen]).sum(1).mean()
        loss = loss + DISTILLATION_WEIGHT * (1 - agreement)
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
        if step % 500 == 0 or step == STUDENT.steps - 1:
            log(f"student step {step}: loss {loss.item():.3f}, cosine with the teacher {agreement.item():.3f}")
    return student.eval(), min(log_scale.exp().item(), LARGEST_SCALE)
