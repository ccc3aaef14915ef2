"""Aligned faces with their labels: what lies in `NAME-{train,val,test}[-NN].parquet` (docs/data.md), as one table.

Reads and decodes a set once, in threads, and keeps the decoded pixels in a cache folder if one is given; a set whose
pixels are more than `MAX_DECODED_BYTES` stays encoded in a file and is decoded on access (see
`model.training.encoded_images`). Never augments, never draws a batch, and never reads the detection set. Shape
suffixes: N faces; S crop side; C channels.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from model.training.data_error import DataError as DataError
from model.training.encoded_images import EncodedImages, Images, decode_in_threads, image_batches, write_encoded

SIDE_PX: Final = 112  # of a set whose files do not say
ALIGNMENT: Final = "arcface-5pt"  # likewise
SIDE_KEY: Final = "mien.side_px"  # in a file's metadata
ALIGNMENT_KEY: Final = "mien.alignment"
NUM_ATTRIBUTES: Final = 40
TEACHER_DIM: Final = 128
# A set whose pixels are more stays encoded: 114,000 faces at 112 pixels. MS1MV2 would take 219 GB decoded, 50 encoded.
MAX_DECODED_BYTES: Final = 4 << 30
_COLUMNS: Final = ("name", "image", "identity", "age", "gender", "race", "expression", "attributes", "teacher")
_AGE_SIGMA: Final = "age_sigma"


@dataclass(frozen=True, slots=True)
class FaceTable:
    """One split of one set. What a row does not know is NaN where it is a float and -1 where it is an integer.

    Attributes:
        dataset: the set's name, e.g. `celeba`.
        split: `train`, `val` or `test`.
        images: uint8 (N, S, S, 3), RGB; a read-only memory map where a cache was given, decoded on access where the set
            is large.
        names: file names in the source set.
        identity: int64 (N,), an index into `identity_names`.
        identity_names: e.g. `celeba:1234`, sorted.
        age: float32 (N,), years.
        gender: int64 (N,), 0 female, 1 male.
        race: int64 (N,), in the order of `labels.RACES`.
        expression: int64 (N,), in the order of `labels.EXPRESSIONS`.
        attributes: int8 (N, 40), 0 or 1, in the order of `labels.ATTRIBUTES`.
        teacher: float16 (N, 128), the teacher's unit-length embedding.
        age_sigma: float32 (N,), years: how far apart people's guesses of the age were; None where no file says.
        alignment: of the crops: `arcface-5pt`, `celeba` or `none`.
    """

    dataset: str
    split: str
    images: Images
    names: tuple[str, ...]
    identity: NDArray[np.int64]
    identity_names: tuple[str, ...]
    age: NDArray[np.float32]
    gender: NDArray[np.int64]
    race: NDArray[np.int64]
    expression: NDArray[np.int64]
    attributes: NDArray[np.int8]
    teacher: NDArray[np.float16]
    age_sigma: NDArray[np.float32] | None = None
    alignment: str = ALIGNMENT

    def __len__(self) -> int:
        return len(self.names)


def read_faces(data: Path, dataset: str, split: str, cache: Path | None = None) -> FaceTable:
    """Reads one split of one set.

    Args:
        data: the folder that holds the parquet files.
        dataset: the set's name, e.g. `celeba`.
        split: `train`, `val` or `test`.
        cache: a folder for decoded pixels, made if absent, so that the next start takes a second; default: none. A set
            over `MAX_DECODED_BYTES` needs one for its encoded images: by default `mien` in the person's own cache.

    Raises:
        DataError: if there is no such set, or a file is unreadable, lacks a column or holds an image of another size.
    """
    files = _find_files(data, dataset, split)
    side_px, alignment = _form(files)
    table = _read_table(files)
    identity, identity_names = _identities(table)
    return FaceTable(
        dataset=dataset,
        split=split,
        images=_read_images(_Pixels(files, table.num_rows, side_px, f"{dataset}-{split}"), cache),
        names=tuple(table["name"].to_pylist()),
        identity=identity,
        identity_names=identity_names,
        age=np.asarray(table["age"].to_numpy(), np.float32),
        gender=_labels(table, "gender"),
        race=_labels(table, "race"),
        expression=_labels(table, "expression"),
        attributes=_lists(table, "attributes", NUM_ATTRIBUTES, np.int8(-1)),
        teacher=_lists(table, "teacher", TEACHER_DIM, np.float16(np.nan)),
        age_sigma=np.asarray(table[_AGE_SIGMA].to_numpy(), np.float32) if _AGE_SIGMA in table.column_names else None,
        alignment=alignment,
    )


def set_files(data: Path, dataset: str, split: str) -> list[Path]:
    """The parquet files of one split of one set, in the order of their numbers; empty where there are none."""
    first, numbered = data / f"{dataset}-{split}.parquet", data.glob(f"{dataset}-{split}-*.parquet")
    by_number = {path.stem.removeprefix(f"{dataset}-{split}-"): path for path in numbered}
    ordered = sorted((number for number in by_number if len(number) > 1 and number.isdecimal()), key=int)
    return [*([first] if first.is_file() else []), *(by_number[number] for number in ordered)]


def _find_files(data: Path, dataset: str, split: str) -> list[Path]:
    if not data.is_dir():
        raise DataError(f"no data folder at {data}")
    files = set_files(data, dataset, split)
    if not files:
        raise DataError(f"{data} holds no {dataset}-{split}.parquet and no {dataset}-{split}-NN.parquet")
    return files


def _form(files: list[Path]) -> tuple[int, str]:
    """Side and alignment that the files' metadata state; all of them the same."""
    forms: dict[tuple[int, str], Path] = {}
    for file in files:
        with _reading(file):
            metadata = pq.read_schema(file).metadata or {}
            side_px = int(metadata.get(SIDE_KEY.encode(), SIDE_PX))
        forms.setdefault((side_px, metadata.get(ALIGNMENT_KEY.encode(), ALIGNMENT.encode()).decode()), file)
    if len(forms) > 1:
        (first, second), (one, other) = list(forms)[:2], list(forms.values())[:2]
        raise DataError(f"{other} holds crops of {second[0]} pixels, {second[1]}; {one} of {first[0]}, {first[1]}")
    return next(iter(forms))


def _read_table(files: list[Path]) -> pa.Table:
    """Every column but the images, which are read a few at a time."""
    tables = []
    for file in files:
        with _reading(file):
            there = pq.read_schema(file).names
            missing = [name for name in _COLUMNS if name not in there]
            if missing:
                raise DataError(f"{file} lacks the column {missing[0]!r}")
            columns = [name for name in (*_COLUMNS, _AGE_SIGMA) if name in there and name != "image"]
            tables.append(_read_filled(file, columns))
    table = pa.concat_tables(tables, promote_options="default")
    if table.num_rows == 0:
        raise DataError(f"{files[0]} holds no rows")
    return table


def _read_filled(file: Path, columns: list[str]) -> pa.Table:
    """Columns of a file; one without a value is made of nulls and not read: pyarrow 25 stumbles over such lists."""
    opened = pq.ParquetFile(file, memory_map=True)
    empty = _without_values(opened.metadata)
    table = opened.read([name for name in columns if name not in empty])
    for name in columns:
        if name in empty:
            table = table.append_column(name, pa.nulls(table.num_rows, opened.schema_arrow.field(name).type))
    return table


def _without_values(metadata: pq.FileMetaData) -> set[str]:
    """The columns whose statistics say that every value is null."""
    filled: set[str] = set()
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            known = column.statistics is not None and column.statistics.has_null_count
            if not known or column.statistics.null_count < column.num_values:
                filled.add(column.path_in_schema.split(".")[0])
    return {metadata.schema.column(place).path.split(".")[0] for place in range(metadata.num_columns)} - filled


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {file}: {str(error).splitlines()[0]}") from error


def _labels(table: pa.Table, column: str) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(table[column].cast(pa.int64()), -1).to_numpy(), np.int64)


def _identities(table: pa.Table) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    codes = table["identity"].combine_chunks().dictionary_encode()
    seen = codes.dictionary.to_pylist()
    names = tuple(sorted(seen))
    index = {name: position for position, name in enumerate(names)}
    # One more place than there are names: what a null's -1 points at.
    position_of = np.array([*(index[name] for name in seen), -1], np.int64)
    return position_of[np.asarray(pc.fill_null(codes.indices, -1).to_numpy(), np.int64)], names


def _lists(table: pa.Table, column: str, length: int, missing: np.int8 | np.float16) -> NDArray[Any]:
    """Rows of a fixed-size list column, (N, length), of the type of `missing`, which fills the rows that are null."""
    if table[column].null_count == table.num_rows:
        # One row that all share: a column that nobody fills takes no memory, however long the set.
        return np.broadcast_to(missing, (table.num_rows, length))
    filled = np.full((table.num_rows, length), missing)
    first = 0
    for chunk in table[column].chunks:
        valid = np.asarray(chunk.is_valid().to_numpy(zero_copy_only=False), bool)
        values = np.asarray(chunk.drop_null().flatten().to_numpy(zero_copy_only=False), filled.dtype)
        filled[first : first + len(chunk)][valid] = values.reshape(-1, length)
        first += len(chunk)
    return filled


@dataclass(frozen=True, slots=True)
class _Pixels:
    """The images of a split, not read yet: where they lie, how many, their side, and what names them."""

    files: list[Path]
    num_rows: int
    side_px: int
    name: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.num_rows, self.side_px, self.side_px, 3)

    def fingerprint(self) -> str:
        """What changes when a file does: names, sizes, times (hashing 170 MB at each start would cost a second)."""
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]


def _read_images(pixels: _Pixels, cache: Path | None) -> Images:
    if int(np.prod(pixels.shape)) > MAX_DECODED_BYTES:
        return _keep_encoded(pixels, cache or default_cache())
    if cache is None:
        images_NSSC = np.empty(pixels.shape, np.uint8)
        _decode(pixels, images_NSSC)
        return images_NSSC
    path = cache / f"{pixels.name}-{pixels.fingerprint()}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.part")
        try:
            _decode(pixels, np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=pixels.shape))
            beside.replace(path)  # whole or absent: a killed run leaves no half of a cache
        finally:
            beside.unlink(missing_ok=True)
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return images


def default_cache() -> Path:
    """Where the encoded images of large sets go if nobody says: `mien` in XDG_CACHE_HOME or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien"


def _keep_encoded(pixels: _Pixels, cache: Path) -> EncodedImages:
    path = cache / f"{pixels.name}-{pixels.fingerprint()}.arrow"
    if not path.is_file():
        try:
            with _progress(f"gathering {pixels.name} in {cache}", pixels.num_rows) as advance:
                write_encoded(pixels.files, path, advance)
        except OSError as error:
            raise DataError(f"cannot keep {pixels.name} in {cache}: {error.strerror or error}") from error
    return EncodedImages(path, pixels.side_px, pixels.name)


def _decode(pixels: _Pixels, images_NSSC: NDArray[np.uint8]) -> None:
    """Decodes every image into its row."""
    first = 0
    with _progress(f"decoding {pixels.name}", pixels.num_rows) as advance:
        for batch in image_batches(pixels.files):
            rows = range(first, first + len(batch))
            encoded = [value.as_buffer() if value.is_valid else pa.py_buffer(b"") for value in batch]
            decode_in_threads(encoded, images_NSSC[rows.start : rows.stop], pixels.name, rows)
            advance(len(batch))
            first = rows.stop


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda rows: progress.advance(task, rows)
