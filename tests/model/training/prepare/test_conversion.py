"""Tests of model.training.prepare.conversion."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from model.training.prepare.conversion import convert
from model.training.prepare.lmdb_form import iterate_lmdb
from model.training.prepare.preparation import Job
from tests.model.training.prepare.conftest import Photo, Prepared


@pytest.fixture
def listed(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """A list of four images with race, gender and age, one of them no picture, one out of range."""
    for number, photo in enumerate(photos[:4]):
        photo.save(tmp_path / "images" / f"{number}.jpg")
    (tmp_path / "images" / "3.jpg").write_bytes(b"no picture")
    (tmp_path / "train.txt").write_text("0.jpg 2 1 33\n1.jpg 0 0 70\n2.jpg -1 1 101\n3.jpg 1 1 20\n")
    return tmp_path / "train.txt"


def test_list_to_lmdb(
    tmp_path: Path, listed: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]
) -> None:
    """A list becomes a file of its own images' bytes with one label, which reads back as the same set."""
    job = Job("list", (listed, tmp_path / "images"), tmp_path / "out", label="age")
    done: list[tuple[int, int | None]] = []
    summary = convert(job, lambda *place: done.append(place))
    path = tmp_path / "out" / "train.lmdb"
    entries = list(iterate_lmdb(path))
    assert [(image, label) for _, image, label in entries] == [(photos[0].jpeg, 33), (photos[1].jpeg, 70)]
    assert summary.rows == {"age": 2}
    assert summary.left_out == {"every label is out of range": 1, "image cannot be read": 1}
    assert done[-1] == (4, 4)
    faces = prepared("lmdb", path, label="age").table()
    assert faces.age.tolist() == [33, 70]


def test_folder_to_lmdb(tmp_path: Path, photos: tuple[Photo, ...]) -> None:
    """A folder an identity becomes a file whose labels are the people's places in their sorted list."""
    for number, person in enumerate(("berta", "anna", "berta")):
        photos[number].save(tmp_path / "people" / person / f"{number}.jpg")
    convert(Job("folder", (tmp_path / "people",), tmp_path / "out", name="people"))
    found = [(image, label) for _, image, label in iterate_lmdb(tmp_path / "out" / "people.lmdb")]
    assert found == [(photos[1].jpeg, 0), (photos[0].jpeg, 1), (photos[2].jpeg, 1)]


def test_numbered_people_keep_their_numbers(tmp_path: Path, photos: tuple[Photo, ...]) -> None:
    """People who are numbers in a list keep them, as published."""
    photos[0].save(tmp_path / "a.jpg")
    (tmp_path / "people.txt").write_text("a.jpg 12\na.jpg 3\n")
    convert(Job("list", (tmp_path / "people.txt",), tmp_path / "out"))
    assert [label for _, _, label in iterate_lmdb(tmp_path / "out" / "people.lmdb")] == [12, 3]


def test_a_file_that_is_there_stays(tmp_path: Path, listed: Path) -> None:
    """A finished file is replaced only if asked."""
    job = Job("list", (listed, tmp_path / "images"), tmp_path / "out", label="gender")
    convert(job)
    with pytest.raises(DataError, match=r"train.lmdb is there already"):
        convert(job)


def test_nothing_usable(tmp_path: Path, listed: Path) -> None:
    """A source whose rows carry no such label leaves no file, in one clear line."""
    with pytest.raises(DataError, match="no row of the source could be used"):
        convert(Job("list", (listed, tmp_path / "images"), tmp_path / "out", label="identity"))
    assert not (tmp_path / "out" / "train.lmdb").exists()
