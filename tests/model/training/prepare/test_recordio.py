"""Tests of model.training.prepare.recordio."""

import io
from pathlib import Path

import pytest

from model.training.data_error import DataError
from model.training.prepare.recordio import RecordError, parse_record, read_index, read_record, scan_index
from tests.model.training.prepare.records import MAGIC, frames, packed, write_records


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        b"12345678",
        MAGIC,
        MAGIC + MAGIC,
        b"abcd" + MAGIC + b"xyz",
        b"ab" + MAGIC + b"cd",
        MAGIC + b"1234" + MAGIC + MAGIC + b"5",
    ],
)
def test_any_data_come_back(data: bytes) -> None:
    """A record comes back as it was written, whatever its length, and where it holds the magic number too."""
    file = io.BytesIO(frames(data) + frames(b"next"))
    assert read_record(file) == data
    assert read_record(file) == b"next"
    assert read_record(file) is None


def test_parts_are_parts() -> None:
    """Data with the magic number at a multiple of four really lie in the file in several parts."""
    assert frames(b"abcd" + MAGIC + b"xyz").count(MAGIC) == 2
    assert frames(b"ab" + MAGIC + b"cd").count(MAGIC) == 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"\0" * 16, "no record at byte 0"),
        (MAGIC + b"\x10", "no record at byte 0"),
        (frames(b"whole")[:-6], "cut short"),
        (frames(b"abcd" + MAGIC + b"efgh")[:12], "no record at byte 12"),
        (frames(b"abcd" + MAGIC + b"efgh")[12:], "a part of a record is missing at byte 0"),
    ],
)
def test_broken_records(broken: bytes, message: str) -> None:
    """What is no record, cut short, or a part without its others is refused with its place."""
    with pytest.raises(RecordError, match=message):
        read_record(io.BytesIO(broken))


def test_header() -> None:
    """A header holds one label, or as many as its flag says; the rest is the image."""
    one, several = parse_record(packed(7.0, 3, b"image")), parse_record(packed([1.0, 9.0, 2.0], 4, b"image"))
    assert (one.labels, one.key, one.data, one.is_single) == ((7.0,), 3, b"image", True)
    assert (several.labels, several.key, several.data, several.is_single) == ((1.0, 9.0, 2.0), 4, b"image", False)
    for short in (b"", packed(1.0, 1)[:-1], packed([1.0, 2.0], 1)[:-1]):
        with pytest.raises(RecordError):
            parse_record(short)


def test_index(tmp_path: Path) -> None:
    """Scanning a file finds the very places that its index states; a broken index is one clear line."""
    write_records(tmp_path, {key: packed(float(key), key, bytes(key)) for key in (1, 2, 9, 0)})
    scanned, stated = scan_index(tmp_path / "train.rec"), read_index(tmp_path / "train.idx")
    assert scanned.keys.tolist() == stated.keys.tolist() == [0, 1, 2, 9]
    assert scanned.places.tolist() == stated.places.tolist()
    assert (stated.place(1), 9 in stated, 3 in stated) == (0, True, False)
    with pytest.raises(KeyError):
        stated.place(10)
    (tmp_path / "train.idx").write_text("1 two\n")
    for path, message in ((tmp_path / "train.idx", "is no index"), (tmp_path / "absent.idx", "cannot read")):
        with pytest.raises(DataError, match=message):
            read_index(path)
    (tmp_path / "train.rec").write_bytes(b"no records at all")
    with pytest.raises(DataError, match="no record at byte 0"):
        scan_index(tmp_path / "train.rec")
