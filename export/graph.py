"""The analyzer's graph: from a network's torch twin to ONNX, with its weights in half precision.

Holds the tracing and what is done to the traced graph before it is written. Never checks what the graph answers (see
`export.check`) and never writes a file.
Shape suffixes: N faces; S crop side; C channels (three, RGB).
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.check import INPUT, TRACED_BATCH, Answers, Predict
from export.concats import narrow_concats
from export.errors import ExportError
from export.temperature import with_temperatures
from model.analyzer import Analyzer
from model.network_config import Temperatures
from model.runtime.labels import Task

OPSET: Final = 20  # the first with Gelu as one operator; onnxruntime knows it since 1.17
_BATCH_AXIS: Final = "N"
_MIN_STORED_AS_HALF: Final = 64  # numbers; a Cast for fewer costs more than it saves
_LOGGERS: Final = ("torch.onnx", "onnxscript", "onnx_ir")


def trace(analyzer: Analyzer) -> bytes:
    """Turns an analyzer into ONNX: input `images` uint8 (N, S, S, 3), one named output a task, N dynamic.

    Matrices and kernels that half precision holds exactly are stored in it and cast back to float32 by the graph;
    onnxruntime folds these casts when it loads the file, so they cost nothing in a run. Temperatures stand in it as
    initialisers of their own (see `export.temperature`), so that another fit needs no trace.

    Args:
        analyzer: in evaluation mode; its weights rounded by `export.precision.rounded`, else they stay in float32.

    Returns:
        The model, serialised. The same weights give the same bytes.

    Raises:
        ExportError: if the network cannot be traced with a dynamic batch.
    """
    plain = Analyzer(analyzer.network, Temperatures()).eval()
    _use_plain_attention(plain)
    sample_NSSC = torch.zeros((TRACED_BATCH, analyzer.side_px, analyzer.side_px, 3), dtype=torch.uint8)
    try:
        with quiet(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                plain,
                (sample_NSSC,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(analyzer.tasks),
                dynamic_shapes={"images_NSSC": {0: torch.export.Dim(_BATCH_AXIS, min=1, max=4096)}},
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises a family of its own, without a common base
        raise ExportError(f"the network cannot be traced with a dynamic batch: {cause(error)}") from error
    if program is None:
        raise ExportError("this torch has no exporter that returns a program; torch 2.5 or later is needed")
    model = program.model_proto
    _require_dynamic_batch(model.graph)
    _drop_empty_pads(model.graph)
    narrow_concats(model.graph)
    store_as_half(model.graph)
    anonymise(model)
    return with_temperatures(model.SerializeToString(), _temperatures(analyzer))


def _temperatures(analyzer: Analyzer) -> dict[Task, tuple[float, ...]]:
    found = {task: analyzer.temperatures.of(task) for task in analyzer.tasks}
    return {task: value for task, value in found.items() if set(value) != {1.0}}


def predict_with(analyzer: Analyzer) -> Predict:
    """A network's torch twin as a function of crops, uint8 (N, S, S, 3), like the graph that is made of it."""

    def predict(images_NSSC: NDArray[np.uint8]) -> Answers:
        with torch.inference_mode():
            answers = analyzer(torch.from_numpy(np.array(images_NSSC)))
        return {task: answers[task].numpy() for task in analyzer.tasks}

    return predict


def _require_dynamic_batch(graph: onnx.GraphProto) -> None:
    """The exporter fixes the batch without an error where a step of the network derives it by a division."""
    for value in (*graph.input, *graph.output):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ExportError(
                f"the exporter baked the traced batch of {TRACED_BATCH} into {value.name!r}: a step of the network "
                "computes the batch size instead of leaving it open (a window reverse that divides, for one)"
            )


def _use_plain_attention(analyzer: Analyzer) -> None:
    """Has timm's attention computed step by step: its fused form expands the shifted windows' mask by batch // windows.

    Both give the same numbers; the plain form has no division by which an exporter could bake the traced batch in.
    """
    for module in analyzer.modules():
        if getattr(module, "fused_attn", False):
            module.fused_attn = False  # type: ignore[assignment]  # nn.Module types every attribute as a tensor


def _drop_empty_pads(graph: onnx.GraphProto) -> None:
    """Drops Pad nodes that pad nothing: timm pads every block's grid to whole windows, and each would be a copy."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    idle = [node for node in graph.node if node.op_type == "Pad" and _is_zero(values.get(node.input[1]))]
    source = {node.output[0]: node.input[0] for node in idle}
    kept = {output.name for output in graph.output}
    for node in idle:
        if node.output[0] not in kept:
            graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            while name in source:
                name = source[name]
            node.input[index] = name
    used = {name for node in graph.node for name in node.input} | kept
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _is_zero(pads: np.ndarray | None) -> bool:
    return pads is not None and not pads.any()


def store_as_half(graph: onnx.GraphProto) -> None:
    """Stores matrices and kernels that half precision holds exactly in it, each with a node that casts it back."""
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _MIN_STORED_AS_HALF or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = f"{tensor.name}.half"
        casts.append(helper.make_node("Cast", [name], [tensor.name], name=f"{tensor.name}.cast", to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(half, name))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def widen(graph: onnx.GraphProto) -> None:
    """Half-precision weights become the float32 numbers that their casts make of them: quantisers take no other."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Cast"]:
        tensor = weights.get(node.input[0])
        if tensor is not None and tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def anonymise(model: onnx.ModelProto) -> None:
    """Drops what an exporter notes beside a graph: stack traces with this machine's paths, for one."""
    model.producer_name, model.producer_version, model.doc_string = "mien", "", ""
    model.graph.name, model.graph.doc_string = "analyzer", ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    named = (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer)
    for part in named:
        part.doc_string = ""
        del part.metadata_props[:]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporter's progress, logs and warnings off the terminal: what matters is raised or checked."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def cause(error: BaseException) -> str:
    """What an exporter's chain of errors began with, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
