"""Detection against quality: which faces on photographs are missed or badly placed, by size, pose and sharpness.

Holds what a detector makes of labelled photographs, as they are and shrunk. Never trains and never draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.alignment import five_point_matrix, warp
from model.runtime.detection import Detector
from model.runtime.quality import QUALITY_SIDE_PX, assess
from model.runtime.quality_curve import QualityCurve
from model.training.detection.evaluate import DATASET
from model.training.detection.matching import landmark_error, match
from model.training.detection.scenes import Scene
from model.training.evaluation.quality.correlation import Errors, curve

_SCALES: Final = (1 / 2, 1 / 4, 1 / 8)


@dataclass(frozen=True, slots=True)
class _Face:
    """One labelled face: whether it was missed, how far its landmarks lay off (NaN if missed), and its quality."""

    missed: float
    error: float
    number: int  # of the face, the same at every scale
    qualities: dict[str, float]


def scene_curves(detector: Detector, scenes: Sequence[Scene], command: str) -> list[QualityCurve]:
    """How misses and landmark errors go with size, pose and sharpness of the labelled faces.

    Shrunk photographs keep their canvas, the rest of it black, so that a face is small to the detector as well.

    Args:
        detector: any; at its own lowest score.
        scenes: those without a face are passed over.
        command: for the curves.
    """
    photographs = [scene for scene in scenes if len(scene.boxes)]
    as_they_are = list(_faces(detector, photographs))
    smaller = [face for scale in _SCALES for face in _faces(detector, [_shrunk(scene, scale) for scene in photographs])]
    found = list(_curves(as_they_are, "measured", tuple(as_they_are[0].qualities), command)) if as_they_are else []
    return found + list(_curves([*as_they_are, *smaller], "degraded", ("size_px",), command))


def _faces(detector: Detector, scenes: Sequence[Scene]) -> Iterator[_Face]:
    number = 0
    for scene in scenes:
        found = detector.detect([scene.pixels])[0]
        matched = match(found, scene.boxes)
        for row, (box, landmarks) in enumerate(zip(scene.boxes, scene.landmarks, strict=True)):
            by = np.flatnonzero(matched == row)
            error = landmark_error(found.landmarks[by[0]], landmarks) if len(by) else np.nan
            yield _Face(float(not len(by)), float(error), number, _qualities(scene.pixels, landmarks, box))
            number += 1


def _qualities(pixels: NDArray[np.uint8], landmarks: NDArray[np.float32], box: NDArray[np.float32]) -> dict[str, float]:
    crop = warp(pixels, five_point_matrix(landmarks), QUALITY_SIDE_PX)
    quality = assess(crop, landmarks, box)
    return {
        "sharpness": quality.sharpness,
        "yaw_degrees": abs(quality.yaw),
        "pitch_degrees": abs(quality.pitch),
        "roll_degrees": abs(quality.roll),
        "size_px": quality.size,
    }


def _curves(faces: Sequence[_Face], how: str, qualities: Sequence[str], command: str) -> Iterator[QualityCurve]:
    cluster = np.array([face.number for face in faces], np.int64) if how == "degraded" else None
    missed = Errors("detection", "missed", np.array([face.missed for face in faces]), cluster)
    off = Errors("detection", "landmark_error_by_eye_distance", np.array([face.error for face in faces]), cluster)
    for errors in (missed, off):
        for quality in qualities:
            values = np.array([face.qualities[quality] for face in faces])
            found = curve(errors, quality, values, DATASET, "degraded" if how == "degraded" else "measured", command)
            if found is not None:
                yield found


def _shrunk(scene: Scene, scale: float) -> Scene:
    height, width = scene.pixels.shape[:2]
    small = cv2.resize(
        scene.pixels, (max(round(width * scale), 1), max(round(height * scale), 1)), interpolation=cv2.INTER_AREA
    )
    pixels = np.zeros_like(scene.pixels)
    pixels[: small.shape[0], : small.shape[1]] = small
    return replace(scene, pixels=pixels, boxes=scene.boxes * scale, landmarks=scene.landmarks * scale)
