"""Quality, against crops blurred by known amounts."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import ARCFACE_TEMPLATE_P2
from model.runtime.quality import assess, sharpness_of


def crop_of(astronaut: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(astronaut)) as picture:
        return np.array(picture.convert("RGB").crop((168, 70, 280, 182)), np.uint8)


def test_blur_lowers_sharpness_step_by_step(astronaut: bytes) -> None:
    """The more a real face is blurred, the lower its sharpness, within 0 to 1."""
    crop = crop_of(astronaut)
    steps = [sharpness_of(crop)]
    steps += [sharpness_of(np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)) for sigma in (0.5, 1, 2, 4)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)
    assert 0.5 < steps[0] < 1
    assert 0 < steps[-1] < 0.1


def test_a_flat_crop_has_no_sharpness() -> None:
    """A crop of one colour has sharpness 0."""
    assert sharpness_of(np.full((112, 112, 3), 127, np.uint8)) == 0


@pytest.mark.parametrize("side", [160, 224])
def test_sharpness_hardly_depends_on_the_packs_crop_side(astronaut: bytes, side: int) -> None:
    """The same face in crops of another side has about the same sharpness."""
    crop = crop_of(astronaut)
    other = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
    assert sharpness_of(np.asarray(other, np.uint8)) == pytest.approx(sharpness_of(crop), abs=0.25)


def test_size_is_the_shorter_side_of_the_box(astronaut: bytes) -> None:
    """`size` is in the box's pixels, its shorter side, and a box inside out is 0."""
    crop, points = crop_of(astronaut), ARCFACE_TEMPLATE_P2
    assert assess(crop, points, np.array([10, 20, 110, 170], np.float32)).size == 100
    assert assess(crop, points, np.array([110, 20, 10, 170], np.float32)).size == 0
