"""Tests of model.training.prepare.readers.verification_bin."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from model.training.data_error import DataError
from model.training.evaluation.pairs import read_pairs
from tests.model.training.prepare.conftest import Photo, Prepared


def _write(path: Path, images: list[bytes], same: list[bool]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((images, same), 2))
    return path


def test_pairs_and_images(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """A set becomes validation images and a list of pairs in ten folds that the evaluation reads."""
    crops = [photo.aligned() for photo in photos]
    images = [crops[(pair + place) % 7] for pair in range(12) for place in (0, pair % 2)]
    made = prepared("verification-bin", _write(tmp_path / "cfp_fp.bin", images, [pair % 2 == 0 for pair in range(12)]))
    faces = made.table("val")
    assert len(faces) == 24
    pairs = read_pairs(made.out, "made", faces.names)
    assert pairs is not None
    assert pairs.first.tolist() == list(range(0, 24, 2))
    assert pairs.second.tolist() == list(range(1, 24, 2))
    assert pairs.same.tolist() == [True, False] * 6
    assert pairs.fold.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert made.summary.num_pairs == (12, 0)


def test_pairs_of_a_bad_image(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """A pair whose image is no picture is left out and counted."""
    crops = [photo.aligned() for photo in photos[:3]]
    made = prepared("verification-bin", _write(tmp_path / "lfw.bin", [*crops, b"none"], [True, False]))
    assert made.summary.num_pairs == (1, 1)
    assert made.left_out == {"made-00003.jpg": "image cannot be decoded"}


def test_one_file_a_set(tmp_path: Path, photos: tuple[Photo, ...], prepared: Callable[..., Prepared]) -> None:
    """A folder of several sets, or of none, is one clear line that names them."""
    for name in ("lfw.bin", "calfw.bin"):
        _write(tmp_path / "sets" / name, [photos[0].aligned()] * 2, [True])
    with pytest.raises(DataError, match=r"takes one .bin file, and .*sets gives: calfw.bin, lfw.bin"):
        prepared("verification-bin", tmp_path / "sets")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="gives: none"):
        prepared("verification-bin", tmp_path / "empty")
