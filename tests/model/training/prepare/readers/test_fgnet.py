"""Tests of model.training.prepare.readers.fgnet."""

from collections.abc import Callable
from pathlib import Path

from tests.model.training.prepare.conftest import Photo, Prepared


def test_labels_by_name(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Person and age come from the name, everything is validation, and other files are named."""
    for name, photo in zip(("001A02.JPG", "001A43b.JPG", "082A18.jpg", "notes.jpg"), photos, strict=False):
        photo.save(tmp_path / "FGNET" / "images" / name)
    made = prepared("fgnet", tmp_path / "FGNET")
    faces = made.table("val")
    assert faces.names == ("001A02.JPG", "001A43b.JPG", "082A18.jpg")
    assert faces.age.tolist() == [2, 43, 18]
    assert [faces.identity_names[number] for number in faces.identity] == ["made:001", "made:001", "made:082"]
    assert made.left_out == {"notes.jpg": "malformed name"}
    assert list(made.summary.files) == ["val"]
