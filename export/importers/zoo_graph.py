"""Surgery on InsightFace's graphs: from float pixels in and raw numbers out to the contract of a pack's analyzer.

Holds what is put before and behind a foreign graph, its operator set, and the opening of a batch that it fixes. Never
changes a weight, never decides what a graph is, and never checks what it answers (the caller compares).
Shape suffixes: N faces; S crop side; D embedding length.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from export.check import INPUT
from export.concats import narrow_concats
from export.errors import ExportError
from export.importers.model_zoo import ZooModel, real_inputs

MIN_OPSET: Final = 13  # of a pack's graphs
_IR_VERSION: Final = 8  # of the operator sets up to 18; a newer file keeps its own
_PREFIX: Final = "zoo/"  # before every name of the foreign graph, so that none meets one of the pack's
_YEARS: Final = 100.0  # the graph answers age / 100
_LEAST_LENGTH: Final = 1e-12  # of an embedding, so that one of zeros stays one


@dataclass(frozen=True, slots=True)
class _Part:
    """Nodes that go before or behind a foreign graph, their constants, and the outputs that they make."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)


def wrap(model: ZooModel, num_columns: int, *, open_batch: bool = True) -> bytes:
    """Puts a recognition or a gender and age graph into the pack's contract.

    Args:
        model: the file that was read; stays as it is.
        num_columns: numbers that it answers a face; files often leave it open.
        open_batch: rewrite reshapes of the pixels to one row; a graph that has none is the same either way.

    Returns:
        An ONNX model, serialised: `images` uint8 (N, S, S, 3) RGB to `embedding` (N, D) of unit length, or `gender`
        (N, 2) probabilities [female, male] and `age` (N,) years. Its operator set is the file's, or 13 where that is
        older. The same file gives the same bytes.

    Raises:
        ExportError: if its input is not float32, or its operator set cannot be brought to 13.
    """
    body = _body(model)
    if open_batch:
        _open_reshapes(body.graph, _PREFIX + model.input)
    narrow_concats(body.graph)
    before, behind = _prelude(model), _POSTLUDES[model.kind](_PREFIX + model.output, num_columns)
    pixels = before.nodes[-1].output[0]
    nodes = [*before.nodes, *_renamed_input(body.graph.node, _PREFIX + model.input, pixels), *behind.nodes]
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", model.side_px, model.side_px, 3])
    weights = [*before.constants, *body.graph.initializer, *behind.constants]
    graph = helper.make_graph(nodes, "analyzer", [images], behind.outputs, weights)
    graph.sparse_initializer.extend(body.graph.sparse_initializer)
    made = helper.make_model(graph, opset_imports=body.opset_import, functions=list(body.functions))
    made.ir_version = max(body.ir_version, _IR_VERSION)
    made.producer_name = "mien"
    try:
        onnx.checker.check_model(made)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{model.path.name}: its graph is not valid: {str(error).splitlines()[0][:200]}") from error
    return bytes(made.SerializeToString(deterministic=True))


def float_weights(model: onnx.ModelProto) -> dict[str, NDArray[np.floating]]:
    """Every float tensor that a graph holds, by the name under which its nodes read it."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.TENSOR:
                stored[node.output[0]] = attribute.t
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in stored.items()}
    return {name: array for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating)}


def _body(model: ZooModel) -> onnx.ModelProto:
    """A copy of the graph in operator set 13 or later, its names prefixed, its sizes no longer stated."""
    name = model.path.name
    (value,) = [value for value in real_inputs(model.model.graph) if value.name == model.input]
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ExportError(f"{name}: its input is not float32, as InsightFace feeds it")
    body = onnx.ModelProto()
    body.CopyFrom(model.model)
    opset = next((entry.version for entry in body.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        try:
            body = version_converter.convert_version(body, MIN_OPSET)
        except Exception as error:  # the converter raises a family of its own, without a common base
            raise ExportError(
                f"{name}: its operator set {opset} cannot be brought to {MIN_OPSET}: {str(error).splitlines()[0][:200]}"
            ) from error
    del body.graph.value_info[:]
    return compose.add_prefix(body, _PREFIX)


def _prelude(model: ZooModel) -> _Part:
    """Nodes that make of `images` what the graph takes; the last one's output is that."""
    nodes = [
        helper.make_node("Cast", [INPUT], ["pixels"], name="pixels", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
    ]
    mean, std = model.normalisation.mean, model.normalisation.std
    if (mean, std) == (0.0, 1.0):
        return _Part(nodes)
    # InsightFace multiplies by the reciprocal (cv2.dnn.blobFromImage); a division rounds otherwise.
    constants = [
        numpy_helper.from_array(np.array(mean, np.float32), "mean"),
        numpy_helper.from_array(np.array(1.0 / std, np.float32), "scale"),
    ]
    nodes += [
        helper.make_node("Sub", ["planes", "mean"], ["centred"], name="centred"),
        helper.make_node("Mul", ["centred", "scale"], ["normalised"], name="normalised"),
    ]
    return _Part(nodes, constants)


def _recognition(raw: str, num_columns: int) -> _Part:
    """To unit length, by operators that onnxruntime has on every device (LpNormalization is one of its CPU's alone)."""
    nodes = [
        helper.make_node("Mul", [raw, raw], ["squares"], name="squares"),
        helper.make_node("ReduceSum", ["squares", "columns"], ["square_length"], name="square_length", keepdims=1),
        helper.make_node("Sqrt", ["square_length"], ["length"], name="length"),
        helper.make_node("Max", ["length", "least_length"], ["divisor"], name="divisor"),
        helper.make_node("Div", [raw, "divisor"], ["embedding"], name="embedding"),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "columns"),
        numpy_helper.from_array(np.array(_LEAST_LENGTH, np.float32), "least_length"),
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", num_columns])]
    return _Part(nodes, constants, outputs)


def _gender_age(raw: str, _num_columns: int) -> _Part:
    """Two logits [female, male] and age / 100, as InsightFace's `Attribute.get` reads them."""
    nodes = [
        helper.make_node("Gather", [raw, "genders"], ["gender_logits"], name="gender_logits", axis=1),
        helper.make_node("Softmax", ["gender_logits"], ["gender"], name="gender", axis=1),
        helper.make_node("Gather", [raw, "third"], ["century"], name="century", axis=1),
        helper.make_node("Mul", ["century", "years"], ["age"], name="age"),
    ]
    constants = [
        numpy_helper.from_array(np.array([0, 1], np.int64), "genders"),
        numpy_helper.from_array(np.array(2, np.int64), "third"),
        numpy_helper.from_array(np.array(_YEARS, np.float32), "years"),
    ]
    outputs = [
        helper.make_tensor_value_info("gender", TensorProto.FLOAT, ["N", 2]),
        helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N"]),
    ]
    return _Part(nodes, constants, outputs)


def _renamed_input(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> list[onnx.NodeProto]:
    renamed = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(copy.input):
            if name == old:
                copy.input[index] = new
        renamed.append(copy)
    return renamed


def _open_reshapes(graph: onnx.GraphProto, source: str) -> None:
    """Has every reshape of pixels to a constant (1, ...) keep their first axis: what a trace of one image wrote down.

    Right wherever that axis is the batch. Where it is not, the answers no longer hold and the comparison refuses them.
    Weights are reshaped too in some files (MXNet's slopes of a PReLU), and stay as they are.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    of_pixels = {source}
    for number, node in enumerate(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
        if not of_pixels & set(node.input):
            continue
        of_pixels.update(node.output)
        if node.op_type == "Reshape" and node.input[0] in of_pixels and node.input[1] in constants:
            shape = _opened(numpy_helper.to_array(constants[node.input[1]]))
            if shape is not None:
                name = f"{_PREFIX}open_batch_{number}"
                graph.initializer.append(numpy_helper.from_array(shape, name))
                node.input[1] = name
                del node.attribute[:]  # `allowzero` is all that a Reshape can have


def _opened(shape: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """A shape (1, ...) whose first axis follows the pixels'; None for any other."""
    if len(shape) < 2 or shape[0] != 1 or 0 in shape:
        return None
    # 0: as in the input; -1: whatever is left. The latter, where the shape has none, needs no batch in front.
    return np.array([0 if -1 in shape else -1, *shape[1:]], np.int64)


_POSTLUDES: Final[dict[str, Callable[[str, int], _Part]]] = {"recognition": _recognition, "gender-age": _gender_age}
