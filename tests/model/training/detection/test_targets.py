"""Tests of `model.training.detection.targets`."""

import numpy as np
import pytest

from model.detector.config import STRIDES
from model.runtime.detection import Detector
from model.runtime.pack import DetectorPart
from model.training.detection.canvas import Canvas
from model.training.detection.targets import anchor_grid, assign
from model.training.detection.torch_session import TorchSession
from tests.model.detector.networks import tiny_detector


def canvas_of(boxes: list[list[float]], ignored: list[bool] | None = None, side: int = 320) -> Canvas:
    count = len(boxes)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.repeat(((array[:, :2] + array[:, 2:]) / 2)[:, None], 5, axis=1).astype(np.float32)
    flags = np.array(ignored if ignored is not None else [False] * count, np.bool_)
    return Canvas(np.zeros((side, side, 3), np.uint8), array, points, flags)


def square(x: float, y: float, side: float) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def test_grid() -> None:
    """The anchors are the runtime's: same number, order and centres as the served detector decodes."""
    grid = anchor_grid(96, 160)
    part = DetectorPart(file="x", sha256="0" * 64, input_width=160, input_height=96)
    levels = Detector(TorchSession(tiny_detector()), part)._anchors(96, 160)
    np.testing.assert_array_equal(grid.centres, np.concatenate([level.centres for level in levels]))
    strides = np.concatenate([np.full(len(level.centres), level.stride) for level in levels])
    np.testing.assert_array_equal(grid.strides, strides)
    assert set(grid.strides.tolist()) == set(STRIDES)


@pytest.mark.parametrize(
    ("side", "anchors"),
    [(9, {16}), (16, {16}), (23, {16, 32}), (45, {32, 64}), (64, {64}), (128, {128}), (180, {128, 256}), (300, {256})],
)
def test_scale(side: float, anchors: set[int]) -> None:
    """A face is answered for by the anchors of its size, two sizes where it lies between them."""
    targets = assign(canvas_of([square(160, 160, side)]))
    assert {int(each) for each in anchor_grid(320, 320).sides[targets.positive]} == anchors


def test_place() -> None:
    """Positive anchors are inside the face and at most one and a half strides from its centre."""
    grid = anchor_grid(320, 320)
    targets = assign(canvas_of([square(163, 157, 100)]))
    assert 1 <= len(targets.positive) <= 18
    distance = np.abs(grid.centres[targets.positive] - [163, 157]).max(axis=1)
    assert (distance <= 1.5 * grid.strides[targets.positive]).all()


@pytest.mark.parametrize("place", [(3.0, 3.0), (12.4, 155.9), (317.0, 4.0)])
def test_tiny(place: tuple[float, float]) -> None:
    """Even a face between all anchors gets one."""
    targets = assign(canvas_of([square(*place, 5)]))
    assert len(targets.positive) >= 1
    assert targets.counted[targets.positive].all()


def test_two_faces() -> None:
    """An anchor near two faces answers for the nearer one, and each face gets its own box and points."""
    targets = assign(canvas_of([square(100, 100, 60), square(128, 100, 60)]))
    grid = anchor_grid(320, 320)
    left = grid.centres[targets.positive, 0] < 114
    assert left.any()
    assert (~left).any()
    np.testing.assert_array_equal(targets.boxes[left, 0], 70)
    np.testing.assert_array_equal(targets.boxes[~left, 0], 98)
    np.testing.assert_array_equal(targets.landmarks[left][:, :, 0], 100)


def test_ignored() -> None:
    """Nothing is learnt over an ignored face, but for anchors that answer for another one."""
    grid = anchor_grid(320, 320)
    alone = assign(canvas_of([square(100, 100, 60)], [True]))
    assert len(alone.positive) == 0
    inside = (np.abs(grid.centres - 100) <= 30).all(axis=1)
    np.testing.assert_array_equal(alone.counted, ~inside)
    both = assign(canvas_of([square(100, 100, 60), square(110, 100, 64)], [True, False]))
    assert both.counted[both.positive].all()
    assert (both.boxes[:, 0] == 78).all()


def test_empty() -> None:
    """A canvas without a face has no positive anchor, and all its anchors count."""
    targets = assign(canvas_of([]))
    assert len(targets.positive) == 0
    assert targets.boxes.shape == (0, 4)
    assert targets.landmarks.shape == (0, 5, 2)
    assert targets.counted.all()
