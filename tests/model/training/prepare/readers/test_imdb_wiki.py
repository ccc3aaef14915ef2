"""Tests of model.training.prepare.readers.imdb_wiki."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.readers.imdb_wiki import age_at
from tests.model.training.prepare.conftest import Photo, Prepared, decoded

NAN, NONE = float("nan"), float("-inf")


def _day(year: int, month: int, day: int) -> float:
    return float(date(year, month, day).toordinal() + 366)


def _cells(values: list[object]) -> np.ndarray:
    cells = np.empty((1, len(values)), object)
    cells[0, :] = values
    return cells


def _write(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    """Writes NAME.mat as the published files are: one structure of row vectors and cells."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = ("dob", "photo_taken", "gender", "face_score", "second_face_score")
    structure = {field: np.array([[row[field] for row in rows]], np.float64) for field in numbers}
    for field in ("full_path", "name"):
        structure[field] = _cells([row[field] for row in rows])
    structure["face_location"] = _cells([np.array([row["face_location"]], np.float64) for row in rows])
    savemat(folder / f"{name}.mat", {name: structure})
    return folder


def _row(path: str, **changes: object) -> dict[str, object]:
    row = {"dob": _day(1960, 3, 5), "photo_taken": 2000, "gender": 1.0, "face_score": 3.5, "second_face_score": NAN}
    return {**row, "full_path": path, "name": "Fred Astaire", "face_location": (1, 1, 90, 90), **changes}


@pytest.fixture
def crops(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """imdb_crop: four usable rows, and one of each kind that is left out."""
    folder = tmp_path / "imdb_crop"
    for number, photo in enumerate(photos[:4]):
        photo.save(folder / "01" / f"{number}.jpg")
    rows = [
        _row("01/0.jpg"),
        _row("01/1.jpg", dob=_day(1960, 9, 5), gender=0.0),
        _row("01/2.jpg", gender=NAN, name="Ginger Rogers"),
        _row("01/3.jpg", second_face_score=-0.5),
        _row("01/a.jpg", face_score=NONE),
        _row("01/b.jpg", face_score=0.7),
        _row("01/c.jpg", second_face_score=2.5),
        _row("01/d.jpg", dob=12.0),
        _row("01/e.jpg", photo_taken=1950),
        _row("01/f.jpg"),
    ]
    return _write(folder, "imdb", rows)


def test_ages_and_genders(crops: Path, prepared: Callable[..., Prepared]) -> None:
    """Ages are whole years on the first of July, an unknown gender is none, and no name is an identity."""
    faces = prepared("imdb-wiki", crops).table()
    assert faces.names == tuple(f"imdb/01/{number}.jpg" for number in range(4))
    assert faces.age.tolist() == [40, 39, 40, 40]
    assert faces.gender.tolist() == [1, 0, -1, 1]
    assert (faces.identity == -1).all()


def test_what_is_left_out(crops: Path, prepared: Callable[..., Prepared]) -> None:
    """Rows that users of the set leave out are named with their reasons."""
    assert prepared("imdb-wiki", crops).left_out == {
        "imdb/01/a.jpg": "no face in the set's own record",
        "imdb/01/b.jpg": "a face of little certainty in the set's own record",
        "imdb/01/c.jpg": "two faces in the set's own record",
        "imdb/01/d.jpg": "day of birth or year is broken",
        "imdb/01/e.jpg": "age is out of range",
        "imdb/01/f.jpg": "no such image",
    }


def test_both_sets(tmp_path: Path, crops: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """Both structures in one source are one set; on uncropped photographs the stated place decides which face it is."""
    wiki = tmp_path / "wiki"
    pair = (photos[0], photos[6])
    height = max(photo.pixels.shape[0] for photo in pair)
    both = np.hstack([np.pad(p.pixels, ((0, height - p.pixels.shape[0]), (0, 0), (0, 0))) for p in pair])
    (wiki / "00").mkdir(parents=True)
    from PIL import Image

    Image.fromarray(both).save(wiki / "00" / "two.png")
    shift = np.array([pair[0].pixels.shape[1], 0], np.float32)
    places = [
        (*(points.min(0) - 15).tolist(), *(points.max(0) + 15).tolist())
        for points in (pair[0].landmarks, pair[1].landmarks + shift)
    ]
    _write(wiki, "wiki", [_row("00/two.png", face_location=place) for place in places])
    faces = prepared("imdb-wiki", crops, wiki).table()
    assert len(faces) == 6
    assert faces.names[4:] == ("wiki/00/two.png",) * 2
    # A face on a larger picture is found a few pixels elsewhere; whose it is stays plain.
    for row, photo in ((4, 0), (5, 6)):
        distances = [np.abs(faces.images[row].astype(int) - decoded(each.aligned())).mean() for each in photos]
        assert int(np.argmin(distances)) == photo


@pytest.mark.parametrize(
    ("day", "year", "age"), [(_day(1990, 7, 1), 2020, 30), (_day(1990, 7, 2), 2020, 29), (_day(2020, 1, 1), 2020, 0)]
)
def test_age(day: float, year: float, age: int) -> None:
    """A birthday on the first of July counts, one a day later does not yet."""
    assert age_at(day, year) == age


@pytest.mark.parametrize(("day", "year"), [(NAN, 2000), (5.0, 2000), (_day(1990, 1, 1), NAN), (1e12, 2000)])
def test_broken_age(day: float, year: float) -> None:
    """A day or year that is none is refused."""
    with pytest.raises(LabelError):
        age_at(day, year)


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without a structure, or with a broken one, is one clear line."""
    folder = tmp_path / "imdb_crop"
    folder.mkdir()
    with pytest.raises(DataError, match=r"is not laid out as IMDB-WIKI: there is no imdb.mat and no wiki.mat"):
        prepared("imdb-wiki", folder)
    (folder / "imdb.mat").write_bytes(b"MATLAB no more")
    with pytest.raises(DataError, match=r"imdb.mat is no structure of IMDB-WIKI"):
        prepared("imdb-wiki", folder)
    savemat(folder / "imdb.mat", {"other": 1})
    with pytest.raises(DataError, match=r"imdb.mat is no structure of IMDB-WIKI"):
        prepared("imdb-wiki", folder)
