"""Tests of `model.training.detection.views` and `gallery`."""

import numpy as np
import pytest

from model.training.detection.gallery import PLAN, SIZE, one_photograph
from model.training.detection.scenes import Scene
from model.training.detection.views import close_up, covering, halved_scene, shown_at, side_of, turned
from tests.model.training.detection.data import SKIN, draw_heads

HEAD = draw_heads("photo", (200, 160), [(60, 40, 120, 120)], 1)
ROOM = draw_heads("room", (90, 70), [], 2)


def skin_box(scene: Scene) -> np.ndarray:
    """Bounds of what has the colour of a head."""
    red = (scene.pixels[:, :, 0].astype(int) - scene.pixels[:, :, 2]) > (SKIN[0] - SKIN[2]) / 2
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


@pytest.mark.parametrize("face_px", [20, 64, 200])
def test_shown_at(face_px: int) -> None:
    """The face has the longer side asked for, its label lies on it, and what is behind shows around the photograph."""
    behind = np.full((300, 400, 3), 7, np.uint8)
    shown = shown_at(HEAD, face_px, (400, 300), behind, (0.5, 0.5))
    assert side_of(shown.boxes[0]) == pytest.approx(face_px, rel=0.01)
    assert shown.boxes[0] == pytest.approx(skin_box(shown), abs=2.5)
    if face_px == 20:
        assert shown.pixels[0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize(("share", "whole"), [(0.5, True), (0.8, True), (1.3, False)])
def test_close_up(share: float, whole: bool) -> None:
    """The face's longer side fills the square by the share; cut at its edges where it is larger."""
    shown = close_up(HEAD, share)
    height, width = shown.pixels.shape[:2]
    assert height == width == round(80 / share)
    assert shown.boxes[0] == pytest.approx(skin_box(shown), abs=2)
    assert (side_of(shown.boxes[0]) < height - 1) == whole


@pytest.mark.parametrize("degrees", [10, -30, 45, 90, -90, 180])
def test_turned(degrees: int) -> None:
    """Labels turn with the pixels, and the frame holds the whole scene."""
    shown = turned(HEAD, degrees)
    assert shown.boxes[0] == pytest.approx(skin_box(shown), abs=2.5)
    eyes = shown.landmarks[0, 1] - shown.landmarks[0, 0]
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) % 360 == pytest.approx(degrees % 360, abs=0.1)
    if abs(degrees) == 90:
        assert shown.pixels.shape[:2] == (200, 160)


def test_halved() -> None:
    """A large scene is halved with its labels."""
    assert halved_scene(HEAD, 100).boxes[0] == pytest.approx([30, 20, 60, 60])
    assert halved_scene(HEAD, 150) is not None
    assert halved_scene(HEAD, 150).pixels.shape == HEAD.pixels.shape


def test_covering() -> None:
    """A room covers a frame of any shape."""
    assert covering(ROOM, (50, 300)).shape == (300, 50, 3)
    assert covering(ROOM, (50, 300)).min() >= 0


def test_gallery() -> None:
    """One photograph holds a face of every size of the plan, none over another, the same each time."""
    picture, again = (next(iter(one_photograph([HEAD], [ROOM]))) for _ in range(2))
    assert np.array_equal(picture.pixels, again.pixels)
    assert picture.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert [side_of(box) for box in picture.boxes] == pytest.approx([side for side, _ in PLAN], rel=0.02)
    lefts, tops, rights, bottoms = picture.boxes.T
    apart = (
        (lefts[:, None] >= rights)
        | (rights[:, None] <= lefts)
        | (tops[:, None] >= bottoms)
        | (bottoms[:, None] <= tops)
    )
    assert (apart | np.eye(len(PLAN), dtype=bool)).all()
