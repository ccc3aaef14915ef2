from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.runtime.alignment import border_of, crop_matrix, warp
from model.training.explain.aims import ExplainError
from model.training.explain.faces import Cropping, open_detector, read_crop, read_photograph
from tests.model.training.evaluation.photographs import crops


def test_a_photographs_faces_are_cut_largest_first(six_faces_path: Path) -> None:
    """Six faces with their boxes, or as many as were asked for, aligned to the network's side."""
    detector = open_detector("nano")
    found = read_photograph(six_faces_path, detector, Cropping(112, "arcface-5pt", None, 8))
    assert found.crops.shape == (6, 112, 112, 3)
    assert found.boxes is not None
    areas = (found.boxes[:, 2] - found.boxes[:, 0]) * (found.boxes[:, 3] - found.boxes[:, 1])
    assert (np.diff(areas) <= 0).all()
    expected = {crop.tobytes() for crop in crops(six_faces_path)}
    assert {crop.tobytes() for crop in found.crops} == expected
    two = read_photograph(six_faces_path, detector, Cropping(112, "arcface-5pt", None, 2))
    np.testing.assert_array_equal(two.crops, found.crops[:2])


def test_crops_are_cut_in_the_alignment_that_was_asked_for(astronaut_path: Path) -> None:
    """FAER's crops are CelebA's, 224 pixels wide, with the edge repeated beyond the image."""
    detector = open_detector("nano")
    found = read_photograph(astronaut_path, detector, Cropping(224, "celeba", None, 1))
    faces = detector.detect([found.pixels])[0]
    matrix = crop_matrix("celeba", faces.landmarks[0], faces.boxes[0], 224)
    np.testing.assert_array_equal(found.crops[0], warp(found.pixels, matrix, 224, border_of("celeba")))
    boxed = read_photograph(astronaut_path, detector, Cropping(96, "box", 1.5, 1))
    assert boxed.crops.shape == (1, 96, 96, 3)


def test_an_aligned_crop_is_taken_as_it_is(astronaut_path: Path, tmp_path: Path) -> None:
    """Pixel by pixel at the network's side, resized at another; what is no square is refused."""
    crop = crops(astronaut_path)[0]
    Image.fromarray(crop).save(tmp_path / "crop.png")
    same = read_crop(tmp_path / "crop.png", 112)
    np.testing.assert_array_equal(same.crops[0], crop)
    assert same.boxes is None
    assert read_crop(tmp_path / "crop.png", 224).crops.shape == (1, 224, 224, 3)
    assert read_crop(tmp_path / "crop.png", 56).crops.shape == (1, 56, 56, 3)
    Image.fromarray(crop[:100]).save(tmp_path / "flat.png")
    with pytest.raises(ExplainError, match=r"flat\.png is 112 x 100; an aligned crop is square"):
        read_crop(tmp_path / "flat.png", 112)


def test_a_photograph_is_turned_upright(astronaut_path: Path, tmp_path: Path) -> None:
    """A JPEG whose EXIF says that it lies on its side has the face where it stands upright."""
    with Image.open(astronaut_path) as image:
        upright = image.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to view
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    found = read_photograph(tmp_path / "turned.jpg", open_detector("nano"), Cropping(112, "arcface-5pt", None, 1))
    straight = read_photograph(astronaut_path, open_detector("nano"), Cropping(112, "arcface-5pt", None, 1))
    assert found.boxes is not None
    assert straight.boxes is not None
    np.testing.assert_allclose(found.boxes, straight.boxes, atol=3)


@pytest.mark.parametrize("content", [None, b"no image"])
def test_what_is_no_image_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing and one that cannot be decoded are named."""
    path = tmp_path / "face.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExplainError, match=r"cannot read .*face\.jpg: (No such file|it is no image)") as error:
        read_crop(path, 112)
    assert "\n" not in str(error.value)
