"""Tests of model.training.prepare.verification_bin."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from model.training.dataset import DataError
from model.training.prepare.verification_bin import read_bin

IMAGES = [b"\xff\xd8first", b"\xff\xd8second \x00\xfe", b"\xff\xd8third", b"\xff\xd8\nfourth"]


def _write(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    """A set that Python 3 pickled is read in each protocol: its bytes whole, its answers booleans."""
    read = read_bin(_write(tmp_path / "lfw.bin", (IMAGES, [True, False]), protocol))
    assert read.images == tuple(IMAGES)
    assert read.same.dtype == np.bool_
    assert read.same.tolist() == [True, False]


def test_python_2(tmp_path: Path) -> None:
    """A set that Python 2 pickled, whose strings are bytes, is read."""
    parts = [b"U" + bytes([len(image)]) + image for image in IMAGES]  # SHORT_BINSTRING, as Python 2 writes a str
    stream = b"\x80\x02" + b"](" + b"".join(parts) + b"e" + b"](\x88\x89e" + b"\x86."
    (tmp_path / "lfw.bin").write_bytes(stream)
    read = read_bin(tmp_path / "lfw.bin")
    assert read.images == tuple(IMAGES)
    assert read.same.tolist() == [True, False]


@pytest.mark.parametrize("protocol", range(6))
def test_arrays(tmp_path: Path, protocol: int) -> None:
    """Answers may be a NumPy array or NumPy's booleans, images an array of objects or of bytes."""
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    objects = np.array(IMAGES, object)
    big = np.array([1, 0], ">i4")
    for images, same in ((arrays, np.array([True, False])), (objects, list(np.array([True, False]))), (arrays, big)):
        read = read_bin(_write(tmp_path / "a.bin", [images, same], protocol))
        assert read.images == tuple(IMAGES)
        assert read.same.tolist() == [True, False]


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the file ran its own code",)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: int) -> None:
    """A file that names a function is refused in one line that names it, and the function never runs."""
    with pytest.raises(DataError, match=r"refused: it names (__builtin__|builtins).print") as error:
        read_bin(_write(tmp_path / "evil.bin", ([_Command()], [True]), protocol))
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_a_codec_is_refused(tmp_path: Path) -> None:
    """The one codec that writes bytes is taken, any other refused."""
    (tmp_path / "a.bin").write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(DataError, match="an encoded text that is no bytes"):
        read_bin(tmp_path / "a.bin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((IMAGES[:3], [True, False]), "3 images for 2 pairs"),
        (([], []), "0 images for 0 pairs"),
        ((IMAGES, [True, 2]), "the answer of pair 1"),
        (([*IMAGES[:1], "text"], [True]), "image 1 is no encoded image"),
        ((np.zeros((2, 4, 4, 3), np.uint8), [True]), "is torn"),
        ((np.zeros((2, 4, 4), np.uint8), [True]), "image 0 is no encoded image"),
        ((np.zeros(2, "S3"), [True]), "arrays of 'S3'"),
        ((np.zeros(2, [("a", "i4")]), [True]), "arrays of 'V4'"),
        (IMAGES, "holds no pair"),
        ((3, [True]), "a int where a list belongs"),
    ],
)
def test_wrong_content(tmp_path: Path, content: object, message: str) -> None:
    """A pickle that is no verification set is refused in one line that says what is wrong."""
    with pytest.raises(DataError, match=message) as error:
        read_bin(_write(tmp_path / "lfw.bin", content))
    assert "\n" not in str(error.value)


def test_unreadable(tmp_path: Path) -> None:
    """A missing, an empty and a torn file are refused in one line each."""
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "torn.bin").write_bytes(pickle.dumps((IMAGES, [True, False]), 2)[:30])
    for name, message in (("absent", "cannot read"), ("empty", "no verification set"), ("torn", "no verification set")):
        with pytest.raises(DataError, match=message) as error:
            read_bin(tmp_path / f"{name}.bin")
        assert "\n" not in str(error.value)
