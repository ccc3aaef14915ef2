"""Image files for tests, made from real photographs: every format, pixel type and orientation, and some made to harm.

Never holds an expectation: what a file should become is for the test that uses it.
"""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

# What a camera does to an upright picture before it states the orientation (the inverse of CIPA DC-008, 4.6.4).
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def opened(data: bytes) -> Image.Image:
    """The photograph in RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file."""
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def oriented(picture: Image.Image, orientation: int, kind: str = "JPEG", **options: object) -> bytes:
    """A file whose pixels are stored turned, and whose EXIF says how."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turn = STORED[orientation]
    return saved(picture if turn is None else picture.transpose(turn), kind, exif=exif, **options)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and check sum."""
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG of the stated header and the given chunks between header and end."""
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IEND", b"")


def bomb_png(side_px: int = 30_000, num_bytes: int = 100_000) -> bytes:
    """A PNG that states 900 million pixels in about 100 kB."""
    packed = zlib.compress(b"\0" * (num_bytes * 1000), 9)
    return png(side_px, side_px, png_chunk(b"IDAT", packed[:num_bytes].ljust(num_bytes, b"\0")))


def png_16_bit_rgb(pixels: NDArray[np.uint8]) -> bytes:
    """RGB of 16 bits a channel, which Pillow can read and not write: each 8-bit value times 257."""
    height, width = pixels.shape[:2]
    rows = (pixels.astype(np.uint16) * 257).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(width, height, png_chunk(b"IDAT", zlib.compress(raw)), bits=16)


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """The JPEG without its first segment of that marker."""
    start = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """The JPEG with one more segment right after its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def tag_bomb(num_tags: int, num_bytes: int) -> bytes:
    """An EXIF (or TIFF) block whose many tags all state the same long data: read one by one they fill the memory."""
    entries = b"".join(struct.pack("<HHLL", 0x9000 + tag, 1, num_bytes, 8) for tag in range(num_tags))
    return b"II*\0" + struct.pack("<L", 8 + num_bytes) + bytes(num_bytes) + struct.pack("<H", num_tags) + entries
