"""Crops: from a row's image to the encoded crop that a set stores.

Holds decoding, the choice of the face, alignment and encoding, for one row at a time; several threads may share one
cutter. Never reads a list and never writes a file. Shape suffixes: H, W image height and width; S crop side; C channels
(three, RGB); K faces.
"""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.runtime.alignment import border_of, crop_matrix, warp
from model.runtime.detection import Detections, Detector
from model.training.prepare.rows import Box, CropAlignment, FaceRow

WEBP_QUALITY: Final = 95
_KEPT_FORMATS: Final = frozenset({"JPEG", "WEBP", "PNG"})
_ORIENTATION: Final = 0x0112  # EXIF
_MIN_IOU: Final = 0.1  # of a face with the box that a set states: lists' boxes are of the head as often as of the face
# Shares of an image's sides put around it, one after the other while nothing is found: a detector trained on
# photographs misses a face that fills the picture. Of aligned crops at 48 pixels the shipped one finds 3 % as they are,
# 91 % with 0.5, 97 % with both.
_PADDINGS: Final = (0.0, 0.5, 1.0)


class CropError(ValueError):
    """A row without a usable crop: a few words that many rows share, and what is particular to this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts crops of one side in one alignment.

    Attributes:
        side_px: the crop's side.
        alignment: `none` takes the whole image.
        detector: finds the face where the source neither is aligned nor has landmarks.
    """

    side_px: int
    alignment: CropAlignment
    detector: Detector | None

    def cut(self, row: FaceRow) -> bytes:
        """The row's crop, encoded: the source's own bytes where they are the crop, else WebP.

        Raises:
            CropError: if the image cannot be read or holds no face.
        """
        try:
            data = row.image.read()
        except OSError as error:
            raise CropError("image cannot be read", error.strerror or str(error)) from error
        is_placed = row.landmarks is not None or row.box is not None
        pixels_HWC, is_crop = _decode(data, self.side_px, upright=not is_placed)
        if self.alignment == "none" or self.alignment == row.aligned:
            return data if is_crop else _encode(_fit(pixels_HWC, self.side_px))
        points = self._landmarks(row, pixels_HWC)
        matrix = crop_matrix(self.alignment, points, np.zeros(4, np.float32), self.side_px)
        return _encode(warp(pixels_HWC, matrix, self.side_px, border_of(self.alignment)))

    def _landmarks(self, row: FaceRow, pixels_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        if row.landmarks is not None:
            return np.array(row.landmarks, np.float32)
        if self.detector is None:
            raise CropError("no landmarks and no detector")
        tries = (_detect_padded(pixels_HWC, self.detector, share) for share in _PADDINGS)
        found = next((found for found in tries if len(found)), None)
        if found is None:
            raise CropError("no face found")
        points: NDArray[np.float32] = found.landmarks[_choose(found, row.box, pixels_HWC)]
        return points


def _detect_padded(pixels_HWC: NDArray[np.uint8], detector: Detector, share: float) -> Detections:
    """The faces of an image with a black border of a share of its sides, in pixels of the image itself."""
    if share == 0:
        return detector.detect([pixels_HWC])[0]
    height, width = pixels_HWC.shape[:2]
    top, left = int(height * share), int(width * share)
    found = detector.detect([np.pad(pixels_HWC, ((top, top), (left, left), (0, 0)))])[0]
    shift = np.array([left, top], np.float32)
    return Detections(found.boxes - np.tile(shift, 2), found.scores, found.landmarks - shift)


def _decode(data: bytes, side_px: int, *, upright: bool) -> tuple[NDArray[np.uint8], bool]:
    """Pixels (H, W, 3), and whether these very bytes are a crop of the side asked for that any reader decodes alike."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_turned = image.getexif().get(_ORIENTATION, 1) != 1
            is_crop = image.size == (side_px, side_px) and image.format in _KEPT_FORMATS and not is_turned
            # Boxes and landmarks that a set states are of the pixels as they are stored.
            turned = ImageOps.exif_transpose(image) if upright else image
            return np.asarray(turned.convert("RGB")), is_crop
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CropError("image cannot be decoded", str(error).split(" <", 1)[0]) from error


def _choose(found: Detections, box: Box | None, pixels_HWC: NDArray[np.uint8]) -> int:
    """The face that a row is about: at its box where it has one, else large and in the middle."""
    if box is not None:
        overlap_K = _ious(found.boxes, np.array(box, np.float32))
        if overlap_K.max() < _MIN_IOU:
            raise CropError("no face where the set has one")
        return int(overlap_K.argmax())
    # InsightFace's rule for sets of one person an image (its face preprocessing, MIT): area less twice the squared
    # distance from the middle.
    height, width = pixels_HWC.shape[:2]
    sides_K2 = found.boxes[:, 2:] - found.boxes[:, :2]
    offset_K2 = (found.boxes[:, 2:] + found.boxes[:, :2]) / 2 - np.array([width / 2, height / 2], np.float32)
    return int((sides_K2.prod(axis=1) - 2 * (offset_K2**2).sum(axis=1)).argmax())


def _ious(boxes: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    shared = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common = np.maximum(shared, 0).prod(axis=1)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    whole = areas + np.maximum(box[2:] - box[:2], 0).prod() - common
    return np.asarray(common / np.maximum(whole, 1e-6), np.float32)


def _fit(pixels_HWC: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    if pixels_HWC.shape[:2] == (side_px, side_px):
        return pixels_HWC
    return np.asarray(Image.fromarray(pixels_HWC).resize((side_px, side_px), Image.Resampling.BICUBIC))


def _encode(pixels_SSC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_SSC).save(file, "WEBP", quality=WEBP_QUALITY)
    return file.getvalue()
