"""Tests of `model.training.detection.decoys`, and of the canvases without a face that it makes harder."""

import numpy as np
import pytest

from model.training.detection.composites import Compositor
from model.training.detection.decoys import beside_faces, noise_texture
from model.training.detection.geometry import overlap_of_first
from tests.model.training.detection.data import draw_heads, heads


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (5, 3)])
def test_noise(size: tuple[int, int]) -> None:
    """Noise has the size asked for, at any grain, and is the same again for the same numbers."""
    for seed in range(30):
        one, again = (noise_texture(np.random.default_rng(seed), size) for _ in range(2))
        assert one.shape == (size[1], size[0], 3)
        assert one.dtype == np.uint8
        assert np.array_equal(one, again)


def test_kinds_of_noise() -> None:
    """Some noise is grey and some coloured; some changes at every pixel and some stays over several."""
    drawn = [noise_texture(np.random.default_rng(seed), (64, 64)).astype(int) for seed in range(60)]
    grey = [bool((each == each[:, :, :1]).all()) for each in drawn]
    assert 10 < sum(grey) < 50
    still = [float((each[:, 1:] == each[:, :-1]).mean()) for each in drawn]
    assert min(still) < 0.05
    assert max(still) > 0.6


def test_beside_faces() -> None:
    """A square beside the faces holds hardly any of one, and is now and then below one, where a body is."""
    scene = draw_heads("photo", (200, 300), [(60, 40, 120, 110)])
    below = 0
    for seed in range(60):
        found = beside_faces(np.random.default_rng(seed), scene)
        assert found is not None
        centre, side = found
        bounds = np.concatenate([centre - side / 2, centre + side / 2])[None]
        assert overlap_of_first(scene.boxes, bounds)[0, 0] <= 0.15
        below += centre[1] > 110 and 0 < centre[0] < 180
    assert below > 20


def test_nothing_beside() -> None:
    """A photograph that is all face has no square beside it."""
    scene = draw_heads("crop", (40, 40), [(0, 0, 40, 40)])
    found = [beside_faces(np.random.default_rng(seed), scene) for seed in range(20)]
    assert None in found


def test_canvases_without_a_face() -> None:
    """A fifth of canvases and more hold no face, and some of these are noise all over."""
    compositor = Compositor(heads(), 7)
    empty = [canvas for canvas in (compositor.canvas(0, index, 96) for index in range(400)) if not len(canvas.boxes)]
    assert 60 < len(empty) < 140
    # A room has corners of one colour or grey noise from the tests' data; colour all over is noise's alone.
    coloured = [np.ptp(canvas.pixels.astype(int), axis=2).mean() > 40 for canvas in empty]
    assert 0 < sum(coloured) < 0.3 * len(empty)
