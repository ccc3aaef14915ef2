"""Tests of model.training.prepare.readers.rafdb."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared, decoded, jpeg

LABELS = {"train_00001": "5", "train_00002": "7", "test_0001": "1", "test_0002": "8", "train_00003": "0"}


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Five originals with their list, and the manual annotation of the first."""
    basic = tmp_path / "RAF-DB" / "basic"
    for (stem, _), photo in zip(LABELS.items(), photos, strict=False):
        photo.save(basic / "Image" / "original" / f"{stem}.jpg")
    (basic / "EmoLabel").mkdir()
    text = "".join(f"{stem}.jpg {label}\n" for stem, label in LABELS.items())
    (basic / "EmoLabel" / "list_patition_label.txt").write_text(f"{text}train_00004.jpg 3\n")
    (basic / "Annotation" / "manual").mkdir(parents=True)
    points = "".join(f"{x:.2f}\t{y:.2f}\n" for x, y in photos[0].landmarks.tolist())
    (basic / "Annotation" / "manual" / "train_00001_manu_attri.txt").write_text(f"{points}1\n2\n3\n")
    return basic.parent


def test_expressions_and_parts(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Labels count from 1 in RAF-DB's own order; the test part is what is validated on."""
    made = prepared("rafdb", root)
    train, val = made.table(), made.table("val")
    assert (train.names, train.expression.tolist()) == (("train_00001.jpg", "train_00002.jpg"), [4, 6])
    assert (val.names, val.expression.tolist()) == (("test_0001.jpg",), [0])
    assert made.left_out == {
        "test_0002.jpg": "expression is out of range",
        "train_00003.jpg": "expression is out of range",
        "train_00004.jpg": "no such image",
    }


def test_annotation(root: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Where people marked a face, their landmarks cut it and their gender and race go with it."""
    train = prepared("rafdb", root).table()
    assert (train.gender.tolist(), train.race.tolist()) == ([0, -1], [2, -1])
    assert np.abs(train.images[0].astype(int) - decoded(photos[0].aligned())).mean() < 3
    path = root / "basic" / "Annotation" / "manual" / "train_00001_manu_attri.txt"
    path.write_text(path.read_text().replace("\t", "\t9", 1))
    moved = prepared("rafdb", root, name="moved").table()
    assert np.abs(moved.images[0].astype(int) - train.images[0]).mean() > 10


def test_aligned_copies(root: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Where only the set's aligned copies are there, these are taken, their faces found anew."""
    images = root / "basic" / "Image"
    (images / "aligned").mkdir()
    (images / "aligned" / "train_00002_aligned.jpg").write_bytes(jpeg(photos[1].pixels))
    for path in (images / "original").iterdir():
        path.unlink()
    assert prepared("rafdb", root).table().names == ("train_00002.jpg",)


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without the list is one clear line."""
    with pytest.raises(DataError, match=r"is not laid out as RAF-DB: there is no list_patition_label.txt"):
        prepared("rafdb", tmp_path)
