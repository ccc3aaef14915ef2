"""InsightFace's `.bin` verification sets (LFW, CFP-FP, AgeDB-30, CALFW, CPLFW): a pickle, read by an allow-list.

Holds the restricted unpickler and the check of what came out of it. Never calls anything that a file names but five
stand-ins of its own, never hands bytes of a file to NumPy's own unpickling, and never decodes an image. Shape suffixes:
P pairs.
"""

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.data_error import DataError

_DTYPE: Final = re.compile(r"[|<>=]?(b1|u1|i[1248]|u[248]|f[248]|O8?)")
_MAX_DIMENSIONS: Final = 3


@dataclass(frozen=True, slots=True)
class VerificationBin:
    """Pairs of aligned faces: images 2p and 2p + 1 are pair p.

    Attributes:
        images: 2P encoded images, as the file has them (JPEG in the published sets, 112 x 112).
        same: bool (P,), whether a pair shows one person twice.
    """

    images: tuple[bytes, ...]
    same: NDArray[np.bool_]


def read_bin(path: Path) -> VerificationBin:
    """Reads a verification set in InsightFace's layout, a pickled pair (images, same).

    The layout is that of `load_bin` in InsightFace's `recognition/arcface_torch/eval/verification.py` (MIT): a list of
    2P encoded images and a list of P booleans, pickled by Python 2 or 3; either list may be a NumPy array.

    Raises:
        DataError: if there is no such file, it is no pickle, names anything but lists, bytes, booleans and NumPy
            arrays, or does not hold two images a pair.
    """
    try:
        with path.open("rb") as file:
            content = _Restricted(file, encoding="bytes").load()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except _RefusedError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # a torn pickle raises nearly anything
        raise DataError(f"{path} is no verification set: {_line(error)}") from error
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        raise DataError(f"{path} is no verification set: it holds no pair of images and answers")
    images = tuple(_encoded(value, number, path) for number, value in enumerate(_items(content[0], path)))
    same = np.array([_truth(value, number, path) for number, value in enumerate(_items(content[1], path))], np.bool_)
    if len(images) != 2 * len(same) or not len(same):
        raise DataError(f"{path}: {len(images)} images for {len(same)} pairs; a pair has two")
    return VerificationBin(images, same)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class _RefusedError(ValueError):
    """A file names something that no verification set holds."""


class _Dtype:
    """Stands for `numpy.dtype` while a file is read, so that a made-up state reaches no C code."""

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else str(code)
        if not _DTYPE.fullmatch(text):
            raise _RefusedError(f"arrays of {text[:20]!r} have no place in a verification set")
        self.is_object = "O" in text
        self.dtype = np.dtype(bool) if self.is_object else np.dtype(text)

    def __setstate__(self, state: object) -> None:
        # (version, byte order, sub-array, names, fields, ...): of a plain type only the order may be told.
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise _RefusedError("structured arrays have no place in a verification set")
        if state[1] in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands for `numpy.ndarray` while a file is read; `values` is what it holds, once its state is known."""

    def __init__(self, *_: object) -> None:
        self.values: list[object] | NDArray[np.generic] = []

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise _RefusedError("an array in it is torn")
        _, shape, dtype, column_major, data = state
        if dtype.is_object and isinstance(data, list):
            self.values = data
        elif not dtype.is_object and isinstance(data, (bytes, bytearray)) and not column_major:
            self.values = _array(data, dtype, shape)
        else:
            raise _RefusedError("an array in it is torn")


def _array(data: bytes | bytearray, dtype: _Dtype, shape: object) -> NDArray[np.generic]:
    if dtype.is_object or not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise _RefusedError("an array in it is torn")
    flat: NDArray[np.generic] = np.frombuffer(data, dtype.dtype)
    return flat.reshape(shape)


def _from_buffer(data: bytes | bytearray, dtype: _Dtype, shape: object, order: object) -> _Array:
    array = _Array()
    if order != "C":
        raise _RefusedError("an array in it is torn")
    array.values = _array(bytes(data), dtype, shape)
    return array


def _scalar(dtype: _Dtype, data: bytes) -> object:
    return _array(data, dtype, (1,))[0].item()


def _latin1(text: object, encoding: object) -> bytes:
    # How Python 3 writes bytes in the protocols that Python 2 knows.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _RefusedError("it holds an encoded text that is no bytes")
    return text.encode("latin1")


_ALLOWED: Final[dict[tuple[str, str], Callable[..., object]]] = {
    ("_codecs", "encode"): _latin1,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"refused: it names {module}.{name}, which no verification set holds")
        return _ALLOWED[module, name]


def _items(value: object, path: Path) -> Sequence[object]:
    held = value.values if isinstance(value, _Array) else value
    if isinstance(held, np.ndarray) and held.ndim:
        return list(held)
    if isinstance(held, (list, tuple)):
        return held
    raise DataError(f"{path} is no verification set: it holds a {type(held).__name__} where a list belongs")


def _encoded(value: object, number: int, path: Path) -> bytes:
    held = value.values if isinstance(value, _Array) else value
    if isinstance(held, (bytes, bytearray)):
        return bytes(held)
    if isinstance(held, np.ndarray) and held.ndim == 1 and held.dtype == np.uint8:
        return held.tobytes()
    raise DataError(f"{path}: image {number} is no encoded image")


def _truth(value: object, number: int, path: Path) -> bool:
    if isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    raise DataError(f"{path}: the answer of pair {number} is neither true nor false")
