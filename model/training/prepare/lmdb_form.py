"""face_analysis_pytorch's LMDB form: read, and written from any source whose rows carry a label.

Holds the form (github.com/vitoralbiero/face_analysis_pytorch, data/data_loader_train_lmdb.py, utils/imagelist2lmdb.py
and folder2lmdb.py, MIT): one file; values under the keys `0`, `1`, ... are msgpack of [encoded image, label], some
with a face mask as a third element, which is not read; `__len__` the number of entries, `__keys__` the list of their
keys, `__classnum__` one more than the largest label, or for ages the largest. Never decodes an image, and never
stores a crop: the form holds the source's own bytes.
"""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from model.training.data_error import DataError

_LENGTH, _KEYS, _NUM_CLASSES = b"__len__", b"__keys__", b"__classnum__"
_FIRST_MAP_BYTES: Final = 64 << 20
_BATCH: Final = 256


def lmdb_length(path: Path) -> int:
    """How many entries a file has.

    Raises:
        DataError: if it is no such file.
    """
    with _opened(path) as reading:
        return len(_keys(reading, path))


def iterate_lmdb(path: Path) -> Iterator[tuple[str, bytes | None, int | None]]:
    """Key, image and label of each entry, in the order of the file's keys; None where an entry is none.

    Raises:
        DataError: if it is no such file.
    """
    with _opened(path) as reading:
        for key in _keys(reading, path):
            entry = _unpack(reading.get(key))
            named = key.decode("ascii", "replace")
            if isinstance(entry, list) and len(entry) >= 2 and isinstance(entry[0], bytes) and type(entry[1]) is int:
                yield named, entry[0], entry[1]
            else:
                yield named, None, None


def write_lmdb(path: Path, entries: Iterable[tuple[bytes, int]], *, is_age: bool) -> int:
    """Writes entries into a new file, whole or not at all.

    Args:
        path: the file.
        entries: encoded images and their labels.
        is_age: whether the labels are ages, whose largest is the number of classes.

    Returns:
        How many entries were written.

    Raises:
        DataError: if the file cannot be written.
    """
    lmdb, msgpack = _library("lmdb"), _library("msgpack")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    num, largest, batch = 0, 0, []
    try:
        # Without a lock: nobody else knows this file yet.
        with lmdb.open(str(part), subdir=False, map_size=_FIRST_MAP_BYTES, lock=False, meminit=False) as environment:
            for image, label in entries:
                batch.append((b"%d" % num, msgpack.packb((image, label))))
                num, largest = num + 1, max(largest, label)
                if len(batch) == _BATCH:
                    _put(environment, batch)
                    batch = []
            keys = [b"%d" % number for number in range(num)]
            closing = ((_KEYS, keys), (_LENGTH, num), (_NUM_CLASSES, largest + (not is_age)))
            _put(environment, [*batch, *((key, msgpack.packb(value)) for key, value in closing)])
            environment.sync(True)
        part.replace(path)
    except (OSError, lmdb.Error) as error:
        raise DataError(f"cannot write {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return num


def _put(environment: Any, batch: list[tuple[bytes, bytes]]) -> None:  # noqa: ANN401 - lmdb has no types
    """Writes a batch, in a larger map if it needs one."""
    while True:
        try:
            with environment.begin(write=True) as writing:
                for key, value in batch:
                    writing.put(key, value)
        except _library("lmdb").MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        else:
            return


class _opened:  # noqa: N801 - a context manager, used like a function
    """A reading transaction on a file, or on the folder that LMDB makes for itself."""

    def __init__(self, path: Path) -> None:
        lmdb = _library("lmdb")
        try:
            self._environment = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False
            )
        except lmdb.Error as error:
            raise DataError(f"{path} is no LMDB: {error}") from error

    def __enter__(self) -> Any:  # noqa: ANN401 - lmdb has no types
        self._reading = self._environment.begin()
        return self._reading

    def __exit__(self, *_: object) -> None:
        self._reading.abort()
        self._environment.close()


def _keys(reading: Any, path: Path) -> list[bytes]:  # noqa: ANN401 - lmdb has no types
    keys = _unpack(reading.get(_KEYS))
    if not isinstance(keys, list) or not all(isinstance(key, bytes) for key in keys):
        raise DataError(f"{path} is no LMDB of face_analysis_pytorch: it holds no list of keys under __keys__")
    return keys


def _unpack(value: bytes | None) -> object:
    """What a value holds; None where it is no msgpack (older files of that project hold lz4-framed Arrow objects)."""
    if value is None:
        return None
    msgpack = _library("msgpack")
    try:
        content: object = msgpack.unpackb(value)
    except (ValueError, msgpack.UnpackException):
        return None
    return content


def _library(name: str) -> Any:  # noqa: ANN401 - modules without types, by name: an extra that only this form needs
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(f"{name} is missing; install the prepare extra: pip install 'mien[train,prepare]'") from error
