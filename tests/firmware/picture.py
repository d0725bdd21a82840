#!/usr/bin/env python3
"""The framebuffer of an emulated board as a PNG: what its display of 240 x 240 would show.

    tests/firmware/picture.py tests/firmware/target/out/m4f cat7_p100 overlay.png

Reads the two files that the board wrote when `tests/firmware/run` ran it.
"""
import struct
import sys
import zlib
from pathlib import Path

folder, case, output = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
at = 0
for line in (folder / "lines").read_text().splitlines():
    kind, *words = line.split()
    if kind != "stage":
        continue
    count = int(words[3])
    if words[:2] == [case, "overlay_240"]:
        break
    at += count
else:
    sys.exit(f"{folder}/lines has no stage overlay_240 of {case}")
pixels = [int(value) for value in struct.unpack_from(f"<{count}f", (folder / "values").read_bytes(), 4 * at)]
side = int(count**0.5)


def rgb(pixel):
    """RGB565, its bits repeated to fill a byte."""
    r, g, b = pixel >> 11, pixel >> 5 & 63, pixel & 31
    return bytes([r << 3 | r >> 2, g << 2 | g >> 4, b << 3 | b >> 2])


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


rows = b"".join(b"\0" + b"".join(map(rgb, pixels[y * side : (y + 1) * side])) for y in range(side))
header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
output.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
