"""Matching: which detection is which labelled face.

Holds arrays alone. Never runs a detector and never counts what the matches mean (see
`model.training.detection.evaluate`).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections
from model.runtime.overlap import intersection_over_union

MIN_IOU: Final = 0.5


def match(found: Detections, boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Matches detections to labelled boxes: surest first, each to the free box that it overlaps most, from IoU 0.5 on.

    Args:
        found: the detections of one image, surest first.
        boxes: (F, 4), the labelled faces.

    Returns:
        int64 (K,): each detection's face, -1 for none.
    """
    taken = np.zeros(len(boxes), np.bool_)
    matched = np.full(len(found), -1, np.int64)
    overlap = intersection_over_union(found.boxes, boxes)
    for detection in range(len(found) if len(boxes) else 0):
        free = np.where(taken, -1.0, overlap[detection])
        face = int(free.argmax())
        if free[face] >= MIN_IOU:
            taken[face], matched[detection] = True, face
    return matched


def landmark_error(found: NDArray[np.float32], labelled: NDArray[np.float32]) -> float:
    """Mean distance of five points (5, 2) from the labelled ones, by the labelled distance between the eyes."""
    eyes = float(np.hypot(*(labelled[1] - labelled[0])))
    return float(np.hypot(*(found - labelled).T).mean()) / max(eyes, 1e-6)
