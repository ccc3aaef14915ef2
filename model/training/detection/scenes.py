"""Scenes: the photographs, close crops and empty rooms that a detector is trained and measured on.

Reads `detection-{train,val}*.parquet` (README.md of the data set) into memory. Never augments and never splits: the
files are split already.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from model.runtime.detection import NUM_LANDMARKS
from model.training.dataset import DataError

Kind = Literal["photo", "crop", "room"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One labelled image.

    Attributes:
        name: file name in the source set.
        kind: photo (people in the wild), crop (one face, about 200 pixels) or room (no face).
        pixels: uint8 (H, W, 3) RGB.
        boxes: float32 (F, 4), x1, y1, x2, y2 in pixels.
        landmarks: float32 (F, 5, 2), pixels; the viewer's left first.
        scores: float32 (F,), how sure the labelling detector was.
    """

    name: str
    kind: Kind
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]


def read_scenes(data: Path, split: Literal["train", "val"]) -> tuple[Scene, ...]:
    """Reads and decodes a split, in the order of its files.

    Raises:
        DataError: if there is no such file, or a row does not decode.
    """
    paths = sorted(data.glob(f"detection-{split}*.parquet"))
    if not paths:
        raise DataError(f"no detection-{split}*.parquet in {data}")
    return tuple(_scene(row) for path in paths for row in parquet.read_table(path).to_pylist())


def _scene(row: dict[str, object]) -> Scene:
    name, data = str(row["name"]), row["image"]
    assert isinstance(data, bytes)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f"{name}: its image does not decode")
    return Scene(
        name,
        row["kind"],  # type: ignore[arg-type]  # the file's schema has no enumeration
        np.ascontiguousarray(pixels[:, :, ::-1], np.uint8),
        np.array(row["boxes"], np.float32).reshape(-1, 4),
        np.array(row["landmarks"], np.float32).reshape(-1, NUM_LANDMARKS, 2),
        np.array(row["scores"], np.float32).reshape(-1),
    )
