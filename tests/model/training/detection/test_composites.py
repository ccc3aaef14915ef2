"""Tests of `model.training.detection.composites` and what it pastes with."""

import numpy as np
import pytest

from model.training.dataset import DataError
from model.training.detection.canvas import Canvas
from model.training.detection.composites import Compositor
from model.training.detection.paste import cover_eyes, mask_mouth, paste, soft_mask
from model.training.detection.photometry import compression, darkness, disturb, greyness, noise
from tests.model.training.detection.data import draw_heads, heads

IDENTITY = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def equal(one: Canvas, other: Canvas) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("pixels", "boxes", "landmarks"))


def test_pure() -> None:
    """A canvas is a function of seed, step and index: the same again, another for any other number."""
    first, again, other = Compositor(heads(), 1), Compositor(heads(), 1), Compositor(heads(), 2)
    canvas = first.canvas(5, 3, 96)
    first.canvas(9, 9, 64)  # drawing something else in between changes nothing
    assert equal(canvas, first.canvas(5, 3, 96))
    assert equal(canvas, again.canvas(5, 3, 96))
    for another in (first.canvas(6, 3, 96), first.canvas(5, 4, 96), other.canvas(5, 3, 96)):
        assert not equal(canvas, another)


def test_many() -> None:
    """Canvases hold faces of all scales, several on some and none on others, all labels on the canvas."""
    compositor = Compositor(heads(), 7)
    canvases = [compositor.canvas(0, index, 160) for index in range(200)]
    counts = [len(canvas.boxes) for canvas in canvases]
    assert 0 in counts
    assert max(counts) >= 4
    boxes = np.concatenate([canvas.boxes for canvas in canvases])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert sides.min() < 16
    assert sides.max() > 110
    assert boxes.min() >= 0
    assert boxes.max() <= 160
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    for canvas in canvases:
        assert canvas.pixels.shape == (160, 160, 3)
        assert canvas.pixels.dtype == np.uint8
        assert len(canvas.boxes) == len(canvas.landmarks) == len(canvas.ignored)


def test_pasted_faces_are_where_labels_say() -> None:
    """Under the photometry every labelled face has a head's red at its centre, whichever way it came there."""
    compositor = Compositor(heads(), 3)
    seen = redder = 0
    for index in range(150):
        canvas = compositor.canvas(1, index, 160)
        for box in canvas.boxes[~canvas.ignored]:
            x, y = ((box[:2] + box[2:]) / 2).round().astype(int)
            spread = int(max(box[2:] - box[:2]) // 5)
            patch = canvas.pixels[max(y - spread, 0) : y + spread + 1, max(x - spread, 0) : x + spread + 1].astype(int)
            red, others = patch[:, :, 0].mean(), canvas.pixels[:, :, 0].mean()
            seen += 1
            redder += red > others
    assert seen > 150
    assert redder / seen > 0.9  # a mask or dark glasses cover a few, and a ground may be red


def test_needs() -> None:
    """Data without rooms, or without a face, is refused."""
    for kinds in (("photo", "crop"), ("room",), ("photo", "room")):
        with pytest.raises(DataError, match="rooms"):
            Compositor([scene for scene in heads() if scene.kind in kinds], 0)


def test_paste() -> None:
    """A pasted patch is the source in its middle, the canvas at its rim, and may reach beyond the canvas."""
    source = np.full((60, 60, 3), 250, np.uint8)
    canvas = np.full((60, 60, 3), 10, np.uint8)
    paste(np.random.default_rng(0), canvas, source, IDENTITY, (10, 10, 40))
    assert canvas[30, 30].tolist() == [250, 250, 250]
    assert canvas[11, 11].tolist() == [10, 10, 10]
    assert (canvas[:10] == 10).all()
    paste(np.random.default_rng(0), canvas, source, IDENTITY, (-20, -20, 40))
    assert canvas[0, 0, 0] == 250
    before = canvas.copy()
    paste(np.random.default_rng(0), canvas, source, IDENTITY, (200, 200, 40))
    assert np.array_equal(canvas, before)


def test_paste_ends_with_its_source() -> None:
    """Where the source has no pixels nothing is pasted, not even black."""
    canvas = np.full((60, 60, 3), 100, np.uint8)
    paste(np.random.default_rng(1), canvas, np.full((60, 30, 3), 250, np.uint8), IDENTITY, (0, 0, 60))
    assert canvas[:, 32:].min() == 100
    assert canvas[30, 20, 0] > 100


def test_soft_mask() -> None:
    """A mask is whole in the middle and nothing in the corners, with an edge between."""
    for seed in range(10):
        mask = soft_mask(np.random.default_rng(seed), 41)
        assert mask[20, 20] == 1
        assert mask[0, 0] == mask[-1, 0] == 0
        assert ((mask > 0) & (mask < 1)).any()


def test_covers() -> None:
    """A mask covers the mouth and spares the eyes; dark glasses the other way round."""
    scene = draw_heads("crop", (120, 120), [(20, 10, 100, 110)])
    points = scene.landmarks[0].round().astype(int)
    for cover, covered, spared in ((mask_mouth, (3, 4), (0, 1)), (cover_eyes, (0, 1), (3, 4))):
        pixels = scene.pixels.copy()
        cover(np.random.default_rng(4), pixels, scene.landmarks[0])
        changed = (pixels != scene.pixels).any(axis=2)
        assert all(changed[points[point][1], points[point][0]] for point in covered)
        assert not any(changed[points[point][1], points[point][0]] for point in spared)


def test_photometry() -> None:
    """Disturbances keep shape and kind, differ by seed, and do what they say."""
    pixels = heads()[0].pixels
    assert equal_colours(greyness(np.random.default_rng(1), pixels)) or equal_colours(
        greyness(np.random.default_rng(2), pixels)
    )
    assert darkness(np.random.default_rng(0), pixels).mean() < 0.7 * pixels.mean()
    for change in (noise, compression, disturb):
        one, other = (change(np.random.default_rng(seed), pixels) for seed in (0, 1))
        assert one.shape == pixels.shape
        assert one.dtype == np.uint8
        assert not np.array_equal(one, other)


def equal_colours(pixels: np.ndarray) -> bool:
    return bool(np.abs(pixels[:, :, 0].astype(int) - pixels[:, :, 2]).max() <= 1)
