"""What the model knows: the names of its classes, and the words that it has classes for.

words.txt has the classes of each word, `dog<TAB>151-268`. A word has classes if WordNet says that it names a class, something
more general than a few hundred classes at most, or a kind of one class. Of a word's meanings the three most frequent count, and only those of things: animals, artifacts, food,
natural objects and plants. "Raccoon" is no such word: the text tower reads it as the classes whose texts are near it.

build.py writes both lists, classes.txt and words.txt. `python knowledge.py --wordnet DIR [--out DIR]` writes them without building
the model; calibrate.py chooses the shares below.
"""

import argparse
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from wordnet import ANIMAL, ARTIFACT, FOOD, LARGEST_COVERED, OBJECT, PLANT, TOPS, ClassMap, Relation, WordNet

SENSES = 3
THINGS = (TOPS, ANIMAL, ARTIFACT, FOOD, OBJECT, PLANT)

# Read by the program from model.toml. The share that a photo gives to what the prompt may mean is sum_c m_c p_c, with
# p = softmax(logits). For a thing that has classes, m_c is one for the classes of its word's first meaning that has any, and 1/k for
# those of the k-th; for another thing m is the text tower's evidence, scaled to a largest value of one (less than 1/32
# counts as none). Below the first share the model does not see a thing that has classes, and from the second on it does;
# between them that is doubtful. Below the third it does not see a thing that has no class. calibrate.py measures what they do.
LEAST_SHARE, SURE_SHARE, LEAST_SHARE_WITHOUT_CLASS = 0.0001, 0.01, 0.1


def spelt(lemma: str) -> str:
    """As the tokeniser sees it: runs of a to z."""
    return " ".join(re.findall("[a-z]+", lemma.lower()))


def class_names(map: ClassMap) -> list[str]:
    """A name for each class: the first word of its synset."""
    return [map.wordnet.synsets[id].lemmas[0].lower() for id in map.classes]


def classes_of_words(map: ClassMap) -> dict[str, dict[int, int]]:
    """The words that have classes; for each of its classes, by which of its meanings that have classes it has it, the most frequent being the first."""
    synsets = map.wordnet.synsets
    people = above(map.wordnet, map.wordnet.senses["person"][0])

    def classes(id: str, rank: int) -> frozenset[int]:
        relation, classes = map.target(id)
        if id in map.index:
            return classes
        if synsets[id].lexfile not in THINGS or id in people:
            return frozenset()
        covers = relation is Relation.COVERS and rank < SENSES and len(classes) <= LARGEST_COVERED
        return classes if covers or (relation is Relation.WITHIN and rank == 0) else frozenset()

    found: dict[str, dict[int, int]] = {}
    for word, senses in map.wordnet.senses.items():
        meanings = [among for among in (classes(id, rank) for rank, id in enumerate(senses)) if among]
        of_word = found.setdefault(spelt(word), {}) if meanings else {}
        for meaning, among in enumerate(meanings, 1):
            for c in among:
                of_word[c] = min(of_word.get(c, meaning), meaning)
    # The program forms plurals by rule.
    irregular = map.wordnet.irregular_plurals
    for word in [word for word in found if word in irregular]:
        found.setdefault(spelt(irregular[word]), found[word])
    found.pop("", None)
    return dict(sorted(found.items()))


def line(word: str, classes: dict[int, int]) -> str:
    """`word`, a tab, and its classes as ranges; `/2` after those of its second meaning."""
    runs: list[list[int]] = []
    for c, meaning in sorted(classes.items()):
        if runs and runs[-1][1:] == [c - 1, meaning]:
            runs[-1][1] = c
        else:
            runs.append([c, c, meaning])
    spelt_out = [f"{first}{f'-{last}' if last > first else ''}{f'/{meaning}' if meaning > 1 else ''}" for first, last, meaning in runs]
    return f"{word}\t{' '.join(spelt_out)}"


def above(wordnet: WordNet, id: str) -> set[str]:
    """A synset and everything more general."""
    found, frontier = set(), [id]
    while frontier:
        found.update(frontier)
        frontier = [h for f in frontier for h in wordnet.synsets[f].hypernyms if h not in found]
    return found


class Words:
    """words.txt, read as the program reads it: what a short prompt means, such as "a potted plant"."""

    LONGEST = 5
    PLURALS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"))

    def __init__(self, lines: str, count: int):
        self.count, self.of = count, {}
        for word, _, runs in (line.partition("\t") for line in lines.splitlines()):
            self.of[word] = meant = np.zeros(count)
            for run in runs.split():
                among, _, meaning = run.partition("/")
                first, _, last = among.partition("-")
                meant[int(first) : int(last or first) + 1] = 1 / int(meaning or 1)

    def found(self, words: str) -> np.ndarray | None:
        spelt_as = [words] + [words.removesuffix(ending) + instead for ending, instead in self.PLURALS if words.endswith(ending)]
        return next((self.of[one] for one in spelt_as if one in self.of), None)

    def meant(self, prompt: str) -> np.ndarray | None:
        """m of the classes, by the last words of the prompt that have classes; none if its last word belongs to none."""
        words, at, last = spelt(prompt).split(), 0, None
        while at < len(words):
            fits = [n for n in range(min(self.LONGEST, len(words) - at), 0, -1) if self.found(" ".join(words[at : at + n])) is not None]
            last = self.found(" ".join(words[at : at + fits[0]])) if fits else None
            at += fits[0] if fits else 1
        return last

    def meanings(self, prompts: list[str], evidence: np.ndarray) -> np.ndarray:
        """m of each prompt: its words' classes, or else the evidence of the text tower."""
        scaled = evidence / np.maximum(evidence.max(1, keepdims=True), 1e-12)
        scaled[scaled < 1 / 32] = 0
        return np.stack([row if (own := self.meant(prompt)) is None else own for prompt, row in zip(prompts, scaled)])


def write(map: ClassMap, out: Path) -> None:
    (out / "classes.txt").write_text("\n".join(class_names(map)) + "\n")
    (out / "words.txt").write_text("\n".join(line(*one) for one in classes_of_words(map).items()) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes classes.txt and words.txt.")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with WordNet 3.0's data.noun")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    timm = Path(find_spec("timm").submodule_search_locations[0])
    classes = (timm / "data/_info/imagenet_synsets.txt").read_text().split()
    write(ClassMap(WordNet(args.wordnet), classes), args.out)


if __name__ == "__main__":
    main()
