"""Tests of `model.training.detection.scenes`."""

from pathlib import Path

import numpy as np
import pytest

from model.training.dataset import DataError
from model.training.detection.scenes import read_scenes
from tests.model.training.detection.data import draw_heads, heads, write_data, write_scenes


def test_reading(tmp_path: Path) -> None:
    """Every row comes back as it was written, files in order, colours as RGB."""
    write_scenes(tmp_path / "detection-train-01.parquet", heads()[3:])
    write_scenes(tmp_path / "detection-train-00.parquet", heads()[:3])
    for scene, expected in zip(read_scenes(tmp_path, "train"), heads(), strict=True):
        assert (scene.name, scene.kind) == (expected.name, expected.kind)
        for name in ("pixels", "boxes", "landmarks", "scores"):
            assert np.array_equal(getattr(scene, name), getattr(expected, name)), name


def test_room(tmp_path: Path) -> None:
    """A room has no face, and its arrays still have columns."""
    write_scenes(tmp_path / "detection-val.parquet", (draw_heads("room", (40, 30), []),))
    room = read_scenes(tmp_path, "val")[0]
    assert (room.boxes.shape, room.landmarks.shape, room.scores.shape) == ((0, 4), (0, 5, 2), (0,))


def test_absent(tmp_path: Path) -> None:
    """A folder without the split's files is refused by name."""
    write_data(tmp_path)
    (tmp_path / "detection-val.parquet").unlink()
    with pytest.raises(DataError, match="detection-val"):
        read_scenes(tmp_path, "val")


def test_real(shared_data: Path) -> None:
    """The real validation split holds 200 photographs with faces and 186 rooms without."""
    scenes = read_scenes(shared_data, "val")
    kinds = [scene.kind for scene in scenes]
    assert (kinds.count("photo"), kinds.count("room")) == (200, 186)
    assert all((len(scene.boxes) == 0) == (scene.kind == "room") for scene in scenes)
