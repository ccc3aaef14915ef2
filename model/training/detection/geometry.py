"""Geometry of a view: how boxes, landmarks and pixels move under rotation, scale, mirror and shift.

Holds affine maps (2, 3) on numpy arrays. Never draws a random number.
"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.runtime.overlap import areas, shared_areas

MIRRORED_LANDMARKS: Final = (1, 0, 2, 4, 3)  # a mirror makes the viewer's left eye the right one


def view_matrix(
    source: NDArray[np.floating], target: NDArray[np.floating], scale: float, angle: float, mirror: bool
) -> NDArray[np.float64]:
    """The (2, 3) map that takes point `source` to `target`: perhaps mirrored, scaled, turned by `angle` radians."""
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    shift = np.asarray(target, np.float64) - linear @ np.asarray(source, np.float64)
    return np.column_stack([linear, shift])


def move_points(points: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Moves points (..., 2)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def move_landmarks(landmarks: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Moves landmarks (F, 5, 2); a map that mirrors swaps left and right, for they are the viewer's."""
    moved = move_points(landmarks, matrix)
    return moved[:, MIRRORED_LANDMARKS] if np.linalg.det(matrix[:, :2]) < 0 else moved


def move_boxes(boxes: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Moves boxes (F, 4): the bounds of the ellipse inside each, which a turned head fills better than a turned box."""
    centres = move_points((boxes[:, :2] + boxes[:, 2:]) / 2, matrix)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    extent = np.sqrt((half**2) @ (matrix[:, :2] ** 2).T)
    return np.asarray(np.hstack([centres - extent, centres + extent]), np.float32)


def overlap_of_first(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """The share of each box (F, 4) that each of others (G, 4) covers, (F, G), 0 to 1."""
    return np.asarray(shared_areas(boxes, others) / np.maximum(areas(boxes), 1e-6)[:, None], np.float64)


def resample(
    pixels: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    fill: tuple[int, int, int] = (0, 0, 0),
    smooth: bool = True,
    behind: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Draws a view of an image.

    Args:
        pixels: uint8 (H, W, 3).
        matrix: from the image's pixels to the view's.
        size: width and height of the view.
        fill: the colour outside the image.
        smooth: halve the image first, as often as the view shrinks it twice; else it aliases, as a plain resize does.
        behind: what shows outside the image in place of a colour, uint8 (height, width, 3); left as it is.

    Returns:
        uint8 (height, width, 3).
    """
    shrink = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    while smooth and shrink < 0.5 and min(pixels.shape[:2]) > 1:
        height, width = pixels.shape[:2]
        halved = cv2.resize(pixels, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
        step = np.array([width / halved.shape[1], height / halved.shape[0]])
        matrix = np.column_stack([matrix[:, :2] * step, matrix[:, 2] + matrix[:, :2] @ (0.5 * step - 0.5)])
        pixels, shrink = np.asarray(halved, np.uint8), shrink * 2
    if behind is not None:
        over = behind.copy()
        cv2.warpAffine(pixels, matrix, size, over, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
        return over
    drawn = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderValue=fill)
    return np.asarray(drawn, np.uint8)
