"""Checks the licences and the sources of all packages that the workspace is built and tested with, from what `cargo metadata` says on standard input.

Each licence must be one of ALLOWED, or offer one as a choice; each package must come from crates.io or from this repository. Prints a count by licence.
"""

import json
import re
import sys
from collections import Counter

# Licences that let the program be used and passed on under MIT or Apache-2.0, with their notices.
ALLOWED = {"0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "MIT", "Unicode-3.0", "Unlicense", "Zlib"}

# Packages whose licence is in a file, read by a person: the licence, and why it may be.
READ = {"decomcam-model-lite": "Apache-2.0 AND WordNet-3.0, as its NOTICE says; both allow use, change and sale with their notices"}

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met; `/` stands for OR, as crates.io once had it."""
    tokens = re.findall(r"\(|\)|[^\s()]+(?:\s+WITH\s+[^\s()]+)?", expression.replace("/", " OR "))

    def either() -> bool:
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value |= both()
        return value

    def both() -> bool:
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value &= one()
        return value

    def one() -> bool:
        token = tokens.pop(0)
        if token != "(":
            return token in ALLOWED
        value = either()
        assert tokens.pop(0) == ")", expression
        return value

    value = either()
    assert not tokens, f"{expression}: cannot be read from {tokens}"
    return value


def main() -> None:
    for expression, expected in {
        "MIT OR Apache-2.0": True,
        "MIT/GPL-3.0": True,
        "MIT AND GPL-3.0": False,
        "(MIT OR GPL-3.0) AND Unicode-3.0": True,
        "(GPL-3.0 OR LGPL-3.0) AND MIT": False,
        "Apache-2.0 WITH LLVM-exception": True,
        "GPL-3.0 WITH Classpath-exception-2.0": False,
    }.items():
        assert allowed(expression) == expected, expression
    problems = []
    licences = Counter()
    for package in json.load(sys.stdin)["packages"]:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        licences[licence or f"{package['name']}: {READ.get(package['name'])}"] += 1
        if not (package["name"] in READ if licence is None else allowed(licence)):
            problems.append(f"{name}: licence {licence or 'in a file that nobody has read'}; expected one of {', '.join(sorted(ALLOWED))}")
        if package["source"] not in (None, CRATES_IO):
            problems.append(f"{name}: from {package['source']}; expected crates.io or this repository")
    for licence, count in licences.most_common():
        print(f"{count:5}  {licence}")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
