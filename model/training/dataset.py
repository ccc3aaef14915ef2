"""Aligned faces with their labels: what lies in `{celeba,utkface,fer2013,lfw}-{train,val}[-NN].parquet`, in memory.

Reads and decodes a set once, in threads, and keeps the decoded pixels in a cache folder if one is given. Never
augments, never draws a batch, and never reads the detection set. Shape suffixes: N faces; S crop side; C channels.
"""

import hashlib
import io
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

SIDE_PX: Final = 112
NUM_ATTRIBUTES: Final = 40
TEACHER_DIM: Final = 128


class DataError(ValueError):
    """Data that cannot be used; the message is one clear line for the person who named the folder."""


@dataclass(frozen=True, slots=True)
class FaceTable:
    """One split of one set. What a row does not know is NaN where it is a float and -1 where it is an integer.

    Attributes:
        dataset: `celeba`, `utkface`, `fer2013` or `lfw`.
        split: `train` or `val`.
        images: uint8 (N, 112, 112, 3), RGB; a read-only memory map where a cache was given.
        names: file names in the source set.
        identity: int64 (N,), an index into `identity_names`.
        identity_names: e.g. `celeba:1234`, sorted.
        age: float32 (N,), years.
        gender: int64 (N,), 0 female, 1 male.
        race: int64 (N,), in the order of `labels.RACES`.
        expression: int64 (N,), in the order of `labels.EXPRESSIONS`.
        attributes: int8 (N, 40), 0 or 1, in the order of `labels.ATTRIBUTES`.
        teacher: float16 (N, 128), the teacher's unit-length embedding.
    """

    dataset: str
    split: str
    images: NDArray[np.uint8]
    names: tuple[str, ...]
    identity: NDArray[np.int64]
    identity_names: tuple[str, ...]
    age: NDArray[np.float32]
    gender: NDArray[np.int64]
    race: NDArray[np.int64]
    expression: NDArray[np.int64]
    attributes: NDArray[np.int8]
    teacher: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.names)


def read_faces(data: Path, dataset: str, split: str, cache: Path | None = None) -> FaceTable:
    """Reads one split of one set.

    Args:
        data: the folder that holds the parquet files.
        dataset: the set's name, e.g. `celeba`.
        split: `train` or `val`.
        cache: a folder for decoded pixels, made if absent, so that the next start takes a second; default: none.

    Raises:
        DataError: if there is no such set, or a file is unreadable, lacks a column or holds an image of another size.
    """
    files = _find_files(data, dataset, split)
    table = _read_table(files)
    images = _read_images(table, files, f"{dataset}-{split}", cache)
    identity, identity_names = _identities(table)
    return FaceTable(
        dataset=dataset,
        split=split,
        images=images,
        names=tuple(table["name"].to_pylist()),
        identity=identity,
        identity_names=identity_names,
        age=np.asarray(table["age"].to_numpy(), np.float32),
        gender=_labels(table, "gender"),
        race=_labels(table, "race"),
        expression=_labels(table, "expression"),
        attributes=_lists(table, "attributes", NUM_ATTRIBUTES, -1).astype(np.int8),
        teacher=_lists(table, "teacher", TEACHER_DIM, np.nan).astype(np.float16),
    )


def _find_files(data: Path, dataset: str, split: str) -> list[Path]:
    if not data.is_dir():
        raise DataError(f"no data folder at {data}")
    files = sorted([*data.glob(f"{dataset}-{split}.parquet"), *data.glob(f"{dataset}-{split}-[0-9][0-9].parquet")])
    if not files:
        raise DataError(f"{data} holds no {dataset}-{split}.parquet and no {dataset}-{split}-NN.parquet")
    return files


def _read_table(files: list[Path]) -> pa.Table:
    columns = ["name", "image", "identity", "age", "gender", "race", "expression", "attributes", "teacher"]
    tables = []
    for file in files:
        try:
            table = pq.read_table(file, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {file}: {str(error).splitlines()[0]}") from error
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise DataError(f"{file} lacks the column {missing[0]!r}")
        tables.append(table.select(columns))
    table = pa.concat_tables(tables)
    if table.num_rows == 0:
        raise DataError(f"{files[0]} holds no rows")
    return table


def _labels(table: pa.Table, column: str) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(table[column].cast(pa.int64()), -1).to_numpy(), np.int64)


def _identities(table: pa.Table) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    texts = table["identity"].to_pylist()
    names = tuple(sorted({text for text in texts if text is not None}))
    index = {name: position for position, name in enumerate(names)}
    return np.array([-1 if text is None else index[text] for text in texts], np.int64), names


def _lists(table: pa.Table, column: str, length: int, missing: float) -> NDArray[np.float32]:
    """Rows of a fixed-size list column, (N, length); `missing` where a row is null."""
    filled = np.full((table.num_rows, length), missing, np.float32)
    valid = np.asarray(table[column].is_valid().to_numpy(), bool)
    values = table[column].drop_null().combine_chunks()
    if valid.any():
        filled[valid] = np.asarray(values.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, length)
    return filled


def _read_images(table: pa.Table, files: list[Path], name: str, cache: Path | None) -> NDArray[np.uint8]:
    if cache is None:
        return _decode(table, name)
    path = cache / f"{name}-{_fingerprint(files)}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.part")
        with beside.open("wb") as file:
            np.save(file, _decode(table, name))
        beside.replace(path)  # whole or absent: a killed run leaves no half of a cache
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return images


def _fingerprint(files: list[Path]) -> str:
    """What changes when a file does: names, sizes and times (hashing 170 MB at each start would cost a second)."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]


def _decode(table: pa.Table, name: str) -> NDArray[np.uint8]:
    images_NSSC = np.empty((table.num_rows, SIDE_PX, SIDE_PX, 3), np.uint8)

    def decode(row: int, data: bytes) -> None:
        try:
            with Image.open(io.BytesIO(data)) as image:
                images_NSSC[row] = np.asarray(image.convert("RGB"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{name}: the image of row {row} is not a {SIDE_PX} x {SIDE_PX} picture: {error}"
            ) from error

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
        done = threads.map(decode, range(table.num_rows), _bytes(table))
        terminal = Console(stderr=True)
        for _ in track(
            done, f"decoding {name}", table.num_rows, console=terminal, disable=not sys.stderr.isatty(), transient=True
        ):
            pass
    return images_NSSC


def _bytes(table: pa.Table) -> Iterator[bytes]:
    for chunk in table["image"].chunks:
        for value in chunk:
            yield value.as_py()
