"""FERPlus: FER2013's faces, each labelled anew by ten people.

Layout (Barsoum et al. 2016; github.com/microsoft/FERPlus, MIT): `fer2013new.csv` with the columns Usage, Image name,
neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF (votes), its rows those of
`fer2013.csv` in the same order; an image that was taken out has no name. The label is the published majority: a vote
that only one person gave is dropped, and then one class must have more than half. Rows without one, or with a
majority for none of the seven, are left out. Never takes FER2013's own label.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from model.runtime.labels import EXPRESSIONS
from model.training.prepare.labels import LabelError, expression_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.readers.fer2013 import PARTS, TABLES, GreyImage, row_name
from model.training.prepare.rows import BadRow, FaceRow, Labels, Reading
from model.training.prepare.sources import Sources, count_lines, read_table

_COLUMNS: Final = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"),
    *("contempt", "unknown", "nf"),
)


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every row of both tables."""
    votes = sources.need("FERPlus", "fer2013new.csv")
    table = sources.need("FERPlus", *TABLES)
    return Reading(_rows(votes, table), count_lines(votes) - 1)


def majority(votes: Mapping[str, int]) -> int:
    """The expression that more than half voted for, single votes aside.

    Raises:
        LabelError: if there is none, or it is none of the seven.
    """
    counted = {name: count for name, count in votes.items() if count > 1}
    total = sum(counted.values())
    best = max(counted, key=lambda name: counted[name], default="")
    if not counted or 2 * counted[best] <= total:
        raise LabelError("no majority")
    if best not in EXPRESSIONS:
        raise LabelError(f"expression is none of the seven ({best})")
    return expression_of(best)


def _rows(votes: Path, table: Path) -> Iterator[FaceRow | BadRow]:
    pixels = read_table(table, ("pixels", "usage"))
    both = zip(read_table(votes, ("image name", *_COLUMNS)), pixels, strict=False)
    for number, (row, image) in enumerate(both):
        name = row_name(number)
        try:
            if not row["image name"]:
                raise LabelError("taken out by FERPlus")
            label = majority({column: int(row[column]) for column in _COLUMNS})
        except LabelError as error:
            yield BadRow(name, str(error))
        except (KeyError, ValueError):
            yield BadRow(name, "a vote is no number")
        else:
            labels = Labels(expression=label)
            yield FaceRow(name, GreyImage(image.get("pixels", "")), labels, image.get("usage", ""))


LAYOUT = Layout("FERPlus", "ferplus", read, splits=PARTS)
