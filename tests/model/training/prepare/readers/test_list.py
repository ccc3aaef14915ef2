"""Tests of model.training.prepare.readers.list."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared

LINES = "a/0.jpg 2 1 33\na/1.jpg -1 0 101\na/2.jpg 5 2 -1\nb/3.jpg 4 -1 100\nb/gone.jpg 0 0 0\nb/3.jpg x 1 1\n"


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Four images under the folders that the list names."""
    for number, photo in enumerate(photos[:4]):
        photo.save(tmp_path / "images" / "aabb"[number] / f"{number}.jpg")
    photos[2].save(tmp_path / "images" / "a" / "2.jpg")
    photos[3].save(tmp_path / "images" / "b" / "3.jpg")
    (tmp_path / "train.txt").write_text(LINES)
    return tmp_path


def test_every_label_in_range(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A row keeps its labels that are in range; it is left out where none is."""
    made = prepared("list", root / "train.txt", root / "images")
    faces = made.table()
    assert faces.names == ("a/0.jpg", "a/1.jpg", "b/3.jpg")
    assert faces.race.tolist() == [2, -1, 4]
    assert faces.gender.tolist() == [1, 0, -1]
    assert faces.age[[0, 2]].tolist() == [33, 100]
    assert made.summary.left_out == {"every label is out of range": 1, "no such image": 1, "a label is no number": 1}


@pytest.mark.parametrize(("label", "names"), [("age", ("a/0.jpg", "b/3.jpg")), ("gender", ("a/0.jpg", "a/1.jpg"))])
def test_one_label(root: Path, prepared: Callable[..., Prepared], label: str, names: tuple[str, ...]) -> None:
    """With one label chosen, its rows alone are taken, and no other label with them."""
    faces = prepared("list", root / "train.txt", root / "images", label=label).table()
    assert faces.names == names
    assert (faces.race == -1).all()


def test_people(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A list of `path person` gives identities; absolute paths need no folder; a negative person is left out."""
    lines = f"{root}/images/a/0.jpg 12\na/1.jpg 3\nb/3.jpg -1\n"
    (root / "images" / "val_people.txt").write_text(lines)
    made = prepared("list", root / "images" / "val_people.txt")
    faces = made.table("val")
    assert faces.identity_names == ("made:12", "made:3")
    assert made.left_out == {"b/3.jpg": "every label is out of range"}


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without a list, or with another kind of text, is one clear line."""
    (tmp_path / "notes.txt").write_text("this is no list\n")
    with pytest.raises(DataError, match="holds no list of `path race gender age` or `path person`"):
        prepared("list", tmp_path)
