"""Tests of model.training.prepare.readers.utkface."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared

GOOD = (
    "100_0_0_20170112213500903.jpg.chip.jpg",
    "26_1_2_20170116174525125.jpg",
    "24_0_1_20170116220224657 .jpg.chip.jpg",
    "55_0_3_20170116232725357jpg.chip.jpg",
)
BAD = (
    "39_1_20170116174525125.jpg.chip.jpg",
    "61_3_20170109150557335.jpg.chip.jpg",
    "53__0_20170116184028385.jpg",
    "portrait.jpg",
)


def test_labels_by_name(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Age, gender (turned: the set counts males as 0) and race come from the name; broken names are named."""
    for name, photo in zip((*GOOD, *BAD[:3]), photos, strict=False):
        photo.save(tmp_path / "UTKFace" / name)
    photos[0].save(tmp_path / "UTKFace" / BAD[3])
    made = prepared("utkface", tmp_path / "UTKFace")
    faces = made.table()
    rows = {name: (faces.age[row], faces.gender[row], faces.race[row]) for row, name in enumerate(faces.names)}
    assert rows == dict(zip(GOOD, [(100, 1, 0), (26, 0, 2), (24, 1, 1), (55, 1, 3)], strict=True))
    assert made.left_out == dict.fromkeys(BAD, "malformed name")


def test_out_of_range(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """An age or a race that nobody has is named, not taken."""
    for name in ("20_0_0_1.jpg", "140_0_0_2.jpg", "30_0_7_3.jpg"):
        photos[0].save(tmp_path / "UTKFace" / name)
    assert prepared("utkface", tmp_path / "UTKFace").left_out == {
        "140_0_0_2.jpg": "age is out of range",
        "30_0_7_3.jpg": "race is out of range",
    }


def test_wrong_layout(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """A source without images, or with none that is named so, is one clear line."""
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="set is not laid out as UTKFace: there is no image"):
        prepared("utkface", tmp_path / "set")
    photos[0].save(tmp_path / "set" / "portrait.jpg")
    with pytest.raises(DataError, match="no image is named as its images are"):
        prepared("utkface", tmp_path / "set")
