"""The operator set of an ONNX file, read without the `onnx` package, which serving does not install.

Holds a walk over the top level of the file's protocol buffer. Never parses a graph: fields are skipped by their length.
"""

import mmap
from pathlib import Path
from typing import Final

from model.runtime.pack import PackError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types (protobuf encoding, "Message Structure")
_OPSET_IMPORT: Final = 8  # ModelProto.opset_import
_DOMAIN, _VERSION = 1, 2  # OperatorSetIdProto


def read_opset(path: Path) -> int:
    """Version of the default operator set that an ONNX file imports.

    Raises:
        PackError: if the file cannot be read, is not an ONNX model, or imports no default operator set.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, value in _fields(data, 0, len(data)):
                version = _default_version(data, value) if number == _OPSET_IMPORT else None
                if version is not None:
                    return version
    except (OSError, ValueError, IndexError) as error:
        raise PackError(f"{path}: not an ONNX model") from error
    raise PackError(f"{path}: states no operator set, so it is not an ONNX model")


def _default_version(data: mmap.mmap, span: tuple[int, int]) -> int | None:
    domain, version = b"", None
    for number, value in _fields(data, *span):
        if number == _DOMAIN:
            domain = data[value[0] : value[1]]
        elif number == _VERSION:
            version = value[0]
    return version if domain in (b"", b"ai.onnx") else None


def _fields(data: mmap.mmap, at: int, end: int) -> "list[tuple[int, tuple[int, int]]]":
    """Field numbers with the span of their bytes; for a varint, its value and the position after it."""
    found = []
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            found.append((number, (value, at)))
            continue
        length, at = _length(data, at, wire)
        if at + length > end:
            raise ValueError("a field runs past its end")
        found.append((number, (at, at + length)))
        at += length
    return found


def _length(data: mmap.mmap, at: int, wire: int) -> tuple[int, int]:
    if wire == _BYTES:
        return _varint(data, at)
    if wire in (_FIXED32, _FIXED64):
        return (4 if wire == _FIXED32 else 8), at
    raise ValueError("no such wire type")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
