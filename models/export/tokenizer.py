"""CLIP's tokenizer as a file that the Hugging Face `tokenizers` library reads, from open_clip's list of byte pairs."""

import gzip
import random
from pathlib import Path

import numpy as np
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, default_bpe
from timm.data import ImageNetInfo
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49152 - 256 - 2
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# What open_clip's text cleaner (ftfy) does to typed text: typographic quotes become straight ones, ligatures letters.
CLEANED = {"[\u02bc\u2018-\u201b]": "'", "[\u201c-\u201f]": '"', "\ufb01": "fi", "\ufb02": "fl", "\ufb00": "ff"}


def write_tokenizer(path: Path, context: int) -> None:
    """Byte pairs within words, the last one of a word marked </w>; <|startoftext|> in front, <|endoftext|> behind."""
    with gzip.open(default_bpe(), "rt", encoding="utf8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1 : MERGES + 1]]
    letters = list(bytes_to_unicode().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges), START, END]
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (START, END)])
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(Regex(pattern), plain) for pattern, plain in CLEANED.items()),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.enable_truncation(context)
    tokenizer.save(str(path), pretty=False)


def varied_texts() -> list[str]:
    """200 texts: class names in templates, and the corners where tokenizers differ."""
    rng = random.Random(0)
    info = ImageNetInfo()
    names = [info.index_to_description(i) for i in range(1000)]
    templates = ["a photo of a {}", "a {} in the rain, at 7:45", "itap of my {}!!", "A bad PHOTO of the {}...", "{}"]
    corners = [
        "",
        " ",
        "a",
        "  two  spaces\tand\na\u00a0line ",
        "it's they've I'm we'll he'd don't you're CAN'T",
        "1234567890 3.14 1,000 50% $5 #7 @home a_b-c/d\\e",
        "naïve café, Ångström, straße, İstanbul, ﬁne ﬂow",
        "e\u0301 composed from two characters",
        "狗在草地上, 犬, собака на траве, كلب, σκύλος",
        "🐶🐱👍🏽 👩‍👩‍👧 flags 🇩🇪",
        "“quoted” ‘words’ – dash — dash … dots",
        "½ ² Ⅷ ٣ 四",
        "<tag> a <b> & c; [x] {y} ~^`|",
        "zxqvbnm asdfghjkl qwertyuiop",
        "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
        "long " * 100,
        "cat " * 75,
        "cat " * 76,
        "a\u200bzero width, \u00adsoft hyphen",
        "word" * 40,
    ]
    return corners + [rng.choice(templates).format(rng.choice(names)) for _ in range(200 - len(corners))]


def check_tokenizer(path: Path, reference: SimpleTokenizer, prompt: str) -> list[int]:
    """Compares the file with open_clip's own tokenizer, and returns the padded ids of a prompt."""
    tokenizer = Tokenizer.from_file(str(path))
    texts = varied_texts()
    for text in [*texts, prompt]:
        expected = reference([text])[0].numpy()
        ids = np.zeros_like(expected)
        found = tokenizer.encode(text).ids
        ids[: len(found)] = found
        if not np.array_equal(ids, expected):
            raise SystemExit(f"the tokenizer differs from open_clip's on {text!r}: {found} instead of {expected}")
    print(f"tokenizer: equal to open_clip's on {len(texts)} texts")
    return ids.tolist()
