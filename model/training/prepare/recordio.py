"""RecordIO: the records of dmlc's file format, and the header that MXNet puts before each image.

Holds the framing and the header. Never decodes an image, and never knows what a label means. Written from the format's
own description (dmlc-core, include/dmlc/recordio.h; mxnet, src/io/image_recordio.h; both Apache-2.0): a record is the
number 0xced7230a, a word whose upper three bits say which part of a record it is (0 whole, 1 first, 2 middle, 3 last)
and whose lower 29 are its length, the data, and zeros up to a multiple of four bytes. Where data hold the magic number
at a multiple of four, the record is cut there, the number left out. All words are little-endian.
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from model.training.data_error import DataError

MAGIC: Final = struct.pack("<I", 0xCED7230A)
LENGTH_BITS: Final = 29
_MAX_LENGTH: Final = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)
_FRAME: Final = struct.Struct("<4sI")
_HEADER: Final = struct.Struct("<IfQQ")  # IRHeader: flag, label, id, id2


class RecordError(OSError):
    """A record that is not one; the message says where."""


@dataclass(frozen=True, slots=True)
class Record:
    """An image record.

    Attributes:
        labels: the header's one label, or as many as its flag says.
        key: the header's id.
        data: what follows: an encoded image, or nothing in a record that only describes others.
        is_single: whether the header holds one label in its own field (flag 0).
    """

    labels: tuple[float, ...]
    key: int
    data: bytes
    is_single: bool


def read_record(file: BinaryIO) -> bytes | None:
    """The record at the file's place, its parts put together; None at the file's end.

    Raises:
        RecordError: if there is no record at that place, or it is cut short.
    """
    parts: list[bytes] = []
    while True:
        start = file.tell()
        frame = file.read(_FRAME.size)
        if not frame and not parts:
            return None
        if len(frame) < _FRAME.size or frame[:4] != MAGIC:
            raise RecordError(f"no record at byte {start}")
        kind, length = divmod(_FRAME.unpack(frame)[1], _MAX_LENGTH + 1)
        if kind > LAST or (kind in (WHOLE, FIRST)) != (not parts):
            raise RecordError(f"a part of a record is missing at byte {start}")
        data = file.read(length)
        if len(data) < length:
            raise RecordError(f"the record at byte {start} is cut short")
        file.seek(-length % 4, 1)
        parts.append(data)
        if kind in (WHOLE, LAST):
            return MAGIC.join(parts)


def parse_record(data: bytes) -> Record:
    """Takes the header off a record.

    Raises:
        RecordError: if the record is shorter than its header says.
    """
    if len(data) < _HEADER.size:
        raise RecordError("a record without a header")
    flag, label, key, _ = _HEADER.unpack_from(data)
    if flag == 0:
        return Record((label,), key, data[_HEADER.size :], is_single=True)
    end = _HEADER.size + 4 * flag
    if len(data) < end:
        raise RecordError("a record shorter than its labels")
    return Record(struct.unpack_from(f"<{flag}f", data, _HEADER.size), key, data[end:], is_single=False)


@dataclass(frozen=True, slots=True)
class RecordIndex:
    """Where each record begins.

    Attributes:
        keys: int64 (N,), ascending.
        places: int64 (N,), the byte at which the record of the same row's key begins.
    """

    keys: NDArray[np.int64]
    places: NDArray[np.int64]

    def __contains__(self, key: int) -> bool:
        return self._row(key) is not None

    def place(self, key: int) -> int:
        """The byte at which a record begins.

        Raises:
            KeyError: if there is no record of that key.
        """
        row = self._row(key)
        if row is None:
            raise KeyError(key)
        return int(self.places[row])

    def _row(self, key: int) -> int | None:
        row = int(np.searchsorted(self.keys, key))
        return row if row < len(self.keys) and self.keys[row] == key else None


def read_index(path: Path) -> RecordIndex:
    """An `.idx` file: lines of a key and the byte where its record begins. Millions of them take 16 bytes each.

    Raises:
        DataError: if it cannot be read or a line is not two whole numbers.
    """
    numbers = array("q")
    try:
        with path.open(encoding="ascii") as file:
            for line in file:
                if line.strip():
                    key, place = line.split()
                    numbers.append(int(key))
                    numbers.append(int(place))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path} is no index: a line is not a key and a place ({error})") from error
    return _index(numbers)


def scan_index(path: Path) -> RecordIndex:
    """What the index of a `.rec` file that has none would say, by reading the file's frames; keys are its headers' ids.

    Raises:
        DataError: if the file cannot be read or holds anything but records.
    """
    numbers = array("q")
    try:
        with path.open("rb") as file:
            for key, place in _places(file):
                numbers.append(key)
                numbers.append(place)
    except (OSError, OverflowError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return _index(numbers)


def _index(numbers: "array[int]") -> RecordIndex:
    keys, places = np.array(numbers, np.int64).reshape(-1, 2).T
    keys, first = np.unique(keys, return_index=True)
    return RecordIndex(keys, places[first])


def _places(file: BinaryIO) -> Iterator[tuple[int, int]]:
    while True:
        place = file.tell()
        data = read_record(file)
        if data is None:
            return
        yield parse_record(data).key, place
