"""Real crops for published layouts: the faces of the two photographs that installed packages carry, aligned.

Never made up: a crop is cut where nano's own detector finds a face. What varies is the light, so that each is another
picture of the same face.
"""

import io
import pickle
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from model.runtime.alignment import five_point_matrix, warp
from model.runtime.detection import Detections, Detector
from model.runtime.pack import find_pack, read_pack
from model.runtime.session import open_session


@cache
def detector() -> Detector:
    """The shipped pack's."""
    folder = find_pack("nano")
    part = read_pack(folder).detector
    return Detector(open_session(folder / part.file), part)


@cache
def faces(photograph: Path) -> tuple[NDArray[np.uint8], Detections]:
    """A photograph's pixels and what nano finds on it."""
    with Image.open(photograph) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, detector().detect([pixels])[0]


def crops(photograph: Path) -> list[NDArray[np.uint8]]:
    """Every face of a photograph, 112 x 112, surest first."""
    pixels, found = faces(photograph)
    return [warp(pixels, five_point_matrix(points), 112) for points in found.landmarks]


def lit(crop: NDArray[np.uint8], brightness: float) -> NDArray[np.uint8]:
    """The same crop in another light."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(crop)).enhance(brightness))


def encoded(crop: NDArray[np.uint8], form: str = "PNG") -> bytes:
    """An image file's bytes."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, form)
    return file.getvalue()


def write_bin(path: Path, images: Sequence[bytes], same: Sequence[bool]) -> Path:
    """Writes a verification set as InsightFace's tools do: a pickled pair of lists, in protocol 2."""
    path.write_bytes(pickle.dumps((list(images), list(same)), protocol=2))
    return path
