"""Tests of model.training.prepare.readers.clap."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared


def test_mean_and_sigma(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """The mean is the age, the spread goes into its own column, and each list is a part."""
    root = tmp_path / "CLAP2015"
    for number, photo in enumerate(photos[:5], 1):
        photo.save(root / ("Train" if number < 4 else "Valid") / f"image_{number}.jpg")
    (root / "Train.csv").write_text("image_1.jpg;20.5;3.25\nimage_2.jpg;41;4\nimage_3.jpg;old;4\nimage_9.jpg;1;1\n")
    (root / "Reference.csv").write_text("image_4.jpg;7;1.5\n\nimage_5.jpg;30\n")
    (root / "Valid").rename(root / "Reference")
    made = prepared("clap", root)
    train, val = made.table(), made.table("val")
    assert train.age.tolist() == [20.5, 41]
    assert train.age_sigma is not None
    assert train.age_sigma.tolist() == [3.25, 4]
    assert val.names == ("image_4.jpg",)
    assert made.left_out == {
        "image_3.jpg": "age is no number",
        "image_9.jpg": "no such image",
        "image_5.jpg": "not name, mean and sigma",
    }


def test_commas_and_a_header(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """A list with a header, cut by commas, beside its images gives the same."""
    photos[0].save(tmp_path / "set" / "a.jpg")
    (tmp_path / "set" / "gt_test.csv").write_text("name,mean,sigma\na.jpg,33.5,2\n")
    made = prepared("clap", tmp_path / "set")
    sigma = made.table("test").age_sigma
    assert (made.table("test").age.tolist(), None if sigma is None else sigma.tolist()) == ([33.5], [2])


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without a list is one clear line."""
    with pytest.raises(DataError, match="is not laid out as CLAP2015"):
        prepared("clap", tmp_path)
