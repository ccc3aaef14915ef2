"""Real crops to check an export on: from the validation sets, or aligned from photographs.

Holds the choice of them. Never makes up an image (see `export.check` for inputs that are no faces) and never keeps one.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageOps

from export.errors import ExportError
from model.runtime.alignment import border_of, crop_matrix, warp
from model.runtime.detection import Detector
from model.runtime.pack import Alignment
from model.training.dataset import set_files
from model.training.evaluation.validation import find_sets

NUM_CROPS: Final = 24
# Photographs inside packages that the tests install: six faces and one.
_INSTALLED: Final = (("insightface", "data/images/t1.jpg"), ("skimage", "data/astronaut.png"))


def crops_from_data(data: Path, side_px: int, num_crops: int = NUM_CROPS) -> NDArray[np.uint8]:
    """Crops (num_crops, S, S, 3) spread evenly over every validation set of a data folder.

    Raises:
        ExportError: if a file is unreadable.
        DataError: if the folder holds no validation set.
    """
    names = find_sets(data)
    share = -(-num_crops // len(names))
    crops = [crop for name in names for crop in _rows(data, name, share)]
    return np.stack([_resized(crop, side_px) for crop in crops[:num_crops]])


def crops_from_photographs(
    photographs: Sequence[Path],
    detector: Detector,
    side_px: int,
    alignment: Alignment = "arcface-5pt",
    box_scale: float | None = None,
) -> NDArray[np.uint8]:
    """Every face that a detector finds on photographs, aligned: (N, S, S, 3), and N may be 0.

    Args:
        photographs: image files.
        detector: opened.
        side_px: of the crops.
        alignment: of the crops.
        box_scale: of the alignment `box` alone.

    Raises:
        ExportError: if a photograph is unreadable.
    """
    images = [_read(path) for path in photographs]
    crops = [
        warp(
            image,
            crop_matrix(alignment, landmarks, box, side_px, box_scale),
            side_px,
            border_of(alignment),
        )
        for image, found in zip(images, detector.detect(images), strict=True)
        for box, landmarks in zip(found.boxes, found.landmarks, strict=True)
    ]
    return np.stack(crops) if crops else np.zeros((0, side_px, side_px, 3), np.uint8)


def installed_photographs() -> tuple[Path, ...]:
    """The photographs that installed packages carry; their packages are found and not imported."""
    found = []
    for package, relative in _INSTALLED:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None and (path := Path(spec.origin).parent / relative).is_file():
            found.append(path)
    return tuple(found)


def _rows(data: Path, name: str, num: int) -> list[NDArray[np.uint8]]:
    file = set_files(data, name, "val")[0]
    try:
        column = pq.read_table(file, columns=["image"], memory_map=True)["image"]
        rows = np.unique(np.linspace(0, len(column) - 1, num).round().astype(np.int64))
        return [_decode(column[int(row)].as_py()) for row in rows]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ExportError(f"cannot read {file}: {str(error).splitlines()[0]}") from error


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise ExportError(f"cannot read the photograph {path}: {error}") from error


def _decode(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _resized(crop: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    if crop.shape[:2] == (side_px, side_px):
        return crop
    return np.asarray(cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)
