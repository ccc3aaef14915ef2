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
