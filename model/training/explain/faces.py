"""Faces to explain: photographs or aligned crops from files, brought to the crops that a network takes.

Holds the reading, the detection and the alignment. Never explains a face. Shape suffixes: H, W image height and width;
S crop side; C channels.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.runtime.alignment import border_of, crop_matrix, warp
from model.runtime.detection import Detector
from model.runtime.pack import Alignment, find_pack, read_pack
from model.runtime.session import open_session
from model.training.explain.aims import ExplainError


@dataclass(frozen=True, slots=True)
class Cropping:
    """How crops are cut.

    Attributes:
        side_px: of the network's crops.
        alignment: in which its weights were trained.
        box_scale: of the alignment `box` alone.
        max_faces: of a photograph, the largest first.
    """

    side_px: int
    alignment: Alignment
    box_scale: float | None
    max_faces: int


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image with its faces.

    Attributes:
        path: its file.
        pixels: uint8 (H, W, 3) RGB, upright.
        crops: uint8 (N, S, S, 3) RGB, the faces as the network takes them.
        boxes: (N, 4) x1, y1, x2, y2 in its pixels; None where the image is one aligned crop.
    """

    path: Path
    pixels: NDArray[np.uint8]
    crops: NDArray[np.uint8]
    boxes: NDArray[np.float32] | None


def open_detector(pack: str, num_threads: int = 1) -> Detector:
    """The detector of a pack, by the pack's name or path.

    Raises:
        PackError, SessionError: if it cannot be opened.
    """
    folder = find_pack(pack)
    part = read_pack(folder).detector
    return Detector(open_session(folder / part.file, intra_op_threads=num_threads), part)


def read_crop(path: Path, side_px: int) -> Photograph:
    """An image that is one aligned crop already; another size is resized.

    Raises:
        ExplainError: if it cannot be read or is no square.
    """
    pixels = _read(path)
    height, width = pixels.shape[:2]
    if height != width:
        raise ExplainError(f"{path} is {width} x {height}; an aligned crop is square")
    how = cv2.INTER_AREA if side_px < width else cv2.INTER_LINEAR
    crop = pixels if width == side_px else cv2.resize(pixels, (side_px, side_px), interpolation=how)
    return Photograph(path, pixels, np.asarray(crop, np.uint8)[None], None)


def read_photograph(path: Path, detector: Detector, cropping: Cropping) -> Photograph:
    """A photograph with its faces, found and aligned as the service does it; possibly none.

    Raises:
        ExplainError: if it cannot be read.
    """
    pixels = _read(path)
    found = detector.detect([pixels])[0]
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    largest = np.argsort(-sides.prod(axis=1), kind="stable")[: cropping.max_faces]
    border, side = border_of(cropping.alignment), cropping.side_px
    crops = [
        warp(
            pixels,
            crop_matrix(cropping.alignment, found.landmarks[face], found.boxes[face], side, cropping.box_scale),
            side,
            border,
        )
        for face in largest
    ]
    stacked = np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)
    return Photograph(path, pixels, stacked, found.boxes[largest])


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))  # writable, as torch wants it
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no image that can be decoded"
        raise ExplainError(f"cannot read {path}: {reason}") from error
