"""Tests of model.training.prepare.readers.morph."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared

HEADER = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo\n"
ROWS = """\
9055,0,07/05/1949,05/03/2004,B,M,,54,0,,Album2/009055_0M54.JPG
12345,1,01/01/1980,05/03/2004,W,F,,24,0,,Album2/012345_1F24.JPG
12346,2,01/01/1980,05/03/2004,U,M,,24,0,,Album2/012346_2M24.JPG
12347,0,01/01/1980,05/03/2004,B,X,,24,0,,Album2/012347_0M24.JPG
12348,0,01/01/1980,05/03/2004,Z,M,,24,0,,Album2/012347_0M24.JPG
12349,0,01/01/1980,05/03/2004,B,M,,-3,0,,Album2/012347_0M24.JPG
12350,0,01/01/1980,05/03/2004,B,M,,24,0,,Album2/absent.JPG
"""


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """The images of the table's first four rows."""
    names = ("009055_0M54.JPG", "012345_1F24.JPG", "012346_2M24.JPG", "012347_0M24.JPG")
    for name, photo in zip(names, photos, strict=False):
        photo.save(tmp_path / "MORPH" / "Album2" / name)
    return tmp_path / "MORPH"


def test_table(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Person, age, gender and race come from the table; rows that break it are named."""
    (root / "morph_2008_nonCommercial.csv").write_text(HEADER + ROWS)
    made = prepared("morph", root)
    faces = made.table()
    assert faces.names == ("009055_0M54.JPG", "012345_1F24.JPG", "012346_2M24.JPG")
    assert faces.identity_names == ("made:009055", "made:012345", "made:012346")
    assert faces.age.tolist() == [54, 24, 24]
    assert faces.gender.tolist() == [1, 0, 1]
    assert faces.race.tolist() == [1, 0, -1]
    assert sorted(made.summary.left_out) == [
        "age is out of range",
        "gender is neither M nor F",
        "no such image",
        "race is none of the set's letters",
    ]


def test_names(root: Path, prepared: Callable[..., Prepared]) -> None:
    """Without the table, person, gender and age come from the images' names."""
    faces = prepared("morph", root).table()
    assert faces.identity_names[:2] == ("made:009055", "made:012345")
    assert (faces.age.tolist(), faces.gender.tolist()) == ([54, 24, 24, 24], [1, 0, 1, 1])
    assert (faces.race == -1).all()


def test_wrong_table(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A table without a column that is needed is one clear line."""
    (root / "morph_2008_nonCommercial.csv").write_text(HEADER.replace("photo", "file") + ROWS)
    with pytest.raises(DataError, match="lacks the column 'photo'"):
        prepared("morph", root)
