"""WordNet 3.0's nouns, and the texts that teach the text tower which ImageNet classes a word stands for.

The towers are aligned without a captioned photo. What replaces captions is WordNet: each of the 1000 ImageNet classes
*is* a WordNet noun, so its synonyms and definition describe that class, a more general noun ("dog") stands for all
classes below it, a more special one ("puppy dog of some breed") for the class above it, and a noun outside ImageNet
("screwdriver set") for whatever classes its neighbours have.
"""

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from pathlib import Path

# WordNet's lexicographer files (lexnames(5WN)) that hold things a photo can show. "Tops" are the most general nouns, such as "animal".
TOPS, ANIMAL, ARTIFACT, FOOD, OBJECT, PERSON, PLANT = 3, 5, 6, 13, 17, 18, 20


@dataclass(frozen=True)
class Synset:
    """One meaning: its words, its definition, and the more general meanings it belongs to."""

    id: str
    lexfile: int
    lemmas: tuple[str, ...]
    gloss: str
    hypernyms: tuple[str, ...]


def read_synset(line: str) -> Synset:
    """Parses a line of data.noun; the format is wndb(5WN)."""
    fields, _, gloss = line.partition(" | ")
    fields = fields.split()
    words = int(fields[3], 16)
    lemmas = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words))
    at = 4 + 2 * words
    pointers = [fields[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(fields[at]))]
    hypernyms = tuple("n" + offset for symbol, offset, part, _ in pointers if symbol in ("@", "@i") and part == "n")
    definition = gloss.strip().split('; "')[0]  # what follows are example sentences
    definition = re.sub(r"\([^)]*\)", "", definition)
    definition = re.sub(r"\s+", " ", definition).strip(" ;")
    return Synset("n" + fields[0], int(fields[1]), lemmas, definition, hypernyms)


def data_lines(path: Path) -> list[str]:
    """The lines of a WordNet file without the licence at its top, which is indented."""
    return [line for line in path.read_text(encoding="latin1").splitlines() if not line.startswith(" ")]


class WordNet:
    """The noun graph."""

    def __init__(self, folder: Path):
        self.synsets = {s.id: s for s in map(read_synset, data_lines(folder / "data.noun"))}
        self.hyponyms: dict[str, list[str]] = {id: [] for id in self.synsets}
        for synset in self.synsets.values():
            for parent in synset.hypernyms:
                self.hyponyms[parent].append(synset.id)
        # A word's meanings, the most frequent first.
        self.senses: dict[str, list[str]] = {}
        for line in data_lines(folder / "index.noun"):
            fields = line.split()
            count = int(fields[2])
            self.senses[fields[0].replace("_", " ")] = ["n" + offset for offset in fields[-count:]]
        self.irregular_plurals: dict[str, str] = {}
        for line in data_lines(folder / "noun.exc"):
            plural, *singulars = line.replace("_", " ").split()
            for singular in singulars:
                self.irregular_plurals.setdefault(singular, plural)

    def sense_rank(self, word: str, synset: str) -> int:
        """0 if the meaning is the word's most frequent one."""
        senses = self.senses.get(word, [])
        return senses.index(synset) if synset in senses else 0

    def plural(self, noun: str) -> str:
        """The plural, from WordNet's list of exceptions or by rule."""
        head, _, last = noun.rpartition(" ")
        if last in self.irregular_plurals:
            last = self.irregular_plurals[last]
        elif re.search(r"(s|x|z|ch|sh)$", last):
            last += "es"
        elif re.search(r"[^aeiou]y$", last):
            last = last[:-1] + "ies"
        else:
            last += "s"
        return f"{head} {last}".strip()


class Relation(Enum):
    """How a synset relates to the classes it is taught to stand for."""

    COVERS = "classes at or below it"
    WITHIN = "it is a kind of one class"
    NEAR = "classes that share its nearest ancestor with any"
    NONE = "nothing in common"


class ClassMap:
    """Which of the classes each noun stands for."""

    def __init__(self, wordnet: WordNet, classes: list[str]):
        self.wordnet = wordnet
        self.classes = classes
        self.index = {synset: i for i, synset in enumerate(classes)}
        self.target = lru_cache(None)(self._target)

    @cached_property
    def covered(self) -> dict[str, frozenset[int]]:
        """For each synset the classes at or below it."""
        done: dict[str, frozenset[int]] = {}

        def visit(id: str) -> frozenset[int]:
            if id not in done:
                own = {self.index[id]} if id in self.index else set()
                done[id] = frozenset(own.union(*(visit(child) for child in self.wordnet.hyponyms[id])))
            return done[id]

        for id in self.wordnet.synsets:
            visit(id)
        return done

    def _target(self, id: str) -> tuple[Relation, frozenset[int]]:
        if self.covered[id]:
            return Relation.COVERS, self.covered[id]
        frontier, seen = list(self.wordnet.synsets[id].hypernyms), set()
        while frontier:
            above = [h for h in frontier if h in self.index]
            if above:
                return Relation.WITHIN, frozenset(self.index[h] for h in above)
            families = [self.covered[h] for h in frontier if self.covered[h]]
            if families:
                return Relation.NEAR, min(families, key=len)
            seen.update(frontier)
            frontier = [g for h in frontier for g in self.wordnet.synsets[h].hypernyms if g not in seen]
        return Relation.NONE, frozenset()


class Form(Enum):
    """What kind of text describes a synset."""

    LEMMA = "tabby"
    LEMMA_AND_KIND = "tabby, domestic cat"
    GLOSS = "a cat with a grey or tawny coat mottled with black"
    LEMMA_AND_GLOSS = "tabby: a cat with a grey or tawny coat mottled with black"


@dataclass(frozen=True)
class Text:
    """One lower-case text, what kind it is, and the synset it describes."""

    text: str
    form: Form
    synset: str


# Families larger than this say too little about a noun ("some artifact").
LARGEST_NEAR_FAMILY = 30
LARGEST_COVERED = 600


def describe(map: ClassMap, known_words: set[str]) -> list[Text]:
    """All texts, in a fixed order.

    Nouns outside ImageNet are kept only if they are everyday words: things, animals, food or people, spelt with words
    that the teacher's vocabulary (`known_words`) holds whole. Which classes they resemble is left to the teacher.
    """
    texts = []
    for id, synset in map.wordnet.synsets.items():
        relation, classes = map.target(id)
        if relation is Relation.NONE or (relation is Relation.COVERS and len(classes) > LARGEST_COVERED):
            continue
        lemmas = [lemma.lower() for lemma in synset.lemmas]
        if relation is Relation.NEAR:
            texts += describe_outsider(synset, lemmas, len(classes) > LARGEST_NEAR_FAMILY, known_words)
            continue
        kind = map.wordnet.synsets[synset.hypernyms[0]].lemmas[0].lower() if synset.hypernyms else None
        for lemma in lemmas:
            texts.append(Text(lemma, Form.LEMMA, id))
            if kind:
                texts.append(Text(f"{lemma}, {kind}", Form.LEMMA_AND_KIND, id))
        texts.append(Text(synset.gloss.lower(), Form.GLOSS, id))
        texts.append(Text(f"{lemmas[0]}: {synset.gloss.lower()}", Form.LEMMA_AND_GLOSS, id))
    return texts


def describe_outsider(synset: Synset, lemmas: list[str], wide: bool, known_words: set[str]) -> list[Text]:
    """The texts of a noun that neither covers a class nor lies within one."""
    person = synset.lexfile == PERSON
    if synset.lexfile not in (ANIMAL, ARTIFACT, FOOD, OBJECT) and not (person and wide):
        return []
    if person and len(synset.hypernyms) >= 3:
        return []  # mostly names of individuals, filed under several kinds of people
    everyday = [lemma for lemma in lemmas if known_words.issuperset(re.findall("[a-z0-9]+", lemma))]
    if not everyday:
        return []
    texts = [Text(lemma, Form.LEMMA, synset.id) for lemma in everyday]
    if not person:
        texts.append(Text(synset.gloss.lower(), Form.GLOSS, synset.id))
    return texts


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def summary(map: ClassMap, texts: list[Text]) -> str:
    count = Counter(map.target(t.synset)[0].name.lower() for t in texts)
    parts = ", ".join(f"{n} {name}" for name, n in sorted(count.items()))
    return f"{len(texts)} texts ({parts}), {len({t.text for t in texts})} of them different"
