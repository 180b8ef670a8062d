"""Image files made in memory."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, file_format: str, mode: str | None = None, **options) -> bytes:
    """Returns the bytes of an image file that Pillow makes of uint8 or uint16 pixels."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, file_format, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """Returns the bytes of a PNG of any header; each row of pixels starts with a byte 0."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
