"""Subgraphs: an analyzer's graph with fewer outputs, and nothing left in it that only the dropped ones needed.

Holds the cutting alone. Never changes a node that stays and never checks what the graph answers.
"""

from collections.abc import Iterator, Sequence

import onnx

from export.errors import ExportError


def cut(graph: bytes, outputs: Sequence[str]) -> bytes:
    """Drops every output but the named ones, and with them each node and weight that no named one depends on.

    Args:
        graph: an ONNX model, serialised.
        outputs: names of the outputs that stay.

    Returns:
        The smaller model, serialised; its operator set and its input are the old ones.

    Raises:
        ExportError: if an output is not the graph's, or what is left is no valid graph.
    """
    model = onnx.load_from_string(graph)
    missing = set(outputs) - {output.name for output in model.graph.output}
    if missing:
        raise ExportError(f"the graph has no output named {min(missing)!r}")
    kept, read = _needed(model.graph, outputs)
    for index in reversed(range(len(model.graph.node))):
        if index not in kept:
            del model.graph.node[index]
    for field, names in (
        (model.graph.initializer, read),
        (model.graph.value_info, read),
        (model.graph.output, set(outputs)),
    ):
        for item in [item for item in field if item.name not in names]:
            field.remove(item)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"what is left of the graph is not valid: {str(error).splitlines()[0][:200]}") from error
    return bytes(model.SerializeToString(deterministic=True))


def _needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> tuple[set[int], set[str]]:
    """Indices of the nodes that the outputs depend on, and every name that they read."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    kept: set[int] = set()
    read: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        read.add(name)
        index = makers.get(name)
        if index is not None and index not in kept:
            kept.add(index)
            waiting.extend(_read_by(graph.node[index]))
    return kept, read


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads; the branches of a condition and the body of a loop read from outside too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            yield from (output.name for output in inner.output)
            for each in inner.node:
                yield from _read_by(each)
