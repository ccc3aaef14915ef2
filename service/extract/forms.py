"""Forms: how images' results are written as rows of `.csv`, `.jsonl`, `.txt` and `.parquet`.

A form turns one image's result into bytes, and a finished file of such bytes into what was asked for. Never opens the
file that grows, and never holds more than one batch of rows.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson

from model.runtime.labels import Task
from service import tables
from service.analysis import ImageResult
from service.answers import dump
from service.extract.rows import Cell, Column, as_base64, cells, columns, from_base64, objects, prediction, shown
from service.tables import Values

_ROWS_A_GROUP: Final = 1000  # of a Parquet file: 2 MB of embeddings


class RowForm(Protocol):
    """A way to write rows."""

    def header(self) -> bytes:
        """What stands before the first row."""

    def rows(self, path: Path, image: ImageResult) -> bytes:
        """An image's rows, whole lines."""

    def finish(self, part: Path, target: Path) -> None:
        """Makes the target of the finished rows, all at once; `part` is then no longer needed."""


class _Lines:
    """What has no header, and is finished when its last line is."""

    def header(self) -> bytes:
        """Nothing."""
        return b""

    def finish(self, part: Path, target: Path) -> None:
        """The rows are what was asked for."""
        part.replace(target)


class CsvForm(_Lines):
    """A header line and a line a face; an embedding is base64 of little-endian float32. RFC 4180 but for line ends."""

    def __init__(self, tasks: Sequence[Task], embedding_space: str | None) -> None:
        self._tasks, self._space = tasks, embedding_space

    def header(self) -> bytes:
        """The columns' names."""
        return _csv([[column.name for column in columns(self._tasks)]])

    def rows(self, path: Path, image: ImageResult) -> bytes:
        """A line a face."""
        found = cells(shown(path), image, self._tasks, self._space)
        return _csv([["" if cell is None else _text(cell) for cell in row] for row in found])


class JsonlForm(_Lines):
    """A line a face, a JSON object with the keys that `POST /analyze` gives a face."""

    def __init__(self, embedding_space: str | None) -> None:
        self._space = embedding_space

    def rows(self, path: Path, image: ImageResult) -> bytes:
        """A line a face."""
        return b"".join(dump(row) + b"\n" for row in objects(shown(path), image, self._space))


class PredictForm(_Lines):
    """face_analysis_pytorch's `predict`: a line an image, `path race gender age` of its largest face."""

    def rows(self, path: Path, image: ImageResult) -> bytes:
        """A line, or none for an image without a face; a path with a space stands in double quotes."""
        return _csv([[shown(path), *prediction(image)]], " ") if image.faces else b""


class ParquetForm(_Lines):
    """Parquet has its index at its end and cannot grow: rows are kept as lines of JSON, and become Parquet at last."""

    def __init__(self, tasks: Sequence[Task], embedding_space: str | None, facts: Mapping[str, str]) -> None:
        self._tasks, self._space, self._facts = tasks, embedding_space, facts

    def rows(self, path: Path, image: ImageResult) -> bytes:
        """A line a face: a list of its cells."""
        found = cells(shown(path), image, self._tasks, self._space)
        return b"".join(_json_line([_json(cell) for cell in row]) for row in found)

    def finish(self, part: Path, target: Path) -> None:
        """Writes the Parquet file beside the target, then puts it in its place."""
        made = target.with_name(f"{target.name}.new")
        kinds = columns(self._tasks)
        tables.write_parquet(made, {column.name: column.kind for column in kinds}, _batches(part, kinds), self._facts)
        made.replace(target)
        part.unlink()


def _csv(rows: Sequence[Sequence[str]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _text(cell: Cell) -> str:
    return as_base64(cell) if isinstance(cell, np.ndarray) else str(cell)  # float32 as the shortest text that gives it


def _json(cell: Cell) -> object:
    return as_base64(cell) if isinstance(cell, np.ndarray) else cell


def _json_line(row: list[object]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def _batches(part: Path, kinds: Sequence[Column]) -> Iterator[list[Values]]:
    with part.open("rb") as lines:
        while batch := [orjson.loads(line) for line in islice(lines, _ROWS_A_GROUP)]:
            by_column = zip(*batch, strict=True)
            yield [_values(column.kind, values) for column, values in zip(kinds, by_column, strict=True)]


def _values(kind: str, values: Sequence[Any]) -> Values:
    if kind == "vector":
        return [from_base64(str(value)) for value in values]
    return list(values)
