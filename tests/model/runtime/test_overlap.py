"""Tests of model.runtime.overlap."""

import numpy as np

from model.runtime.overlap import areas, intersection_over_union, shared_areas

BOXES = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 40], [9, 9, 3, 3]], np.float32)


def test_areas() -> None:
    """A box has its sides' product, one that is inside out nothing."""
    assert areas(BOXES).tolist() == [100, 100, 200, 0]


def test_what_is_shared() -> None:
    """Each box with each other: half of a neighbour, all of itself, nothing of one apart."""
    assert shared_areas(BOXES[:3], BOXES[:3]).tolist() == [[100, 50, 0], [50, 100, 0], [0, 0, 200]]
    np.testing.assert_allclose(intersection_over_union(BOXES[:2], BOXES[:3]), [[1, 1 / 3, 0], [1 / 3, 1, 0]])
    assert intersection_over_union(BOXES[3:], BOXES[3:]).tolist() == [[0.0]]
    assert intersection_over_union(BOXES, BOXES[:0]).shape == (4, 0)
