"""Alignment: templates, similarities, and where landmarks of real photographs land."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import (
    ARCFACE_TEMPLATE_P2,
    CELEBA_HEIGHT_PX,
    CELEBA_TEMPLATE_P2,
    CELEBA_WIDTH_PX,
    Border,
    border_of,
    box_matrix,
    celeba_matrix,
    crop_matrix,
    five_point_matrix,
    warp,
    zoom,
)
from model.runtime.detection import Detections, Detector
from model.runtime.pack import DEFAULT_PACK, PACKS_DIR, read_pack
from model.runtime.session import open_session

# The first two rows of CelebA's own `list_landmarks_celeba.txt` and `list_landmarks_align_celeba.txt`, whole pixels.
OFFICIAL = [
    ([165, 184, 244, 176, 196, 249, 194, 271, 266, 260], [69, 109, 106, 113, 77, 142, 73, 152, 108, 154]),
    ([140, 204, 220, 204, 168, 254, 146, 289, 226, 289], [69, 110, 107, 112, 81, 135, 70, 151, 108, 153]),
]


def moved(points: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float64)


def on_official_crop(points: NDArray[np.float64], side_px: int) -> NDArray[np.float64]:
    """Points of a squeezed crop as pixels of the 178 x 218 one."""
    return np.asarray((points + 0.5) * [CELEBA_WIDTH_PX / side_px, CELEBA_HEIGHT_PX / side_px] - 0.5)


@pytest.fixture(scope="module")
def image(six_faces: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(six_faces)).convert("RGB"))


@pytest.fixture(scope="module")
def detector() -> Detector:
    part = read_pack(PACKS_DIR / DEFAULT_PACK).detector
    return Detector(open_session(PACKS_DIR / DEFAULT_PACK / part.file), part)


@pytest.fixture(scope="module")
def faces(detector: Detector, image: NDArray[np.uint8]) -> Detections:
    (found,) = detector.detect([image])
    assert len(found) == 6
    return found


@pytest.mark.parametrize(("original", "aligned"), OFFICIAL)
@pytest.mark.parametrize("side_px", [112, 224])
def test_celebas_own_landmarks_land_where_celebas_aligned_crops_have_them(
    original: list[int], aligned: list[int], side_px: int
) -> None:
    """CelebA's annotated points go to its annotated aligned points, within the rounding of both to whole pixels."""
    landmarks = np.array(original, np.float64).reshape(5, 2)
    found = on_official_crop(moved(landmarks, celeba_matrix(landmarks, side_px)), side_px)
    np.testing.assert_allclose(found, np.array(aligned).reshape(5, 2), atol=0.7)


@pytest.mark.parametrize("side_px", [64, 224, 300])
def test_real_landmarks_land_on_the_celeba_template(faces: Detections, side_px: int) -> None:
    """Eyes and mouth of six real faces land on the template's, as near as one similarity can bring three points."""
    for landmarks in faces.landmarks:
        eyes_and_mouth = np.vstack([landmarks[:2], landmarks[3:].mean(0)])
        found = on_official_crop(moved(eyes_and_mouth, celeba_matrix(landmarks, side_px)), side_px)
        np.testing.assert_allclose(found.mean(0), CELEBA_TEMPLATE_P2.mean(0), atol=1e-3)
        np.testing.assert_allclose(found, CELEBA_TEMPLATE_P2, atol=6)


def test_a_detector_finds_the_face_on_a_celeba_crop_where_the_template_says(
    detector: Detector, image: NDArray[np.uint8], faces: Detections
) -> None:
    """On crops of six faces, brought back to 178 x 218 and laid on a mat, eyes and mouth are found at the template.

    Each within what the detector is off by on enlarged faces, and without a common offset.
    """
    offsets = []
    for landmarks in faces.landmarks:
        square = warp(image, celeba_matrix(landmarks, 224), 224, border_of("celeba"))
        crop = cv2.resize(square, (CELEBA_WIDTH_PX, CELEBA_HEIGHT_PX))
        mat = cv2.copyMakeBorder(crop, 109, 109, 129, 129, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        (again,) = detector.detect([np.asarray(mat, np.uint8)])
        points = again.landmarks[0] - [129, 109]
        offsets.append(np.vstack([points[:2], points[3:].mean(0)]) - CELEBA_TEMPLATE_P2)
    assert np.abs(offsets).max() < 9
    assert np.abs(np.mean(offsets, axis=(0, 1))).max() < 2


def test_a_celeba_crop_is_what_resizing_the_official_one_gives(image: NDArray[np.uint8], faces: Detections) -> None:
    """One sampling to the square gives the picture that the published way gives in two, but for its extra blur."""
    landmarks = faces.landmarks[0]
    squeeze = np.array([224 / CELEBA_WIDTH_PX, 224 / CELEBA_HEIGHT_PX])
    matrix = celeba_matrix(landmarks, 224)
    official = np.column_stack([matrix[:, :2] / squeeze[:, None], (matrix[:, 2] + 0.5) / squeeze - 0.5])
    crop = cv2.warpAffine(image, official, (178, 218), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    twice = np.asarray(cv2.resize(crop, (224, 224)), np.float64)
    once = warp(image, matrix, 224, "replicate").astype(np.float64)
    assert np.abs(once - twice).mean() < 2
    shifted = np.abs(once[:, 2:] - twice[:, :-2]).mean()  # what an error of two pixels would give
    assert np.abs(once - twice).mean() < shifted / 2


def test_what_lies_outside_the_image_is_black_or_its_edge() -> None:
    """Five-point crops are filled with black, CelebA's with the edge repeated, as the sets they come from are."""
    white = np.full((60, 60, 3), 200, np.uint8)
    corner = ARCFACE_TEMPLATE_P2 / 4  # a face of 28 pixels in the corner: CelebA's wide crop passes over the edge
    assert warp(white, celeba_matrix(corner, 64), 64, border_of("celeba")).min() == 200
    assert warp(white, celeba_matrix(corner, 64), 64, border_of("arcface-5pt")).min() == 0
    assert (border_of("box"), border_of("arcface-5pt")) == ("black", "black")


def test_zoom_is_the_larger_of_a_crops_two_scales() -> None:
    """A squeezed crop needs as many source pixels as its less squeezed side; a similarity has one scale."""
    landmarks = ARCFACE_TEMPLATE_P2 * 2
    assert zoom(five_point_matrix(landmarks, 112)) == pytest.approx(0.5)
    assert zoom(box_matrix(np.array([0, 0, 100, 50]), 75, 1.5)) == pytest.approx(0.5)
    matrix = celeba_matrix(landmarks, 224)
    rows = np.hypot(matrix[:, 0], matrix[:, 1])
    assert zoom(matrix) == pytest.approx(rows[0])
    assert rows[0] / rows[1] == pytest.approx(CELEBA_HEIGHT_PX / CELEBA_WIDTH_PX)


def test_each_alignment_has_its_matrix() -> None:
    """The crop of an alignment is that alignment's; a box needs its scale."""
    landmarks, box = ARCFACE_TEMPLATE_P2 + 7, np.array([10.0, 20.0, 90.0, 120.0])
    np.testing.assert_array_equal(crop_matrix("arcface-5pt", landmarks, box, 112), five_point_matrix(landmarks, 112))
    np.testing.assert_array_equal(crop_matrix("celeba", landmarks, box, 224), celeba_matrix(landmarks, 224))
    np.testing.assert_array_equal(crop_matrix("box", landmarks, box, 96, 1.5), box_matrix(box, 96, 1.5))
    with pytest.raises(ValueError, match="box_scale"):
        crop_matrix("box", landmarks, box, 96)


def test_landmarks_that_are_all_alike_give_a_crop_and_no_error() -> None:
    """A detector's nonsense makes a useless crop in every alignment, never a failure."""
    alike = np.full((5, 2), 30.0)
    for alignment in ("arcface-5pt", "celeba"):
        matrix = crop_matrix(alignment, alike, np.zeros(4), 64)
        assert np.isfinite(matrix).all()
        assert warp(np.zeros((50, 50, 3), np.uint8), matrix, 64).shape == (64, 64, 3)


@pytest.mark.parametrize("border", ["black", "replicate"])
@pytest.mark.parametrize("size", [(1441, 2082), (1000, 3000), (400, 401)])
def test_only_what_a_crop_shows_is_averaged(size: tuple[int, int], border: Border) -> None:
    """What a crop made smaller does not show changes nothing, and what it shows is the mean of what was there."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows * 200 / size[0], columns * 200 / size[1], np.full(size, 90)], axis=-1).astype(np.uint8)
    for zoom_by, angle in ((0.31, 0.3), (0.24, -0.5)):
        turn = zoom_by * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.column_stack([turn, 56 - turn @ [size[1] / 2, size[0] / 2]])
        crop = warp(image, matrix, 112, border)
        plain = cv2.warpAffine(image, matrix, (112, 112), flags=cv2.INTER_LINEAR)
        inside = cv2.erode((plain[..., 2] == 90).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert inside.mean() > 0.5
        assert np.abs(crop.astype(int) - plain)[inside].max() <= 3  # a slope's mean is its middle
        elsewhere = image.copy()
        at = np.linalg.inv(turn) @ (np.stack(np.meshgrid([0, 111], [0, 111]), axis=-1).reshape(-1, 2) - matrix[:, 2]).T
        far = int(np.abs(at - np.array([[size[1] / 2], [size[0] / 2]])).max()) + 24
        elsewhere[: max(size[0] // 2 - far, 0)] = 255
        elsewhere[:, : max(size[1] // 2 - far, 0)] = 255
        elsewhere[:, size[1] // 2 + far :] = 255
        assert np.array_equal(crop, warp(elsewhere, matrix, 112, border))
