"""Features: the embeddings that are matched, out of lists of `.npy` files, folders of them, and tables of faces.

Each has a label (its folder's and its own name) and a subject. Never compares embeddings of different spaces or
lengths, and never lets one through that has no direction: not finite, or all zeros.
Shapes: N embeddings; D an embedding's length.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service import tables
from service.extract.rows import from_base64
from service.extract.sources import first_column

_COLUMNS: Final = ("path", "face", "embedding")
_OPTIONAL: Final = ("subject", "embedding_space")


class FeaturesError(ValueError):
    """What is to be matched cannot be; the message is one line that names where."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Embeddings, sorted by path.

    Attributes:
        units: float64 (N, D), each row of length 1.
        labels: `FOLDER/STEM` of each; what has the same one is never matched with itself.
        subjects: whose each is.
        space: which embeddings they may be compared with, where a table states it.
    """

    units: NDArray[np.float64]
    labels: tuple[str, ...]
    subjects: tuple[str, ...]
    space: str | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    path: str
    embedding: NDArray[np.float32]
    face: int = 1
    subject: str | None = None
    space: str | None = None


def read_features(source: Path) -> Features:
    """Reads what `--probe` or `--gallery` names.

    A folder stands for every `.npy` under it; a `.csv`, `.jsonl` or `.parquet` is a table as `mien extract` writes it;
    any other file is a list, one `.npy` a line. A subject is the file's name up to its first `_`. A table's column
    `subject` says it instead, where it is there: then every face of an image counts, else its largest alone.

    Raises:
        FeaturesError: one line, if anything is missing, twice there, or no embedding.
        TablesError: if it is Parquet, and pyarrow is missing.
    """
    entries = sorted(_entries(source), key=lambda entry: (entry.path, entry.face))
    if not entries:
        raise FeaturesError(f"{source} names no embedding")
    for before, entry in pairwise(entries):
        if (before.path, before.face) == (entry.path, entry.face):
            raise FeaturesError(f"{source} names {_named(entry)} twice")
    _check(entries, source)
    rows = np.stack([entry.embedding for entry in entries]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    spaces = sorted({entry.space for entry in entries if entry.space})
    if len(spaces) > 1:
        raise FeaturesError(f"{source} holds embeddings of {len(spaces)} spaces, which cannot be compared")
    labels = tuple(_label(entry) for entry in entries)
    subjects = tuple(_subject(entry) for entry in entries)
    return Features(rows, labels, subjects, spaces[0] if spaces else None)


def check_comparable(probe: Features, gallery: Features) -> None:
    """Holds two against each other.

    Raises:
        FeaturesError: if their embeddings are of different lengths or spaces.
    """
    dims = probe.units.shape[1], gallery.units.shape[1]
    if dims[0] != dims[1]:
        raise FeaturesError(f"the probe's embeddings have {dims[0]} numbers, the gallery's {dims[1]}")
    if probe.space and gallery.space and probe.space != gallery.space:
        raise FeaturesError(f"the probe's embeddings are of the space {probe.space}, the gallery's of {gallery.space}")


def _entries(source: Path) -> Iterator[_Entry]:
    if source.is_dir():
        return _of_files(source.rglob("*.npy"), source)
    if not source.is_file():
        raise FeaturesError(f"there is no {source}")
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    if source.suffix.lower() in readers:
        return _of_rows(readers[source.suffix.lower()](source), source)
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FeaturesError(f"{source} is no list that can be read: {_why(error)}") from None
    return _of_files((Path(first_column(line)) for line in lines if line.strip()), source)


def _of_files(paths: Iterable[Path], source: Path) -> Iterator[_Entry]:
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.suffix != ".npy":
            raise FeaturesError(f"{source} names {path}, which is no .npy")
        try:
            values = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise FeaturesError(f"{source} names {path}, which is not there") from None
        except (OSError, ValueError, EOFError) as error:
            raise FeaturesError(f"{path} is no .npy that can be read: {_why(error)}") from None
        yield _Entry(str(path), _vector(values, str(path)))


def _of_rows(rows: Iterator[Sequence[object]], source: Path) -> Iterator[_Entry]:
    """Entries of a table's rows of (path, face, embedding, subject, embedding_space)."""
    for number, (path, face, embedding, subject, space) in enumerate(rows, 1):
        where = f"{source}, row {number}"
        try:
            place = 1 if face is None else int(str(face))
            values = from_base64(embedding) if isinstance(embedding, str) else np.asarray(embedding, np.float32)
        except (TypeError, ValueError):
            raise FeaturesError(f"{where}: face or embedding is not what mien extract writes") from None
        if not path or embedding is None:
            raise FeaturesError(f"{where}: path or embedding is empty")
        said = None if subject in (None, "") else str(subject)
        if place > 1 and said is None:
            continue  # whose another face of an image is, nothing says
        yield _Entry(str(path), _vector(values, where), place, said, str(space) if space else None)


def _csv_rows(source: Path) -> Iterator[Sequence[object]]:
    try:
        with source.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            _check_columns(rows.fieldnames or (), source)
            for row in rows:
                yield [row.get(name) for name in (*_COLUMNS, *_OPTIONAL)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeaturesError(f"{source} is no table that can be read: {_why(error)}") from None


def _json_rows(source: Path) -> Iterator[Sequence[object]]:
    with source.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict):
                raise FeaturesError(f"{source}, row {number}: this is no JSON object")
            _check_columns(row, source)
            yield [row.get(name) for name in (*_COLUMNS, *_OPTIONAL)]


def _parquet_rows(source: Path) -> Iterator[Sequence[object]]:
    for batch in tables.read_parquet(source, _COLUMNS, _OPTIONAL):
        nothing = [None] * len(batch["path"])
        yield from zip(*(batch.get(name, nothing) for name in (*_COLUMNS, *_OPTIONAL)), strict=True)


def _check_columns(there: Iterable[str], source: Path) -> None:
    if missing := set(_COLUMNS) - set(there):
        raise FeaturesError(f"{source} has no column {min(missing)}; mien extract writes it with the task embedding")


def _vector(values: NDArray[np.generic], where: str) -> NDArray[np.float32]:
    if values.dtype.kind not in "fiu" or values.size != max(values.shape, default=0):
        raise FeaturesError(f"{where}: this is no embedding: {values.dtype} of shape {values.shape}")
    return values.astype(np.float32).ravel()


def _check(entries: Sequence[_Entry], source: Path) -> None:
    dim = entries[0].embedding.size
    for entry in entries:
        if entry.embedding.size != dim:
            raise FeaturesError(
                f"{source}: {_named(entries[0])} has {dim} numbers and {_named(entry)} {entry.embedding.size}"
            )
        if not np.isfinite(entry.embedding).all():
            raise FeaturesError(f"{source}: {_named(entry)} holds a number that is not finite")
        if not entry.embedding.any():
            raise FeaturesError(f"{source}: {_named(entry)} is all zeros, which has no direction")


def _named(entry: _Entry) -> str:
    return entry.path if entry.face == 1 else f"face {entry.face} of {entry.path}"


def _label(entry: _Entry) -> str:
    path = PurePath(entry.path)
    stem = path.stem if entry.face == 1 else f"{path.stem}_{entry.face}"
    return f"{path.parent.name}/{stem}" if path.parent.name else stem


def _subject(entry: _Entry) -> str:
    return PurePath(entry.path).stem.split("_")[0] if entry.subject is None else entry.subject


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return (str(error).splitlines() or [type(error).__name__])[0]
