"""Tests of export.concats."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.concats import MAX_INPUTS, narrow_concats
from model.runtime.pack import DEFAULT_PACK, find_pack, read_pack
from model.runtime.session import open_session


def _wide(num: int) -> onnx.ModelProto:
    """A graph of one Concat: (N, 2) split into columns' sums with so many constants, in order, along axis 1."""
    shifts = [helper.make_tensor(f"shift_{i}", TensorProto.FLOAT, [1], [i / 7]) for i in range(num)]
    nodes = [helper.make_node("Add", ["x", f"shift_{i}"], [f"part_{i}"], name=f"part_{i}") for i in range(num)]
    nodes.append(helper.make_node("Concat", [f"part_{i}" for i in range(num)], ["y"], name="joined", axis=1))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2 * num])
    graph = helper.make_graph(nodes, "wide", [x], [y], shifts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _widest(graph: onnx.GraphProto) -> int:
    return max(len(node.input) for node in graph.node if node.op_type == "Concat")


def _answers(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    return np.asarray(open_session(model.SerializeToString()).run({"x": x})["y"])


@pytest.mark.parametrize("num", [33, 40, 64, 65, 1025, 1100])
def test_a_tree_of_narrow_concats_answers_the_same_bits(num: int) -> None:
    """However many tensors are joined, no node takes more than a GPU can record, and not a bit of the answer moves."""
    model, x = _wide(num), np.random.default_rng(num).normal(size=(3, 2)).astype(np.float32)
    right = _answers(model, x)
    narrow_concats(model.graph)
    assert _widest(model.graph) <= MAX_INPUTS
    np.testing.assert_array_equal(_answers(model, x), right)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


def test_a_graph_of_narrow_concats_stays_byte_for_byte() -> None:
    """What a GPU records already is left alone."""
    model = _wide(MAX_INPUTS)
    before = model.SerializeToString(deterministic=True)
    narrow_concats(model.graph)
    assert model.SerializeToString(deterministic=True) == before


def test_a_branch_is_narrowed_too() -> None:
    """The branches of a condition are graphs of their own, and a GPU records them as little."""
    inner = _wide(40).graph
    branch = helper.make_graph(inner.node, "branch", [], inner.output, inner.initializer)
    model = _wide(2)
    choice = helper.make_node("If", ["whether"], ["chosen"], then_branch=branch, else_branch=branch)
    model.graph.node.append(choice)
    narrow_concats(model.graph)
    assert all(_widest(attribute.g) <= MAX_INPUTS for attribute in model.graph.node[-1].attribute)


def test_a_traced_network_has_no_wide_concat(graph_bytes: bytes) -> None:
    """Forty attributes make a wide stack, and what is exported has none."""
    assert _widest(onnx.load_from_string(graph_bytes).graph) <= MAX_INPUTS


def test_the_shipped_analyzer_has_nothing_that_a_gpu_cannot_record() -> None:
    """No Concat of the pack that ships is wide, and it holds no Einsum, which copies to the processor as it runs."""
    folder = find_pack(DEFAULT_PACK)
    for part in read_pack(folder).analyzers:
        graph = onnx.load(folder / part.file).graph
        assert _widest(graph) <= MAX_INPUTS
        assert all(node.op_type != "Einsum" for node in graph.node)
