#!/usr/bin/env python3
"""Exchanges every operator of the core, one at a time: what neither the pinned hashes nor the tests see is a gap, or changes nothing.

    tests/mutate.py [DIRECTORY]

Works on a copy of the last commit in DIRECTORY (target/mutants). `tests/mutants` rewrites the copy so that all mutants are in one program, which is compiled
once; for each, that program computes all cases of `tests/firmware` and compares their hashes with the pinned ones; then, for survivors only, `tests/core`
runs. Those in constants are compiled one by one. Results are appended to results.tsv in DIRECTORY, so that a run which was stopped goes on where it was:
delete DIRECTORY after a new commit. A mutant has a time limit. Outside the gate. `mutants.md` explains those that survived.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

repository = Path(__file__).resolve().parent.parent
directory = Path(sys.argv[1] if len(sys.argv) > 1 else repository / "target/mutants").absolute()
copy, results = directory / "copy", directory / "results.tsv"
run_in = directory / "run"
run_in.mkdir(parents=True, exist_ok=True)
environment = dict(os.environ, CARGO_TARGET_DIR=str(directory / "target"), RUST_BACKTRACE="0")
environment.pop("DECOMCAM_MUTANT", None)


def call(*command, cwd=repository, **more):
    return subprocess.run(command, cwd=cwd, env=environment, check=True, text=True, capture_output=True, **more)


def fresh_copy():
    """The last commit, of the core and what tests it."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    paths = ["core", "tests/core", "tests/golden", "tests/cams", "tests/firmware", "Cargo.toml", "Cargo.lock"]
    archive = subprocess.run(["git", "archive", "HEAD", *paths], cwd=repository, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", copy], input=archive, check=True)
    manifest = copy / "Cargo.toml"
    manifest.write_text(re.sub(r"members = \[[^\]]*\]", 'members = ["core"]', manifest.read_text()))


def build():
    """The two programs that look for a difference."""
    options = ["--release", "--message-format", "short"]
    said = call("cargo", "test", "--no-run", "-p", "decomcam-core", "--features", "capi", "--test", "core", *options, cwd=copy).stderr
    tests = re.search(r"\((\S+)\)\s*$", said)[1]
    call("cargo", "build", "-p", "firmware-desktop", "--config", "profile.release.opt-level=2", *options, cwd=copy / "tests/firmware")
    return tests, directory / "target/release/firmware-desktop"


def outcome(tests, cases, number=0):
    """How a mutant ended."""
    active = dict(environment, DECOMCAM_MUTANT=str(number))
    try:
        ended = subprocess.run([cases], cwd=run_in, env=active, capture_output=True, timeout=20)
        lines = [line.split() for line in (run_in / "lines").read_text(errors="replace").splitlines()]
        got = "".join("\t".join(line[1:4]) + "\n" for line in lines if line and line[0] == "stage")
        if ended.returncode or got != pinned:
            return "hashes"
        ended = subprocess.run([tests, "-q"], cwd=copy / "core", env=active, capture_output=True, timeout=90)
        return "tests" if ended.returncode else "survived"
    except subprocess.TimeoutExpired:
        return "time"


fresh_copy()
tool = ["cargo", "run", "--quiet", "--release", "--manifest-path", str(repository / "tests/mutants/Cargo.toml"), "--"]
sources = {path.name: path.read_text().split("\n") for path in (copy / "core/src").glob("*.rs")}
sites = [line.split("\t") for line in call(*tool, str(copy / "core/src")).stdout.splitlines()]
pinned = (copy / "tests/firmware/pinned.tsv").read_text()
done = {tuple(line.split("\t")[:5]) for line in results.read_text().splitlines()} if results.exists() else set()
programs = None
with results.open("a") as log:
    for number, file, line, column, old, new in sorted(sites, key=lambda site: site[0] == "0"):
        if (file, line, column, old, new) in done:
            continue
        if programs is None:
            programs = build()
            assert outcome(*programs) == "survived", "something fails without a mutant"
        before = sources[file][int(line) - 1]
        at = int(column) - 1
        after = before[:at] + new + before[at + len(old):]
        if number != "0":
            found = outcome(*programs, number)
        else:
            fresh_copy()
            path = copy / "core/src" / file
            path.write_text("\n".join([*sources[file][: int(line) - 1], after, *sources[file][int(line):]]))
            try:
                found = outcome(*build())
            except subprocess.CalledProcessError:
                found = "compiler"
        log.write("\t".join([file, line, column, old, new, found, before.strip()]) + "\n")
        log.flush()
table = [line.split("\t") for line in results.read_text().splitlines()]
counts = {found: sum(row[5] == found for row in table) for found in ("hashes", "tests", "time", "compiler", "survived")}
print(f"{len(table)} mutants: {counts}")
for row in table:
    if row[5] == "survived":
        print(f"{row[0]}:{row[1]}:{row[2]}: {row[3]} -> {row[4] or 'nothing'}: {row[6]}")
