"""Tests of `export.detector`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import export.detector
from export.detector import check_drift, compare_detectors, export_detector, round_to_half
from export.errors import ExportError
from export.folding import fold_norms
from model.detector.checkpoint import OperatingPoint, save_detector
from model.runtime.detection import Detector
from model.runtime.pack import DetectorPart, sha256_of
from model.runtime.session import open_session
from model.training.detection.torch_session import OUTPUT_NAMES, TorchSession
from tests.model.detector.networks import WHOLE, tiny_detector


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector's checkpoint with an operating point of its own."""
    folder = tmp_path_factory.mktemp("run") / "ema"
    save_detector(folder, tiny_detector(), OperatingPoint(min_score=0.44, nms_iou=0.35))
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> tuple[Path, DetectorPart]:
    """Its export."""
    target = checkpoint.parent / "detector.onnx"
    return target, export_detector(checkpoint, target)


def test_part(exported: tuple[Path, DetectorPart]) -> None:
    """The pack's part states the file, its hash, the served size and the checkpoint's operating point."""
    target, part = exported
    assert (part.file, part.sha256) == ("detector.onnx", sha256_of(target))
    assert (part.input_width, part.input_height, part.min_score, part.nms_iou) == (640, 640, 0.44, 0.35)
    assert sorted(path.name for path in target.parent.iterdir()) == ["detector.onnx", "ema"]


def test_format(exported: tuple[Path, DetectorPart]) -> None:
    """The graph is SCRFD's: one open input, nine open outputs by name in order; its kernels are stored as halves."""
    session = open_session(exported[0])
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [
        ("input", "tensor(float)", (None, 3, None, None))
    ]
    assert [spec.name for spec in session.outputs] == list(OUTPUT_NAMES)
    assert [spec.shape for spec in session.outputs] == [(None, None, width) for width in (1, 4, 10) for _ in range(3)]
    model = onnx.load(exported[0])
    assert model.opset_import[0].version >= 17
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 64 and len(tensor.dims) == 4]
    assert large
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_same_answers(exported: tuple[Path, DetectorPart], checkpoint: Path, astronaut_path: Path) -> None:
    """On a real photograph the graph detects what the checkpoint's network does, within half precision."""
    image = np.asarray(cv2.imread(str(astronaut_path)), np.uint8)
    part = exported[1].model_copy(update={"input_width": 320, "input_height": 256})
    by_graph = open_session(exported[0])
    by_torch = TorchSession(tiny_detector())
    blob = np.asarray(cv2.dnn.blobFromImage(image, 1 / 128, (320, 256), (127.5,) * 3, swapRB=True), np.float32)
    got, expected = by_graph.run({"input": blob}), by_torch.run({"input": blob})
    for name in OUTPUT_NAMES:
        np.testing.assert_allclose(got[name], expected[name], rtol=0.05, atol=0.02)
    detections = [Detector(session, part).detect([image], min_score=0.5)[0] for session in (by_graph, by_torch)]
    assert len(detections[0]) > 10
    assert abs(len(detections[0]) - len(detections[1])) <= 2


def test_landmark_blocks(tmp_path: Path) -> None:
    """A detector whose landmarks have blocks of their own is exported by the same checks."""
    save_detector(tmp_path / "ema", tiny_detector(config=replace(WHOLE, small_shift=0.5)), OperatingPoint())
    export_detector(tmp_path / "ema", tmp_path / "detector.onnx")
    assert (tmp_path / "detector.onnx").exists()


def test_scales_are_a_channels(tmp_path: Path) -> None:
    """Anchors' sizes multiply maps, not rows of a few numbers; of key points, the convolutions, which take them in."""
    save_detector(tmp_path / "ema", tiny_detector(config=replace(WHOLE, small_shift=0.5)), OperatingPoint())
    export_detector(tmp_path / "ema", tmp_path / "detector.onnx")
    graph = onnx.load(tmp_path / "detector.onnx").graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    scaled = [
        (shapes[constant], makers[map_name])
        for node in graph.node
        if node.op_type in ("Mul", "Sub")
        for map_name, constant in [node.input]
        if map_name in makers and len(shapes.get(constant, ())) > 1
    ]
    assert Counter(scaled) == {((20, 1, 1), "Conv"): 6, ((8, 1, 1), "Exp"): 3, ((2, 1, 1), "Conv"): 1}


def test_repeatable(exported: tuple[Path, DetectorPart], checkpoint: Path, tmp_path: Path) -> None:
    """The same checkpoint exports to the same bytes."""
    assert export_detector(checkpoint, tmp_path / "detector.onnx").sha256 == exported[1].sha256


def test_folding() -> None:
    """Folding the norms changes no answer, and rounding makes every kernel exact in half precision."""
    network, images = tiny_detector(), torch.randn(2, 3, 96, 64)
    folded = fold_norms(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        for one, other in zip(folded(images), network(images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    kernels = [value for value in round_to_half(folded).parameters() if value.ndim > 1]
    assert all(torch.equal(value, value.half().float()) for value in kernels)


def test_breach(
    checkpoint: Path, exported: tuple[Path, DetectorPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that answers otherwise than its network is refused, names the output, and leaves no file."""
    model = onnx.load(exported[0])
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name.startswith("head.landmarks.weight"))
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float16(1.1), kernel.name))
    monkeypatch.setattr(export.detector, "trace_detector", lambda _: model.SerializeToString())
    target = tmp_path / "detector.onnx"
    target.write_bytes(b"the one before")
    with pytest.raises(ExportError, match="kps_8"):
        export_detector(checkpoint, target)
    assert [path.name for path in tmp_path.iterdir()] == ["detector.onnx"]
    assert target.read_bytes() == b"the one before"


def test_baked_sizes(exported: tuple[Path, DetectorPart]) -> None:
    """A graph that holds only at the traced batch or height is refused, though it is right there."""
    network = TorchSession(round_to_half(fold_norms(tiny_detector())))
    for axis, size in ((0, 4), (2, 224)):
        model = onnx.load(exported[0])
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
        with pytest.raises(ExportError, match="does not run"):
            compare_detectors(open_session(model.SerializeToString()), network)


def test_drift() -> None:
    """Weights that half precision cannot hold are refused, for the scores they would move."""
    coarse = tiny_detector()
    with torch.no_grad():
        coarse.head.score.weight.add_(0.1)
    with pytest.raises(ExportError, match="move a score"):
        check_drift(TorchSession(tiny_detector()), TorchSession(coarse))
    folded = fold_norms(tiny_detector())
    assert 0 < check_drift(TorchSession(folded), TorchSession(round_to_half(folded))) < 0.01


def test_no_checkpoint(tmp_path: Path) -> None:
    """A folder without a checkpoint is refused in one line."""
    with pytest.raises(ExportError, match="no checkpoint"):
        export_detector(tmp_path / "absent", tmp_path / "detector.onnx")
    assert not (tmp_path / "detector.onnx").exists()
