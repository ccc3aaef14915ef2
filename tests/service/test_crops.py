"""Crops and preparation: how many pixels a crop is cut from, and which faces are kept."""

import time
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model.runtime.alignment import ARCFACE_SIDE_PX, ARCFACE_TEMPLATE_P2
from model.runtime.detection import Detections
from model.runtime.pack import AnalyzerPart, read_pack
from service.analysis import Options
from service.crops import Found, Picture, cut, fit, needed_side_px, shrink
from service.errors import DeadlinePassed, InvalidOption
from service.preparation import Preparation, choose
from tests.packs import build_pack, encode


def face(x: float, y: float, side: float, score: float = 1.0) -> Found:
    """A face whose aligned crop is the square at (x, y)."""
    landmarks = ARCFACE_TEMPLATE_P2 / ARCFACE_SIDE_PX * side + [x, y]
    box = np.array([x, y, x + side, y + side], np.float32)
    return Found(box, score, landmarks.astype(np.float32))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnalyzerPart, ...]:
    """Two analyzers: of 64 pixels by landmarks, and of 96 by box."""
    pack = build_pack(tmp_path_factory.mktemp("packs") / "p", tasks=[["embedding"], ["age"]], sides_px=[64, 96])
    return read_pack(pack).analyzers


def test_shrink_keeps_what_detection_needs() -> None:
    """A picture is halved while its longer side keeps what is needed, and remembers its full size."""
    picture = Picture(np.zeros((3000, 4100, 3), np.uint8), 4100, 3000)
    assert shrink(picture, 1280).pixels.shape == (1500, 2050, 3)
    assert shrink(picture, 1000).pixels.shape == (750, 1025, 3)
    assert shrink(picture, 4000) is picture
    assert (shrink(picture, 10).width, shrink(picture, 10).height) == (4100, 3000)


def test_shrink_survives_a_thin_strip() -> None:
    """A picture one pixel high keeps its pixel."""
    assert shrink(Picture(np.zeros((1, 9000, 3), np.uint8), 9000, 1), 100).pixels.shape[0] == 1


def test_needed_side_is_that_of_the_smallest_face(parts: tuple[AnalyzerPart, ...]) -> None:
    """The smallest face and the largest crop decide; no more than the full size is ever asked for."""
    picture = Picture(np.zeros((500, 500, 3), np.uint8), 2000, 2000)
    big, small = face(0, 0, 400), face(500, 500, 128)
    assert needed_side_px(picture, [big], parts) is None  # 100 pixels of the picture for crops of 64 and 96
    assert needed_side_px(picture, [big, small], parts[:1]) == 1000
    assert needed_side_px(picture, [big, small], parts) == 1500
    assert needed_side_px(picture, [face(0, 0, 20)], parts) == 2000
    assert needed_side_px(Picture(picture.pixels, 500, 500), [face(0, 0, 20)], parts) is None


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> AnalyzerPart:
    """An analyzer of 224 pixels in CelebA's alignment."""
    folder = tmp_path_factory.mktemp("packs") / "celeba"
    pack = build_pack(folder, tasks=[["attributes"]], sides_px=[224], alignments=["celeba"])
    return read_pack(pack).analyzers[0]


def test_a_celeba_crop_asks_for_enough_pixels_of_its_wider_scale(celeba: AnalyzerPart) -> None:
    """CelebA's crop is squeezed from 178 x 218: what is stretched more across decides how many pixels are needed."""
    picture = Picture(np.zeros((500, 500, 3), np.uint8), 2000, 2000)
    eyes_px = 0.3146 * 512 / 4  # between the eyes of a face of 512 pixels, on the picture
    needed = needed_side_px(picture, [face(100, 100, 512)], [celeba])
    assert needed is not None
    assert needed == pytest.approx(500 * (37.5 / eyes_px) * (224 / 178), rel=0.03)
    assert needed_side_px(picture, [face(0, 0, 1500)], [celeba]) is None


def test_quality_gets_its_pixels_too(celeba: AnalyzerPart) -> None:
    """The crop that quality is measured on counts among those that a picture must have enough pixels for."""
    picture = Picture(np.zeros((500, 500, 3), np.uint8), 2000, 2000)
    small = celeba.model_copy(update={"side_px": 64})
    one = face(100, 100, 256)  # 64 pixels of the picture
    assert needed_side_px(picture, [one], [small]) is None
    assert needed_side_px(picture, [one], [small], 112) == 500 * 112 / 64


def test_a_celeba_crop_shows_the_face_with_room_around_it(celeba: AnalyzerPart) -> None:
    """The eyes of a real face's landmarks stand a little over half way down, as on CelebA's own crops."""
    pixels = np.zeros((400, 400, 3), np.uint8)
    one = face(150, 150, 100)
    for x, y in one.landmarks[:2].round().astype(int):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    crop = cut(Picture(pixels, 400, 400), one, celeba)
    rows, columns = np.nonzero(crop[..., 0] > 100)
    assert rows.mean() == pytest.approx((111.5 / 218) * 224, abs=3)
    left, right = columns[columns < 112].mean(), columns[columns > 112].mean()
    assert (left, right) == pytest.approx(((70.2 / 178) * 224, (107.7 / 178) * 224), abs=3)


def test_quality_is_the_same_whatever_crops_the_analyzers_take(tmp_path: Path, astronaut: bytes) -> None:
    """Sharpness is measured on one five-point crop: packs of any alignment, any side, or several measure alike."""
    alone = build_pack(tmp_path / "a", tasks=[["attributes"]], sides_px=[224], alignments=["celeba"])
    both = build_pack(
        tmp_path / "b", tasks=[["attributes"], ["age"]], sides_px=[224, 112], alignments=["celeba", "arcface-5pt"]
    )
    small = build_pack(tmp_path / "c", tasks=[["age"]], sides_px=[64], alignments=["arcface-5pt"])
    found = [face(180, 60, 110)]
    sharpness = []
    for folder in (alone, both, small):
        pack = read_pack(folder)
        preparation, options = Preparation(pack, 40_000_000), Options(pack.tasks)
        picture, _ = preparation.open(astronaut, time.monotonic() + 60)
        quality = preparation.cut(picture, found, options).faces[0].quality
        assert quality is not None
        sharpness.append(quality.sharpness)
    assert sharpness[0] == sharpness[1] == sharpness[2]
    assert sharpness[0] > 0.1


def test_an_official_crop_is_resized_straight_to_the_square(tmp_path: Path) -> None:
    """An aligned 178 x 218 picture goes to 224 x 224 as CelebA's crops do in training, and to no other alignment."""
    folder = build_pack(
        tmp_path / "p", tasks=[["attributes"], ["age"]], sides_px=[224, 112], alignments=["celeba", "arcface-5pt"]
    )
    preparation = Preparation(read_pack(folder), 40_000_000)
    official = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    deadline = time.monotonic() + 60
    _, cuts = preparation.open_aligned(encode(official), Options(("attributes",)), deadline)
    np.testing.assert_array_equal(cuts.faces[0].crops[0], cv2.resize(official, (224, 224)))
    assert list(cuts.faces[0].crops) == [0]
    with pytest.raises(InvalidOption, match="celeba: attributes; arcface-5pt: age"):
        preparation.open_aligned(encode(official), Options(("attributes", "age")), deadline)


def test_crop_is_the_same_at_either_scale(parts: tuple[AnalyzerPart, ...]) -> None:
    """A face's crop shows the same place, cut from the full picture or from a smaller one."""
    rows, columns = np.mgrid[:800, :800]
    pixels = np.stack([rows / 4, columns / 4, (rows + columns) / 8], axis=-1).astype(np.uint8)
    full = Picture(pixels, 800, 800)
    for part in parts:
        near, far = (cut(picture, face(300, 200, 256), part) for picture in (full, shrink(full, 400)))
        assert near.shape == (part.side_px, part.side_px, 3)
        np.testing.assert_allclose(near.astype(int), far, atol=2)
        # The crop's middle is the square's middle: row 328 of 4 a level.
        middle = near[part.side_px // 2, part.side_px // 2]
        np.testing.assert_allclose(middle, [328 / 4, 428 / 4, 756 / 8], atol=2)


def test_fit_leaves_a_crop_of_the_right_size_alone() -> None:
    """A crop of the analyzer's own size is passed on as it is, any other is resized."""
    crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert fit(crop, 32) is crop
    assert fit(crop, 16).shape == (16, 16, 3)
    assert fit(crop[:20], 64).shape == (64, 64, 3)


def test_choice_filters_then_sorts_then_cuts_off() -> None:
    """Score and size are held in the full image's pixels; equal sizes keep the surer first."""
    picture = Picture(np.zeros((100, 100, 3), np.uint8), 200, 200)
    found = [face(0, 0, 10, 0.9), face(20, 0, 10, 0.8), face(40, 0, 30, 0.7), face(0, 40, 40, 0.3), face(80, 0, 4, 0.6)]
    detections = Detections(
        np.stack([one.box for one in found]),
        np.array([one.score for one in found], np.float32),
        np.stack([one.landmarks for one in found]),
    )
    chosen = choose(detections, picture, Options((), min_face=20, max_faces=2), 0.5)
    assert [one.box.tolist() for one in chosen] == [[80, 0, 140, 60], [0, 0, 20, 20]]
    assert len(choose(detections, picture, Options(()), 0.0)) == 5


def test_decoding_again_is_only_for_small_faces(tmp_path: Path) -> None:
    """A large face is cut from the picture that detection had; a small one from the image, decoded once more."""
    pack = read_pack(build_pack(tmp_path / "p", sides_px=[64]))
    preparation = Preparation(pack, 40_000_000)
    target = BytesIO()
    Image.fromarray(np.zeros((1600, 1600, 3), np.uint8)).save(target, "JPEG")
    data, options = target.getvalue(), Options(("age",))
    picture, _ = preparation.open(data, time.monotonic() + 60)
    assert max(picture.pixels.shape) < 2 * 2 * 160
    assert preparation.wanted_side_px(picture, [face(0, 0, 800)], options) is None
    assert preparation.cut(picture, [face(0, 0, 800)], options).faces[0].crops[0].shape == (64, 64, 3)
    side_px = preparation.wanted_side_px(picture, [face(0, 0, 80)], options)
    assert side_px is not None
    assert preparation.cut_larger(data, side_px, [face(0, 0, 80)], options).decode_seconds > 0


def test_passed_deadline_is_not_decoded(tmp_path: Path) -> None:
    """An image whose deadline passed while it waited for a lane is not decoded."""
    preparation = Preparation(read_pack(build_pack(tmp_path / "p")), 1000)
    with pytest.raises(DeadlinePassed):
        preparation.open(encode(np.zeros((16, 16, 3), np.uint8)), time.monotonic())
