"""Graphs of an ordinal age, and the numpy function that each is made of: ten ranks on a crop's brightness."""

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.check import Predict, Wavering

NUM_RANKS: Final = 10
_BORDER: Final = 1e-4


def ordinal_graph(side_px: int, shift: float = 0.0, lean: float = 0.0) -> bytes:
    """Age = how many of the logits `10 * brightness - rank + shift + lean * (batch - 1)` are over 0."""
    constants: dict[str, NDArray[np.generic]] = {
        "full": np.array(255, np.float32),
        "ranks": np.arange(NUM_RANKS, dtype=np.float32) - np.float32(shift),
        "num": np.array(NUM_RANKS, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "lean": np.array(lean, np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "last": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "full"], ["light"]),
        helper.make_node("ReduceMean", ["light", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "num"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "ranks"], ["plain"]),
        helper.make_node("Shape", ["images"], ["shape"], start=0, end=1),
        helper.make_node("Cast", ["shape"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["size", "one"], ["others"]),
        helper.make_node("Mul", ["others", "lean"], ["leaning"]),
        helper.make_node("Add", ["plain", "leaning"], ["logits"]),
        helper.make_node("Greater", ["logits", "zero"], ["over"]),
        helper.make_node("Cast", ["over"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["counts", "last"], ["age"], keepdims=0),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side_px, side_px, 3])
    age = helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N"])
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "ordinal", [images], [age], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def ordinal_network(shift: float = 0.0) -> Predict:
    """The same in numpy."""

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {"age": (_logits(images_NSSC, shift) > 0).sum(1).astype(np.float32)}

    return predict  # type: ignore[return-value]  # the key is a task's name


def ordinal_wavering(shift: float = 0.0) -> Wavering:
    """How many of its logits lie at 0."""

    def count(images_NSSC: NDArray[np.uint8]) -> NDArray[np.integer]:
        return np.asarray((np.abs(_logits(images_NSSC, shift)) <= _BORDER).sum(1))

    return count


def _logits(images_NSSC: NDArray[np.uint8], shift: float) -> NDArray[np.float64]:
    brightness_N = images_NSSC.reshape(len(images_NSSC), -1).mean(1) / 255
    return np.asarray(NUM_RANKS * brightness_N[:, None] - np.arange(NUM_RANKS) + shift)
