"""Training crops: what a twin's ranges are measured on, and what candidates are compared by before validation.

Holds the drawing alone. Never reads a validation or test row: those judge the twin that was chosen.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from export.errors import ExportError
from model.training.dataset import ALIGNMENT, ALIGNMENT_KEY, DataError, set_files
from model.training.evaluation.subjects import resized

SEED: Final = 7
_FILE: Final = re.compile(r"(?P<name>.+?)-train(-\d\d+)?\.parquet")
_NOT_FACES: Final = "detection"


def training_crops(data: Path, side_px: int, alignment: str, num_crops: int, seed: int = SEED) -> NDArray[np.uint8]:
    """Crops drawn at random from every training set of an alignment, as many from each.

    Args:
        data: the folder with `NAME-train.parquet` files.
        side_px: of the crops.
        alignment: sets of another are left out.
        num_crops: to draw; fewer come where the sets hold fewer.
        seed: the same gives the same crops in the same order.

    Returns:
        uint8 (N, S, S, 3), the sets' crops interleaved.

    Raises:
        ExportError: if no training set has crops of the alignment.
        DataError: if there is no folder, or a file is unreadable.
    """
    names = [name for name in _training_sets(data) if _alignment(set_files(data, name, "train")[0]) == alignment]
    if not names:
        raise ExportError(f"{data} holds no NAME-train.parquet of {alignment} crops to measure ranges on")
    rng, share = np.random.default_rng(seed), -(-num_crops // len(names))
    drawn = [[resized(crop[None], side_px)[0] for crop in _draw(data, name, share, rng)] for name in names]
    mixed = [crops[index] for index in range(share) for crops in drawn if index < len(crops)]
    return np.stack(mixed[:num_crops])


def _training_sets(data: Path) -> list[str]:
    if not data.is_dir():
        raise DataError(f"no data folder at {data}")
    matches = (_FILE.fullmatch(file.name) for file in data.glob("*.parquet"))
    return sorted({match["name"] for match in matches if match is not None} - {_NOT_FACES})


def _alignment(file: Path) -> str:
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {file}: {str(error).splitlines()[0]}") from error
    return str(metadata.get(ALIGNMENT_KEY.encode(), ALIGNMENT.encode()).decode())


def _draw(data: Path, name: str, num: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Images of rows drawn without repetition; of each file only the row groups that hold one are read."""
    first = 0
    files = [pq.ParquetFile(file, memory_map=True) for file in set_files(data, name, "train")]
    total = sum(file.metadata.num_rows for file in files)
    rows = np.sort(rng.choice(total, min(num, total), replace=False))
    for file in files:
        for group in range(file.num_row_groups):
            num_rows = file.metadata.row_group(group).num_rows
            inside = rows[(rows >= first) & (rows < first + num_rows)] - first
            first += num_rows
            if len(inside):
                column = file.read_row_group(group, columns=["image"])["image"]
                yield from (_decode(column[int(row)].as_py(), name) for row in inside)


def _decode(data: bytes | None, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"{name}-train holds an image that cannot be decoded") from error
