"""Landmarks of aligned crops, by a pack's own detector, so that the pose of a crop is measured as the service does.

A set of aligned crops holds no landmarks, and its alignment takes away the roll alone. Holds the sheet of crops that a
detector looks at in one run. Never aligns anything. Shape suffixes: N faces; S crop side; C channels (three, RGB).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections, Detector
from model.runtime.pose import Pose, pose_of

_TILES: Final = 4  # a side of a sheet: sixteen crops a run, at the size that they have
_SHEET_PX: Final = 640
_MIN_SCORE: Final = 0.3  # there is a face on every crop
_FAR: Final = 0.27  # of a crop's side: landmarks whose middle lies farther from the template's are another face's
_MIDDLE: Final = (0.5, 0.64)  # of the five template points, in the crop's sides


@dataclass(frozen=True, slots=True)
class CropPoses:
    """Yaw and pitch (N,) of crops in degrees, NaN where the detector found no face."""

    yaw: NDArray[np.float64]
    pitch: NDArray[np.float64]

    @property
    def share_found(self) -> float:
        """Share of the crops whose pose is known."""
        return float(np.isfinite(self.yaw).mean())


def poses_of(
    detector: Detector, images_NSSC: NDArray[np.uint8], progress: Callable[[int], None] | None = None
) -> CropPoses:
    """Poses of aligned crops.

    Args:
        detector: any.
        images_NSSC: uint8 crops in the five-point alignment.
        progress: told how many crops were done, after each sheet.
    """
    poses: list[Pose | None] = []
    for start in range(0, len(images_NSSC), _TILES**2):
        crops = np.asarray(images_NSSC[start : start + _TILES**2])
        sheet, corners = _sheet(crops)
        found = detector.detect([sheet], min_score=_MIN_SCORE)[0]
        poses += [_pose_at(found, corner, crops.shape[1]) for corner in corners]
        if progress is not None:
            progress(len(crops))
    yaw = np.array([np.nan if pose is None else pose.yaw for pose in poses], np.float64)
    pitch = np.array([np.nan if pose is None else pose.pitch for pose in poses], np.float64)
    return CropPoses(yaw, pitch)


def _sheet(crops_NSSC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Crops in a square of black margins, and the corner (x, y) of each."""
    side = crops_NSSC.shape[1]
    cell = max(_SHEET_PX // _TILES, side + side // 3)
    margin = (cell - side) // 2
    sheet = np.zeros((_TILES * cell, _TILES * cell, 3), np.uint8)
    corners = []
    for number, crop in enumerate(crops_NSSC):
        row, column = divmod(number, _TILES)
        x, y = column * cell + margin, row * cell + margin
        sheet[y : y + side, x : x + side] = crop
        corners.append((x, y))
    return sheet, corners


def _pose_at(found: Detections, corner: tuple[int, int], side_px: int) -> Pose | None:
    if not len(found):
        return None
    away = found.landmarks.mean(1) - np.array(corner) - np.array(_MIDDLE) * side_px
    near = np.flatnonzero((np.abs(away) < _FAR * side_px).all(1))
    return pose_of(found.landmarks[near[0]]) if len(near) else None
