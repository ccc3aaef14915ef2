"""Tests of model.training.prepare.readers.adience."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from model.training.prepare.labels import LabelError
from model.training.prepare.readers.adience import parse_range
from tests.model.training.prepare.conftest import Photo, Prepared

HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
REST = "\t301\t105\t640\t641\t0\t0\t50\n"


@pytest.fixture
def root(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Two folds of two albums: five faces, one without labels and one of a strange age among them, one missing."""
    rows = {
        0: [("30601258@N03", "10399646885_67c7d20df9_o.jpg", "1", "(25, 32)", "f"),
            ("30601258@N03", "10424815813_e94629b1ec_o.jpg", "2", "(60, 100)", "m"),
            ("30601258@N03", "gone.jpg", "2", "(0, 2)", "m")],
        1: [("8187011@N06", "a.jpg", "7", "35", "u"),
            ("8187011@N06", "b.jpg", "8", "None", ""),
            ("8187011@N06", "c.jpg", "9", "forty", "m")],
    }  # fmt: skip
    root, images = tmp_path / "Adience", iter(photos)
    for fold, lines in rows.items():
        text = HEADER + "".join("\t".join(line) + REST for line in lines)
        root.mkdir(exist_ok=True)
        (root / f"fold_{fold}_data.txt").write_text(text)
        for user, image, face, *_ in lines:
            if image != "gone.jpg":
                next(images).save(root / "faces" / user / f"coarse_tilt_aligned_face.{face}.{image}")
    return root


def test_ranges_and_genders(root: Path, prepared: Callable[..., Prepared]) -> None:
    """A range is its middle, the open one 65; unknown genders are none; an album is no identity."""
    made = prepared("adience", root)
    faces = made.table()
    assert faces.age.tolist() == [28.5, 65, 35]
    assert faces.gender.tolist() == [0, 1, -1]
    assert (faces.identity == -1).all()
    assert made.left_out == {
        "30601258@N03/2.gone.jpg": "no such image",
        "8187011@N06/8.b.jpg": "neither age nor gender is known",
        "8187011@N06/9.c.jpg": "age is no number",
    }


def test_a_fold_is_a_part(root: Path, prepared: Callable[..., Prepared]) -> None:
    """One fold alone may be taken, and put where it is wanted."""
    faces = prepared("adience", root, take=("fold_1",), split="val").table("val")
    assert faces.names == ("8187011@N06/7.a.jpg",)


def test_aligned_copies(root: Path, prepared: Callable[..., Prepared]) -> None:
    """The set's aligned copies are found where those are what is there."""
    (root / "faces").rename(root / "aligned")
    for path in (root / "aligned").rglob("*.jpg"):
        path.rename(path.with_name(path.name.replace("coarse_tilt", "landmark")))
    assert len(prepared("adience", root).table()) == 3


@pytest.mark.parametrize(
    ("text", "age"), [("(0, 2)", 1), ("(38, 43)", 40.5), ("(8,23)", 15.5), ("57", 57), ("None", None), ("", None)]
)
def test_age(text: str, age: float | None) -> None:
    """Ranges, single years and none at all are read."""
    assert parse_range(text) == age


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A source without folds is one clear line; a range that is none is refused."""
    with pytest.raises(DataError, match=r"is not laid out as Adience: there is no fold_0_data.txt"):
        prepared("adience", tmp_path)
    with pytest.raises(LabelError):
        parse_range("(20; 30)")
