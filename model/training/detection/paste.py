"""Pasting: a part of one image laid on another through a soft-edged mask, and things laid over faces.

Holds pixels alone. Never decides what is pasted where (see `model.training.detection.composites`). All of it writes
into the pixels that it is given.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from model.training.detection.geometry import resample


def soft_mask(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """An opacity (side, side), 0 to 1: an ellipse or a rounded rectangle whose edge may be sharp or wide."""
    power, feather = rng.choice([2.0, 3.0, 8.0]), rng.uniform(0.04, 0.5)
    radii = rng.uniform(0.8, 1.0, 2)
    axis = np.abs(np.linspace(-1, 1, side, dtype=np.float32))
    distance = ((axis[None] / radii[0]) ** power + (axis[:, None] / radii[1]) ** power) ** (1 / power)
    return np.asarray(np.clip((1 - distance) / feather, 0, 1), np.float32)


def paste(
    rng: np.random.Generator,
    canvas: NDArray[np.uint8],
    source: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    region: tuple[int, int, int],
) -> None:
    """Lays a view of an image on a square region of a canvas.

    Args:
        rng: draws the mask.
        canvas: uint8 (H, W, 3), written to.
        source: uint8 (H, W, 3).
        matrix: from the source's pixels to the canvas's.
        region: left, top and side of the square; it may reach beyond the canvas.
    """
    left, top, side = region
    local = matrix - np.array([[0, 0, left], [0, 0, top]])
    patch = resample(source, local, (side, side))
    inside = cv2.warpAffine(np.full(source.shape[:2], 255, np.uint8), local, (side, side), flags=cv2.INTER_NEAREST)
    opacity = soft_mask(rng, side) * (inside == 255)
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x1 >= x2 or y1 >= y2:
        return
    cut = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
    below = canvas[y1:y2, x1:x2].astype(np.float32)
    blended = below + (patch[cut] - below) * opacity[cut][:, :, None]
    canvas[y1:y2, x1:x2] = blended.astype(np.uint8)


def mask_mouth(rng: np.random.Generator, canvas: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    """Draws a surgical mask of one colour over nose, mouth and chin; landmarks (5, 2)."""
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks
    mouth = (left_mouth + right_mouth) / 2
    down, across = mouth - (left_eye + right_eye) / 2, (right_eye - left_eye) * rng.uniform(0.75, 0.95)
    bridge = nose - down * rng.uniform(0.1, 0.4)
    outline = [bridge, mouth + across - 0.3 * down, mouth + 0.6 * across + 0.5 * down, mouth + 0.75 * down]
    outline += [mouth - 0.6 * across + 0.5 * down, mouth - across - 0.3 * down]
    _fill(rng, canvas, outline, dark=False)


def cover_eyes(rng: np.random.Generator, canvas: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    """Draws dark glasses; landmarks (5, 2)."""
    left_eye, right_eye = landmarks[0], landmarks[1]
    across = (right_eye - left_eye) * rng.uniform(0.28, 0.42)
    down = np.array([-across[1], across[0]]) * rng.uniform(0.6, 0.9)
    for eye in (left_eye, right_eye):
        corners = [eye - across - down, eye + across - down, eye + 0.8 * across + down, eye - 0.8 * across + down]
        _fill(rng, canvas, corners, dark=True)


def _fill(rng: np.random.Generator, canvas: NDArray[np.uint8], corners: list[NDArray[np.float32]], dark: bool) -> None:
    colour = tuple(int(level) for level in rng.integers(0, 60 if dark else 256, 3))
    cv2.fillPoly(canvas, [np.round(np.array(corners)).astype(np.int32)], colour, cv2.LINE_AA)
