"""Checks the licences and the sources of all packages that the workspace is built and tested with, from what `cargo metadata` says on standard input.

Each licence must be one of ALLOWED, or offer one as a choice; each package must come from crates.io or from this repository. Prints a count by licence.
"""

import json
import re
import sys
from collections import Counter

# Licences that let the program be used and passed on under MIT or Apache-2.0, with their notices.
# CDLA-Permissive-2.0 is that of a list of certificates, which are data.
ALLOWED = {"0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CDLA-Permissive-2.0", "ISC", "MIT", "Unicode-3.0", "Unlicense", "Zlib"}

# Packages whose licence is in a file, read by a person: the licence, and why it may be.
READ = {"decomcam-model-lite": "Apache-2.0 AND WordNet-3.0, as its NOTICE says; both allow use, change and sale with their notices"}

# Packages that only tests use, so that nothing of them is passed on: the licence beside those above that they may have.
TESTS_ONLY = {"jpeg-encoder": "IJG"}

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression: str, more: str | None = None) -> bool:
    """Whether an SPDX expression can be met, with one licence more; `/` stands for OR, as crates.io once had it."""
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
            return token in ALLOWED or token == more
        value = either()
        assert tokens.pop(0) == ")", expression
        return value

    value = either()
    assert not tokens, f"{expression}: cannot be read from {tokens}"
    return value


def passed_on(metadata: dict) -> set[str]:
    """Ids of the workspace's packages and of all that they need to be built and run, tests aside."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), list(metadata["workspace_members"])
    while waiting:
        if (package := waiting.pop()) not in found:
            found.add(package)
            for dependency in nodes[package]["deps"]:
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                    waiting.append(dependency["pkg"])
    return found


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
    metadata = json.load(sys.stdin)
    shipped = passed_on(metadata)
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        licences[licence or f"{package['name']}: {READ.get(package['name'])}"] += 1
        more = None if package["id"] in shipped else TESTS_ONLY.get(package["name"])
        if not (package["name"] in READ if licence is None else allowed(licence, more)):
            problems.append(f"{name}: licence {licence or 'in a file that nobody has read'}; expected one of {', '.join(sorted(ALLOWED))}")
        if package["source"] not in (None, CRATES_IO):
            problems.append(f"{name}: from {package['source']}; expected crates.io or this repository")
    for licence, count in licences.most_common():
        print(f"{count:5}  {licence}")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
