"""Score files: rows appended to a `.npy` whose length nobody knows yet, and label files, in the published format.

A file grows beside its place and is renamed when it is whole. Never holds rows in memory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

BYTES_A_ROW: Final = 24
_COLUMNS: Final = 3


class ScoreFile:
    """A `.npy` of float64 (P, 3) that grows: probe index, gallery index, score."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._file: BinaryIO = self._part.open("wb")
        self._num_rows = 0
        self._write_header()
        self._header_bytes = self._file.tell()

    def append(self, rows: NDArray[np.float64]) -> None:
        """Adds rows (P, 3)."""
        self._file.write(np.ascontiguousarray(rows, "<f8").tobytes())
        self._num_rows += len(rows)

    def finish(self) -> None:
        """States how many rows there are, and puts the file in its place."""
        self._file.seek(0)
        self._write_header()
        # numpy leaves room in a header for a length of 21 digits, so that a file can grow.
        if self._file.tell() != self._header_bytes:
            raise RuntimeError("a .npy header has no room for its length")
        self._file.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        """Leaves nothing behind."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _write_header(self) -> None:
        shape = (self._num_rows, _COLUMNS)
        npy.write_array_header_1_0(self._file, {"descr": "<f8", "fortran_order": False, "shape": shape})


def write_labels(path: Path, labels: Sequence[str]) -> None:
    """Writes `INDEX LABEL` lines."""
    part = path.with_name(f"{path.name}.part")
    part.write_text("".join(f"{index} {label}\n" for index, label in enumerate(labels)), encoding="utf-8")
    part.replace(path)
