"""What the model knows: the names of its classes, and the words that it has classes for.

A word has classes if WordNet says that it names a class, something more general than a few hundred classes at most, or a
kind of one class. Of a word's meanings the three most frequent count, and only those of things: animals, artifacts, food,
natural objects and plants. "Raccoon" is no such word: the text tower reads it as the classes whose texts are near it.

build.py writes both lists, classes.txt and words.txt. `python knowledge.py --wordnet DIR [--out DIR]` writes them without building
the model; calibrate.py chooses the shares below.
"""

import argparse
import re
from importlib.util import find_spec
from pathlib import Path

from wordnet import ANIMAL, ARTIFACT, FOOD, LARGEST_COVERED, OBJECT, PLANT, TOPS, ClassMap, Relation, WordNet

SENSES = 3
THINGS = (TOPS, ANIMAL, ARTIFACT, FOOD, OBJECT, PLANT)

# Read by the program from model.toml. The share that a photo gives to what the prompt may mean is sum_c e_c p_c, with the
# evidence e scaled to a largest value of one (less than 1/32 counts as none) and p = softmax(logits). Below
# the first the model does not see a thing that has classes, and from the second on it does; between them that is doubtful. Below the third it does not
# see a thing that has no class. calibrate.py measures what they do.
LEAST_SHARE, SURE_SHARE, LEAST_SHARE_WITHOUT_CLASS = 0.0001, 0.01, 0.1


def spelt(lemma: str) -> str:
    """As the tokeniser sees it: runs of a to z."""
    return " ".join(re.findall("[a-z]+", lemma.lower()))


def class_names(map: ClassMap) -> list[str]:
    """A name for each class: the first word of its synset."""
    return [map.wordnet.synsets[id].lemmas[0].lower() for id in map.classes]


def known_words(map: ClassMap) -> list[str]:
    """The words that have classes, sorted."""
    synsets = map.wordnet.synsets
    people = above(map.wordnet, map.wordnet.senses["person"][0])

    def has_class(id: str, rank: int) -> bool:
        relation, classes = map.target(id)
        if synsets[id].lexfile not in THINGS or id in people:
            return False
        if relation is Relation.COVERS:
            return rank < SENSES and len(classes) <= LARGEST_COVERED
        return relation is Relation.WITHIN and rank == 0

    found = {spelt(lemma) for id in map.classes for lemma in synsets[id].lemmas}
    for word, senses in map.wordnet.senses.items():
        if any(has_class(id, rank) for rank, id in enumerate(senses)):
            found.add(spelt(word))
    # The program forms plurals by rule.
    irregular = map.wordnet.irregular_plurals
    found |= {spelt(irregular[word]) for word in found if word in irregular}
    return sorted(found - {""})


def above(wordnet: WordNet, id: str) -> set[str]:
    """A synset and everything more general."""
    found, frontier = set(), [id]
    while frontier:
        found.update(frontier)
        frontier = [h for f in frontier for h in wordnet.synsets[f].hypernyms if h not in found]
    return found


def write(map: ClassMap, out: Path) -> None:
    (out / "classes.txt").write_text("\n".join(class_names(map)) + "\n")
    (out / "words.txt").write_text("\n".join(known_words(map)) + "\n")


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
