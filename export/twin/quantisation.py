"""The door to onnxruntime's quantiser: from a float graph to int8 graphs of chosen matrices.

Holds the nodes that can be quantised, their ranges on real crops, and both ways: static (ranges measured beforehand,
written as QuantizeLinear and DequantizeLinear pairs) and dynamic (ranges measured in each run). Never chooses what to
quantise, and never judges what comes out. Weights are int8 by channel, activations uint8 by tensor.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.check import INPUT
from export.errors import ExportError
from export.graph import anonymise, store_as_half, widen
from model.runtime.session import runtime_version

Ranges = Any  # onnxruntime's own record of the tensors' ranges, given back to it as it came
RangeMethod = Literal["minmax", "entropy", "percentile"]

OP_TYPES: Final = ("Conv", "MatMul", "Gemm")
RANGE_METHODS: Final[tuple[RangeMethod, ...]] = ("percentile", "minmax", "entropy")
PERCENTILE: Final = 99.99
MIN_WEIGHTS: Final = 4096  # to quantise the input of a smaller matrix costs more than the multiplication saves
_BATCH: Final = 8  # crops whose tensors the calibrator holds at once
_BITS: Final = {
    # The result of a matrix product goes on in float32: to round it again would cost accuracy and save nothing.
    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
    "MatMulConstBOnly": True,
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """A node with a weight that is worth quantising."""

    name: str
    kind: str
    num_weights: int


class Quantiser:
    """A float graph, ready to be quantised in several ways."""

    def __init__(self, graph: bytes) -> None:
        self._model = onnx.load_from_string(graph)
        widen(self._model.graph)
        _name(self._model.graph)
        self.matrices = tuple(_matrices(self._model.graph))
        if not self.matrices:
            raise ExportError("the graph has no convolution or matrix that is worth quantising")

    def ranges(self, crops_NSSC: NDArray[np.uint8], method: RangeMethod) -> Ranges:
        """The range of every tensor around the matrices on real crops, uint8 (N, S, S, 3).

        `minmax` takes all that was met, `percentile` leaves the outermost `100 - PERCENTILE` per cent out, `entropy`
        cuts where the rounded distribution is closest to the true one.
        """
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            from onnxruntime import quantization

            plain = Path(folder) / "plain.onnx"
            onnx.save(self._model, plain)
            methods = quantization.CalibrationMethod
            calibrator = quantization.create_calibrator(
                str(plain),
                list(OP_TYPES),
                augmented_model_path=str(Path(folder) / "augmented.onnx"),
                calibrate_method={
                    "minmax": methods.MinMax, "entropy": methods.Entropy, "percentile": methods.Percentile
                }[method],
                extra_options={"percentile": PERCENTILE} if method == "percentile" else {},
            )  # fmt: skip
            for start in range(0, len(crops_NSSC), _BATCH):
                calibrator.collect_data(_OneBatch(crops_NSSC[start : start + _BATCH]))
            return calibrator.compute_data()

    def static(self, ranges: Ranges, names: Collection[str]) -> bytes:
        """The graph with the named matrices in int8, ranges fixed; serialised. The same input gives the same bytes."""
        assert names, "onnxruntime takes none for all"
        model = self._copy()
        parted = _part_readers(model.graph, names)
        with _quiet():
            from onnxruntime import quantization

            known = ranges.data | {own: ranges.data[source] for own, source in parted.items()}
            quantiser = quantization.QDQQuantizer(
                model,
                True,  # by channel
                False,  # all eight bits
                quantization.QuantType.QInt8,
                quantization.QuantType.QUInt8,
                quantization.TensorsData(ranges.calibration_method, known),
                sorted(names),
                [],
                list(OP_TYPES),
                dict(_BITS),
            )
            quantiser.quantize_model()
            quantiser.model.topological_sort()
            return finished(quantiser.model.model, _maker())

    def dynamic(self, names: Collection[str]) -> bytes:
        """The graph with the named matrices in int8, their inputs' ranges those of each batch; serialised."""
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            from onnxruntime import quantization

            path = Path(folder) / "dynamic.onnx"
            quantization.quantize_dynamic(
                self._copy(),
                path,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_quantize=sorted(names),
                extra_options={"MatMulConstBOnly": True},
            )
            return finished(onnx.load(path), _maker())

    def _copy(self) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        return copy


class _OneBatch:
    """A batch of crops, as a calibrator asks for it: it takes no two batches of different lengths at once."""

    def __init__(self, crops_NSSC: NDArray[np.uint8]) -> None:
        self._batch: NDArray[np.uint8] | None = np.ascontiguousarray(crops_NSSC)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch, self._batch = self._batch, None
        return None if batch is None else {INPUT: batch}


def _name(graph: onnx.GraphProto) -> None:
    """Each node gets a name of its own where it has none: a quantiser is told nodes by name."""
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)


def _part_readers(graph: onnx.GraphProto, names: Collection[str]) -> dict[str, str]:
    """The named matrices read a tensor that others read too by an Identity, which onnxruntime drops when it loads it.

    The quantiser rounds a tensor for everyone who reads it: one task's convolution would move another's answer.

    Returns:
        The tensors that the Identities make, with those that they are the same as.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    read_by_chosen = Counter(node.input[0] for node in graph.node if node.name in names)
    made: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        source = node.input[0] if node.name in names else ""
        if readers[source] > read_by_chosen[source]:
            own = f"{source}.rounded"
            if own not in made:
                nodes.append(helper.make_node("Identity", [source], [own], name=own))
            made[own], node.input[0] = source, own
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def _matrices(graph: onnx.GraphProto) -> Iterator[Matrix]:
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in OP_TYPES and sizes.get(node.input[1], 0) >= MIN_WEIGHTS:
            yield Matrix(node.name, node.op_type, sizes[node.input[1]])


def finished(model: onnx.ModelProto, maker: str) -> bytes:
    """A rewritten graph as a pack keeps it, serialised.

    Raises:
        ExportError: naming who made it, if it is not valid.
    """
    store_as_half(model.graph)
    anonymise(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"{maker} made a graph of it that is not valid: {str(error).splitlines()[0][:200]}"
        ) from error
    return bytes(model.SerializeToString(deterministic=True))


def _maker() -> str:
    return f"onnxruntime {runtime_version()}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice to prepare graphs otherwise stays off the terminal: what matters is measured."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
