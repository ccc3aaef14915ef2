"""Tests of model.runtime.blending."""

import numpy as np
import pytest

from model.runtime.blending import SHARE, blended
from model.runtime.detection import Detector, suppress
from model.runtime.pack import DetectorPart
from model.training.detection.torch_session import TorchSession
from tests.model.detector.networks import tiny_detector

BOXES = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 50, 50], [0, 1, 10, 11], [2, 0, 60, 60]], np.float32)
SCORES = np.array([0.8, 0.7, 0.9, 0.5, 0.8], np.float32)
POINTS = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 5, 2), np.float32)


def test_neighbours_are_averaged_by_score() -> None:
    """Who overlaps the surest enough and is nearly as sure counts; a weak or a distant one does not."""
    found = blended(BOXES, SCORES, POINTS, np.array([2, 0]))
    assert found.dtype == np.float32
    assert found.shape == (2, 5, 2)
    np.testing.assert_allclose(found[0], 2.0)
    np.testing.assert_allclose(found[1], (0.8 * 0 + 0.7 * 1) / 1.5, rtol=1e-6)


def test_nothing_and_boxes_without_an_area() -> None:
    """No face gives no points, and a box that has no area keeps its own."""
    assert blended(BOXES, SCORES, POINTS, np.zeros(0, np.intp)).shape == (0, 5, 2)
    flat = np.zeros((2, 4), np.float32)
    np.testing.assert_allclose(blended(flat, SCORES[:2], POINTS[:2], np.array([1]))[0], 1.0)


def _detector(blend: bool) -> Detector:
    part = DetectorPart(file="d.onnx", sha256="0" * 64, input_width=96, input_height=96, min_score=0.3, blend=blend)
    return Detector(TorchSession(tiny_detector(seed=3)), part)


@pytest.mark.parametrize("score", [0.4, 0.5])
def test_a_face_is_the_same_whatever_the_lowest_score(score: float) -> None:
    """Blended faces over a score do not depend on the lowest score that was asked for: askers share a run."""
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    all_found, found = (_detector(blend=True).detect([image], lowest)[0] for lowest in (0.3, score))
    assert len(found)
    over = all_found.over(score)
    np.testing.assert_array_equal(found.scores, over.scores)
    np.testing.assert_allclose(found.landmarks, over.landmarks, rtol=1e-5, atol=1e-3)


def test_blending_moves_points_alone() -> None:
    """Which faces there are, their boxes and scores stay as suppression has them; points move a little."""
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    plain, moved = (_detector(blend).detect([image])[0] for blend in (False, True))
    np.testing.assert_array_equal(moved.boxes, plain.boxes)
    np.testing.assert_array_equal(moved.scores, plain.scores)
    assert not np.array_equal(moved.landmarks, plain.landmarks)
    assert len(suppress(plain.boxes, plain.scores, 0.4)) == len(plain)
    assert 0 < SHARE < 1
