import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import five_point_matrix, warp
from model.runtime.detection import Detector
from model.runtime.pack import find_pack, read_pack
from model.runtime.pose import pose_of
from model.runtime.session import open_session
from model.training.evaluation.quality.degradation import BLURRED, SMALLER, Level, blurred, shrunk
from model.training.evaluation.quality.inspection import sharpness
from model.training.evaluation.quality.landmarks import poses_of


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The shipped pack's."""
    folder = find_pack("nano")
    pack = read_pack(folder)
    return Detector(open_session(folder / pack.detector.file), pack.detector)


@pytest.fixture(scope="module")
def crops(detector: Detector, six_faces: bytes) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The aligned faces of a photograph, and the yaw of each by its landmarks there."""
    with Image.open(io.BytesIO(six_faces)) as image:
        photograph = np.asarray(image.convert("RGB"))
    found = detector.detect([photograph])[0]
    images = np.stack([warp(photograph, five_point_matrix(points), 112) for points in found.landmarks])
    return images, np.array([pose_of(points).yaw for points in found.landmarks])


def test_a_crops_pose_is_that_of_its_face_on_the_photograph(
    detector: Detector, crops: tuple[NDArray[np.uint8], NDArray[np.float64]]
) -> None:
    """The detector finds the landmarks on a sheet of crops again, each its own, within the noise of five points."""
    images, yaw = crops
    found = poses_of(detector, images)
    assert found.share_found == 1.0
    assert np.abs(found.yaw - yaw).max() < 15
    again = poses_of(detector, np.concatenate([images[::-1]] * 4))
    assert np.abs(again.yaw[: len(yaw)] - found.yaw[::-1]).max() < 10


def test_a_crop_without_a_face_has_no_pose(detector: Detector) -> None:
    """What the detector does not find is unknown, and not frontal."""
    found = poses_of(detector, np.zeros((3, 112, 112, 3), np.uint8))
    assert np.isnan(found.yaw).all()
    assert found.share_found == 0.0


def test_each_step_of_degradation_leaves_less_detail(
    crops: tuple[NDArray[np.uint8], NDArray[np.float64]],
) -> None:
    """The smaller a face is made and the more it is blurred, the less sharp it measures; at its own size it stays."""
    images, _ = crops
    by_size = [sharpness(level.applied(images)).mean() for level in SMALLER]
    by_blur = [sharpness(level.applied(images)).mean() for level in BLURRED]
    assert by_size == sorted(by_size)
    assert by_blur == sorted(by_blur, reverse=True)
    assert (shrunk(images[0], 80.0) == images[0]).all()
    assert (Level("blur_sigma_px", 2.0).applied(images)[1] == blurred(images[1], 2.0)).all()
