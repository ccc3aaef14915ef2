"""Halving: from a float graph to one that computes in half precision, for a GPU.

Holds which nodes do and which stay in float32, and the casts between them. Never runs a graph, and never judges what
comes out. In float32 stay: what is done to the crops before the first matrix; what is done to vectors behind the last
large one (logits, expectations, unit length), since that is what is answered; and every operation that is not known to
keep its answers in half precision: means, norms, softmax, divisions and roots.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.graph import widen
from export.twin.quantisation import MIN_WEIGHTS, OP_TYPES, finished

_MOVES: Final = frozenset(
    {
        "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
_COMPUTES: Final = frozenset(
    {"Add", "Erf", "Gelu", "LeakyRelu", "MaxPool", "Mul", "Neg", "PRelu", "ReduceMax", "Relu", "Sub", "Tanh", *OP_TYPES}
)
_POOLS: Final = frozenset(
    {"AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "LayerNormalization", "MaxPool", "ReduceMax",
     "ReduceMean"}
)  # fmt: skip
_HALF: Final = np.finfo(np.float16)
_EPSILON: Final = 1e-5  # of a BatchNormalization that states none


@dataclass(frozen=True, slots=True)
class Halved:
    """A graph in half precision.

    Attributes:
        graph: the ONNX model, serialised. The same float graph gives the same bytes.
        num_matrices: large matrices that are multiplied in float16.
        num_possible: large matrices that there are.
    """

    graph: bytes
    num_matrices: int
    num_possible: int


def halved(graph: bytes) -> Halved:
    """A graph of the same inputs, outputs and operator set that computes in half precision where its answers bear it.

    Raises:
        ExportError: if there is nothing to gain, it has control flow, or what comes out is no valid graph.
    """
    model = onnx.load_from_string(graph)
    if any(part.HasField("g") or part.graphs for node in model.graph.node for part in node.attribute):
        raise ExportError("the graph branches or loops: only a straight one can compute in half precision")
    widen(model.graph)
    _hold_constants(model.graph)
    _open_norms(model)
    plan = _Plan(model)
    large = [node for node in model.graph.node if plan.is_large(node)]
    chosen = [node for node in large if plan.is_half(node)]
    if not chosen:
        raise ExportError("the graph has no convolution or matrix that is worth computing in half precision")
    _Rewriting(model.graph, plan).run()
    return Halved(finished(model, "halving"), len(chosen), len(large))


def _hold_constants(graph: onnx.GraphProto) -> None:
    """Constants of nodes become initialisers, as which they can be read in either precision."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        value = next((part.t for part in node.attribute if part.name == "value"), None)
        if value is not None:
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(value), node.output[0]))
            graph.node.remove(node)


def _open_norms(model: onnx.ModelProto) -> None:
    """A BatchNormalization of constants becomes a product and a sum: in half precision a variance may be nothing."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    types = {value.name: value.type.tensor_type for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        known = types.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if known is None or not known.HasField("shape") or not constants.keys() >= {*node.input[1:]}:
            nodes.append(node)
            continue
        scale, shift, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:])
        epsilon = next((part.f for part in node.attribute if part.name == "epsilon"), _EPSILON)
        factor = scale / np.sqrt(variance + epsilon)
        shape, product = (-1, *[1] * (len(known.shape.dim) - 2)), f"{node.output[0]}.scaled"
        for values, name in ((factor, f"{product}.factor"), (shift - mean * factor, f"{product}.shift")):
            model.graph.initializer.append(numpy_helper.from_array(values.reshape(shape).astype(np.float32), name))
        nodes.append(helper.make_node("Mul", [node.input[0], f"{product}.factor"], [product], name=product))
        nodes.append(
            helper.make_node("Add", [product, f"{product}.shift"], [node.output[0]], name=f"{product}.shifted")
        )
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class _Plan:
    """What a graph's tensors are, and which of its nodes compute in half precision."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._types = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}
        self._outputs = {output.name for output in graph.output}
        self._plain = {node.output[0] for node in (*self._head(model.graph), *self._tail(model.graph))}

    def is_float(self, name: str) -> bool:
        """Whether a tensor's numbers were float32 before."""
        if name in self.constants:
            return bool(self.constants[name].data_type == TensorProto.FLOAT)
        return name in self._types and self._types[name].elem_type == TensorProto.FLOAT

    def is_output(self, name: str) -> bool:
        """Whether a tensor is one of the graph's answers."""
        return name in self._outputs

    def is_large(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies by a weight that is worth a precision of its own."""
        weight = self.constants.get(node.input[1]) if node.op_type in OP_TYPES else None
        return weight is not None and int(np.prod(weight.dims)) >= MIN_WEIGHTS

    def is_half(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes in half precision."""
        if node.domain not in ("", "ai.onnx") or node.output[0] in self._plain:
            return False
        read = [self.constants[name] for name in node.input if name in self.constants and self.is_float(name)]
        return node.op_type in _MOVES | _COMPUTES and all(_fits(numpy_helper.to_array(tensor)) for tensor in read)

    def _head(self, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
        """What is done to the graph's inputs before they meet a matrix."""
        given = {value.name for value in graph.input}
        for node in graph.node:
            if node.op_type not in OP_TYPES and {*node.input} - {"", *self.constants} <= given:
                given.update(node.output)
                yield node

    def _tail(self, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
        """What is done behind the last large matrix, pool or norm, small matrices included."""
        wanted = set(self._outputs)
        for node in reversed(graph.node):
            if wanted & {*node.output} and not self._ends_tail(node):
                wanted.update(node.input)
                yield node

    def _ends_tail(self, node: onnx.NodeProto) -> bool:
        of_activations = node.op_type in OP_TYPES and node.input[1] not in self.constants
        return node.op_type in _POOLS or of_activations or self.is_large(node)


def _fits(values: NDArray[np.floating]) -> bool:
    """Whether half precision holds a constant: nothing too large, and no lone number, as an epsilon, that becomes 0."""
    sizes = np.abs(values)
    return bool(sizes.max(initial=0) <= _HALF.max) and not (values.size == 1 and 0 < sizes.max() < _HALF.tiny)


@dataclass(slots=True)
class _Rewriting:
    """The graph's nodes, written anew in order, with casts where one precision meets the other."""

    graph: onnx.GraphProto
    plan: _Plan
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    half: set[str] = field(default_factory=set)  # tensors that are half under their own name
    twins: dict[tuple[str, bool], str] = field(default_factory=dict)  # of (tensor, is half): under which name

    def run(self) -> None:
        """Puts the new nodes into the old ones' place, and drops constants that nobody reads any more."""
        for node in self.graph.node:
            self._copy(node, is_half=self.plan.is_half(node))
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | {output.name for output in self.graph.output}
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name not in read]:
            self.graph.initializer.remove(tensor)

    def _copy(self, old: onnx.NodeProto, *, is_half: bool) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(old)
        for index, name in enumerate(old.input):
            if self.plan.is_float(name) and old.op_type not in ("Shape", "Size"):  # which read either as it is
                node.input[index] = self._read(name, is_half=is_half)
        made = [name for name in old.output if is_half and self.plan.is_float(name)]
        for name in made:
            if self.plan.is_output(name):
                node.output[list(old.output).index(name)] = self.twins[name, True] = f"{name}.float16"
        self.nodes.append(node)
        for name in made:
            if self.plan.is_output(name):
                self._cast(f"{name}.float16", name, is_half=False)
            else:
                self.half.add(name)

    def _read(self, name: str, *, is_half: bool) -> str:
        """The name under which a tensor is to be had in one precision."""
        if (name in self.half) == is_half:
            return name
        own = self.twins.get((name, is_half))
        if own is None:
            own = self.twins[name, is_half] = f"{name}.{'float16' if is_half else 'float32'}"
            if name in self.plan.constants:
                values = numpy_helper.to_array(self.plan.constants[name]).astype(np.float16)
                self.graph.initializer.append(numpy_helper.from_array(values, own))
            else:
                self._cast(name, own, is_half=is_half)
        return own

    def _cast(self, source: str, target: str, *, is_half: bool) -> None:
        to = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
        self.nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=to))
