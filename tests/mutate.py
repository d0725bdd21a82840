#!/usr/bin/env python3
"""Exchanges every operator of the core, one at a time: what neither the pinned hashes nor the tests see is a gap, or changes nothing.

    tests/mutate.py [DIRECTORY [FILE.rs...]]

Works on a copy of the last commit in DIRECTORY (target/mutants). `tests/mutants` rewrites the copy so that all mutants are in one program, which is compiled
once; for each, that program computes all cases of `tests/firmware` and compares their hashes with the pinned ones; then, for survivors only, `tests/core`
runs. Those in constants are compiled one by one. With files of the core named, only these are changed. Results are appended to results.tsv in DIRECTORY,
so that a run which was stopped goes on where it was: delete DIRECTORY after a new commit. First all mutants against the hashes, in minutes, then the survivors against the tests. A mutant has a limit of processor
time, so that a busy machine changes nothing. Outside the gate. `mutants.md` explains those that survived.
"""
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

repository = Path(__file__).resolve().parent.parent
only = sys.argv[2:]
directory = Path(sys.argv[1] if len(sys.argv) > 1 else repository / "target/mutants").absolute()
copy, results = directory / "copy", directory / "results.tsv"
run_in = directory / "run"
run_in.mkdir(parents=True, exist_ok=True)
environment = dict(os.environ, CARGO_TARGET_DIR=str(directory / "target"), RUST_BACKTRACE="0")
environment.pop("DECOMCAM_MUTANT", None)


def call(*command, cwd=repository, **more):
    return subprocess.run(command, cwd=cwd, env=environment, check=True, text=True, capture_output=True, **more)


# The commit that this run began with, whatever is committed meanwhile.
commit = call("git", "rev-parse", "HEAD").stdout.strip()


def fresh_copy():
    """The core and what tests it, as they were committed."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    paths = ["core", "tests/core", "tests/golden", "tests/cams", "tests/firmware", "Cargo.toml", "Cargo.lock"]
    archive = subprocess.run(["git", "archive", commit, *paths], cwd=repository, check=True, capture_output=True).stdout
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


def limited(seconds):
    return lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def by_hashes(cases, number="0"):
    """Whether the cases end, and if so with the pinned hashes."""
    active = dict(environment, DECOMCAM_MUTANT=number)
    ended = subprocess.run([cases], cwd=run_in, env=active, capture_output=True, preexec_fn=limited(3))
    lines = [line.split() for line in (run_in / "lines").read_text(errors="replace").splitlines()]
    got = "".join("\t".join(line[1:4]) + "\n" for line in lines if line and line[0] == "stage")
    return "time" if ended.returncode in (-9, -24) else "hashes" if ended.returncode or got != pinned else "same"


def by_tests(tests, number="0"):
    active = dict(environment, DECOMCAM_MUTANT=number, DECOMCAM_HOSTILE_SECONDS="0")
    ended = subprocess.run([tests, "-q", "--test-threads=1"], cwd=copy / "core", env=active, capture_output=True, preexec_fn=limited(30))
    return "time" if ended.returncode in (-9, -24) else "tests" if ended.returncode else "survived"


fresh_copy()
tool = ["cargo", "run", "--quiet", "--release", "--manifest-path", str(repository / "tests/mutants/Cargo.toml"), "--"]
sources = {path.name: path.read_text().split("\n") for path in (copy / "core/src").glob("*.rs")}
sites = [line.split("\t") for line in call(*tool, str(copy / "core/src")).stdout.splitlines()]
pinned = (copy / "tests/firmware/pinned.tsv").read_text()
sites = [site for site in sites if not only or site[1] in only]
sites.sort(key=lambda site: site[0] == "0")
rows = [line.split("\t") for line in results.read_text().splitlines()] if results.exists() else []
found = {tuple(row[:5]): row[5] for row in rows}
programs = None


def note(site, outcome):
    number, file, line, column, old, new = site
    found[(file, line, column, old, new)] = outcome
    with results.open("a") as log:
        log.write("\t".join([file, line, column, old, new, outcome, sources[file][int(line) - 1].strip()]) + "\n")


def alone(site):
    """One that must be compiled by itself."""
    number, file, line, column, old, new = site
    fresh_copy()
    text = sources[file][int(line) - 1]
    at = int(column) - 1
    sources_then = [*sources[file][: int(line) - 1], text[:at] + new + text[at + len(old):], *sources[file][int(line):]]
    (copy / "core/src" / file).write_text("\n".join(sources_then))
    try:
        tests, cases = build()
    except subprocess.CalledProcessError:
        return "compiler"
    seen = by_hashes(cases)
    return by_tests(tests) if seen == "same" else seen


for phase in ("hashes", "tests", "alone"):
    for site in sites:
        before = found.get(tuple(site[1:]))
        if (site[0] == "0") != (phase == "alone") or before not in ((None,) if phase != "tests" else (None, "same")):
            continue
        if phase == "alone":
            note(site, alone(site))
            continue
        if programs is None:
            programs = build()
            assert by_hashes(programs[1]) == "same" and by_tests(programs[0]) == "survived", "something fails without a mutant"
        note(site, by_hashes(programs[1], site[0]) if phase == "hashes" else by_tests(programs[0], site[0]))
# The last word on each.
table = list({tuple(line.split("\t")[:5]): line.split("\t") for line in results.read_text().splitlines()}.values())
counts = {outcome: sum(row[5] == outcome for row in table) for outcome in ("hashes", "tests", "time", "compiler", "survived", "same")}
print(f"{len(table)} mutants of {len(sites)}: {counts}")
for row in table:
    if row[5] == "survived":
        print(f"{row[0]}:{row[1]}:{row[2]}: {row[3]} -> {row[4] or 'nothing'}: {row[6]}")
