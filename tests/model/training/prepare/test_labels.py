"""Tests of model.training.prepare.labels."""

import pytest

from model.runtime.labels import ATTRIBUTES
from model.training.prepare.labels import LabelError, parse_age, parse_attributes, parse_class, part_of


def test_numbers() -> None:
    """Ages are years to 116, classes whole numbers from 0."""
    assert (parse_age("0"), parse_age("33.5"), parse_age("116")) == (0, 33.5, 116)
    assert (parse_class("1.0", "gender", 2), parse_class("4", "race", 5)) == (1, 4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nan", "age is not known"),
        ("x", "age is no number"),
        ("-1", "age is out of range"),
        ("117", "age is out of range"),
    ],
)
def test_no_age(text: str, reason: str) -> None:
    """What is no age says why."""
    with pytest.raises(LabelError, match=reason):
        parse_age(text)


@pytest.mark.parametrize("text", ["2", "-1", "0.5", "nan", "inf", ""])
def test_no_class(text: str) -> None:
    """What is no class of so many is refused."""
    with pytest.raises(LabelError):
        parse_class(text, "gender", 2)


def test_attributes_in_another_order() -> None:
    """Values in an order of their own land in CelebA's columns; 1 is a yes, 0 and -1 are not."""
    order = tuple(reversed(ATTRIBUTES))
    assert parse_attributes(["1", "-1", "0"] + ["0"] * 37, order) == (*(0,) * 39, 1)
    for texts in (["1"] * 39, ["1"] * 41, ["2"] + ["1"] * 39):
        with pytest.raises(LabelError):
            parse_attributes(texts)


@pytest.mark.parametrize(
    ("stem", "part"),
    [
        ("Train", "train"),
        ("val_label", "val"),
        ("validation", "val"),
        ("Reference", "val"),
        ("gt_test", "test"),
        ("label", ""),
    ],
)
def test_parts(stem: str, part: str) -> None:
    """A list's name says its part."""
    assert part_of(stem) == part
