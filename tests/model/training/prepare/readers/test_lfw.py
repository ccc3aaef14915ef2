"""Tests of model.training.prepare.readers.lfw."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from model.training.evaluation.pairs import read_pairs
from tests.model.training.prepare.conftest import Photo, Prepared, save_wall

PAIRS = "2\t1\nAnna_Karin\t1\t2\nAnna_Karin\t1\tBert\t1\nBert\t1\t2\nBert\t2\tAnna_Karin\t2\n"


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Two people, two photographs each, and two folds of a pair of each kind."""
    for number, photo in enumerate(photos[:4]):
        person = ("Anna_Karin", "Bert")[number // 2]
        photo.save(tmp_path / "root" / "lfw" / person / f"{person}_{number % 2 + 1:04d}.jpg")
    (tmp_path / "root" / "pairs.txt").write_text(PAIRS)
    return tmp_path / "root"


def test_people_and_pairs(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Every photograph is a validation row with its person; the pairs keep their folds."""
    made = prepared("lfw", root)
    faces = made.table("val")
    assert faces.identity_names == ("made:Anna_Karin", "made:Bert")
    assert faces.identity.tolist() == [0, 0, 1, 1]
    pairs = read_pairs(made.out, "made", faces.names)
    assert pairs is not None
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0, 2, 3], [1, 2, 3, 1])
    assert (pairs.same.tolist(), pairs.fold.tolist()) == ([True, False, True, False], [0, 0, 1, 1])


def test_pair_of_a_missing_face(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A photograph without a face is named, and its pairs are left out and counted."""
    save_wall(root / "lfw" / "Bert" / "Bert_0001.jpg")
    made = prepared("lfw", root)
    assert made.left_out == {"Bert_0001.jpg": "no face found"}
    assert made.summary.num_pairs == (2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAIRS.replace("2\t1\nAnna", "10\t300\nAnna"), "holds 4 pairs, not 6000"),
        (PAIRS.replace("Bert\t1\t2", "Bert\t1"), "line 4: neither `name n1 n2`"),
        (PAIRS.replace("2\t1\nAnna", "folds\nAnna"), "line 1: there are no folds"),
    ],
)
def test_broken_pairs(root: Path, prepared: Callable[..., Prepared], text: str, message: str) -> None:
    """A list of pairs that breaks its form is one clear line with its place."""
    (root / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        prepared("lfw", root)


def test_wrong_layout(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without pairs, or without photographs in their people's folders, is one clear line."""
    (root / "lfw").rename(root / "other")
    for photo in (root / "other").rglob("*.jpg"):
        photo.rename(root / photo.name)
    with pytest.raises(DataError, match=r"there is no NAME/NAME_0001.jpg"):
        prepared("lfw", root)
    (root / "pairs.txt").unlink()
    with pytest.raises(DataError, match=r"is not laid out as LFW: there is no pairs.txt"):
        prepared("lfw", root)
