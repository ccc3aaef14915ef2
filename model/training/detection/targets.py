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
    height, width = canvas.pixels.shape[:2]
    counted = _outside(anchor_grid(height, width), canvas.boxes[canvas.ignored])
    boxes_F4, landmarks_F52 = canvas.boxes[~canvas.ignored], canvas.landmarks[~canvas.ignored]
    if not len(boxes_F4):
        return Targets(np.empty(0, np.int64), boxes_F4, landmarks_F52, counted)
    face, anchor, cost = _candidates(height, width, boxes_F4)
    order = np.lexsort((face, cost, anchor))
    positive, first = np.unique(anchor[order], return_index=True)
    chosen = face[order][first]
    counted[positive] = True
    return Targets(positive, boxes_F4[chosen], landmarks_F52[chosen], counted)


def _candidates(
    height: int, width: int, boxes_F4: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Faces and the anchors that could answer for them, pairwise, and how far they are from it.

    Level by level and axis by axis, as a table of all faces and anchors would be nearly empty.
    """
    extent = np.maximum(boxes_F4[:, 2:] - boxes_F4[:, :2], 1e-3)
    size = np.clip(np.sqrt(extent.prod(axis=1)), ANCHOR_SIDES_PX[0][0], ANCHOR_SIDES_PX[-1][-1])
    centre = (boxes_F4[:, :2] + boxes_F4[:, 2:]) / 2
    parts, start = [], 0
    nearest, nearest_px = np.zeros(len(boxes_F4), np.int64), np.full(len(boxes_F4), np.inf)
    for stride, sides in zip(STRIDES, ANCHOR_SIDES_PX, strict=True):
        cells = np.array([width // stride, height // stride])
        for place, side in enumerate(sides):
            fit = np.flatnonzero(np.abs(np.log2(size / side)) <= _MAX_OCTAVES)
            if len(fit):
                radius = min(_RADIUS_STRIDES * stride, 0.5 * side)
                (near_x, away_x), (near_y, away_y) = (
                    _near(np.arange(cells[axis]) * stride, centre[fit, axis], boxes_F4[fit, axis::2], radius)
                    for axis in (0, 1)
                )
                which, row, column = np.nonzero(near_y[:, :, None] & near_x[:, None, :])
                away = np.maximum(away_x[which, column], away_y[which, row])
                parts.append((fit[which], start + (row * cells[0] + column) * NUM_ANCHORS + place, away))
                closest = away_y.argmin(axis=1) * cells[0] + away_x.argmin(axis=1)
                closest_px = np.maximum(away_x.min(axis=1), away_y.min(axis=1))
                closer = closest_px < nearest_px[fit]
                nearest[fit[closer]] = start + closest[closer] * NUM_ANCHORS + place
                nearest_px[fit[closer]] = closest_px[closer]
        start += int(cells.prod()) * NUM_ANCHORS
    parts.append((np.arange(len(boxes_F4)), nearest, nearest_px))
    face, anchor, away = (np.concatenate(each) for each in zip(*parts, strict=True))
    return face, anchor, away / size[face]


def _near(
    cells: NDArray[np.int64], centre_F: NDArray[np.float32], bounds_F2: NDArray[np.float32], radius: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Along one axis: which cells are near each face's centre and within its bounds, and how far off, (F, cells)."""
    away = np.abs(cells - centre_F[:, None])
    within = (cells >= bounds_F2[:, :1]) & (cells <= bounds_F2[:, 1:])
    return np.asarray((away <= radius) & within, np.bool_), np.asarray(away, np.float64)


def _outside(grid: AnchorGrid, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each anchor's centre is in none of the boxes, (A,)."""
    outside = np.ones(len(grid.sides), np.bool_)
    x, y = grid.centres.T
    for left, top, right, bottom in boxes:
        outside &= (x < left) | (y < top) | (x > right) | (y > bottom)
    return outside
