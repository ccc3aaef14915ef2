"""Adience: 26,580 faces from people's own albums, with an age range and a gender.

Layout (Eidinger, Enbar, Hassner 2014; the set's own readme.txt): `fold_0_data.txt` to `fold_4_data.txt`,
tab-separated, with the columns user_id, original_image, face_id, age, gender and more; images
`faces/USER/coarse_tilt_aligned_face.ID.IMAGE` or `aligned/USER/landmark_aligned_face.ID.IMAGE`.

Ages are ranges, `(25, 32)`, now and then a single year. A range is taken as its middle, 28.5; the last one, `(60,
100)`, which is open in truth, as 65. Gender is m, f or u (unknown). A user is an album, not a person: it is no
identity, but keeps its images on one side of a held-out share. Folds are the set's parts, `fold_0` to `fold_4`:
`--take fold_4 --split val`. Never takes an album for a person.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError, parse_age
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Sources, count_lines, read_table

_RANGE: Final = re.compile(r"\((?P<low>\d+), ?(?P<high>\d+)\)")
_OPEN_RANGE: Final = (60.0, 100.0)
_OPEN_AGE: Final = 65.0
_GENDERS: Final[dict[str, int | None]] = {"m": 1, "f": 0, "u": None, "": None}


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every row of the folds' files."""
    folds = sources.matching(r"fold_\d_data\.txt") or sources.matching(r"fold_frontal_\d_data\.txt")
    if not folds:
        raise DataError(f"{sources.paths[0]} is not laid out as Adience: there is no fold_0_data.txt")
    rows = (row for fold in folds for row in _rows(fold, sources))
    return Reading(rows, sum(count_lines(fold) - 1 for fold in folds))


def parse_range(text: str) -> float | None:
    """Years of an age as the set writes it; None where it says none.

    Raises:
        LabelError: if it is neither a range nor a number.
    """
    if text in ("", "None"):
        return None
    match = _RANGE.fullmatch(text)
    if match is None:
        return parse_age(text)
    low, high = parse_age(match["low"]), parse_age(match["high"])
    return _OPEN_AGE if (low, high) == _OPEN_RANGE else (low + high) / 2


def _rows(fold: Path, sources: Sources) -> Iterator[FaceRow | BadRow]:
    finder = ImageFinder([*sources.folders, fold.parent, fold.parent.parent])
    part = "_".join(fold.stem.replace("frontal_", "").split("_")[:2])
    for row in read_table(fold, ("user_id", "original_image", "face_id", "age", "gender"), "\t"):
        user, image = row["user_id"], f"{row['face_id']}.{row['original_image']}"
        name = f"{user}/{image}"
        tilted, aligned = f"{user}/coarse_tilt_aligned_face.{image}", f"{user}/landmark_aligned_face.{image}"
        path = finder.find(f"faces/{tilted}", tilted, f"aligned/{aligned}", aligned)
        if path is None:
            yield BadRow(name, "no such image")
            continue
        try:
            labels = Labels(age=parse_range(row["age"]), gender=_gender(row["gender"]))
        except LabelError as error:
            yield BadRow(name, str(error), row["age"])
            continue
        if labels == Labels():
            yield BadRow(name, "neither age nor gender is known")
            continue
        yield FaceRow(name, FileImage(path), labels, part, group=user)


def _gender(text: str) -> int | None:
    if text not in _GENDERS:
        raise LabelError("gender is none of m, f and u")
    return _GENDERS[text]


LAYOUT = Layout("Adience", "adience", read)
