"""Tests of model.training.prepare.readers.swinface_ages, swinface_celeba and swinface_affectnet."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.runtime.labels import ATTRIBUTES
from model.training.data_error import DataError
from model.training.prepare.readers.swinface_celeba import ORDER
from tests.model.training.prepare.conftest import Photo, Prepared


def test_ages(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Each folder's list gives age and gender; its header is passed over, rows of nan are named."""
    root = tmp_path / "age_gender"
    for number, photo in enumerate(photos[:4]):
        photo.save(root / ("MORPH" if number < 2 else "IMDB") / "data" / f"{number}.jpg")
    (root / "MORPH" / "label.txt").write_text("name age gender\n0.jpg 54.0 1.0\n1.jpg nan 0.0\n7.jpg 3.0 1.0\n")
    (root / "IMDB" / "label.txt").write_text("name age gender\n2.jpg 28 0.0\n3.jpg 30 nan\n3.jpg 30 0.5\n3.jpg\n")
    made = prepared("swinface-ages", root)
    faces = made.table()
    assert faces.names == ("IMDB/2.jpg", "MORPH/0.jpg")
    assert (faces.age.tolist(), faces.gender.tolist()) == ([28, 54], [0, 1])
    assert made.summary.left_out == {
        "age is not known": 1,
        "gender is not known": 1,
        "gender is no whole number": 1,
        "not name, age and gender": 1,
        "no such image": 1,
    }


def test_ages_alone(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """SwinFace's FG-NET list, named by itself, has ages and no genders."""
    photos[0].save(tmp_path / "FGNET" / "001A02.JPG")
    (tmp_path / "FGNET" / "label.txt").write_text("name age\n001A02.JPG 2\n")
    faces = prepared("swinface-ages", tmp_path / "FGNET" / "label.txt").table()
    assert (faces.age.tolist(), faces.gender.tolist()) == ([2], [-1])


def test_order_is_celebas() -> None:
    """SwinFace's order is one of CelebA's forty attributes, each once."""
    assert sorted(ORDER) == sorted(ATTRIBUTES)


def test_celeba(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Values in SwinFace's order land in CelebA's columns; the list's name says the part."""
    root = tmp_path / "CelebA"
    for number, photo in enumerate(photos[:3]):
        photo.save(root / "data" / f"{number}.jpg")
    yes = {"male", "eyeglasses", "wearing_necktie"}
    values = " ".join("1" if name in yes else "0" for name in ORDER)
    (root / "train_label.txt").write_text(f"name {' '.join(ORDER)}\n0.jpg {values}\n1.jpg {values} 1\n5.jpg {values}\n")
    (root / "val_label.txt").write_text(f"name {' '.join(ORDER)}\n2.jpg {' '.join(['-1'] * 40)}\n")
    made = prepared("swinface-celeba", root)
    train = made.table()
    assert {ATTRIBUTES[place] for place in train.attributes[0].nonzero()[0]} == yes
    assert train.gender.tolist() == [1]
    assert (made.table("val").attributes.sum(), made.table("val").gender.tolist()) == (0, [0])
    assert made.left_out == {"1.jpg": "41 attributes, not 40", "5.jpg": "no such image"}


def test_affectnet(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """The third column is the expression, in RAF-DB's order from 0."""
    for number, photo in enumerate(photos[:2]):
        photo.save(tmp_path / "AffectNet" / "data" / f"{number}.jpg")
    text = "name age expression\n0.jpg 1 6\n1.jpg 1 0 more\n1.jpg 2\n1.jpg 1 7\n8.jpg 1 1\n"
    (tmp_path / "AffectNet" / "train.txt").write_text(text)
    made = prepared("swinface-affectnet", tmp_path / "AffectNet")
    assert (made.table().names, made.table().expression.tolist()) == (("0.jpg", "1.jpg"), [6, 0])
    assert made.summary.left_out == {"no third column": 1, "expression is out of range": 1, "no such image": 1}


@pytest.mark.parametrize("kind", ["swinface-ages", "swinface-celeba", "swinface-affectnet"])
def test_wrong_layout(tmp_path: Path, kind: str, prepared: Callable[..., Prepared]) -> None:
    """A source without a list is one clear line."""
    with pytest.raises(DataError, match="is not laid out as SwinFace's") as error:
        prepared(kind, tmp_path)
    assert "\n" not in str(error.value)
