"""Numbers that a board left beside those of `decomcam explain`: python3 compare.py NUMBERS ARRAY.npy

Says how many have the same bits, and by how much the others are off. Fails if any are.
"""

import struct
import sys


def main() -> None:
    board = open(sys.argv[1], "rb").read()
    # What stands behind the head of numpy's format.
    desktop = open(sys.argv[2], "rb").read()[-len(board) :]
    words = [struct.unpack(f"<{len(board) // 4}I", numbers) for numbers in (board, desktop)]
    floats = [struct.unpack(f"<{len(board) // 4}f", numbers) for numbers in (board, desktop)]
    same = sum(a == b for a, b in zip(*words))
    off = max(abs(a - b) for a, b in zip(*floats)) / max(max(map(abs, floats[0])), 1e-30)
    name = sys.argv[2].rsplit("/", 1)[-1]
    print(f"{name}: {same} of {len(words[0])} numbers have the bits of decomcam explain; the largest difference is {off:.1e} of the largest number")
    sys.exit(same < len(words[0]))


if __name__ == "__main__":
    main()
