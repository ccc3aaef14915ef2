"""Crops: from a face found on a picture to the square that an analyzer looks at.

Holds how many pixels a crop needs and how it is cut. Never decodes and never runs a network. Points and
boxes are in pixels of the upright full-size image throughout; a picture may hold it at a smaller scale.
Shapes: H, W a picture's height and width; S a crop's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.alignment import border_of, crop_matrix, five_point_matrix, warp, zoom
from model.runtime.pack import AnalyzerPart
from model.runtime.passes import halved

_ENOUGH: Final = 1.01  # crop pixels a picture's pixel from which decoding again is worth it

# OpenCV's own threads would add to this process's lanes, which already take every core that it may use.
cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright image at some scale: uint8 (H, W, 3) RGB pixels, and the size of the full-size image."""

    pixels: NDArray[np.uint8]
    width: int
    height: int

    @property
    def to_full(self) -> NDArray[np.float64]:
        """Full-size pixels a pixel of the picture, across and down."""
        return np.array([self.width / self.pixels.shape[1], self.height / self.pixels.shape[0]])


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One face that was found: box float32 (4,), score, and landmarks float32 (5, 2)."""

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]


def shrink(picture: Picture, side_px: int) -> Picture:
    """Halves a picture as often as its longer side keeps `side_px`: what waits in a queue is never large."""
    smaller = halved(picture.pixels, side_px)
    return picture if smaller is picture.pixels else Picture(smaller, picture.width, picture.height)


def needed_side_px(
    picture: Picture, faces: Sequence[Found], parts: Sequence[AnalyzerPart], upright_px: int | None = None
) -> int | None:
    """The longer side at which no crop has to invent pixels; None where the picture is large enough, or whole.

    Args:
        picture: that the faces were found on.
        faces: whose crops are to be cut.
        parts: the analyzers that they are for.
        upright_px: side of a further crop by the landmarks; None for none.
    """
    whole = max(picture.width, picture.height)
    side = max(picture.pixels.shape[:2])
    if side >= whole:
        return None
    matrices = [_matrix(picture, face, part) for face in faces for part in parts]
    if upright_px is not None:
        matrices += [_upright_matrix(picture, face, upright_px) for face in faces]
    largest = max(map(zoom, matrices), default=0.0)
    return min(whole, round(side * largest)) if largest > _ENOUGH else None


def cut(picture: Picture, face: Found, part: AnalyzerPart) -> NDArray[np.uint8]:
    """A face's crop for one analyzer, uint8 (S, S, 3)."""
    return warp(picture.pixels, _matrix(picture, face, part), part.side_px, border_of(part.alignment))


def cut_upright(picture: Picture, face: Found, side_px: int) -> NDArray[np.uint8]:
    """A face's crop by its five landmarks, uint8 (side_px, side_px, 3), whatever alignment the analyzers have."""
    return warp(picture.pixels, _upright_matrix(picture, face, side_px), side_px)


def fit(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """An image that is a crop already, resized to (side_px, side_px, 3) where it is not of that size."""
    if pixels.shape[:2] == (side_px, side_px):
        return pixels
    smaller = max(pixels.shape[:2]) > side_px
    resized = cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _matrix(picture: Picture, face: Found, part: AnalyzerPart) -> NDArray[np.float64]:
    to_full = picture.to_full
    landmarks, box = face.landmarks / to_full, face.box / np.tile(to_full, 2)
    return crop_matrix(part.alignment, landmarks, box, part.side_px, part.box_scale)


def _upright_matrix(picture: Picture, face: Found, side_px: int) -> NDArray[np.float64]:
    return five_point_matrix(face.landmarks / picture.to_full, side_px)
