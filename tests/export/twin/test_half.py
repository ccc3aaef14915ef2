"""Halving a graph: what computes in half precision, what stays in float32, and that answers stay."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.check import predict_by
from export.errors import ExportError
from export.twin.candidates import answers_of, cosines, damage
from export.twin.check import check_twin, twin_known_answer
from export.twin.half import Halved, halved
from model.runtime.known_answer import breach, known_crops
from model.runtime.opset import read_opset
from model.runtime.session import open_session
from tests.packs import analyzer_graph

_RNG = np.random.default_rng(0)


def types_of(graph: bytes) -> dict[str, int]:
    """The element type of every tensor of a graph, by name."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), strict_mode=True)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def graph_of(nodes: Sequence[onnx.NodeProto], constants: dict[str, NDArray[np.generic]], width: int) -> bytes:
    """A graph from `x`, float32 rows of 64 numbers, to `out`."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def kinds_by_type(graph: bytes) -> dict[int, set[str]]:
    """Which kinds of nodes answer in which element type."""
    types, kinds = types_of(graph), dict[int, set[str]]()
    for node in onnx.load_from_string(graph).graph.node:
        kinds.setdefault(types[node.output[0]], set()).add(node.op_type)
    return kinds


def weights(*shape: int) -> NDArray[np.float32]:
    return _RNG.normal(0, 0.1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def plain(quantisable_pack: Path) -> bytes:
    """A real network's float graph."""
    return (quantisable_pack / "analyzer.onnx").read_bytes()


@pytest.fixture(scope="module")
def half(plain: bytes) -> Halved:
    """It in half precision."""
    return halved(plain)


def test_every_large_matrix_computes_in_half(half: Halved, quantisable_pack: Path) -> None:
    """All convolutions and large products are float16, weights and answers; inputs and outputs are the old ones."""
    types = types_of(half.graph)
    model = onnx.load_from_string(half.graph).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.initializer}
    large = [node for node in model.node if len(node.input) > 1 and sizes.get(node.input[1], 0) >= 4096]
    products = [node for node in large if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert (half.num_matrices, half.num_possible) == (len(products), len(products))
    assert {types[name] for node in products for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}
    session, before = open_session(half.graph), open_session(quantisable_pack / "analyzer.onnx")
    assert (session.inputs, session.outputs) == (before.inputs, before.outputs)


def test_what_loses_accuracy_stays_in_float32(half: Halved) -> None:
    """Norms, means, softmax, sigmoid and division answer in float32, and so do the last steps to every output."""
    kinds = kinds_by_type(half.graph)
    kept = {"LayerNormalization", "Softmax", "Sigmoid", "ReduceMean", "ReduceL2", "Div"}
    assert kept & kinds[TensorProto.FLOAT16] == set()
    assert {"LayerNormalization", "Softmax", "ReduceL2", "Div"} <= kinds[TensorProto.FLOAT]


def test_answers_stay(half: Halved, plain: bytes, real_crops: NDArray[np.uint8]) -> None:
    """On real crops answers move by a small share of what is allowed, and embeddings hardly turn."""
    found, right = answers_of(half.graph, real_crops), answers_of(plain, real_crops)
    assert 0 < damage(found, right) < 0.2
    assert cosines(found["embedding"], right["embedding"]).min() > 0.9999


def test_a_half_twin_keeps_every_rule_of_a_graph(half: Halved, real_crops: NDArray[np.uint8]) -> None:
    """At any batch size, on edge inputs, alone and in company a crop gets the same finite answer of the right kind."""
    check_twin(open_session(half.graph), 112, real_crops[:4])


def test_the_same_graph_gives_the_same_bytes(half: Halved, plain: bytes, tmp_path: Path) -> None:
    """Halving again gives the same file, of the same operator set and not larger."""
    assert halved(plain).graph == half.graph
    (tmp_path / "half.onnx").write_bytes(half.graph)
    (tmp_path / "plain.onnx").write_bytes(plain)
    assert read_opset(tmp_path / "half.onnx") == read_opset(tmp_path / "plain.onnx")
    assert len(half.graph) < 1.05 * len(plain)


def test_the_known_answer_allows_what_rounding_may_do(half: Halved, quantisable_pack: Path) -> None:
    """A twin's known answer is met with nodes fused and unfused, and by its float graph: as far as a GPU may stray."""
    file = quantisable_pack / "analyzer.onnx"
    known = twin_known_answer(half.graph, 0, 112, file)
    assert known.tolerance_years is not None
    for session in (open_session(half.graph), open_session(half.graph, plain=True), open_session(file)):
        assert breach(known, predict_by(session)(known_crops(0, 112, 3))) is None
    assert 0.01 <= known.tolerance < 0.05


def test_a_batch_norm_becomes_a_product_and_a_sum() -> None:
    """A variance too small for half precision is worked into a factor first, so that the answer is as before."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("BatchNormalization", ["y", "scale", "shift", "mean", "variance"], ["z"], epsilon=1e-9),
        helper.make_node("MatMul", ["z", "v"], ["out"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "w": weights(64, 64), "v": weights(64, 64), "scale": np.full(64, 1e-4, np.float32),
        "shift": weights(64), "mean": weights(64), "variance": np.full(64, 3e-8, np.float32),
    }  # fmt: skip
    graph = graph_of(nodes, constants, 64)
    half = halved(graph)
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load_from_string(half.graph).graph.node)
    rows = weights(5, 64)
    right, found = (open_session(each).run({"x": rows})["out"] for each in (graph, half.graph))
    np.testing.assert_allclose(found, right, atol=5e-3)
    assert np.abs(right).max() > 0.05


def test_constants_that_half_precision_cannot_hold_keep_their_nodes() -> None:
    """A number too large, or a lone one so small that it would become 0, is added in float32."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Add", ["y", "tiny"], ["a"]),
        helper.make_node("Mul", ["a", "huge"], ["b"]),
        helper.make_node("Add", ["b", "fine"], ["c"]),
        helper.make_node("MatMul", ["c", "v"], ["out"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "w": weights(64, 64), "v": weights(64, 64), "tiny": np.array(1e-12, np.float32),
        "huge": np.full(64, 1e5, np.float32), "fine": weights(64),
    }  # fmt: skip
    types = types_of(halved(graph_of(nodes, constants, 64)).graph)
    assert [types[name] for name in ("y", "a", "b", "c")] == [
        TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT16,
    ]  # fmt: skip


def test_an_output_of_a_large_matrix_is_float32_all_the_same() -> None:
    """Where the last node computes in half precision its answer is cast back, and others still read it."""
    graph = graph_of([helper.make_node("MatMul", ["x", "w"], ["out"])], {"w": weights(64, 128)}, 128)
    session = open_session(halved(graph).graph)
    assert session.outputs[0].dtype == "tensor(float)"
    rows = weights(3, 64)
    np.testing.assert_allclose(session.run({"x": rows})["out"], open_session(graph).run({"x": rows})["out"], atol=2e-3)


def test_a_graph_without_large_matrices_is_one_line() -> None:
    """A graph with nothing to gain is refused with the reason, and so is one with control flow."""
    with pytest.raises(ExportError, match="no convolution or matrix that is worth computing in half precision"):
        halved(analyzer_graph(["age"]).SerializeToString())
    with pytest.raises(ExportError, match="branches or loops"):
        halved(analyzer_graph(["age"], fault="slow").SerializeToString())
