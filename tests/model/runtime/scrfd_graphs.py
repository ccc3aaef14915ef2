"""SCRFD-format graphs of every kind, real and tiny: one convolution a stride and output, weights drawn from a seed.

Their answers depend on the pixels and overlap much, so that decoding and suppression have work to do.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS = (1, 4, 10)


def scrfd_graph(
    num_outputs: int = 9,
    *,
    rank: int = 3,
    input_shape: Sequence[int | str] = ("N", 3, "height", "width"),
    half: bool = False,
    widths: Sequence[int] = WIDTHS,
) -> bytes:
    """A graph with 6, 9, 10 or 15 outputs of rank 2 or 3, serialised.

    Rank 2 folds the batch into the anchors' axis, as InsightFace's classic exports do.
    """
    strides = (8, 16, 32, 64, 128) if num_outputs % 5 == 0 else (8, 16, 32)
    num_anchors = 1 if len(strides) == 5 else 2
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    rng = np.random.default_rng(3)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    for width in widths[: num_outputs // len(strides)]:
        for stride in strides:
            name = f"{('score', 'bbox', 'kps')[len(outputs) // len(strides)]}_{stride}"
            kernel, bias = _weights(rng, width, stride, num_anchors)
            shape = [0, -1, width] if rank == 3 else [-1, width]
            for suffix, values in (("kernel", kernel), ("bias", bias), ("shape", np.array(shape, np.int64))):
                kept = values.astype(np.float16) if half and suffix != "shape" else values
                weights.append(numpy_helper.from_array(kept, f"{name}.{suffix}"))
            parts = [f"{name}.kernel", f"{name}.bias"]
            nodes.append(helper.make_node("Conv", ["input", *parts], [f"{name}.map"], strides=[stride, stride]))
            nodes.append(helper.make_node("Transpose", [f"{name}.map"], [f"{name}.rows"], perm=[0, 2, 3, 1]))
            flat = f"{name}.flat" if width == 1 else name
            nodes.append(helper.make_node("Reshape", [f"{name}.rows", f"{name}.shape"], [flat]))
            if width == 1:
                nodes.append(helper.make_node("Sigmoid", [flat], [name]))
            axes: list[int | str] = [*(["N"] if rank == 3 else []), f"anchors_{stride}", width]
            outputs.append(helper.make_tensor_value_info(name, kind, axes))
    images = helper.make_tensor_value_info("input", kind, list(input_shape))
    graph = helper.make_graph(nodes, "scrfd", [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _weights(rng: np.random.Generator, width: int, stride: int, num_anchors: int) -> tuple[np.ndarray, np.ndarray]:
    """Score weights that split the anchors of a photograph; boxes about three strides large; points near the centre."""
    kernel = rng.normal(0, 1 / stride, (num_anchors * width, 3, stride, stride)).astype(np.float32)
    kernel -= kernel.mean(axis=(2, 3), keepdims=True) * (width == 1)
    scale = 4.0 if width == 1 else 0.2
    bias = np.full(num_anchors * width, {1: -1.0, 4: 1.5}.get(width, 0.0), np.float32)
    return kernel * np.float32(scale), bias
