"""AffectNet: 420,000 faces labelled by hand with an expression.

Layouts (Mollahosseini, Hasani, Mahoor 2017). The first release: `training.csv` and `validation.csv` with the columns
subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks, expression, valence, arousal, and
the images under `Manually_Annotated_Images` (or `Manually_Annotated/Manually_Annotated_Images`). The later one:
`train_set` and `val_set`, each with `images/N.jpg` and `annotations/N_exp.npy`, a number as a text. Both count
expressions as 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt, 8 none, 9
uncertain, 10 no face; what is none of the seven is left out. SwinFace's list of it is another layout,
`swinface-affectnet`. Never opens an annotation as a pickle.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, expression_of, part_of
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, Box, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Sources, count_lines, read_table

_ORDER: Final = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
_OTHERS: Final = ("contempt", "none", "uncertain", "no face")
_TABLES: Final = r"(training|validation)\.csv"
_FOLDERS: Final = ("Manually_Annotated_Images", "Manually_Annotated")


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every row of the tables, or every image of the two folders."""
    tables = sources.matching(_TABLES)
    if tables:
        rows = (row for table in tables for row in _table_rows(table, sources))
        return Reading(rows, sum(count_lines(table) - 1 for table in tables))
    folders = [folder for folder in (sources.find("train_set"), sources.find("val_set")) if folder is not None]
    paths = [path for folder in folders for path in Sources([folder]).images()]
    if not paths:
        raise DataError(f"{sources.paths[0]} is not laid out as AffectNet: no training.csv and no train_set/images")
    return Reading((_folder_row(path) for path in paths), len(paths))


def parse_expression(text: str) -> int:
    """This project's number of one of AffectNet's.

    Raises:
        LabelError: if it is none, or none of the seven expressions.
    """
    names = (*_ORDER, *_OTHERS)
    if not text.isdecimal() or int(text) >= len(names):
        raise LabelError("expression is out of range")
    if names[int(text)] in _OTHERS:
        raise LabelError(f"expression is none of the seven ({names[int(text)]})")
    return expression_of(names[int(text)])


def _table_rows(table: Path, sources: Sources) -> Iterator[FaceRow | BadRow]:
    known = [folder for folder in map(sources.find, _FOLDERS) if folder is not None]
    finder = ImageFinder([*known, *sources.folders, table.parent])
    for row in read_table(table, ("subdirectory_filepath", "expression")):
        name = row["subdirectory_filepath"]
        try:
            labels = Labels(expression=parse_expression(row["expression"]))
        except LabelError as error:
            yield BadRow(name, str(error))
            continue
        path = finder.find(name)
        if path is None:
            yield BadRow(name, "no such image")
            continue
        yield FaceRow(name, FileImage(path), labels, part_of(table.stem), box=_box(row))


def _box(row: dict[str, str]) -> Box | None:
    try:
        x, y, width, height = (float(row[f"face_{side}"]) for side in ("x", "y", "width", "height"))
    except (KeyError, ValueError):
        return None
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _folder_row(path: Path) -> FaceRow | BadRow:
    folder = path.parent.parent
    name = f"{folder.name}/{path.name}"
    try:
        # Never as a pickle: the files hold a text or a number.
        value = np.load(folder / "annotations" / f"{path.stem}_exp.npy", allow_pickle=False)
        labels = Labels(expression=parse_expression(str(value.item()).strip()))
    except LabelError as error:
        return BadRow(name, str(error))
    except (OSError, ValueError) as error:
        return BadRow(name, "no annotation", str(error).splitlines()[0])
    return FaceRow(name, FileImage(path), labels, part_of(folder.name))


LAYOUT = Layout("AffectNet", "affectnet", read)
