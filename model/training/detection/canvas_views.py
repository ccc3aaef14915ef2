"""Views of a canvas: one drawing trained on several times, each time under another geometry and light.

Holds what is drawn by lot for a view, how its labels move, and, on tensors, how its pixels do: a processor draws
canvases more slowly than a GPU learns from them. Never draws a canvas (see `model.training.detection.composites`).
Shape suffixes: B batch; C channels; H, W height and width.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.training.detection.canvas import Canvas, labelled, log_uniform
from model.training.detection.geometry import move_boxes, move_landmarks, view_matrix

_ZOOMS: Final = (0.7, 1.6)
_MAX_ANGLE: Final = math.radians(12)  # a box is turned a second time: the less, the nearer it stays to the head's
_SAME_LIGHT: Final = 0.3  # of views keep the canvas's colours
_CONTRASTS: Final = (0.7, 1.25)
_TINT: Final = 0.05  # standard deviation of a channel's gain
_SHIFT: Final = 18.0  # standard deviation of the brightness, levels


@dataclass(frozen=True, slots=True)
class View:
    """One canvas seen otherwise.

    Attributes:
        labels: the canvas's labels where the view has them; its pixels are still the canvas's, for they move on the
            device.
        matrix: float64 (2, 3), from the canvas's pixels to the view's.
        light: float32 (2, 3), gain and shift of a channel's levels.
    """

    labels: Canvas
    matrix: NDArray[np.float64]
    light: NDArray[np.float32]


def as_drawn(canvas: Canvas) -> View:
    """The canvas itself."""
    return View(canvas, np.eye(2, 3), np.array([[1.0] * 3, [0.0] * 3], np.float32))


def view_of(rng: np.random.Generator, canvas: Canvas) -> View:
    """A view drawn by lot: mirrored, zoomed, turned a little and shifted, in another light; of the canvas's size."""
    height, width = canvas.pixels.shape[:2]
    size, middle = np.array([width, height]), np.array([width - 1, height - 1]) / 2
    zoom = log_uniform(rng, *_ZOOMS)
    # The smaller of canvas and view lies anywhere within the other.
    target = middle + rng.uniform(-1, 1, 2) * abs(zoom - 1) * size / 2
    angle = float(rng.uniform(-_MAX_ANGLE, _MAX_ANGLE)) if rng.random() < 0.5 else 0.0
    matrix = view_matrix(middle, target, zoom, angle, bool(rng.random() < 0.5))
    return View(_moved(canvas, matrix), matrix, _light(rng))


def _moved(canvas: Canvas, matrix: NDArray[np.float64]) -> Canvas:
    """The labels under a map, by a canvas's rules; a face that the canvas cut and the view cuts again is ignored."""
    height, width = canvas.pixels.shape[:2]
    frame = np.array([width, height], np.float32)
    boxes, landmarks = move_boxes(canvas.boxes, matrix), move_landmarks(canvas.landmarks, matrix)
    cut = _reaches(canvas.boxes, frame) & _reaches(boxes, frame)
    hidden = ((landmarks < 0) | (landmarks >= frame)).any(axis=(1, 2))
    sure = np.where(canvas.ignored | (cut & hidden), 0.0, 1.0).astype(np.float32)
    return labelled(canvas.pixels, boxes, landmarks, sure)


def _reaches(boxes: NDArray[np.float32], frame: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= frame).any(axis=1), np.bool_)


def _light(rng: np.random.Generator) -> NDArray[np.float32]:
    if rng.random() < _SAME_LIGHT:
        return np.array([[1.0] * 3, [0.0] * 3], np.float32)
    gains = rng.uniform(*_CONTRASTS) * rng.normal(1, _TINT, 3)
    return np.stack([gains, 127.5 * (1 - gains) + rng.normal(0, _SHIFT)]).astype(np.float32)


def from_view(matrix: NDArray[np.float64], side_px: int) -> NDArray[np.float32]:
    """The (2, 3) map that `show` wants for a square canvas: from the view to the canvas, edges at -1 and 1."""
    # A pixel's centre x is at (2 x + 1) / side - 1.
    to_unit = np.array([[2 / side_px, 0, 1 / side_px - 1], [0, 2 / side_px, 1 / side_px - 1], [0, 0, 1]])
    whole = to_unit @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(to_unit)
    return np.asarray(np.linalg.inv(whole)[:2], np.float32)


def show(images_BCHW: Tensor, maps_B23: Tensor, light_B23: Tensor) -> Tensor:
    """Moves the canvases' pixels, black where a canvas ends.

    Args:
        images_BCHW: float32, levels 0 to 255.
        maps_B23: float32, of `from_view`.
        light_B23: float32, gain and shift a channel.

    Returns:
        float32 (B, C, H, W), levels 0 to 255.
    """
    where = functional.affine_grid(maps_B23, list(images_BCHW.shape), align_corners=False)
    moved = functional.grid_sample(images_BCHW, where, mode="bilinear", padding_mode="zeros", align_corners=False)
    gain, shift = light_B23[:, 0, :, None, None], light_B23[:, 1, :, None, None]
    return torch.addcmul(shift, moved, gain).clamp_(0, 255)
