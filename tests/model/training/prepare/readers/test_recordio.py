"""Tests of model.training.prepare.readers.recordio."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.training.data_error import DataError
from tests.model.training.prepare.conftest import Photo, Prepared, decoded
from tests.model.training.prepare.records import packed, write_records, write_set

PEOPLE = (0, 0, 1, 2, 2)


@pytest.fixture
def crops(photos: tuple[Photo, ...]) -> list[bytes]:
    """Five aligned crops, as the published files hold them."""
    return [photo.aligned() for photo in photos[:5]]


def test_images_and_people(tmp_path: Path, crops: list[bytes], prepared: Callable[..., Prepared]) -> None:
    """Images keep their very bytes and their identities; the records that describe others are no rows."""
    made = prepared("recordio", write_set(tmp_path / "set", crops, PEOPLE))
    faces = made.table()
    assert faces.names == ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg")
    assert [faces.identity_names[number] for number in faces.identity] == [f"made:{person}" for person in PEOPLE]
    assert pq.read_table(made.out / "made-train.parquet")["image"].to_pylist() == crops
    assert np.array_equal(faces.images[3], decoded(crops[3]))
    assert made.left_out == {}


def test_without_index(tmp_path: Path, crops: list[bytes], prepared: Callable[..., Prepared]) -> None:
    """A file without an index, named by itself, is scanned and gives the same rows."""
    folder = write_set(tmp_path / "set", crops, PEOPLE)
    (folder / "train.idx").unlink()
    assert prepared("recordio", folder / "train.rec").table().names == ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg")


def test_without_header_record(tmp_path: Path, crops: list[bytes], prepared: Callable[..., Prepared]) -> None:
    """Where record 0 is an image, every record is; the first of several labels is the identity."""
    records = {key: packed(float(key // 2) if key else [4.0, 1.0], key, crop) for key, crop in enumerate(crops)}
    faces = prepared("recordio", write_records(tmp_path / "set", records)).table()
    assert faces.names == ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    assert [faces.identity_names[number] for number in faces.identity] == [f"made:{n}" for n in (4, 0, 1, 1, 2)]


def test_bad_records(tmp_path: Path, crops: list[bytes], prepared: Callable[..., Prepared]) -> None:
    """A broken record, a picture that is none and an identity that the set does not have are named, not taken."""
    folder = write_set(tmp_path / "set", [*crops[:3], b"no picture"], (0, 1, 0, 1))
    data = bytearray((folder / "train.rec").read_bytes())
    places = dict(line.split() for line in (folder / "train.idx").read_text().splitlines())
    data[int(places["2"])] ^= 0xFF
    (folder / "train.rec").write_bytes(data)
    (folder / "property").write_text("1,112,112")
    made = prepared("recordio", folder)
    assert made.table().names == ("1.jpg", "3.jpg")
    assert made.left_out == {"2.jpg": "broken record", "4.jpg": "identity is none of the set's"}
    (folder / "property").write_text("2,112,112")
    again = prepared("recordio", folder, name="again")
    assert again.left_out == {"2.jpg": "broken record", "4.jpg": "image cannot be decoded"}


def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """A folder without records is one clear line."""
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=r"is not laid out as InsightFace RecordIO: there is no train.rec"):
        prepared("recordio", tmp_path / "set")
