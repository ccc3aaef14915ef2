"""Tests of `model.runtime.detection`."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.runtime.detection import Detections, Detector, DetectorError, suppress
from model.runtime.pack import PACKS_DIR, DetectorPart, find_pack, list_packs, read_pack
from model.runtime.passes import letterbox
from model.runtime.session import open_session
from tests.model.runtime.scrfd_graphs import scrfd_graph

Image = NDArray[np.uint8]


def part(side: int = 320, **changes: float) -> DetectorPart:
    return DetectorPart.model_validate(
        {"file": "det.onnx", "sha256": "0" * 64, "input_width": side, "input_height": side, **changes}
    )


def detector(graph: bytes, side: int = 320, **changes: float) -> Detector:
    return Detector(open_session(graph), part(side, **changes))


@pytest.fixture(scope="module")
def photographs(six_faces_path: Path, astronaut_path: Path) -> list[Image]:
    """Two real photographs, RGB, one of them also turned on its side: three shapes."""
    first, second = (cv2.imread(str(path)) for path in (six_faces_path, astronaut_path))
    assert first is not None
    assert second is not None
    images = [np.ascontiguousarray(image[:, :, ::-1], np.uint8) for image in (first, second)]
    return [*images, np.ascontiguousarray(images[0].transpose(1, 0, 2))]


def same(one: Detections, other: Detections) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boxes", "scores", "landmarks"))


@pytest.mark.parametrize(("num_outputs", "rank"), [(9, 3), (9, 2), (15, 3), (15, 2)])
@pytest.mark.parametrize("side", [320, 640])
def test_insightface(num_outputs: int, rank: int, side: int, photographs: list[Image], tmp_path: Path) -> None:
    """The answers are those of InsightFace's own SCRFD class on the same graph, photograph and input size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports
        from insightface.model_zoo.scrfd import SCRFD
    batch = "N" if rank == 3 else 1
    (tmp_path / "det.onnx").write_bytes(scrfd_graph(num_outputs, rank=rank, input_shape=(batch, 3, "h", "w")))
    theirs = SCRFD(str(tmp_path / "det.onnx"))
    theirs.prepare(-1, input_size=(side, side), det_thresh=0.6, nms_thresh=0.4)
    ours = Detector(open_session(tmp_path / "det.onnx"), part(side, min_score=0.6))
    for image in photographs:
        boxes, landmarks = theirs.detect(np.ascontiguousarray(image[:, :, ::-1]))
        found = ours.detect([image])[0]
        assert len(found) == len(boxes) > 20
        np.testing.assert_allclose(found.boxes, boxes[:, :4], rtol=0, atol=1e-3)
        np.testing.assert_allclose(found.scores, boxes[:, 4], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.landmarks, landmarks, rtol=0, atol=1e-3)


def test_insightface_oblong(photographs: list[Image], tmp_path: Path) -> None:
    """An input that is wider than high answers as InsightFace's class does at that size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.model_zoo.scrfd import SCRFD
    (tmp_path / "det.onnx").write_bytes(scrfd_graph())
    theirs = SCRFD(str(tmp_path / "det.onnx"))
    theirs.prepare(-1, input_size=(384, 256), det_thresh=0.6, nms_thresh=0.4)
    wide = part(min_score=0.6).model_copy(update={"input_width": 384, "input_height": 256})
    ours = Detector(open_session(tmp_path / "det.onnx"), wide)
    for image in photographs:
        boxes, _ = theirs.detect(np.ascontiguousarray(image[:, :, ::-1]))
        np.testing.assert_allclose(ours.detect([image])[0].boxes, boxes[:, :4], rtol=0, atol=1e-3)


@pytest.mark.parametrize("batch", ["N", 1])
def test_batch(batch: str | int, photographs: list[Image]) -> None:
    """Images of different sizes in one call get what each gets alone, whether the graph's batch is open or fixed."""
    many = photographs * 4  # more than one run of a batch
    subject = detector(scrfd_graph(input_shape=(batch, 3, "h", "w")), min_score=0.6)
    together = subject.detect(many)
    assert len(together) == len(many)
    assert not same(together[0], together[1])
    for image, found in zip(many, together, strict=True):
        alone = subject.detect([image])[0]
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-2)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)


def test_folded_batch(photographs: list[Image]) -> None:
    """A graph that folds the batch into its anchors is run image by image, though its input says any batch."""
    open_batch = detector(scrfd_graph(rank=2), min_score=0.6)
    batched = detector(scrfd_graph(rank=3), min_score=0.6)
    for found, expected in zip(open_batch.detect(photographs), batched.detect(photographs), strict=True):
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


def test_fixed_size(photographs: list[Image]) -> None:
    """An input size that is fixed in the graph wins over the pack's."""
    fixed = detector(scrfd_graph(input_shape=(1, 3, 256, 384)), side=640, min_score=0.6)
    assert (fixed.input_width, fixed.input_height) == (384, 256)
    dynamic = Detector(
        open_session(scrfd_graph()), part(min_score=0.6).model_copy(update={"input_width": 384, "input_height": 256})
    )
    assert same(fixed.detect(photographs[:1])[0], dynamic.detect(photographs[:1])[0])


def test_half_input(photographs: list[Image]) -> None:
    """A graph in half precision is fed half precision and answers in float32, near the float32 graph."""
    half = detector(scrfd_graph(half=True), min_score=0.6).detect(photographs[:1])[0]
    full = detector(scrfd_graph(), min_score=0.6).detect(photographs[:1])[0]
    assert half.boxes.dtype == half.scores.dtype == half.landmarks.dtype == np.float32
    assert abs(len(half) - len(full)) <= 0.1 * len(full)


def test_order_and_score(photographs: list[Image]) -> None:
    """Faces come surest first, none under the lowest score, which is the pack's unless the call states another."""
    subject = detector(scrfd_graph(), min_score=0.6)
    found = subject.detect(photographs[:1])[0]
    assert subject.min_score == 0.6
    assert np.all(np.diff(found.scores) <= 0)
    assert found.scores.min() >= 0.6
    fewer = subject.detect(photographs[:1], min_score=0.9)[0]
    assert 0 < len(fewer) < len(found)
    assert np.array_equal(fewer.scores, found.scores[found.scores >= 0.9])


def test_nothing() -> None:
    """No image gives no answer, and an image without a face an empty one of the right shapes."""
    subject = detector(scrfd_graph(), min_score=0.999)
    assert subject.detect([]) == []
    empty = subject.detect([np.zeros((40, 60, 3), np.uint8)])[0]
    assert (empty.boxes.shape, empty.scores.shape, empty.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


@pytest.mark.parametrize(("num_outputs", "message"), [(6, "no key points"), (10, "no key points")])
def test_no_landmarks(num_outputs: int, message: str) -> None:
    """A graph without key points is refused with one clear line, for alignment needs them."""
    with pytest.raises(DetectorError, match=message) as refusal:
        detector(scrfd_graph(num_outputs))
    assert "\n" not in str(refusal.value)


def test_other_graphs() -> None:
    """A graph that is no SCRFD detector is refused: wrong widths, a wrong input."""
    with pytest.raises(DetectorError, match="shape"):
        detector(scrfd_graph(widths=(1, 5, 10)))
    with pytest.raises(DetectorError, match="shape"):
        detector(scrfd_graph(widths=(1, 10, 4)))


def test_threads(photographs: list[Image]) -> None:
    """Several threads at once get what one thread gets."""
    subject = detector(scrfd_graph(), min_score=0.6)
    expected = subject.detect(photographs)
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: subject.detect(photographs), range(8)):
            assert all(same(one, other) for one, other in zip(answers, expected, strict=True))


@pytest.mark.parametrize(("height", "width"), [(1, 900), (900, 1), (3, 3), (33, 1000)])
def test_strips(height: int, width: int) -> None:
    """A strip or a few pixels are fitted in and answered without an error."""
    image = np.full((height, width, 3), 200, np.uint8)
    canvas, scale = letterbox(image, 320, 256)
    assert canvas.shape == (256, 320, 3)
    assert scale > 0
    assert canvas[0, 0].tolist() == [200, 200, 200]
    assert len(detector(scrfd_graph(), min_score=0.99).detect([image])) == 1


def test_letterbox() -> None:
    """An image is fitted into the top left corner, keeps its proportions, and the rest is black."""
    canvas, scale = letterbox(np.full((100, 200, 3), 255, np.uint8), 320, 320)
    assert scale == pytest.approx(1.6)
    assert (canvas[:160] == 255).all()
    assert not canvas[160:].any()


def test_suppress() -> None:
    """Suppression counts both end pixels: boxes that share one column overlap by a third."""
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert suppress(boxes, scores, 0.3).tolist() == [1, 2]
    assert suppress(boxes, scores, 0.34).tolist() == [1, 2, 0]


@pytest.mark.skipif("nano" not in list_packs(PACKS_DIR), reason="the shipped pack is not built yet")
def test_shipped(photographs: list[Image]) -> None:
    """The shipped detector finds all six faces of one photograph and the one of the other, and no more."""
    folder = find_pack("nano")
    shipped = read_pack(folder).detector
    found = Detector(open_session(folder / shipped.file), shipped).detect(photographs[:2])
    assert [len(each) for each in found] == [6, 1]
    for each in found:
        inside = (each.landmarks >= each.boxes[:, None, :2]) & (each.landmarks <= each.boxes[:, None, 2:])
        assert inside.all()


def shipped_at(*scales: float, side: int = 640) -> Detector:
    """The shipped detector at stated scales and input size."""
    folder = find_pack("nano")
    shipped = read_pack(folder).detector.at_scales(scales)
    return Detector(
        open_session(folder / shipped.file),
        shipped.model_copy(update={"input_width": side, "input_height": side}),
    )


def test_trimmed_canvases_find_the_same(photographs: list[Image]) -> None:
    """Shown on canvases that end soon after it, a picture of any shape has the faces that it has amid black."""
    folder = find_pack("nano")
    shipped = read_pack(folder).detector
    session = open_session(folder / shipped.file)
    assert shipped.trims
    wide, high = photographs[0][100:600], photographs[0][:, 400:900]
    images = [*photographs, wide, high, close_up(photographs[1], 1.1), photographs[1][:, :200]]
    plain, trimmed = (Detector(session, shipped, trims=trims).detect(images) for trims in (False, True))
    for one, other in zip(plain, trimmed, strict=True):
        assert (len(one), one.num_views) == (len(other), other.num_views)
        np.testing.assert_allclose(one.scores, other.scores, atol=0.02)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=3)
    assert sum(map(len, plain)) > 12


def test_fixed_size_is_not_trimmed() -> None:
    """A graph that takes one size alone is refused where the pack has canvases trimmed."""
    with pytest.raises(DetectorError, match="one size"):
        Detector(open_session(scrfd_graph(input_shape=(1, 3, 256, 384))), part(trims=True))


def close_up(astronaut: Image, share: float) -> Image:
    """A square of the astronaut's face, whose longer side is `share` of the square's."""
    x, y, half = 225, 115, round(130 / share / 2)
    return np.ascontiguousarray(astronaut[max(y - half, 0) : y + half, x - half : x + half])


@pytest.mark.parametrize("share", [0.8, 1.0, 1.1, 1.2, 1.3])
def test_close_up(share: float, photographs: list[Image]) -> None:
    """A face that fills the frame, and more, is found once by two scales, where it is."""
    picture = close_up(photographs[1], share)
    found = shipped_at(1.0, 0.5).detect([picture])[0]
    assert found.num_views == 2
    assert len(found) == 1
    assert np.hypot(*(found.landmarks[0].mean(axis=0) - len(picture) / 2 - np.array([0, 5]))) < 0.12 * len(picture)


@pytest.mark.parametrize("share", [1.0, 1.2])
def test_second_scale(share: float, photographs: list[Image]) -> None:
    """A face larger than any that the network's anchors reach is missed by one scale and found by two."""
    picture = close_up(photographs[1], share)
    assert not [
        box for box in shipped_at(1.0, side=1280).detect([picture])[0].boxes if np.ptp(box[[1, 3]]) > 0.7 * len(picture)
    ]
    found = shipped_at(1.0, 0.25, side=1280).detect([picture])[0]
    assert [box for box in found.boxes if np.ptp(box[[1, 3]]) > 0.7 * len(picture)]


def test_conclusive_first_pass(photographs: list[Image]) -> None:
    """A photograph of sure faces of common size takes one look, with the same answer as one scale's."""
    both, one = shipped_at(1.0, 0.5).detect(photographs[:1])[0], shipped_at(1.0).detect(photographs[:1])[0]
    assert both.num_views == one.num_views == 1
    assert same(both, one)


def test_scales_and_score(photographs: list[Image]) -> None:
    """Which faces are over a score does not depend on the lowest score that was asked for, whatever the scales."""
    subject = shipped_at(1.0, 0.5, 2.0)
    for picture in (close_up(photographs[1], 1.0), photographs[0]):
        lowest = subject.detect([picture], 0.1)[0]
        for score in (0.3, 0.6, 0.8):
            found, expected = subject.detect([picture], score)[0], lowest.over(score)
            assert np.array_equal(found.boxes, expected.boxes)
            assert np.array_equal(found.scores, expected.scores)
            np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)  # a mean of more or fewer zeros


def test_doubtful_faces_are_looked_at_again(photographs: list[Image]) -> None:
    """The astronaut's emblem is taken for a face by one look alone; a second look at half the size does not agree."""
    one, two = (shipped_at(*scales).detect([photographs[1]])[0] for scales in ((1.0,), (1.0, 0.5)))
    assert len(two) == 1
    assert two.scores[0] == one.scores[0]
    assert (len(one), one.num_views, two.num_views) == (2, 1, 2)


def test_scales_and_batches(photographs: list[Image]) -> None:
    """Images of one call that need further looks and images that do not get what each gets alone."""
    subject = shipped_at(1.0, 0.5)
    images = [photographs[0], close_up(photographs[1], 1.1), photographs[1], np.zeros((50, 60, 3), np.uint8)]
    together = subject.detect(images)
    assert [found.num_views for found in together] == [1, 2, 2, 2]
    for image, found in zip(images, together, strict=True):
        alone = subject.detect([image])[0]
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=0.1)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)


def test_tiles(photographs: list[Image]) -> None:
    """Small faces of a large photograph, of which one look finds a part at most, are found on tiles, each once."""
    faces = cv2.resize(photographs[0], (560, 388), interpolation=cv2.INTER_AREA)
    large = np.full((1200, 1600, 3), 90, np.uint8)
    large[50:438, 100:660] = faces
    one, tiled = shipped_at(1.0).detect([large])[0], shipped_at(1.0, 2.0).detect([large])[0]
    assert tiled.num_views > 4
    assert len(tiled) > len(one)
    centres = tiled.landmarks.mean(axis=1)
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + np.eye(len(centres)) * 1000
    assert apart.min() > 20


@pytest.mark.parametrize("scales", [(1.0, 0.5), (1.0, 0.5, 2.0), (1.0, 4.0)])
@pytest.mark.parametrize(("height", "width"), [(1, 900), (3000, 1), (3, 3), (200, 4000)])
def test_strips_at_scales(scales: tuple[float, ...], height: int, width: int) -> None:
    """A strip or a few pixels are looked at in every scale without an error."""
    image = np.full((height, width, 3), 200, np.uint8)
    assert len(detector(scrfd_graph(), min_score=0.99).detect([image])) == 1
    looked = Detector(open_session(scrfd_graph()), part(min_score=0.999).at_scales(scales)).detect([image])[0]
    assert looked.boxes.shape[1] == 4
