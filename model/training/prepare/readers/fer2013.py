"""FER2013: 35,887 grey faces of 48 x 48 pixels with one of seven expressions.

Layout (Goodfellow et al. 2013; Kaggle's fer2013.tar.gz): `fer2013.csv` with the columns emotion, pixels (2,304
numbers), Usage (Training, PublicTest, PrivateTest); `icml_face_data.csv` is the same with blanks in the header.
Emotions: 0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise, 6 neutral. Rows are named as FERPlus names
them, `fer0000000.png`, by their place. Never looks for an image beside the table.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from model.training.prepare.labels import LabelError, expression_of, parse_class
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, Labels, Reading
from model.training.prepare.sources import Sources, count_lines, read_table

SIDE_PX: Final = 48
TABLES: Final = ("fer2013.csv", "icml_face_data.csv")
PARTS: Final = (("Training", "train"), ("PublicTest", "val"), ("PrivateTest", "test"))
_ORDER: Final = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@dataclass(frozen=True, slots=True)
class GreyImage:
    """An image written as numbers, row after row."""

    numbers: str

    def read(self) -> bytes:
        """The image as PNG.

        Raises:
            OSError: if the numbers are not 48 x 48 of 0 to 255.
        """
        try:
            pixels = np.array(self.numbers.split(), np.int64)
        except ValueError as error:
            raise OSError("pixels are no numbers") from error
        if len(pixels) != SIDE_PX**2 or pixels.min() < 0 or pixels.max() > 255:
            raise OSError(f"{len(pixels)} pixels, or not of 0 to 255")
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8).reshape(SIDE_PX, SIDE_PX)).save(file, "PNG")
        return file.getvalue()


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every row of the table."""
    table = sources.need("FER2013", *TABLES)
    return Reading(_rows(table), count_lines(table) - 1)


def row_name(number: int) -> str:
    """FERPlus's name of a row of the table."""
    return f"fer{number:07d}.png"


def _rows(table: Path) -> Iterator[FaceRow | BadRow]:
    for number, row in enumerate(read_table(table, ("emotion", "pixels", "usage"))):
        name = row_name(number)
        try:
            label = parse_class(row.get("emotion", ""), "expression", len(_ORDER))
        except LabelError as error:
            yield BadRow(name, str(error))
            continue
        labels = Labels(expression=expression_of(_ORDER[label]))
        yield FaceRow(name, GreyImage(row.get("pixels", "")), labels, row.get("usage", ""))


LAYOUT = Layout("FER2013", "fer2013", read, splits=PARTS)
