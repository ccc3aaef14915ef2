"""Tests of `model.training.detection.canvas_views`."""

import numpy as np
import pytest
import torch

from model.training.detection.canvas import Canvas
from model.training.detection.canvas_views import View, as_drawn, from_view, show, view_of
from model.training.detection.geometry import view_matrix

SIDE = 160
# Eyes, nose and mouth of an upright head, each of its own colour, so that none is taken for another.
POINTS = np.array([[[70, 70], [92, 68], [80, 80], [72, 92], [90, 92]]], np.float32)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
LEFT_AND_RIGHT_SWAPPED = (1, 0, 2, 4, 3)


def dotted(ignored: bool = False) -> Canvas:
    """A black canvas with a face of five dots on a dark square."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[60:105, 60:105] = 50
    for (x, y), colour in zip(POINTS[0].astype(int), COLOURS, strict=True):
        pixels[y - 2 : y + 3, x - 2 : x + 3] = colour
    return Canvas(pixels, np.array([[60, 60, 105, 105]], np.float32), POINTS, np.array([ignored]))


def shown(view: View) -> np.ndarray:
    """The view's pixels, float32 (H, W, 3), in the canvas's light."""
    images = torch.from_numpy(view.labels.pixels.transpose(2, 0, 1)[None].astype(np.float32))
    maps, light = torch.from_numpy(from_view(view.matrix, SIDE))[None], torch.tensor([[[1.0] * 3, [0.0] * 3]])
    return np.asarray(show(images, maps, light)[0].permute(1, 2, 0).numpy())


def place_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The middle of what has a colour."""
    likeness = np.clip(120 - np.abs(pixels - np.array(colour)).max(axis=2), 0, None)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.asarray(np.array([(likeness * columns).sum(), (likeness * rows).sum()]) / likeness.sum())


@pytest.mark.parametrize("seed", range(16))
def test_labels_move_with_pixels(seed: int) -> None:
    """Dots painted at the landmarks are found at the view's landmarks, left and right swapped where it mirrors."""
    view = view_of(np.random.default_rng(seed), dotted())
    if view.labels.ignored.any() or not len(view.labels.boxes):
        pytest.skip("the view cuts the face")
    pixels = shown(view)
    mirrored = np.linalg.det(view.matrix[:, :2]) < 0
    for number, point in enumerate(view.labels.landmarks[0]):
        colour = COLOURS[LEFT_AND_RIGHT_SWAPPED[number] if mirrored else number]
        if (point > 3).all() and (point < SIDE - 4).all():
            assert place_of(pixels, colour) == pytest.approx(point, abs=0.6)
    rows, columns = np.nonzero(pixels.max(axis=2) > 25)
    bounds = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # The box bounds the ellipse in the square, whose corners a turn moves out.
    assert view.labels.boxes[0] == pytest.approx(bounds, abs=9)


def test_kinds_of_views() -> None:
    """Views mirror and do not, zoom in and out, and most faces are still there."""
    views = [view_of(np.random.default_rng(seed), dotted()) for seed in range(60)]
    scales = [np.linalg.det(view.matrix[:, :2]) for view in views]
    assert 15 < sum(scale < 0 for scale in scales) < 45
    assert min(map(abs, scales)) < 0.7
    assert max(map(abs, scales)) > 1.6
    assert sum(len(view.labels.boxes) for view in views) > 45


def test_as_drawn() -> None:
    """The canvas as it was drawn moves no pixel and no label."""
    view = as_drawn(dotted())
    np.testing.assert_allclose(shown(view), view.labels.pixels, atol=0.01)
    np.testing.assert_array_equal(view.labels.landmarks, POINTS)


def test_ignored_stays_ignored() -> None:
    """A face that a canvas ignores is ignored in all its views."""
    for seed in range(10):
        assert view_of(np.random.default_rng(seed), dotted(ignored=True)).labels.ignored.all()


def test_cut_twice() -> None:
    """A face that the canvas cuts is ignored where the view cuts it again: how much is seen is not known."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    points = np.tile(np.array([-5, 80], np.float32), (1, 5, 1))
    cut = Canvas(pixels, np.array([[0, 60, 30, 100]], np.float32), points, np.array([False]))
    views = [view_of(np.random.default_rng(seed), cut) for seed in range(60)]
    again = [view for view in views if len(view.labels.boxes) and view.labels.boxes[0, 0] <= 0]
    whole = [view for view in views if len(view.labels.boxes) and (view.labels.boxes[0, [0, 1]] > 0).all()]
    whole = [view for view in whole if (view.labels.boxes[0, 2:] < SIDE).all()]
    assert again
    assert whole
    assert all(view.labels.ignored.all() for view in again)
    assert not any(view.labels.ignored.any() for view in whole)


def test_light() -> None:
    """Levels are multiplied, shifted and kept from 0 to 255; where the canvas ends it is black, in that light."""
    images = torch.full((1, 3, SIDE, SIDE), 100.0)
    middle = np.array([SIDE - 1, SIDE - 1]) / 2
    maps = torch.from_numpy(from_view(view_matrix(middle, middle, 0.5, 0.0, False), SIDE))[None]
    light = torch.tensor([[[1.2, 0.5, 3.0], [10.0, 0.0, 0.0]]])
    pixels = show(images, maps, light)
    torch.testing.assert_close(pixels[0, :, SIDE // 2, SIDE // 2], torch.tensor([130.0, 50.0, 255.0]))
    torch.testing.assert_close(pixels[0, :, 2, 2], torch.tensor([10.0, 0.0, 0.0]))
