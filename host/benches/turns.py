"""Processor time of a further explanation, of the start, and peak memory, by several builds of the program in turn: what a busy machine can tell.

    python host/benches/turns.py target/release/decomcam OTHER/decomcam [--threads 1] [--turns 3] [-- --recipe aligned]

What follows `--` goes to `decomcam bench`. The smallest of all turns is printed.
"""

import argparse
import os
import sys
from pathlib import Path

PHOTO = Path(__file__).parents[2] / "tests/photos/chelsea.png"
REPEATS = 12


def run(program: str, repeats: int, options: list[str]) -> tuple[float, float]:
    """Milliseconds of the processor, all threads together, and megabytes of peak memory."""
    command = [program, "bench", str(PHOTO), "-t", "a cat", "--repeat", str(repeats), *options]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(program, command, os.environ, file_actions=quiet)
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit(f"{' '.join(command)}: ended with status {status}")
    return 1e3 * (used.ru_utime + used.ru_stime), used.ru_maxrss * 1024 / 1e6


def main() -> None:
    own = sys.argv[1:]
    options = own[own.index("--") + 1 :] if "--" in own else []
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args(own[: own.index("--")] if "--" in own else own)
    options += ["--threads", str(args.threads)]
    found: dict[str, list[tuple[float, float, float]]] = {program: [] for program in args.programs}
    for _ in range(args.turns):
        for program in args.programs:
            once, _ = run(program, 1, options)
            often, memory = run(program, 1 + REPEATS, options)
            found[program].append(((often - once) / REPEATS, once, memory))
    print("| program | a further explanation, ms | start and two explanations, ms | peak memory, MB |\n|---|---|---|---|")
    for program, turns in found.items():
        further, start, memory = (min(column) for column in zip(*turns, strict=True))
        print(f"| {program} | {further:.0f} | {start:.0f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
