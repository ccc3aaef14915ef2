"""Tests of `model.training.detection.canvas`."""

import numpy as np
import pytest

from model.training.detection.canvas import Canvas, backdrop, face_view, labelled, log_uniform
from tests.model.training.detection.data import draw_heads

SCENE = draw_heads("photo", (160, 120), [(40, 30, 80, 80)])


def red(canvas: Canvas) -> np.ndarray:
    return canvas.pixels[:, :, 0].astype(int) - canvas.pixels[:, :, 1] > 60


@pytest.mark.parametrize("seed", range(12))
def test_face_view(seed: int) -> None:
    """The face lies whole on the canvas, in the range of sizes, and its box bounds its pixels."""
    canvas = face_view(np.random.default_rng(seed), SCENE, (128, 96), (24, 48))
    assert canvas.pixels.shape == (96, 128, 3)
    assert canvas.ignored.tolist() == [False]
    x1, y1, x2, y2 = canvas.boxes[0]
    assert 23 <= max(x2 - x1, y2 - y1) <= 60  # a turned box is a little larger
    rows, columns = np.nonzero(red(canvas) | (canvas.pixels[:, :, 0] > 150))
    inside = (columns >= x1 - 2) & (columns <= x2 + 2) & (rows >= y1 - 2) & (rows <= y2 + 2)
    assert red(canvas)[round(float(y1 + y2) / 2), round(float(x1 + x2) / 2)]
    assert inside.mean() > 0.9 or canvas.pixels[0, 0, 0] > 150  # the ground's one colour may be red too


def test_behind() -> None:
    """What is behind shows where the scene ends, and nowhere else."""
    behind = np.full((128, 128, 3), (0, 255, 0), np.uint8)
    canvas = face_view(np.random.default_rng(0), SCENE, (128, 128), (12, 13), behind)
    green = (canvas.pixels == (0, 255, 0)).all(axis=2)
    assert 0.3 < green.mean() < 0.99
    x1, y1, x2, y2 = canvas.boxes[0].round().astype(int)
    assert not green[y1:y2, x1:x2].any()


def test_backdrop() -> None:
    """A backdrop covers the canvas with its scene, at any shape; now and then it lies askew and leaves corners."""
    white = draw_heads("room", (90, 60), [])
    white.pixels[:] = 255
    askew = 0
    for seed in range(40):
        canvas = backdrop(np.random.default_rng(seed), white, (130, 70) if seed % 2 else (70, 130))
        askew += int(canvas.pixels.min() < 250)
        assert (canvas.pixels[20:-20, 20:-20] >= 250).mean() > 0.5
        assert len(canvas.boxes) == 0
    assert 0 < askew < 16


def test_backdrop_faces() -> None:
    """A photograph as a backdrop keeps the labels of the faces that are on it."""
    found = [backdrop(np.random.default_rng(seed), SCENE, (120, 120)) for seed in range(10)]
    assert any(len(canvas.boxes) for canvas in found)
    for canvas in found:
        for x1, y1, x2, y2 in canvas.boxes[~canvas.ignored]:
            assert red(canvas)[int(y1 + y2) // 2, int(x1 + x2) // 2]


def test_labels() -> None:
    """Faces off the canvas are dropped; small, cut and doubtful ones are ignored; boxes end at the canvas."""
    boxes = np.array([[10, 10, 30, 30], [50, 50, 55, 56], [-10, 10, 12, 40], [-30, 10, 5, 40], [10, 60, 40, 90]])
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.6], np.float32)
    points = np.full((5, 5, 2), -1, np.float32)
    canvas = labelled(np.zeros((100, 100, 3), np.uint8), boxes.astype(np.float32), points, scores)
    assert canvas.boxes.tolist() == [[10, 10, 30, 30], [50, 50, 55, 56], [0, 10, 12, 40], [10, 60, 40, 90]]
    assert canvas.ignored.tolist() == [False, True, True, True]


def test_a_close_up_is_a_face() -> None:
    """A face that the frame cuts is sure as long as all its landmarks are seen, and ignored otherwise."""
    box, scores = np.array([[-20, -20, 120, 120]], np.float32), np.array([0.9], np.float32)
    inside, cut = np.full((1, 5, 2), 40, np.float32), np.full((1, 5, 2), 40, np.float32)
    cut[0, 0] = (-3, 40)
    pixels = np.zeros((100, 100, 3), np.uint8)
    assert not labelled(pixels, box, inside, scores).ignored[0]
    assert labelled(pixels, box, cut, scores).ignored[0]


def test_log_uniform() -> None:
    """Each octave is drawn as often as the next, and an empty range gives its lower end."""
    rng = np.random.default_rng(0)
    drawn = [log_uniform(rng, 10, 160) for _ in range(4000)]
    shares = np.histogram(drawn, [10, 20, 40, 80, 160])[0] / 4000
    assert np.abs(shares - 0.25).max() < 0.03
    assert log_uniform(rng, 30, 20) == pytest.approx(30)
