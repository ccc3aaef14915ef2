"""IMDB-WIKI: half a million faces of celebrities with age and gender, crawled.

Layout (Rothe, Timofte, Van Gool 2015; the set's own page): `imdb_crop/imdb.mat` and `wiki_crop/wiki.mat`, MATLAB 5
files of one structure of row vectors: `dob` (MATLAB's day number), `photo_taken` (year), `full_path`, `gender` (0
female, 1 male, NaN), `name`, `face_location` (x1, y1, x2, y2 on the uncropped photograph), `face_score` (-inf: no
face), `second_face_score` (NaN: no second face). Images lie under the file's folder as `full_path` says.

Age is the set's own: whole years from the birth to the first of July of the year in which the photograph was taken.
What is left out is what users of the set leave out (github.com/yu4u/age-gender-estimation, MIT): no face, a face
score under 1, a second face, a broken day of birth, an age out of 0 to 100. The names are too noisy to be identities
(the photographs come with the page, not with the person): they only keep a person's images on one side of a held-out
share. Never takes a name for an identity.
"""

import importlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.layout import Layout, ReadOptions
from model.training.prepare.rows import BadRow, Box, FaceRow, FileImage, Labels, Reading
from model.training.prepare.sources import ImageFinder, Sources

_MIN_FACE_SCORE: Final = 1.0
_MAX_AGE: Final = 100
_MATLAB_EPOCH: Final = 366  # MATLAB counts days from year 0, Python from year 1
_FIELDS: Final = (
    *("dob", "photo_taken", "full_path", "gender", "name"),
    *("face_location", "face_score", "second_face_score"),
)


def read(sources: Sources, options: ReadOptions) -> Reading:  # noqa: ARG001 - every reader is told
    """Every image that the structures name."""
    files = [path for path in (sources.find("imdb.mat"), sources.find("wiki.mat")) if path is not None]
    if not files:
        sources.need("IMDB-WIKI", "imdb.mat", "wiki.mat")
    tables = [(path, _load(path)) for path in files]
    rows = (row for path, table in tables for row in _rows(path, table, sources))
    return Reading(rows, sum(len(table["dob"]) for _, table in tables))


def age_at(day_of_birth: float, year: float) -> int:
    """Whole years from a MATLAB day number to the first of July of a year.

    Raises:
        LabelError: if the day or the year is none, or the age out of 0 to 100.
    """
    try:
        born = date.fromordinal(int(day_of_birth) - _MATLAB_EPOCH)
        age = int(year) - born.year - ((born.month, born.day) > (7, 1))
    except (ValueError, OverflowError) as error:
        raise LabelError("day of birth or year is broken") from error
    if not 0 <= age <= _MAX_AGE:
        raise LabelError("age is out of range")
    return age


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # By name: the package has no types of its own, and is an extra that only this layout needs.
        reader = importlib.import_module("scipy.io")
    except ModuleNotFoundError as error:
        raise DataError("scipy is missing; install the prepare extra: pip install 'mien[train,prepare]'") from error
    try:
        structure = reader.loadmat(path, squeeze_me=True)[path.stem.lower()]
        table = {field: np.atleast_1d(structure[field].item()) for field in _FIELDS}
    except Exception as error:  # a torn file raises nearly anything
        raise DataError(f"{path} is no structure of IMDB-WIKI: {_line(error)}") from error
    return table


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _rows(path: Path, table: dict[str, NDArray[Any]], sources: Sources) -> Iterator[FaceRow | BadRow]:
    finder = ImageFinder([path.parent, path.parent.parent / f"{path.stem}_crop", *sources.folders])
    for number, relative in enumerate(table["full_path"].tolist()):
        name = f"{path.stem}/{relative}"
        try:
            _check_scores(float(table["face_score"][number]), float(table["second_face_score"][number]))
            age = age_at(float(table["dob"][number]), float(table["photo_taken"][number]))
        except LabelError as error:
            yield BadRow(name, str(error))
            continue
        image = finder.find(str(relative))
        if image is None:
            yield BadRow(name, "no such image")
            continue
        gender = float(table["gender"][number])
        labels = Labels(age=float(age), gender=None if np.isnan(gender) else int(gender))
        # The stated place is on the uncropped photograph.
        is_cropped = any("crop" in part for part in image.parts)
        box = None if is_cropped else _box(table["face_location"][number])
        yield FaceRow(name, FileImage(image), labels, box=box, group=str(table["name"][number]))


def _check_scores(score: float, second: float) -> None:
    if not np.isfinite(score):
        raise LabelError("no face in the set's own record")
    if score < _MIN_FACE_SCORE:
        raise LabelError("a face of little certainty in the set's own record")
    if second > 0:
        raise LabelError("two faces in the set's own record")


def _box(location: NDArray[Any]) -> Box | None:
    values = np.asarray(location, np.float64).reshape(-1)
    if len(values) != 4 or not np.isfinite(values).all():
        return None
    x1, y1, x2, y2 = values.tolist()
    return (x1, y1, x2, y2)


LAYOUT = Layout("IMDB-WIKI", "imdbwiki", read)
