"""Labels as texts: what a set writes, turned into this project's numbers, or refused in a few words.

Holds the parsing that several readers share. Never knows where a text came from.
"""

import math
from collections.abc import Sequence
from typing import Final

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, RACES

MAX_AGE: Final = 116  # years: the oldest face of any of these sets (UTKFace)
SPLIT_WORDS: Final = (("train", "train"), ("val", "val"), ("reference", "val"), ("test", "test"))


class LabelError(ValueError):
    """A text that is no such label; the message is a few words that many rows may share."""


def parse_age(text: str, largest: float = MAX_AGE) -> float:
    """Years.

    Raises:
        LabelError: if it is no number, or out of range.
    """
    return _number(text, "age", largest)


def parse_class(text: str, what: str, num_classes: int) -> int:
    """A class, from 0.

    Raises:
        LabelError: if it is no whole number, or out of range.
    """
    number = _number(text, what, num_classes - 1)
    if number != int(number):
        raise LabelError(f"{what} is no whole number")
    return int(number)


def parse_race(text: str) -> int:
    """A race in this project's order, written as its number."""
    return parse_class(text, "race", len(RACES))


def expression_of(name: str) -> int:
    """The number of an expression by its name."""
    return EXPRESSIONS.index(name)


def parse_attributes(texts: Sequence[str], order: Sequence[str] = ATTRIBUTES) -> tuple[int, ...]:
    """Forty yes-or-no values, put into CelebA's column order; a value over 0 is a yes.

    Args:
        texts: the values; 1 for yes, 0 or -1 for no.
        order: names of the attributes in the order of the texts, in lower case.

    Raises:
        LabelError: if there are not forty, or one is none of these values.
    """
    if len(texts) != len(ATTRIBUTES):
        raise LabelError(f"{len(texts)} attributes, not {len(ATTRIBUTES)}")
    if any(text not in ("1", "0", "-1") for text in texts):
        raise LabelError("an attribute is neither 1 nor 0 nor -1")
    value_of = dict(zip(order, texts, strict=True))
    return tuple(int(value_of[name] == "1") for name in ATTRIBUTES)


def part_of(stem: str) -> str:
    """The part of a set that a file is about, by the word in its name; empty where there is none."""
    return next((part for word, part in SPLIT_WORDS if word in stem.lower()), "")


def _number(text: str, what: str, largest: float) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise LabelError(f"{what} is no number") from error
    if math.isnan(number):
        raise LabelError(f"{what} is not known")
    if not 0 <= number <= largest:
        raise LabelError(f"{what} is out of range")
    return number
