"""MORPH Album 2: 55,134 police photographs with age, gender and race.

Layout (Ricanek and Tesafaye 2006; the non-commercial release): `morph_2008_nonCommercial.csv` with the columns
id_num, picture_num, dob, doa, race, gender, facial_hair, age, age_diff, glasses, photo (`Album2/009055_1M54.JPG`),
and the images; races W, B, A, I, H, O, U become white, black, Asian, Indian, other, other and unknown, as in
face_analysis_pytorch (utils/create_training_lists.py, MIT). Without the table the images' own names are read: person,
photograph, gender and age, no race. Never computes an age from the dates: the set states it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from model.training.prepare.by_name import read_by_name
from model.training.prepare.labels import LabelError, parse_age
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Sources, count_lines, read_table

_NAME = re.compile(r"(?P<person>\d+)_(?P<photo>\d+)(?P<gender>[MF])(?P<age>\d{2})\.jpe?g", re.IGNORECASE)
_GENDERS = {"M": 1, "F": 0, "MALE": 1, "FEMALE": 0}
_RACES: dict[str, int | None] = {"W": 0, "B": 1, "A": 2, "I": 3, "H": 4, "O": 4, "U": None, "": None}


def read(sources: Sources, options: ReadOptions) -> Reading:
    """Every row of the table, or every image by its name."""
    table = sources.find("morph_2008_nonCommercial.csv") or next(iter(sources.matching(r".*morph.*\.csv")), None)
    if table is not None:
        return Reading(_rows(table, sources, options.name), count_lines(table) - 1)

    def parse(name: str) -> tuple[Labels, str | None]:
        match = _NAME.fullmatch(name)
        if match is None:
            raise LabelError("malformed name")
        person, gender = match["person"].zfill(6), _GENDERS[match["gender"].upper()]
        return Labels(identity=f"{options.name}:{person}", age=parse_age(match["age"]), gender=gender), None

    return read_by_name(sources, "MORPH", parse)


def _rows(table: Path, sources: Sources, name: str) -> Iterator[FaceRow | BadRow]:
    finder = ImageFinder([table.parent, *sources.folders])
    for row in read_table(table, ("id_num", "photo", "age", "gender")):
        photo = row["photo"]
        path = finder.find(photo, Path(photo).name)
        if path is None:
            yield BadRow(photo, "no such image")
            continue
        try:
            yield FaceRow(Path(photo).name, FileImage(path), _labels(row, name))
        except LabelError as error:
            yield BadRow(photo, str(error))


def _labels(row: dict[str, str], name: str) -> Labels:
    gender, race = row["gender"].upper(), row.get("race", "").upper()
    if gender not in _GENDERS:
        raise LabelError("gender is neither M nor F")
    if race not in _RACES:
        raise LabelError("race is none of the set's letters")
    identity = f"{name}:{row['id_num'].zfill(6)}"
    return Labels(identity=identity, age=parse_age(row["age"]), gender=_GENDERS[gender], race=_RACES[race])


LAYOUT = Layout("MORPH", "morph", read)
