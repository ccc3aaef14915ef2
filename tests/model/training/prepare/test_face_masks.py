"""Tests of model.training.prepare.face_masks."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from model.training.prepare.conversion import convert
from model.training.prepare.face_masks import FACE_PARTS, MaskedImage, blur_around_face, mask_of
from model.training.prepare.lmdb_form import iterate_lmdb
from model.training.prepare.preparation import Job
from model.training.prepare.rows import BytesImage
from tests.model.training.prepare.conftest import Photo, Prepared, decoded

SIDE = 64


@pytest.fixture
def parts() -> NDArray[np.uint8]:
    """A face of every part in the middle, ears beside it, hair above, background around."""
    found = np.zeros((SIDE, SIDE), np.uint8)
    found[20:44, 22:42] = 1
    for number, part in enumerate(FACE_PARTS[1:]):
        found[22 + 2 * number : 24 + 2 * number, 28:36] = part
    found[28:36, 16:22] = 7
    found[6:20, 20:44] = 17
    return found


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Noise, which any blur changes."""
    return np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def test_blur_is_the_plain_formula(pixels: NDArray[np.uint8], parts: NDArray[np.uint8]) -> None:
    """Every pixel is, one by one, the image's under the Gaussian that its distance from the face calls for."""
    face = gaussian_filter(np.isin(parts, FACE_PARTS).astype(float), 5)
    face /= face.max()
    blurred = blur_around_face(pixels, parts)
    for y in range(0, SIDE, 7):
        for x in range(0, SIDE, 7):
            away = round(10 * (1 - face[y, x]) * 10) / 10
            sigma = away**4 / 1000
            expected = [
                gaussian_filter(pixels[..., c].astype(float), sigma)[y, x] if sigma else pixels[y, x, c]
                for c in range(3)
            ]
            assert blurred[y, x] == pytest.approx(expected, abs=0.51)


def test_the_face_stays_and_what_is_around_it_goes(pixels: NDArray[np.uint8], parts: NDArray[np.uint8]) -> None:
    """The middle of the face is untouched, the corners are as flat as the strongest blur leaves them, ears go too."""
    blurred = blur_around_face(pixels, parts)
    assert np.array_equal(blurred[28:36, 29:35], pixels[28:36, 29:35])
    assert np.ptp(blurred[:6, :6].astype(int)) < 30 < np.ptp(pixels[:6, :6].astype(int))
    assert blurred[:6, :6].std() < pixels[:6, :6].std() / 8
    ears = parts.copy()
    ears[28:36, 16:22] = 0
    assert np.array_equal(blur_around_face(pixels, ears), blurred)


def test_a_mask_without_a_face_blurs_all(pixels: NDArray[np.uint8]) -> None:
    """Where the parser found no face, the whole image is blurred, and nothing is divided by zero."""
    blurred = blur_around_face(pixels, np.full((SIDE, SIDE), 17, np.uint8))
    expected = np.rint(gaussian_filter(pixels.astype(float), (10, 10, 0)))
    assert np.array_equal(blurred, expected.astype(np.uint8))


def test_an_image_is_read_blurred_and_turned_as_it_was(
    tmp_path: Path, pixels: NDArray[np.uint8], parts: NDArray[np.uint8]
) -> None:
    """The mask lies on the stored pixels, and so does what is read; its orientation is the image's."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    Image.fromarray(parts).save(tmp_path / "a_mask.png")
    with Image.open(io.BytesIO(MaskedImage(BytesImage(file.getvalue()), tmp_path / "a_mask.png").read())) as image:
        assert image.getexif()[0x0112] == 6
        seen = np.asarray(image.convert("RGB")).astype(float)
    blurred = blur_around_face(pixels, parts).astype(float)
    assert np.abs(seen[:10] - blurred[:10]).mean() < 6  # WebP keeps half of the colours of noise
    assert np.abs(seen - np.rot90(blurred)).mean() > np.abs(seen - blurred).mean() + 5


def test_a_mask_that_is_none_is_an_unreadable_image(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    """A mask that is missing, of another size or no image makes the image unreadable, with the reason."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    image = BytesImage(file.getvalue())
    with pytest.raises(OSError, match="No such file"):
        MaskedImage(image, tmp_path / "none.png").read()
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    with pytest.raises(OSError, match=r"its mask has \(8, 8\) pixels and it \(64, 64\)"):
        MaskedImage(image, tmp_path / "small.png").read()
    (tmp_path / "text.png").write_text("no mask")
    with pytest.raises(OSError, match="cannot identify"):
        MaskedImage(image, tmp_path / "text.png").read()


def test_masks_are_named_as_published() -> None:
    """The mask of `a/b.jpg` is `MASKS/a/b_mask.png`."""
    assert mask_of(Path("masks"), "a/b.jpg") == Path("masks/a/b_mask.png")
    assert mask_of(Path("masks"), "b.c.jpeg") == Path("masks/b.c_mask.png")


@pytest.fixture
def masked(tmp_path: Path, photos: tuple[Photo, ...]) -> Path:
    """Two photographs in a list; the first has a mask, an ellipse about its landmarks."""
    for number, photo in enumerate(photos[2:4]):  # heads that look at the camera
        photo.save(tmp_path / "images" / f"{number}.jpg")
    height, width = photos[2].pixels.shape[:2]
    x, y = photos[2].landmarks.mean(axis=0)
    far = np.linalg.norm(photos[2].landmarks - (x, y), axis=1).max()
    rows, columns = np.mgrid[:height, :width]
    face = (columns - x) ** 2 + (rows - y) ** 2 < (1.6 * far) ** 2
    (tmp_path / "masks").mkdir()
    Image.fromarray(face.astype(np.uint8)).save(tmp_path / "masks" / "0_mask.png")
    (tmp_path / "list.txt").write_text("0.jpg 0 1 30\n1.jpg 0 1 30\n")
    return tmp_path


def test_a_set_is_prepared_with_its_masks(masked: Path, prepared: Callable[..., Prepared]) -> None:
    """Crops are blurred in their corners and not at the nose; an image without a mask is left out by name."""
    plain = prepared("list", masked / "list.txt", masked / "images", name="plain").table().images[0]
    made = prepared("list", masked / "list.txt", masked / "images", masks=masked / "masks")
    assert made.left_out == {"1.jpg": "no such mask"}
    blurred = made.table().images[0]
    nose, corners = np.s_[55:85, 42:70], [np.s_[:16, :16], np.s_[:16, -16:]]
    assert detail(blurred[nose]) == pytest.approx(detail(plain[nose]), rel=0.25)
    assert sum(detail(blurred[at]) for at in corners) < 0.6 * sum(detail(plain[at]) for at in corners)


def detail(pixels: NDArray[np.uint8]) -> float:
    """How much neighbours differ."""
    return float(np.abs(np.diff(pixels.astype(int), axis=1)).mean())


def test_an_lmdb_is_written_with_its_masks(masked: Path, photos: tuple[Photo, ...]) -> None:
    """The LMDB holds the whole image, blurred around the face, as the published converter makes it."""
    job = Job("list", (masked / "list.txt", masked / "images"), masked / "out", "ages", label="age")
    convert(replace(job, masks=masked / "masks"))
    ((_, data, age),) = iterate_lmdb(masked / "out" / "ages.lmdb")
    assert age == 30
    assert data is not None
    with Image.open(masked / "masks" / "0_mask.png") as mask:
        expected = blur_around_face(decoded(photos[2].jpeg).astype(np.uint8), np.asarray(mask))
    assert np.abs(decoded(data) - expected).mean() < 3
    assert np.abs(decoded(data) - decoded(photos[2].jpeg)).mean() > 2 * np.abs(decoded(data) - expected).mean()
