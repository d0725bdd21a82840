#!/usr/bin/env python3
"""Changes one operator of the core at a time and runs its tests: what survives is a gap in the tests, or changes nothing.

    tests/mutate.py SECONDS [SEED]

Works on a copy of the last commit. Outside the gate: a mutant takes ten seconds or more. `mutants.md` explains those that survived.
"""
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWAPS = [(" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "), (" + ", " - "), (" - ", " + "), (" * ", " / "), (" / ", " * "),
         (" && ", " || "), (" || ", " && "), (" == ", " != "), (" != ", " == "), (" += ", " -= "), (" -= ", " += ")]

repository = Path(__file__).resolve().parent.parent
copy = Path(tempfile.mkdtemp(prefix="mutants"))
paths = ["core", "tests/core", "tests/golden", "tests/cams", "tests/firmware/cases", "Cargo.toml", "Cargo.lock"]
archive = subprocess.run(["git", "archive", "HEAD", *paths], cwd=repository, check=True, capture_output=True).stdout
subprocess.run(["tar", "x", "-C", copy], input=archive, check=True)
manifest = copy / "Cargo.toml"
manifest.write_text(re.sub(r"members = \[[^\]]*\]", 'members = ["core"]', manifest.read_text()))
environment = dict(os.environ, CARGO_PROFILE_DEV_OPT_LEVEL="1", CARGO_TARGET_DIR=str(copy / "target"), RUST_BACKTRACE="0")
test = ["cargo", "test", "-q", "-p", "decomcam-core", "--features", "capi", "--test", "core"]
run = lambda: subprocess.run(test, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
assert run().returncode == 0, "the tests fail without a change"

sites = []
for file in sorted((copy / "core/src").glob("*.rs")):
    if file.name == "ffi.rs":
        continue
    for number, line in enumerate(file.read_text().split("\n")):
        if not line.strip().startswith(("//", "#", "use ")):
            sites += [(file, number, at.start(), old, new) for old, new in SWAPS for at in re.finditer(re.escape(old), line)]
random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1).shuffle(sites)
counts, end = {}, time.time() + float(sys.argv[1])
for file, number, at, old, new in sites:
    if time.time() > end:
        break
    text = file.read_text()
    lines = text.split("\n")
    before = lines[number]
    lines[number] = before[:at] + new + before[at + len(old):]
    file.write_text("\n".join(lines))
    try:
        result = run()
        outcome = "survived" if result.returncode == 0 else "no program" if "could not compile" in result.stderr else "caught"
    except subprocess.TimeoutExpired:
        outcome = "caught"
    counts[outcome] = counts.get(outcome, 0) + 1
    if outcome == "survived":
        print(f"{file.name}:{number + 1}: {before.strip()}  ->  {lines[number].strip()}", flush=True)
    file.write_text(text)
print(f"{counts} of {len(sites)} places")
