"""The detector's export: from a checkpoint to an SCRFD-format ONNX graph, checked against its network.

Holds the folding, the tracing and the comparison. Never writes a pack and never leaves a file that was not checked.
Shape suffixes: B batch; C channels (three, RGB); H, W height and width.
"""

import copy
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from export.concats import narrow_concats
from export.errors import ExportError
from export.folding import fold_norms
from export.graph import OPSET, anonymise, cause, quiet, store_as_half
from model.checkpoint import CheckpointError
from model.detector.checkpoint import load_detector
from model.detector.config import SIZE_MULTIPLE_PX
from model.detector.network import DetectorNetwork
from model.runtime.pack import DetectorPart, sha256_of
from model.runtime.session import Session, open_session
from model.training.detection.torch_session import INPUT_NAME, OUTPUT_NAMES, TorchSession

INPUT_PX: Final = 640  # a side of the square that photographs are fitted into when served
_TRACED: Final = (4, 3, 224, 192)
# Batch, height and width: none of them the traced one, which alone would hide a size that was baked in.
CHECKED_SIZES: Final = ((1, 640, 640), (2, 128, 128), (3, 96, 256), (5, 320, 64))
_TOLERANCE: Final = 1e-3  # absolute and relative, of graph against network with the same weights
_MAX_SCORE_DRIFT: Final = 0.02  # of half-precision weights' scores from those of the float32 weights


def export_detector(checkpoint: Path, target: Path) -> DetectorPart:
    """Writes a checkpoint's detector as ONNX: input `input` float32 (N, 3, H, W), nine outputs in SCRFD's order.

    Batch, height and width are dynamic, height and width multiples of 32. The weights are stored in half precision and
    cast back by the graph.

    Args:
        checkpoint: a detector's checkpoint folder.
        target: the ONNX file to write; one that is there is replaced only by a graph that passed.

    Returns:
        What a pack states of it: name, hash, input size and the operating point of the checkpoint.

    Raises:
        ExportError: if the checkpoint cannot be read, or the graph does not answer as the network does.
    """
    try:
        network, point = load_detector(checkpoint)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    rounded = round_to_half(fold_norms(network))
    model = trace_detector(rounded)
    graph = open_session(model)
    compare_detectors(graph, TorchSession(rounded))
    check_drift(TorchSession(network), TorchSession(rounded))
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_bytes(model)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ExportError(f"cannot write {target}: {error.strerror}") from error
    return DetectorPart(
        file=target.name,
        sha256=sha256_of(target),
        input_width=INPUT_PX,
        input_height=INPUT_PX,
        min_score=point.min_score,
        nms_iou=point.nms_iou,
        scales=point.scales,
        blend=point.blend,
        trims=point.trims,
    )


def round_to_half(network: DetectorNetwork) -> DetectorNetwork:
    """A copy whose kernels are numbers that half precision holds exactly, in float32."""
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for value in rounded.parameters():
            if value.ndim > 1:
                value.copy_(value.half().float())
    return rounded


def trace_detector(network: DetectorNetwork) -> bytes:
    """Turns a folded network into ONNX, serialised; batch, height and width are dynamic.

    Raises:
        ExportError: if it cannot be traced so.
    """
    batch = torch.export.Dim("N", min=1, max=256)
    height, width = (SIZE_MULTIPLE_PX * torch.export.Dim(name, min=1, max=256) for name in ("rows", "columns"))
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (torch.zeros(_TRACED),),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=list(OUTPUT_NAMES),
                dynamic_shapes={"images_BCHW": {0: batch, 2: height, 3: width}},
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises a family of its own, without a common base
        raise ExportError(f"the detector cannot be traced with dynamic sizes: {cause(error)}") from error
    if program is None:
        raise ExportError("this torch has no exporter that returns a program; torch 2.5 or later is needed")
    model = program.model_proto
    narrow_concats(model.graph)
    store_as_half(model.graph)
    anonymise(model)
    model.graph.name = "detector"
    _name_axes(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _name_axes(graph: onnx.GraphProto) -> None:
    """Gives the open axes plain names: the exporter writes formulas, which readers of the graph could take amiss."""
    for axis, name in zip((0, 2, 3), ("N", "height", "width"), strict=True):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in graph.output:
        batch, anchors, _ = output.type.tensor_type.shape.dim
        batch.dim_param, anchors.dim_param = "N", f"anchors_{output.name.rsplit('_', 1)[-1]}"


def edge_images(batch: int, height: int, width: int) -> NDArray[np.float32]:
    """Inputs (batch, 3, height, width) in turn black, white, a checkerboard of 16 pixels, a ramp, noise."""
    rows, columns = np.mgrid[:height, :width]
    board, ramp = (rows // 16 + columns // 16) % 2 * 255, columns * 255 // max(width - 1, 1)
    noise = np.random.default_rng(height + width).integers(0, 256, (height, width))
    kinds = [np.zeros_like(rows), np.full_like(rows, 255), board, ramp, noise]
    pixels = np.stack(
        [np.stack([kinds[index % 5], kinds[(index + 4) % 5], kinds[index % 5]]) for index in range(batch)]
    )
    return np.asarray((pixels - 127.5) / 128, np.float32)


def compare_detectors(graph: Session, network: Session) -> None:
    """Compares a graph with its network at several batch and input sizes; the network runs one image at a time.

    Raises:
        ExportError: naming the output, the size and the difference of the first breach.
    """
    for size in CHECKED_SIZES:
        images_bchw = edge_images(*size)
        try:
            got = graph.run({INPUT_NAME: images_bchw})
        except Exception as error:  # onnxruntime raises a family of its own, without a common base
            raise ExportError(f"the graph does not run at {size}: {str(error).splitlines()[0][:200]}") from error
        alone = [network.run({INPUT_NAME: image[None]}) for image in images_bchw]
        for name in OUTPUT_NAMES:
            _require_close(name, got.get(name), np.concatenate([each[name] for each in alone]), size)


def check_drift(full: Session, rounded: Session) -> float:
    """The largest change of a score that rounding the weights makes on edge inputs.

    Raises:
        ExportError: if it is over 0.02.
    """
    images_bchw = edge_images(5, 320, 320)
    before, after = full.run({INPUT_NAME: images_bchw}), rounded.run({INPUT_NAME: images_bchw})
    drift = max(float(np.abs(before[name] - after[name]).max()) for name in OUTPUT_NAMES if name.startswith("score"))
    if not drift <= _MAX_SCORE_DRIFT:
        raise ExportError(f"half-precision weights move a score by {drift:.3g}, over {_MAX_SCORE_DRIFT}")
    return drift


def _require_close(
    name: str, got: NDArray[np.float32] | None, expected: NDArray[np.float32], size: tuple[int, int, int]
) -> None:
    if got is None or got.shape != expected.shape:
        shape = None if got is None else got.shape
        raise ExportError(f"{name}: shape {shape} at {size}, and the network's is {expected.shape}")
    if not np.allclose(got, expected, rtol=_TOLERANCE, atol=_TOLERANCE):  # NaN is a breach
        worst = float(np.abs(got - expected).max())
        raise ExportError(f"{name}: the graph differs from the network by {worst:.3g} at {size}")
