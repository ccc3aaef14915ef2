"""Image files before a decoder sees them: which format the bytes are, their orientation, the bytes without metadata.

Holds small bounded readers of JPEG, PNG, WebP and TIFF structure. Metadata is where a small file can cost a decoder
gigabytes (compressed text, overlapping tags), so it is read here, in bounds, and dropped. Never decodes a pixel.
"""

import struct
from collections.abc import Iterator
from typing import Final, Literal

from service.errors import UnreadableImage, UnsupportedImage

Format = Literal["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]

ALLOWED: Final = "JPEG, PNG, WebP, BMP, GIF and TIFF"
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGICS: Final = (b"II*\0", b"MM\0*")
_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})  # lengths of the second header that exist
_MAX_PARTS: Final = 100_000  # segments or chunks: a photograph has tens, a large PNG some thousands
_MAX_SCANS: Final = 500  # of a progressive JPEG: each costs a pass over all coefficients; encoders write about ten
_TIFF_UNITS: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
# Application segments and comments; of these only JFIF's (E0) and Adobe's (EE) say anything about the pixels.
_JPEG_METADATA: Final = (frozenset(range(0xE1, 0xF0)) | {0xFE}) - {0xEE}
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL: Final = (0xC0, 0xC1)
_ORIENTATION: Final = 0x0112
_TILE_WIDTH: Final = 0x0142
_TILE_HEIGHT: Final = 0x0143


def sniff(data: bytes) -> Format:
    """Says which allowed format the bytes are, from their first bytes alone.

    Raises:
        UnsupportedImage: if they are none; a well-known format is named, and what is allowed is said.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_MAGIC):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data.startswith(_TIFF_MAGICS):
        return "TIFF"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    known = _foreign(data)
    what = (
        f"This is {known}, which is not read here" if known else "These bytes are no image of a type that is read here"
    )
    raise UnsupportedImage(f"{what}; send {ALLOWED}.")


def strip(data: bytes, kind: Format) -> tuple[bytes, int]:
    """Takes off the metadata that a decoder would parse, and reads the EXIF orientation from it.

    Args:
        data: the whole file.
        kind: its format, from `sniff`.

    Returns:
        The file as a decoder should get it, and the orientation 1 to 8 that is left to apply to its pixels (1 where the
        file states none, or nonsense). A TIFF keeps its own: its decoder applies it.

    Raises:
        UnreadableImage: if the structure is broken, or made to cost more than a photograph ever does.
    """
    if kind == "JPEG":
        return _strip_jpeg(data)
    if kind == "PNG":
        return _strip_png(data)
    if kind == "WEBP":
        exif = next((chunk for name, chunk in _riff_chunks(data) if name == b"EXIF"), b"")
        return data, exif_orientation(exif)
    if kind == "TIFF":
        _check_tiff(data)
    return data, 1


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas, from its header alone: its decoder allocates the canvas when it opens.

    Source: the WebP container specification and RFC 6386 (VP8), RFC 9649 (VP8L).
    """
    name, head = data[12:16], data[20:30]
    if name == b"VP8X" and len(head) == 10:
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if name == b"VP8 " and head[3:6] == b"\x9d\x01\x2a" and len(head) == 10:
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L" and head[:1] == b"\x2f" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise UnreadableImage("The WebP's header is damaged.")


def exif_orientation(exif: bytes) -> int:
    """The orientation that an EXIF block's first directory states: 1 to 8, and 1 where there is none or it is nonsense.

    Source: CIPA DC-008 (EXIF 2.32), 4.6.4. Values of other tags are never followed.
    """
    block = exif.removeprefix(b"Exif\0\0")
    if not block.startswith(_TIFF_MAGICS):
        return 1
    for tag, unit, _, value in _tiff_entries(block):
        if tag == _ORIENTATION and unit == 3:
            order = "<" if block.startswith(b"II") else ">"
            stated = int(struct.unpack(order + "H", value[:2])[0])
            return stated if 1 <= stated <= 8 else 1
    return 1


def _foreign(data: bytes) -> str | None:
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "a HEIC picture"
    if brand in (b"avif", b"avis"):
        return "an AVIF picture"
    heads = {b"%PDF": "a PDF", b"8BPS": "a Photoshop file", b"\0\0\0\x0cjP  ": "a JPEG 2000 picture"}
    named = next((name for head, name in heads.items() if data.startswith(head)), None)
    if named is None and b"<svg" in data[:1024].lower():
        return "an SVG drawing"
    return named


def _strip_jpeg(data: bytes) -> tuple[bytes, int]:
    kept, orientation = [data[:2]], 1
    exif_seen, frame = False, -1
    for marker, start, end in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            frame = start
        if marker == 0xDA:  # the scans, and whatever follows them
            _check_scans(data, frame, start)
            kept.append(data[start:])
            return b"".join(kept), orientation
        if marker == 0xE1 and not exif_seen and data[start + 4 : start + 10] == b"Exif\0\0":
            exif_seen, orientation = True, exif_orientation(data[start + 4 : end])
        if marker not in _JPEG_METADATA:
            kept.append(data[start:end])
    raise UnreadableImage("The JPEG is cut off or damaged before its picture begins.")


def _check_scans(data: bytes, frame: int, scan: int) -> None:
    """Refuses a file of more scans than pictures have; where the first one holds all there is, libjpeg takes no more.

    Args:
        data: the file.
        frame: where its last frame header begins; -1 for none.
        scan: where its first scan begins.
    """
    is_sequential = frame >= 0 and data[frame + 1] in _SEQUENTIAL
    has_all = is_sequential and data[scan + 4 : scan + 5] >= data[frame + 9 : frame + 10] > b"\0"  # components
    if not has_all and data.count(b"\xff\xda", scan) > _MAX_SCANS:
        raise UnreadableImage(f"The JPEG has more than {_MAX_SCANS} scans.")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the first scan; what lies between is skipped, as in libjpeg."""
    position = 2
    for _ in range(_MAX_PARTS):
        position = data.find(b"\xff", position)
        while data[position + 1 : position + 2] == b"\xff":  # fill bytes
            position += 1
        if position < 0 or position + 4 > len(data):
            return
        marker = data[position + 1]
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:  # stuffing and markers without a length
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, position, end
        position = end


def _strip_png(data: bytes) -> tuple[bytes, int]:
    kept, orientation, position = [data[:8]], 1, 8
    for _ in range(_MAX_PARTS):
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + length
        if name == b"eXIf":
            orientation = exif_orientation(data[position + 8 : end - 4])
        # Upper case marks the chunks without which the picture cannot be shown; of the rest only tRNS bears on pixels.
        if name[:1].isupper() or name == b"tRNS":
            kept.append(data[position:end])
        position = end
        if position >= len(data) or name == b"IEND":
            return b"".join(kept), orientation
    raise UnreadableImage("The PNG is cut into too many chunks.")


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            return
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _check_tiff(data: bytes) -> None:
    """Refuses a first directory whose tags overlap or whose tiles are far larger than a decoder should allocate."""
    total, tile = 0, {_TILE_WIDTH: 0, _TILE_HEIGHT: 0}
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    for tag, unit, count, value in _tiff_entries(data):
        size = _TIFF_UNITS.get(unit, 1) * count
        total += size if size > 4 else 0
        if tag in tile:
            tile[tag] = int.from_bytes(value[: _TIFF_UNITS.get(unit, 4)], order)
    if total > len(data):
        raise UnreadableImage("The TIFF's directory states more data than the file holds.")
    if tile[_TILE_WIDTH] * tile[_TILE_HEIGHT] > 1 << 24:
        raise UnreadableImage("The TIFF's tiles are larger than 16 megapixels each.")


def _tiff_entries(block: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, count and the four value bytes of each whole entry of a TIFF block's first directory."""
    order = "<" if block.startswith(b"II") else ">"
    if len(block) < 10:
        return
    (offset,) = struct.unpack(order + "L", block[4:8])
    if offset + 2 > len(block):
        return
    (count,) = struct.unpack(order + "H", block[offset : offset + 2])
    for start in range(offset + 2, min(offset + 2 + 12 * count, len(block) - 11), 12):
        yield struct.unpack(order + "HHL4s", block[start : start + 12])
