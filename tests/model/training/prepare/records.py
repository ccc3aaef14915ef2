"""Writes dmlc's RecordIO as its own writer does, for tests: frames, padding, and records cut where data hold the magic.

Never reads a record.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

MAGIC = struct.pack("<I", 0xCED7230A)


def frames(data: bytes) -> bytes:
    """A record's bytes in the file."""
    cuts = [place for place in range(0, len(data) // 4 * 4, 4) if data[place : place + 4] == MAGIC]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(data)]
    written = b""
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        kind = 0 if not cuts else 1 if number == 0 else 3 if number == len(cuts) else 2
        length = end - start
        written += MAGIC + struct.pack("<I", kind << 29 | length) + data[start:end] + bytes(-length % 4)
    return written


def packed(label: float | Sequence[float], key: int, image: bytes = b"") -> bytes:
    """A record's data: MXNet's image header, and the image."""
    if isinstance(label, (int, float)):
        return struct.pack("<IfQQ", 0, label, key, 0) + image
    return struct.pack("<IfQQ", len(label), 0.0, key, 0) + struct.pack(f"<{len(label)}f", *label) + image


def write_records(folder: Path, records: Mapping[int, bytes], num_identities: int | None = None) -> Path:
    """Writes `train.rec`, `train.idx` and, if told the identities, `property`."""
    folder.mkdir(parents=True, exist_ok=True)
    places, written = [], b""
    for key, data in records.items():
        places.append(f"{key}\t{len(written)}\n")
        written += frames(data)
    (folder / "train.rec").write_bytes(written)
    (folder / "train.idx").write_text("".join(places))
    if num_identities is not None:
        (folder / "property").write_text(f"{num_identities},112,112")
    return folder


def write_set(folder: Path, images: Sequence[bytes], people: Sequence[int]) -> Path:
    """Writes a set as InsightFace's tool does: images from key 1, then identities, and record 0 that says how many."""
    num, num_people = len(images), max(people) + 1
    records = {
        key: packed(float(person), key, image)
        for key, (image, person) in enumerate(zip(images, people, strict=True), 1)
    }
    records[0] = packed([float(num + 1), float(num + 1 + num_people)], 0)
    for person in range(num_people):
        own = [key for key, each in enumerate(people, 1) if each == person]
        records[num + 1 + person] = packed([float(own[0]), float(own[-1] + 1)], num + 1 + person)
    return write_records(folder, records, num_people)
