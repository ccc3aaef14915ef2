"""Tests of `model.training.detection.robustness` and the conditions that it tries."""

import math
from pathlib import Path

import numpy as np
import pytest

from model.runtime.detection import Detector
from model.runtime.pack import find_pack, read_pack
from model.runtime.session import open_session
from model.training.dataset import DataError
from model.training.detection.conditions import CLEAN, FACE_SIDES_PX, conditions, darkened
from model.training.detection.robustness import ConditionRow, try_conditions
from model.training.detection.scenes import read_scenes
from model.training.detection.views import side_of
from tests.model.training.detection.data import draw_heads

PHOTOS = [draw_heads("photo", (200, 160), [(60, 40, 120, 120)], seed) for seed in range(3)]
ROOMS = [draw_heads("room", (150, 110), [], seed) for seed in (7, 8)]


def shipped() -> Detector:
    folder = find_pack("nano")
    part = read_pack(folder).detector.at_scales((1.0, 0.5))
    return Detector(open_session(folder / part.file), part)


def test_conditions_are_without_chance() -> None:
    """Every condition has its own name, and shows the same pixels and labels each time, labels on the picture."""
    names = [condition.name for condition in conditions()]
    assert len(set(names)) == len(names)
    for condition in conditions():
        for one, other in zip(condition.show(PHOTOS[:1], ROOMS), condition.show(PHOTOS[:1], ROOMS), strict=True):
            assert np.array_equal(one.pixels, other.pixels)
            assert np.array_equal(one.boxes, other.boxes)
            assert one.pixels.dtype == np.uint8
            height, width = one.pixels.shape[:2]
            assert (one.boxes >= 0).all()
            assert (one.boxes <= [width, height, width, height]).all()
            assert (one.kind == "room") == (len(one.boxes) == 0)


def test_sizes() -> None:
    """Faces are shown at the sizes that the conditions are named for."""
    by_name = {condition.name: condition for condition in conditions()}
    for side in FACE_SIDES_PX:
        shown = list(by_name[f"face of {side} px"].show(PHOTOS, ROOMS))
        assert [side_of(scene.boxes[0]) for scene in shown] == pytest.approx([side] * len(PHOTOS), rel=0.02)


def test_darkened() -> None:
    """A share of the light has that share of the level, and a noise that falls with it but never vanishes."""
    light = np.full((100, 100, 3), 200, np.uint8)
    half, little = darkened(light, 0.5, 1), darkened(light, 0.12, 1)
    assert half.mean() == pytest.approx(100, abs=0.5)
    assert little.mean() == pytest.approx(24, abs=0.5)
    assert half.std() > little.std() > 2


def test_real_detector_on_real_photographs(shared_data: Path) -> None:
    """The shipped detector finds plain faces, common sizes and close-ups; each figure says over how many it holds."""
    rows = {row.name: row for row in try_conditions(shipped(), read_scenes(shared_data, "val")[::40], 1)}
    for name in (CLEAN, "face of 128 px", "close-up, 100 %", "grey", "JPEG quality 30", "turned by 10 degrees"):
        assert rows[name].recall > 0.7, name
        assert rows[name].num_faces >= 4
        assert rows[name].landmark_error < 0.4
        assert 1 <= rows[name].views_per_photo <= 2
    assert rows[CLEAN].num_rooms > rows["grey"].num_rooms > 0
    turned = [row.num_faces for name, row in rows.items() if name.startswith("profile")]
    assert sum(turned) == rows[CLEAN].num_faces


def test_measures() -> None:
    """A row is figures by condition, without those that nothing was counted for."""
    measures = list(ConditionRow("grey", 8, 0.75, math.nan, 0.5, 4, 1.25, 7).measures())
    assert {measure.group for measure in measures} == {"condition=grey"}
    found = {measure.metric: (measure.value, measure.num_samples) for measure in measures}
    assert found == {
        "recall_at_iou_0.5": (0.75, 8),
        "false_alarms_per_room": (0.5, 4),
        "views_per_photo": (1.25, 7),
    }
    assert len(list(ConditionRow("a part", 8, 0.75, 0.1).measures())) == 2


def test_nothing_to_try_on() -> None:
    """Scenes without a face, or without a room, are refused."""
    with pytest.raises(DataError, match="without"):
        try_conditions(shipped(), PHOTOS)
    with pytest.raises(DataError, match="with faces"):
        try_conditions(shipped(), ROOMS)
