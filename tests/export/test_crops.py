"""Real crops for checks: from the validation sets, and aligned from photographs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.crops import crops_from_data, crops_from_photographs, installed_photographs
from export.errors import ExportError
from export.sources import open_detector
from model.runtime.detection import Detections, Detector
from model.runtime.pack import read_pack
from model.training.dataset import DataError


class Pointing(Detector):
    """Finds one face on every picture, upright in its middle, however it looks: for tests of what comes after."""

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        min_score: float | None = None,  # noqa: ARG002
    ) -> list[Detections]:
        """One face an image."""
        points = np.array([[40, 50], [72, 50], [56, 70], [42, 92], [70, 92]], np.float32)
        box = np.array([[20, 10, 92, 110]], np.float32)
        return [Detections(box, np.ones(1, np.float32), points[None]) for _ in images]


def test_crops_are_spread_over_every_validation_set(shared_data: Path) -> None:
    """With a data folder the crops come from each of its validation sets, at the analyzer's side."""
    crops = crops_from_data(shared_data, 112, 8)
    assert crops.shape == (8, 112, 112, 3)
    assert crops.dtype == np.uint8
    assert len({crop.tobytes() for crop in crops}) == 8
    assert crops_from_data(shared_data, 96, 4).shape == (4, 96, 96, 3)


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    """A data folder without a validation set is one clear line."""
    with pytest.raises(DataError, match=r"no NAME-val\.parquet"):
        crops_from_data(tmp_path, 112)


def test_photographs_are_aligned_face_by_face(made_pack: Path, six_faces_path: Path, astronaut_path: Path) -> None:
    """Every detected face becomes one crop, in the order of the photographs."""
    part = read_pack(made_pack).detector
    pointing = Pointing(open_detector(made_pack, part)._session, part)
    crops = crops_from_photographs((six_faces_path, astronaut_path), pointing, 112)
    assert crops.shape == (2, 112, 112, 3)
    assert not np.array_equal(crops[0], crops[1])
    assert crops_from_photographs((), pointing, 64).shape == (0, 64, 64, 3)


def test_photographs_without_faces_give_no_crops(made_pack: Path, astronaut_path: Path) -> None:
    """Where the detector finds nothing there is nothing to compare, and that is no error."""
    detector = open_detector(made_pack, read_pack(made_pack).detector)
    assert crops_from_photographs((astronaut_path,), detector, 112).shape == (0, 112, 112, 3)


def test_a_file_that_is_no_photograph_is_named(made_pack: Path, tmp_path: Path) -> None:
    """A photograph that cannot be decoded is one clear line with its path."""
    (tmp_path / "a.jpg").write_text("no picture")
    detector = open_detector(made_pack, read_pack(made_pack).detector)
    with pytest.raises(ExportError, match=r"cannot read the photograph .*a\.jpg"):
        crops_from_photographs((tmp_path / "a.jpg",), detector, 112)


def test_the_photographs_of_installed_packages_are_found(six_faces_path: Path, astronaut_path: Path) -> None:
    """Without data the check falls back on the photographs that installed packages carry."""
    assert installed_photographs() == (six_faces_path, astronaut_path)
