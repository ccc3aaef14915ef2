"""Rows: what a reader gives of a set's source, one face each, before anything is decoded.

Holds the shapes that readers fill and the rest of the preparation reads. Never opens an image by itself: a row says
where its image is, and whoever needs the bytes asks for them. Shape suffix: P points (five).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

CropAlignment = Literal["arcface-5pt", "celeba", "none"]
ALIGNMENTS: Final[tuple[CropAlignment, ...]] = ("arcface-5pt", "celeba", "none")
LabelName = Literal["race", "gender", "age", "identity"]
LABEL_NAMES: Final[tuple[LabelName, ...]] = ("race", "gender", "age", "identity")
SPLITS: Final = ("train", "val", "test")

Point = tuple[float, float]
FivePoints = tuple[Point, Point, Point, Point, Point]
Box = tuple[float, float, float, float]


class ImageSource(Protocol):
    """Where a row's image is."""

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            OSError: if it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image in a file of its own."""

    path: Path

    def read(self) -> bytes:
        """The file, whole."""
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class BytesImage:
    """An encoded image that is at hand."""

    data: bytes

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class Labels:
    """What a row knows of its face, in this project's orders (see `model.runtime.labels`); None where it does not.

    Attributes:
        identity: `set:person`; equal texts are one person.
        age: years.
        gender: 0 female, 1 male.
        race: 0 white, 1 black, 2 Asian, 3 Indian, 4 other.
        expression: 0 surprise, 1 fear, 2 disgust, 3 happiness, 4 sadness, 5 anger, 6 neutral.
        attributes: 40 of 0 or 1, in CelebA's column order.
        age_sigma: standard deviation of the ages that people guessed, years (CLAP).
    """

    identity: str | None = None
    age: float | None = None
    gender: int | None = None
    race: int | None = None
    expression: int | None = None
    attributes: tuple[int, ...] | None = None
    age_sigma: float | None = None


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One face of a source.

    Attributes:
        name: names the row in its set.
        image: where its image is.
        labels: what is known of it.
        part: the set's own part that it belongs to (`train`, `val`, `test`, `fold_0`); empty where a set has none.
        landmarks: five points in pixels of the image, the viewer's left first, where the set has them.
        box: x1, y1, x2, y2 in pixels: where the face is, where the set says so.
        aligned: the alignment that the image is in already.
        group: rows of one group are never cut into training and validation rows; the identity or the name by default.
    """

    name: str
    image: ImageSource
    labels: Labels
    part: str = ""
    landmarks: FivePoints | None = None
    box: Box | None = None
    aligned: CropAlignment | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is left out: its name, why in a few words that many rows may share, and what is particular to it."""

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images of a verification set by name, whether they show one person, and the fold of the protocol."""

    fold: int
    name_a: str
    name_b: str
    same: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A source, being read: its rows in a fixed order, how many there are (None: known at the end alone), its pairs."""

    rows: Iterator[FaceRow | BadRow]
    total: int | None = None
    pairs: tuple[Pair, ...] = field(default=())
