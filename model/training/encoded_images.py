"""Images of a set that is too large for memory: encoded in a memory-mapped file, decoded on access in threads.

Holds the file (Arrow IPC, made once from the parquet files, a few rows at a time) and the array-like view of it. Never
holds more than the images that were asked for. Shape suffixes: N images; S side; C channels (three, RGB).
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from model.training.data_error import DataError

_COLUMN: Final = "image"
_MAX_THREADS: Final = 8
_FEW_ROWS: Final = 4
BATCH_ROWS: Final = 512  # that are read from a parquet file at once


class Images(Protocol):
    """uint8 (N, S, S, 3) RGB images that rows are taken of: a NumPy array, or `EncodedImages`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, S, S, 3."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...  # noqa: ANN401 - as NumPy's own

    def __array__(self) -> NDArray[np.uint8]: ...


class EncodedImages:
    """An Arrow file of encoded images that reads like a uint8 array (N, S, S, 3).

    Rows may be a number, a slice, an array of numbers or booleans, or a tuple of one of these and further indices, as
    NumPy's. Only the rows asked for are decoded. Safe to use from several threads.

    Attributes:
        shape: N, S, S, 3.
        dtype: uint8.
    """

    def __init__(self, path: Path, side_px: int, name: str) -> None:
        """Opens a file that `write_encoded` made.

        Args:
            path: the file.
            side_px: of every image.
            name: names the set in errors.
        """
        self._encoded = pa.ipc.open_file(pa.memory_map(str(path))).read_all()[_COLUMN]
        self._name = name
        self.shape = (len(self._encoded), side_px, side_px, 3)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:  # noqa: ANN401 - as NumPy's own
        """Decodes rows.

        Raises:
            DataError: if one of them is not a picture of the set's side; its row is named.
        """
        if isinstance(rows, tuple):
            decoded = self[rows[0]]
            return decoded[(*(slice(None) for _ in decoded.shape[:-3]), *rows[1:])]
        chosen = self._numbers(rows)
        return self._decode(chosen.reshape(-1).tolist()).reshape(*chosen.shape, *self.shape[1:])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Every image decoded: for sets that are small after all."""
        if copy is False:
            raise ValueError("encoded images cannot be an array without a copy")
        whole: NDArray[Any] = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def _numbers(self, rows: Any) -> NDArray[np.int64]:  # noqa: ANN401 - as NumPy's own
        """The row numbers that an index means, from 0, without making an array as long as the set."""
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)), dtype=np.int64)
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_:
            if chosen.shape != (len(self),):
                raise IndexError(f"{chosen.shape} booleans choose among {len(self)} images")
            return np.flatnonzero(chosen).astype(np.int64)
        if chosen.size and not np.issubdtype(chosen.dtype, np.integer):
            raise IndexError(f"images are not numbered by {chosen.dtype}")
        numbers = chosen.astype(np.int64)
        if numbers.size and not -len(self) <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(
                f"there are {len(self)} images, and row {numbers.max()} or {numbers.min()} is none of them"
            )
        return np.where(numbers < 0, numbers + len(self), numbers)

    def _decode(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        images_NSSC = np.empty((len(rows), *self.shape[1:]), np.uint8)
        encoded = [self._encoded[row].as_buffer() for row in rows]
        decode_in_threads(encoded, images_NSSC, self._name, rows)
        return images_NSSC


def decode_image(data: Any, side_px: int, what: str) -> NDArray[np.uint8]:  # noqa: ANN401 - any buffer
    """Decodes one image of a stated side.

    Args:
        data: bytes, or a buffer of them.
        side_px: its side.
        what: names the image in the error.

    Returns:
        uint8 (side_px, side_px, 3), RGB.

    Raises:
        DataError: if it is no such picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (side_px, side_px):
                raise ValueError(f"it is {image.size[0]} x {image.size[1]}")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{what} is not a {side_px} x {side_px} picture: {error}") from error


def write_encoded(files: Sequence[Path], path: Path, progress: Callable[[int], None] = lambda _rows: None) -> None:
    """Writes the images of parquet files into one Arrow file, a few hundred rows at a time, whole or not at all.

    Args:
        files: parquet files with a column `image`, in order.
        path: the Arrow file.
        progress: told the rows of each batch that was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    columns = pa.schema([(_COLUMN, pa.binary())])
    try:
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, columns) as writer:
            for batch in image_batches(files):
                writer.write_batch(pa.record_batch([batch], schema=columns))
                progress(len(batch))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def image_batches(files: Sequence[Path]) -> Iterator[pa.Array]:
    """The column `image` of parquet files, `BATCH_ROWS` rows at a time: never more in memory than a few of these."""
    for file in files:
        with pq.ParquetFile(file, memory_map=True) as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=[_COLUMN]):
                yield batch.column(0).cast(pa.binary())


def decode_in_threads(
    encoded: Sequence[pa.Buffer], images_NSSC: NDArray[np.uint8], name: str, rows: Sequence[int]
) -> None:
    """Decodes images into the rows of an array, in threads.

    Args:
        encoded: N encoded images.
        images_NSSC: uint8 (N, S, S, 3), filled.
        name: names the set in an error.
        rows: the images' rows in the set, for an error.

    Raises:
        DataError: if one of them is not a picture of that side.
    """

    def decode(place: int) -> None:
        what = f"{name}: the image of row {rows[place]}"
        images_NSSC[place] = decode_image(encoded[place], images_NSSC.shape[1], what)

    # A few rows are not worth the hand-over between threads.
    run = map if len(encoded) < _FEW_ROWS else _threads().map
    for _ in run(decode, range(len(encoded))):
        pass


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS), thread_name_prefix="decode")


# A child that was forked has none of the parent's threads: it makes its own.
os.register_at_fork(after_in_child=_threads.cache_clear)
