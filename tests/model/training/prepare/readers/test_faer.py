"""Tests of model.training.prepare.readers.faer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.runtime.labels import ATTRIBUTES
from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared

VALUES = np.where(np.random.default_rng(5).integers(0, 2, (4, 40)), 1, -1)


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Two training images, one of the test, and a row without an image."""
    rows = [f"{number}.jpg {' '.join(map(str, VALUES[number]))}\n" for number in range(4)]
    for number, folder in enumerate(("train", "train", "test")):
        photos[number].save(tmp_path / "CelebA" / folder / f"{number}.jpg")
    (tmp_path / "CelebA" / "train_label.txt").write_text(rows[0] + rows[1] + rows[3])
    (tmp_path / "CelebA" / "test_label.txt").write_text(rows[2] + "2.jpg 1 1 1\n")
    return tmp_path / "CelebA"


def test_lists(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Both lists are parts, their values CelebA's columns, over 0 for yes; bad rows are named."""
    made = prepared("faer", root)
    train, val = made.table(), made.table("val")
    assert train.attributes.tolist() == (VALUES[:2] > 0).astype(int).tolist()
    assert val.attributes.tolist() == (VALUES[2:3] > 0).astype(int).tolist()
    assert train.gender.tolist() == (VALUES[:2, ATTRIBUTES.index("male")] > 0).astype(int).tolist()
    assert made.left_out == {"2.jpg": "3 attributes, not 40", "3.jpg": "no such image"}


def test_official_crops(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Asked for in the alignment that they are in, the images are squeezed whole, as FAER's are."""
    faces = prepared("faer", root, alignment="celeba", side_px=224).table()
    assert (faces.images.shape, faces.alignment) == ((2, 224, 224, 3), "celeba")


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without the lists is one clear line."""
    with pytest.raises(DataError, match=r"is not laid out as FAER's lists: there is no train_label.txt"):
        prepared("faer", tmp_path)
