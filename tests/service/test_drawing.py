"""Drawing on real pixels: what changes, what stays, and that nothing falls off the edge."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.drawing import Mark, annotate
from tests.service.pictures import opened

POINTS = ((230.0, 110.0), (260.0, 108.0), (247.0, 128.0), (233.0, 146.0), (260.0, 144.0))


@pytest.fixture
def pixels(astronaut: bytes) -> NDArray[np.uint8]:
    return np.array(opened(astronaut), np.uint8)


def changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((before != after).any(2))


def test_a_mark_draws_its_box_points_and_label_and_leaves_the_rest(pixels: NDArray[np.uint8]) -> None:
    """Outline, five points and label are drawn; the face inside and the picture outside stay."""
    original = pixels.copy()
    drawn = annotate(pixels, [Mark((180, 60, 300, 200), POINTS, ("1  female 44", "happiness"))])
    difference = changed(original, drawn)
    assert (pixels == original).all()
    assert difference[60, 180:301].all()
    assert difference[60:201, 180].all()
    assert all(difference[int(y), int(x)] for x, y in POINTS)
    assert difference[28:56, 180:220].mean() > 0.9  # the label, above the box
    assert not difference[70:100, 200:220].any()
    assert not difference[260:].any()


def test_a_label_stands_below_a_box_at_the_upper_edge(pixels: NDArray[np.uint8]) -> None:
    """Where there is no room above, the label is under the box and whole."""
    above = annotate(pixels, [Mark((100, 0, 200, 90), (), ("face",))])
    assert changed(pixels, above)[95:110, 101:130].mean() > 0.9


@pytest.mark.parametrize("box", [(480, 400, 700, 700), (-50, -50, 20, 20), (5, 5, 5, 5), (30, 30, 10, 10)])
def test_boxes_over_the_edge_or_without_area_are_no_error(
    pixels: NDArray[np.uint8], box: tuple[float, float, float, float]
) -> None:
    """A box partly outside, empty or inside out is drawn as far as it can be."""
    drawn = annotate(pixels, [Mark(box, POINTS, ("7  male 30",))])
    assert drawn.shape == pixels.shape
    assert changed(pixels, drawn).any()


def test_no_marks_change_nothing(pixels: NDArray[np.uint8]) -> None:
    """A picture without faces comes back the same, as another array."""
    drawn = annotate(pixels, [])
    assert (drawn == pixels).all()
    assert not np.shares_memory(drawn, pixels)


def test_text_grows_with_the_picture(pixels: NDArray[np.uint8]) -> None:
    """On a picture four times larger the label covers about sixteen times the pixels, so that it can still be read."""
    large = pixels.repeat(4, 0).repeat(4, 1)
    small_area = changed(pixels, annotate(pixels, [Mark((200, 200, 201, 201), (), ("face 1",))])).sum()
    large_area = changed(large, annotate(large, [Mark((800, 800, 801, 801), (), ("face 1",))])).sum()
    assert 6 < large_area / small_area < 20
