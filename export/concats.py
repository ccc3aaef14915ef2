"""Concatenations of many tensors, split into trees of narrower ones: what a GPU can record.

onnxruntime's CUDA Concat takes at most 32 inputs while a run is recorded as a CUDA graph; the forty attributes' stack
has more. Concatenation is associative, so a tree of narrow ones answers bit for bit what the wide one does. Never
changes a weight and never writes a file.
"""

from collections.abc import Iterator
from typing import Final

import onnx
from onnx import helper

MAX_INPUTS: Final = 32


def narrow_concats(graph: onnx.GraphProto) -> None:
    """Has no Concat of a graph, or of a branch or body in it, take more than `MAX_INPUTS` inputs.

    The last node of each tree keeps the wide one's name and output. A graph without wide ones stays byte for byte.
    """
    if any(_is_wide(node) for node in graph.node):
        nodes = [part for node in graph.node for part in _narrowed(node)]
        del graph.node[:]
        graph.node.extend(nodes)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                narrow_concats(inner)


def _is_wide(node: onnx.NodeProto) -> bool:
    return node.op_type == "Concat" and len(node.input) > MAX_INPUTS


def _narrowed(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """A node, or the tree that a wide Concat becomes, leaves first."""
    if not _is_wide(node):
        yield node
        return
    (axis,) = (attribute.i for attribute in node.attribute if attribute.name == "axis")
    names, number = list(node.input), 0
    while len(names) > MAX_INPUTS:
        joined = []
        for start in range(0, len(names), MAX_INPUTS):
            part, name = names[start : start + MAX_INPUTS], f"{node.output[0]}.part_{number}"
            if len(part) > 1:
                yield helper.make_node("Concat", part, [name], name=name, axis=axis)
                number += 1
            joined.append(name if len(part) > 1 else part[0])
        names = joined
    yield helper.make_node("Concat", names, [node.output[0]], name=node.name, axis=axis)
