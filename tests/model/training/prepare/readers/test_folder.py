"""Tests of model.training.prepare.readers.folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared, decoded, save_wall


def test_folders_are_people(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Each image's folder is its identity, its face is found and aligned, and an image without one is named."""
    for number, photo in enumerate(photos[:4]):
        photo.save(tmp_path / "people" / ("anna", "bert")[number % 2] / f"{number}.jpg")
    save_wall(tmp_path / "people" / "anna" / "wall.png")
    photos[4].save(tmp_path / "people" / "stray.jpg")
    made = prepared("folder", tmp_path / "people")
    faces = made.table()
    assert faces.names == ("anna/0.jpg", "anna/2.jpg", "bert/1.jpg", "bert/3.jpg")
    assert [faces.identity_names[number] for number in faces.identity] == ["made:anna"] * 2 + ["made:bert"] * 2
    assert made.left_out == {"anna/wall.png": "no face found", "stray.jpg": "not in a folder of its person"}
    for row, photo in enumerate((photos[0], photos[2])):
        assert np.abs(faces.images[row].astype(int) - decoded(photo.aligned())).mean() < 4


def test_empty_folder(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A folder without an image is one clear line."""
    (tmp_path / "people" / "anna").mkdir(parents=True)
    with pytest.raises(DataError, match="people holds no image"):
        prepared("folder", tmp_path / "people")
