"""Targets: which anchors answer for which face.

Holds the anchor grid and the assignment, in numpy. Never computes a loss (see `model.training.detection.losses`).
Shape suffixes: A anchors of all strides, in the network's order; F faces; P positive anchors.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.detector.config import ANCHOR_SIDES_PX, NUM_ANCHORS, STRIDES
from model.training.detection.canvas import Canvas

_MAX_OCTAVES: Final = 0.75  # between a face's size and its anchor's; anchors are an octave apart, so one or two serve
_RADIUS_STRIDES: Final = 1.5  # a face is answered for by at most three by three cells around its centre


@dataclass(frozen=True, slots=True)
class AnchorGrid:
    """All anchors of an input size: centres (A, 2) in pixels, strides (A,) and sides (A,) in pixels."""

    centres: NDArray[np.float32]
    strides: NDArray[np.float32]
    sides: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Targets:
    """What the anchors of one canvas should say.

    Attributes:
        positive: int64 (P,), anchors that answer for a face.
        boxes: float32 (P, 4), x1, y1, x2, y2 in pixels of that face.
        landmarks: float32 (P, 5, 2), pixels.
        counted: bool (A,), anchors whose score is part of the loss; not those over an ignored face.
    """

    positive: NDArray[np.int64]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    counted: NDArray[np.bool_]


@lru_cache(maxsize=16)
def anchor_grid(height: int, width: int) -> AnchorGrid:
    """The anchors of an input of that size, row by row, finest stride first: the order of the network's outputs."""
    centres, strides, sides = [], [], []
    for stride, stride_sides in zip(STRIDES, ANCHOR_SIDES_PX, strict=True):
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32) * stride
        centres.append(np.repeat(cells, NUM_ANCHORS, axis=0))
        strides.append(np.full(len(cells) * NUM_ANCHORS, stride, np.float32))
        sides.append(np.tile(np.array(stride_sides, np.float32), len(cells)))
    return AnchorGrid(np.concatenate(centres), np.concatenate(strides), np.concatenate(sides))


def assign(canvas: Canvas) -> Targets:
    """Assigns anchors to a canvas's faces.

    An anchor answers for a face if their sizes are less than three quarters of an octave apart and its centre is near
    the face's and inside its box; every face gets at least the nearest anchor of its size. An anchor that could answer
    for several takes the face whose centre is nearest for its size.
    """
    grid = anchor_grid(*canvas.pixels.shape[:2])
    counted: NDArray[np.bool_] = np.logical_not(_inside(grid, canvas.boxes[canvas.ignored]).any(axis=0))
    boxes_F4, landmarks_F52 = canvas.boxes[~canvas.ignored], canvas.landmarks[~canvas.ignored]
    if not len(boxes_F4):
        return Targets(np.empty(0, np.int64), boxes_F4, landmarks_F52, counted)
    cost_FA = _cost(grid, boxes_F4)
    positive = np.flatnonzero(np.isfinite(cost_FA).any(axis=0))
    face = cost_FA[:, positive].argmin(axis=0)
    counted[positive] = True
    return Targets(positive, boxes_F4[face], landmarks_F52[face], counted)


def _cost(grid: AnchorGrid, boxes_F4: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each anchor is from answering for each face, (F, A); infinite where it does not."""
    extent = np.maximum(boxes_F4[:, 2:] - boxes_F4[:, :2], 1e-3)
    side = np.clip(np.sqrt(extent.prod(axis=1)), grid.sides.min(), grid.sides.max())
    fits_FA = np.abs(np.log2(side[:, None] / grid.sides[None])) <= _MAX_OCTAVES
    centre = (boxes_F4[:, :2] + boxes_F4[:, 2:]) / 2
    distance_FA = np.abs(grid.centres[None] - centre[:, None]).max(axis=2)
    radius_A = np.minimum(_RADIUS_STRIDES * grid.strides, 0.5 * grid.sides)
    near_FA = (distance_FA <= radius_A[None]) & _inside(grid, boxes_F4)
    nearest = np.where(fits_FA, distance_FA, np.inf).argmin(axis=1)
    near_FA[np.arange(len(boxes_F4)), nearest] = True
    return np.asarray(np.where(fits_FA & near_FA, distance_FA / side[:, None], np.inf), np.float32)


def _inside(grid: AnchorGrid, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each anchor's centre is inside each box, (F, A)."""
    x, y = grid.centres[:, 0], grid.centres[:, 1]
    left, top, right, bottom = (boxes[:, column, None] for column in range(4))
    return np.asarray((x >= left) & (x <= right) & (y >= top) & (y <= bottom), np.bool_)
