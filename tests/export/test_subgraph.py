"""Cutting a graph: the outputs that stay answer the same, and nothing that only the others needed is left."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.subgraph import cut
from model.runtime.session import open_session


def test_what_stays_answers_the_same_and_what_goes_is_not_computed(
    graph_bytes: bytes, crops: NDArray[np.uint8]
) -> None:
    """Of six answers two stay, number for number; the other four's nodes and weights are gone."""
    smaller = cut(graph_bytes, ("age", "gender"))
    before, after = open_session(graph_bytes).run({"images": crops}), open_session(smaller).run({"images": crops})
    assert set(after) == {"age", "gender"}
    for task, values in after.items():
        np.testing.assert_allclose(values, before[task], atol=1e-5)
    model = onnx.load_from_string(smaller)
    assert not [tensor.name for tensor in model.graph.initializer if "recognition" in tensor.name]
    whole = {node.name for node in onnx.load_from_string(graph_bytes).graph.node}
    assert {node.name for node in model.graph.node} < whole
    assert len(smaller) < 0.9 * len(graph_bytes)
    assert model.opset_import == onnx.load_from_string(graph_bytes).opset_import


def test_every_output_kept_is_the_whole_graph(graph_bytes: bytes) -> None:
    """Keeping all outputs keeps every node and weight."""
    outputs = [output.name for output in onnx.load_from_string(graph_bytes).graph.output]
    before, after = onnx.load_from_string(graph_bytes).graph, onnx.load_from_string(cut(graph_bytes, outputs)).graph
    assert [node.name for node in before.node] == [node.name for node in after.node]
    assert [tensor.name for tensor in before.initializer] == [tensor.name for tensor in after.initializer]


def _with_a_branch() -> bytes:
    """A graph whose `first` is the branch of a condition that reads `doubled` from outside; `second` is apart."""
    scalar = TensorProto.FLOAT
    branches = [
        helper.make_graph(
            [helper.make_node("Add", ["doubled", "one"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", scalar, ["N"])],
        )
        for name in ("then", "otherwise")
    ]
    nodes = [
        helper.make_node("Mul", ["images", "two"], ["doubled"]),
        helper.make_node("If", ["yes"], ["first"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Mul", ["images", "three"], ["second"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("one", 1), ("two", 2), ("three", 3))
    ]
    constants.append(numpy_helper.from_array(np.array(True), "yes"))
    infos = [helper.make_tensor_value_info(name, scalar, ["N"]) for name in ("images", "first", "second")]
    graph = helper.make_graph(nodes, "branching", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def test_what_a_branch_reads_from_outside_stays() -> None:
    """Nodes and weights that only the branches of a condition read are kept with it, and those of others are not."""
    smaller = cut(_with_a_branch(), ("first",))
    (answer,) = open_session(smaller).run({"images": np.array([3.0, 4.0], np.float32)}).values()
    assert answer.tolist() == [7.0, 9.0]
    assert {tensor.name for tensor in onnx.load_from_string(smaller).graph.initializer} == {"one", "two", "yes"}


def test_an_output_that_the_graph_has_not_is_named(graph_bytes: bytes) -> None:
    """Asking for an output that is not there is one clear line."""
    with pytest.raises(ExportError, match="the graph has no output named 'mood'"):
        cut(graph_bytes, ("age", "mood"))
