"""Tests of model.training.prepare.readers.lmdb and of the form that it reads."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.training.data_error import DataError
from model.training.prepare.lmdb_form import iterate_lmdb, write_lmdb
from tests.model.training.prepare.conftest import Photo, Prepared

# By name: the packages have no types of their own.
lmdb: Any = importlib.import_module("lmdb")
msgpack: Any = importlib.import_module("msgpack")


def _write(path: Path, entries: list[object], *, folder: bool = False) -> Path:
    """Writes a file as face_analysis_pytorch does."""
    if folder:
        path.mkdir()
    with lmdb.open(str(path), subdir=folder, map_size=50_000_000) as environment, environment.begin(write=True) as txn:
        for number, entry in enumerate(entries):
            txn.put(str(number).encode("ascii"), msgpack.dumps(entry))
        txn.put(b"__keys__", msgpack.dumps([str(number).encode("ascii") for number in range(len(entries))]))
        txn.put(b"__len__", msgpack.dumps(len(entries)))
        txn.put(b"__classnum__", msgpack.dumps(5))
    return path


@pytest.mark.parametrize("folder", [False, True])
def test_entries(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared], folder: bool) -> None:
    """Entries give images and the label that they are told to be, in a file or in a folder; bad ones are named."""
    entries: list[object] = [(photos[n].jpeg, label) for n, label in enumerate((3, 0, 5, -1))]
    entries += [(photos[4].jpeg, 2, b"a mask"), ("text", 1), 7]
    made = prepared("lmdb", _write(tmp_path / "race_train.lmdb", entries, folder=folder), label="race")
    assert made.table().names == ("0.jpg", "1.jpg", "4.jpg")
    assert made.table().race.tolist() == [3, 0, 2]
    assert made.left_out == {
        "2.jpg": "race is out of range",
        "3.jpg": "race is out of range",
        "5.jpg": "no [image, label]",
        "6.jpg": "no [image, label]",
    }


@pytest.mark.parametrize("label", ["age", "gender", "identity"])
def test_labels(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared], label: str) -> None:
    """The same numbers are ages, genders or people, as they are told."""
    path = _write(tmp_path / "set.lmdb", [(photos[0].jpeg, 1), (photos[1].jpeg, 0)])
    faces = prepared("lmdb", path, label=label).table()
    assert (getattr(faces, label) >= 0).all()
    assert faces.identity_names == (("made:0", "made:1") if label == "identity" else ())


def test_must_be_told(tmp_path: Path, prepared: Callable[..., Prepared]) -> None:
    """Without being told what the labels are, it is one clear line."""
    with pytest.raises(DataError, match="an LMDB does not say what its labels are"):
        prepared("lmdb", _write(tmp_path / "set.lmdb", [(b"", 1)]))


@pytest.mark.parametrize("breakage", ["no file", "no LMDB", "older form", "no keys"])
def test_wrong_layout(tmp_path: Path, prepared: Callable[..., Prepared], breakage: str) -> None:
    """A folder without a file, a file that is no LMDB, and one without a list of keys are one clear line each."""
    path = tmp_path / "set.lmdb"
    if breakage == "no LMDB":
        path.write_bytes(b"nothing of the kind" * 500)
    elif breakage != "no file":
        with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as txn:
            if breakage == "older form":
                txn.put(b"__keys__", b'\x04"M\x18lz4 framed')
    with pytest.raises(DataError, match=r"holds no .lmdb|is no LMDB|no list of keys under __keys__") as error:
        prepared("lmdb", tmp_path, label="age")
    assert "\n" not in str(error.value)


def test_form_is_the_published_one(tmp_path: Path) -> None:
    """What is written reads as the published loader reads: keys, length, classes, and [image, label] each."""
    entries = [(bytes([number % 256]) * 300_000, number) for number in range(300)]
    assert write_lmdb(tmp_path / "set.lmdb", iter(entries), is_age=False) == 300
    opened = lmdb.open(str(tmp_path / "set.lmdb"), subdir=False, readonly=True, lock=False)
    with opened as environment, environment.begin() as txn:
        assert msgpack.loads(txn.get(b"__len__")) == 300
        assert msgpack.loads(txn.get(b"__classnum__")) == 300
        keys = msgpack.loads(txn.get(b"__keys__"))
        assert keys == [str(number).encode() for number in range(300)]
        assert msgpack.loads(txn.get(keys[17])) == [bytes([17]) * 300_000, 17]
    assert [(image, label) for _, image, label in iterate_lmdb(tmp_path / "set.lmdb")] == entries
    assert [path.name for path in tmp_path.iterdir()] == ["set.lmdb"]


def test_ages_count_classes_otherwise(tmp_path: Path) -> None:
    """The number of classes of ages is the largest age itself, as published."""
    write_lmdb(tmp_path / "age.lmdb", [(b"image", 70), (b"image", 3)], is_age=True)
    opened = lmdb.open(str(tmp_path / "age.lmdb"), subdir=False, readonly=True, lock=False)
    with opened as environment, environment.begin() as txn:
        assert msgpack.loads(txn.get(b"__classnum__")) == 70
