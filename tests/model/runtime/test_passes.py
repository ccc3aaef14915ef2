"""Tests of `model.runtime.passes`."""

import itertools

import numpy as np
import pytest

from model.runtime.passes import (
    CONCLUSIVE_SCORE,
    are_doubtful,
    are_parts,
    confirmed,
    doubtful_side_px,
    halved,
    is_conclusive,
    letterbox,
    small,
    tiles,
    trimmed,
    useful_side_px,
    whole,
)
from model.runtime.scales import parse_scales

BLANK = np.full((600, 800, 3), 200, np.uint8)


def rows(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def test_whole() -> None:
    """The ordinary view is the letterbox, and any face counts on it."""
    view = whole(BLANK, 320, 320)
    canvas, scale = letterbox(BLANK, 320, 320)
    assert np.array_equal(view.canvas, canvas)
    assert view.scale == scale
    assert view.counts(rows((0, 0, 2, 2), (-5, -5, 400, 400))).all()
    assert not view.is_small


def test_small() -> None:
    """A picture made small lies in the middle, black around it, and faces over half its shorter side count alone."""
    view = small(BLANK, 320, 320, 0.5)
    assert (view.canvas > 0).any(axis=2).sum() == 160 * 120
    assert view.canvas[160, 160].tolist() == [200, 200, 200]
    assert view.origin == pytest.approx((80, 100))
    assert view.scale == 120 / 600
    assert view.is_small
    assert view.is_large(rows((0, 0, 200, 305), (0, 0, 200, 275))).tolist() == [True, False]  # of the picture's 600 px


def test_trimmed_whole() -> None:
    """The canvas ends at a multiple of 32, at least 32 pixels of black after the picture, and shows it as before."""
    view = whole(BLANK, 640, 640)  # 640 x 480
    short = trimmed(view)
    assert short.canvas.shape == (512, 640, 3)
    assert np.array_equal(short.canvas, view.canvas[:512])
    assert (short.scale, short.origin) == (view.scale, view.origin)
    assert trimmed(whole(BLANK.transpose(1, 0, 2), 640, 640)).canvas.shape == (640, 512, 3)
    assert trimmed(whole(BLANK[:, :600], 640, 640)).canvas.shape == (640, 640, 3)


def test_trimmed_small() -> None:
    """The small view keeps at least 64 pixels of black on each side, and its origin is still the picture's corner."""
    view = small(BLANK, 640, 640, 0.5)  # 320 x 240
    short = trimmed(view)
    assert short.canvas.shape == (384, 448, 3)
    assert short.origin == pytest.approx((64, 72))
    assert short.canvas[72:312, 64:384].all()
    assert short.canvas.astype(bool).sum() == view.canvas.astype(bool).sum()
    assert (short.scale, short.min_large_px) == (view.scale, view.min_large_px)


def test_trimmed_tile() -> None:
    """A tile that the picture fills stays as it is; of one that ends early the black goes."""
    full = next(tiles(np.full((3000, 4000, 3), 200, np.uint8), 640, 640, 2))
    assert np.array_equal(trimmed(full).canvas, full.canvas)
    strips = list(tiles(np.full((300, 2400, 3), 200, np.uint8), 640, 640, 2))
    assert {trimmed(view).canvas.shape for view in strips} == {(192, 640, 3)}


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (4000, 3000), (1000, 1280), (500, 3000), (1500, 1500)])
def test_tiles_cover(height: int, width: int) -> None:
    """Tiles show every pixel, no larger than it is, and any face of up to 96 pixels lies whole on one of them."""
    picture = np.zeros((height, width, 3), np.uint8)
    views = list(tiles(picture, 640, 640, 2))
    assert {view.canvas.shape for view in views} == {(640, 640, 3)}
    scale = views[0].scale
    assert scale <= 1
    for x, y in itertools.product(np.linspace(0, width * scale - 90, 40), np.linspace(0, height * scale - 90, 40)):
        whole_on = [
            view
            for view in views
            if view.counts(rows((x, y, x + 90, y + 90)) + np.tile(np.array(view.origin, np.float32), 2))[0]
        ]
        assert whole_on, (x, y)


def test_tiles_enlarge() -> None:
    """Two tiles along the longer side show a large picture nearly twice as large; one with too few pixels has none."""
    large = np.zeros((3000, 4000, 3), np.uint8)
    assert next(iter(tiles(large, 640, 640, 2))).scale == pytest.approx(1184 / 4000, rel=0.01)
    assert len(list(tiles(large, 640, 640, 2))) == 4
    assert list(tiles(np.zeros((500, 700, 3), np.uint8), 640, 640, 2)) == []


def test_tiles_leave_large_faces() -> None:
    """A face that is too large for the overlap, and one that an inner edge cuts, do not count on a tile."""
    first = next(iter(tiles(np.zeros((3000, 4000, 3), np.uint8), 640, 640, 2)))
    boxes = rows((0, 0, 50, 50), (10, 10, 130, 130), (600, 100, 640, 150))
    assert first.counts(boxes).tolist() == [True, False, False]


def test_conclusive() -> None:
    """A first pass is conclusive with a sure face, none of which fills the frame."""
    boxes, sure, doubtful = rows((0, 0, 100, 120)), np.array([0.9], np.float32), np.array([0.5], np.float32)
    assert is_conclusive(boxes, sure, 200)
    assert not is_conclusive(boxes, sure, 110)
    assert not is_conclusive(boxes, doubtful, 200)
    assert not is_conclusive(rows(), np.empty(0, np.float32), 200)


def test_parts() -> None:
    """A box inside a surer large face is a part of it, unless it is small, outside or surer itself."""
    large = rows((100, 100, 500, 600))
    boxes = rows((150, 150, 350, 400), (150, 150, 190, 200), (450, 550, 650, 750), (150, 150, 350, 400))
    scores = np.array([0.7, 0.7, 0.7, 0.95], np.float32)
    assert are_parts(boxes, scores, large, np.array([0.9], np.float32)).tolist() == [True, False, False, False]
    assert not are_parts(boxes, scores, rows(), np.empty(0, np.float32)).any()


def test_halved() -> None:
    """A picture is halved while its longer side keeps the pixels asked for, and left alone where it is not larger."""
    assert halved(np.zeros((3000, 4000, 3), np.uint8), 1280).shape == (1500, 2000, 3)
    assert halved(BLANK, 1280) is BLANK


def test_useful_side() -> None:
    """Twice the input is enough for one scale and two tiles; more tiles need more."""
    assert useful_side_px(640, 640, (1.0, 0.5)) == 1280
    assert useful_side_px(640, 640, (1.0, 2.0)) == 1280
    assert useful_side_px(640, 640, (1.0, 3.0)) == 1728


def test_parse_scales() -> None:
    """Scales are read as a person writes them."""
    assert parse_scales("1, 0.5,2") == (1.0, 0.5, 2.0)


@pytest.mark.parametrize("text", ["", "0.5", "1,1", "1,0.9", "1,0.1", "1,1.5", "1,5", "1,x", "1,nan", "1,-2"])
def test_scales_that_cannot_be(text: str) -> None:
    """Scales without 1, twice the same, or out of bounds are refused in one line."""
    with pytest.raises(ValueError, match="scales are 1 and"):
        parse_scales(text)


def test_a_second_look_confirms_or_lowers() -> None:
    """A face keeps its score where another look is as sure, else it has the mean; one that is missed has half."""
    first = rows((0, 0, 100, 100), (200, 0, 300, 100), (400, 0, 500, 100))
    again = rows((2, 2, 102, 102), (210, 5, 305, 100), (450, 50, 550, 150))
    scores = confirmed(first, np.array([0.6, 0.6, 0.6], np.float32), again, np.array([0.9, 0.4, 0.9], np.float32))
    np.testing.assert_allclose(scores, [0.6, 0.5, 0.3], rtol=1e-6)
    assert confirmed(
        first, np.array([0.6] * 3, np.float32), again[:0], np.zeros(0, np.float32)
    ).tolist() == pytest.approx([0.3] * 3)


def test_doubtful_faces() -> None:
    """A face is doubtful under the conclusive score, if a look at half the size can show it at all."""
    boxes = rows((0, 0, 60, 60), (0, 0, 60, 60), (0, 0, 20, 40))
    scores = np.array([CONCLUSIVE_SCORE, 0.6, 0.6], np.float32)
    assert are_doubtful(boxes, scores, doubtful_side_px(1.0)).tolist() == [False, True, False]
    assert are_doubtful(boxes, scores, doubtful_side_px(1.5)).tolist() == [False, True, True]
