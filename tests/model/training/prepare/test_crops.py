"""Tests of model.training.prepare.crops and of the detector's opening."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.runtime.alignment import celeba_matrix, warp
from model.runtime.detection import Detector
from model.runtime.pack import PACKS_DIR, PackError, read_pack
from model.runtime.session import open_session
from model.training.prepare.crops import CropError, Cutter
from model.training.prepare.face_finder import open_detector
from model.training.prepare.rows import BytesImage, FaceRow, FileImage, Labels
from tests.model.training.prepare.conftest import WALL, Photo, decoded, jpeg


def _row(data: bytes, **more: object) -> FaceRow:
    return FaceRow("a.jpg", BytesImage(data), Labels(), **more)  # type: ignore[arg-type]


def _encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def _points(photo: Photo) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in photo.landmarks)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
def test_aligned_bytes_are_kept(photos: tuple[Photo, ...], form: str) -> None:
    """An image that is aligned already, of the right side and in a format that everybody reads, keeps its bytes."""
    data = _encoded(decoded(photos[0].aligned()).astype(np.uint8), form)
    assert Cutter(112, "arcface-5pt", None).cut(_row(data, aligned="arcface-5pt")) == data
    assert Cutter(112, "none", None).cut(_row(data)) == data


def test_what_is_not_quite_a_crop_is_made_one(photos: tuple[Photo, ...]) -> None:
    """An aligned image of another side or format, or that is stored turned, becomes a WebP of the side asked for."""
    aligned = decoded(photos[0].aligned()).astype(np.uint8)
    turned = Image.fromarray(np.rot90(aligned))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise by whoever shows it
    file = io.BytesIO()
    turned.save(file, "JPEG", quality=95, exif=exif)
    for data in (photos[0].aligned(224), _encoded(aligned, "BMP"), file.getvalue()):
        crop = Cutter(112, "arcface-5pt", None).cut(_row(data, aligned="arcface-5pt"))
        with Image.open(io.BytesIO(crop)) as image:
            assert (image.format, image.size) == ("WEBP", (112, 112))
        assert np.abs(decoded(crop) - aligned).mean() < 6


@pytest.mark.parametrize("side_px", [112, 224])
def test_landmarks_align(photos: tuple[Photo, ...], side_px: int) -> None:
    """Stated landmarks need no detector, and put the face where the template says, at any side."""
    crop = Cutter(side_px, "arcface-5pt", None).cut(_row(photos[0].jpeg, landmarks=_points(photos[0])))
    assert np.abs(decoded(crop) - decoded(photos[0].aligned(side_px))).mean() < 4


def test_celeba_alignment(photos: tuple[Photo, ...]) -> None:
    """In `celeba` alignment the crop is CelebA's, squeezed, its edge repeated."""
    crop = Cutter(224, "celeba", None).cut(_row(photos[0].jpeg, landmarks=_points(photos[0])))
    expected = warp(photos[0].pixels, celeba_matrix(photos[0].landmarks, 224), 224, "replicate")
    assert np.abs(decoded(crop) - expected).mean() < 4


def test_the_middle_face_is_taken(six_faces: bytes, detector: Detector) -> None:
    """Among several faces, the large one in the middle is the row's; a stated box takes another."""
    with Image.open(io.BytesIO(six_faces)) as image:
        whole = np.asarray(image.convert("RGB"))
    boxes = detector.detect([whole])[0].boxes
    nearest = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(whole.shape[1::-1]) / 2).T).argmin()
    left, top, right, bottom = np.round(boxes[nearest]).astype(int)
    x, y = (left + right) // 2, (top + bottom) // 2
    half = min(x, y, whole.shape[1] - x, whole.shape[0] - y)
    pixels = whole[y - half : y + half, x - half : x + half]  # one face's middle is the picture's
    data, faces = _encoded(pixels, "PNG"), detector.detect([pixels])[0]
    assert len(faces) > 2
    offsets = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - np.array(pixels.shape[1::-1]) / 2
    middle, *others = np.hypot(*offsets.T).argsort().tolist()
    cutter = Cutter(112, "arcface-5pt", detector)
    for chosen, box in ((middle, None), *((other, faces.boxes[other]) for other in others[:2])):
        points = tuple((float(x), float(y)) for x, y in faces.landmarks[chosen])
        crop = cutter.cut(_row(data, box=None if box is None else tuple(box.tolist())))
        assert np.abs(decoded(crop) - decoded(cutter.cut(_row(data, landmarks=points)))).mean() < 1


def test_a_face_that_fills_the_picture_is_found(photos: tuple[Photo, ...]) -> None:
    """On a tight crop, where a detector of one look finds nothing, it finds the face with a border around."""
    part = read_pack(PACKS_DIR / "nano").detector.at_scales((1.0,))
    detector = Detector(open_session(PACKS_DIR / "nano" / part.file), part)
    tight = [decoded(photo.aligned()).astype(np.uint8)[34:, 28:-28] for photo in photos]
    missed = [crop for crop in tight if not len(detector.detect([crop])[0])]
    assert missed
    found = 0
    for crop in missed:
        try:
            Cutter(112, "arcface-5pt", detector).cut(_row(_encoded(crop, "PNG")))
            found += 1
        except CropError:
            pass
    assert found >= len(missed) - 1


def test_grey_and_palette_images(photos: tuple[Photo, ...], detector: Detector) -> None:
    """Grey, transparent and indexed images are cut as colour ones are."""
    for mode, form in (("L", "JPEG"), ("RGBA", "PNG"), ("P", "PNG")):
        file = io.BytesIO()
        Image.fromarray(photos[6].pixels).convert(mode).save(file, form)
        assert decoded(Cutter(112, "arcface-5pt", detector).cut(_row(file.getvalue()))).shape == (112, 112, 3)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (_row(b""), "image cannot be decoded"),
        (_row(b"\xff\xd8\xff\xe0 torn"), "image cannot be decoded"),
        (_row(jpeg(WALL)), "no face found"),
        (replace(_row(b""), image=FileImage(Path("/absent/a.jpg"))), "image cannot be read"),
    ],
)
def test_rows_without_a_crop(detector: Detector, row: FaceRow, reason: str) -> None:
    """What cannot be read, decoded or found is told in a few words that many rows share."""
    with pytest.raises(CropError) as error:
        Cutter(112, "arcface-5pt", detector).cut(row)
    assert error.value.reason == reason
    assert "\n" not in error.value.detail


def test_torn_image(photos: tuple[Photo, ...]) -> None:
    """An image that is cut short is refused even where its bytes would be kept."""
    data = photos[0].aligned()
    with pytest.raises(CropError, match="image cannot be decoded"):
        Cutter(112, "arcface-5pt", None).cut(_row(data[: len(data) // 2], aligned="arcface-5pt"))


def test_a_box_without_a_face(photos: tuple[Photo, ...], detector: Detector) -> None:
    """A stated box where no face is found is refused: another person's face is not taken for the row's."""
    with pytest.raises(CropError, match="no face where the set has one"):
        Cutter(112, "arcface-5pt", detector).cut(_row(photos[6].jpeg, box=(0.0, 0.0, 5.0, 5.0)))


def test_no_detector(photos: tuple[Photo, ...]) -> None:
    """Without landmarks and without a detector there is no crop."""
    with pytest.raises(CropError, match="no landmarks and no detector"):
        Cutter(112, "arcface-5pt", None).cut(_row(photos[0].jpeg))


def test_detectors(photos: tuple[Photo, ...]) -> None:
    """A pack by name, its folder, and its ONNX file alone are the same detector; what is none is refused."""
    opened = [
        open_detector(text) for text in ("nano", str(PACKS_DIR / "nano"), str(PACKS_DIR / "nano" / "detector.onnx"))
    ]
    assert len({digest for _, digest in opened}) == 1
    landmarks = [detector.detect([photos[6].pixels], 0.5)[0].landmarks for detector, _ in opened]
    assert np.array_equal(landmarks[0], landmarks[1])
    np.testing.assert_allclose(landmarks[0], landmarks[2], atol=2)  # a file alone does not say that points are blended
    for absent in ("nobody", "/absent/detector.onnx"):
        with pytest.raises(PackError):
            open_detector(absent)
