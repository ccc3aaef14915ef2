"""Tests of `model.training.detection.geometry`."""

import math

import cv2
import numpy as np
import pytest

from model.runtime.overlap import intersection_over_union
from model.training.detection.geometry import (
    move_boxes,
    move_landmarks,
    move_points,
    overlap_of_first,
    resample,
    view_matrix,
)
from tests.model.training.detection.data import SKIN, draw_heads


def test_view_matrix() -> None:
    """The source point lands on the target, lengths scale, and a quarter turn takes right to down."""
    matrix = view_matrix(np.array([10, 20]), np.array([100, 50]), 2.0, math.pi / 2, mirror=False)
    moved = move_points(np.array([[10, 20], [13, 20]]), matrix)
    np.testing.assert_allclose(moved, [[100, 50], [100, 56]], atol=1e-4)


def test_mirror() -> None:
    """A mirror swaps left and right landmarks, so that they stay the viewer's."""
    scene = draw_heads("crop", (100, 100), [(20, 20, 80, 90)])
    matrix = view_matrix(np.array([50, 50]), np.array([50, 50]), 1.0, 0.0, mirror=True)
    moved = move_landmarks(scene.landmarks, matrix)[0]
    np.testing.assert_allclose(moved, scene.landmarks[0], atol=1e-3)  # the drawn head is its own mirror image
    assert moved[0, 0] < moved[1, 0]
    assert moved[3, 0] < moved[4, 0]


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.5])
@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_follow_pixels(angle: float, mirror: bool) -> None:
    """A moved box bounds the moved head's pixels, to a pixel and a half."""
    scene = draw_heads("photo", (160, 120), [(40, 30, 80, 90)])
    matrix = view_matrix(np.array([60, 60]), np.array([110, 90]), 1.5, angle, mirror)
    pixels = resample(scene.pixels, matrix, (220, 180))
    y, x = np.nonzero(pixels[:, :, 0].astype(int) - pixels[:, :, 1] > 60)
    box = move_boxes(scene.boxes, matrix)[0]
    np.testing.assert_allclose(box, [x.min(), y.min(), x.max(), y.max()], atol=2.0)


def test_landmarks_follow_pixels() -> None:
    """A moved landmark lies on the dark point that is drawn at it."""
    scene = draw_heads("photo", (160, 120), [(40, 30, 100, 110)])
    matrix = view_matrix(np.array([70, 70]), np.array([150, 150]), 3.0, 0.4, mirror=True)
    pixels = resample(scene.pixels, matrix, (300, 300))
    for x, y in move_landmarks(scene.landmarks, matrix)[0]:
        assert pixels[round(float(y)), round(float(x)), 0] < 110 < SKIN[0]


def test_shrinking() -> None:
    """A smooth view averages what it shrinks; an aliased one keeps single pixels."""
    board = np.indices((128, 128)).sum(0) % 2 * 255
    pixels = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    matrix = view_matrix(np.array([64, 64]), np.array([8, 8]), 0.125, 0.0, mirror=False)
    smooth = resample(pixels, matrix, (16, 16))[2:-2, 2:-2]
    assert abs(smooth.astype(int) - 127).max() <= 2
    assert smooth.std() < resample(pixels, matrix, (16, 16), smooth=False)[2:-2, 2:-2].std() + 1e-9


def test_smooth_place() -> None:
    """A smooth view keeps a spot where a plain one has it."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(pixels, (120, 80), 16, (255, 255, 255), -1)
    matrix = view_matrix(np.array([100, 100]), np.array([20, 20]), 0.2, 0.0, mirror=False)
    spots = []
    for smooth in (True, False):
        view = resample(pixels, matrix, (40, 40), smooth=smooth)[:, :, 0].astype(float)
        rows, columns = np.indices(view.shape)
        spots.append([(rows * view).sum() / view.sum(), (columns * view).sum() / view.sum()])
    np.testing.assert_allclose(spots[0], spots[1], atol=0.15)
    np.testing.assert_allclose(spots[0], move_points(np.array([120, 80]), matrix)[::-1], atol=0.15)


def test_overlaps() -> None:
    """IoU and covered share of boxes that overlap by a half, a quarter and nothing."""
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    others = np.array([[0, 5, 10, 15], [5, 5, 25, 25], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(overlap_of_first(boxes, others)[0], [0.5, 0.25, 0])
    np.testing.assert_allclose(intersection_over_union(boxes, others)[0], [50 / 150, 25 / 475, 0])
    assert intersection_over_union(boxes[:0], others).shape == (0, 3)
