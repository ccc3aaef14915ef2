"""Temperatures in a graph: what divides a task's logits, as initialisers that are found again by their names.

Holds the node between the logits and their Softmax or Sigmoid. Never fits a temperature (see
`model.training.evaluation.temperature`) and never writes a file.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model.runtime.labels import Task

Temperature = tuple[float, ...]
_SQUASHES: Final = ("Softmax", "Sigmoid")
_SUFFIX: Final = ".inverse_temperature"
_NODE: Final = "{task}.tempered"


def with_temperatures(graph: bytes, temperatures: Mapping[Task, Temperature]) -> bytes:
    """A graph whose logits are divided by temperatures, in place of those that it had; 1 takes the node out.

    Args:
        graph: an analyzer's ONNX model, serialised.
        temperatures: by task, one number or one a column; other tasks stay as they are.

    Returns:
        The model, serialised. The same graph and temperatures give the same bytes.

    Raises:
        ValueError: if a task's output does not come of a Softmax or a Sigmoid, see `temperable`.
    """
    model = onnx.load_from_string(graph)
    for task, temperature in temperatures.items():
        _clear(model.graph, task)
        if set(temperature) != {1.0}:
            _insert(model.graph, task, temperature)
    _sort(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def temperable(graph: bytes, tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Those of the tasks whose output comes straight of a Softmax or a Sigmoid, so that its logits can be divided."""
    model = onnx.load_from_string(graph)
    return tuple(task for task in tasks if _squash(model.graph, task) is not None)


def _sort(graph: onnx.GraphProto) -> None:
    """Has the temperatures stand last by name, so that a graph does not tell in which order it got them."""
    own = sorted((each for each in graph.initializer if each.name.endswith(_SUFFIX)), key=lambda each: each.name)
    for tensor in own:
        graph.initializer.remove(tensor)
    graph.initializer.extend(own)


def _squash(graph: onnx.GraphProto, task: Task) -> onnx.NodeProto | None:
    return next((node for node in graph.node if task in node.output and node.op_type in _SQUASHES), None)


def _clear(graph: onnx.GraphProto, task: Task) -> None:
    names = (_NODE.format(task=task), f"{task}{_SUFFIX}")
    node = next((node for node in graph.node if node.name == names[0]), None)
    squash = _squash(graph, task)
    if node is None or squash is None:
        return
    squash.input[0] = node.input[0]
    graph.node.remove(node)
    graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == names[1]))


def _insert(graph: onnx.GraphProto, task: Task, temperature: Temperature) -> None:
    squash = _squash(graph, task)
    if squash is None:
        raise ValueError(f"the output {task} does not come of a Softmax or a Sigmoid")
    node_name, name = _NODE.format(task=task), f"{task}{_SUFFIX}"
    graph.initializer.append(numpy_helper.from_array(np.array([1 / each for each in temperature], np.float32), name))
    node = helper.make_node("Mul", [squash.input[0], name], [node_name], name=node_name)
    graph.node.insert(list(graph.node).index(squash), node)
    squash.input[0] = node_name
