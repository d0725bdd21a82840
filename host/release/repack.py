"""Packs the files of wheels once more with zopfli, a fiftieth smaller than zlib at its best; it takes a minute or two.

    repack.py WHEEL...
"""

import os
import sys
import zipfile

import zopfli.zlib


class Compressor:
    """What `zipfile` asks of a compressor; a file is compressed as a whole."""

    def __init__(self) -> None:
        self.parts: "list[bytes]" = []

    def compress(self, data: bytes) -> bytes:
        self.parts.append(bytes(data))
        return b""

    def flush(self) -> bytes:
        # A stream of zlib is two bytes, deflate's, and a checksum of four.
        return zopfli.zlib.compress(b"".join(self.parts), numiterations=3)[2:-4]


# `zipfile` has no open door for another compressor.
zipfile._get_compressor = lambda kind, level=None: Compressor()

for wheel in sys.argv[1:]:
    packed = wheel + ".packed"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            data, entry.compress_type = old.read(entry), zipfile.ZIP_DEFLATED
            new.writestr(entry, data)
    with zipfile.ZipFile(packed) as new:
        broken = new.testzip()
    if broken is not None:
        sys.exit(f"{packed}: {broken} cannot be read again")
    os.replace(packed, wheel)
