"""A display's memory, 240 x 240 pixels in RGB565, as PNG: python3 png.py DISPLAY OUT.png"""

import struct
import sys
import zlib

SIDE = 240


def main() -> None:
    pixels = struct.unpack(f"<{SIDE * SIDE}H", open(sys.argv[1], "rb").read())
    rows = b""
    for y in range(SIDE):
        rows += b"\0"
        for pixel in pixels[y * SIDE : (y + 1) * SIDE]:
            red, green, blue = pixel >> 11, pixel >> 5 & 63, pixel & 31
            rows += bytes((red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    open(sys.argv[2], "wb").write(picture)


if __name__ == "__main__":
    main()
