"""The check of a graph against its network: what passes, and that each kind of breach is found."""

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.check import (
    BATCH_SIZES,
    TOLERANCES,
    TRACED_BATCH,
    check_rows,
    compare,
    drift,
    edge_crops,
    predict_by,
)
from export.errors import ExportError
from export.graph import predict_with
from export.precision import rounded
from model.analyzer import Analyzer
from model.network import MultiTaskNetwork
from model.runtime.labels import Task
from model.runtime.session import open_session
from tests.export.conftest import tiny_network
from tests.export.ordinal_graphs import ordinal_graph, ordinal_network, ordinal_wavering

NO_CROPS = np.zeros((0, 112, 112, 3), np.uint8)
NO_CROPS_24 = np.zeros((0, 24, 24, 3), np.uint8)


def edited(graph_bytes: bytes, output: str, *nodes: onnx.NodeProto, **constants: NDArray[np.float32]) -> bytes:
    """The graph with nodes between `raw` (what was computed for an output) and the output itself."""
    model = onnx.load_from_string(graph_bytes)
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = "raw"
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def right_at_the_traced_batch_alone(graph_bytes: bytes) -> bytes:
    """An age that is right in batches of the traced size, as if that were baked in, and off in all others."""
    return edited(
        graph_bytes,
        "age",
        helper.make_node("Shape", ["images"], ["shape"], start=0, end=1),
        helper.make_node("Cast", ["shape"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["size", "traced"], ["factor"]),
        helper.make_node("Mul", ["raw", "factor"], ["age"]),
        traced=np.array([TRACED_BATCH], np.float32),
    )


def test_graph_answers_what_the_network_answers_at_every_batch_size(
    analyzer: Analyzer, graph_bytes: bytes, crops: NDArray[np.uint8]
) -> None:
    """On crops and edge inputs graph and network agree at batch sizes none of which is the traced one."""
    check = compare(open_session(graph_bytes), predict_with(analyzer), crops, 112)
    assert check.batch_sizes == BATCH_SIZES
    assert TRACED_BATCH not in check.batch_sizes
    assert {1, 2, 3} < set(check.batch_sizes)
    assert check.num_crops == 7
    assert set(check.worst) == set(analyzer.tasks)
    assert all(check.worst[task] <= TOLERANCES[task] / 10 for task in check.worst)


def test_graph_that_is_right_at_the_traced_batch_alone_is_refused(analyzer: Analyzer, graph_bytes: bytes) -> None:
    """The batch trap: a graph that is wrong at any batch size but the traced one is refused, and the size named."""
    trap = open_session(right_at_the_traced_batch_alone(graph_bytes))
    images = edge_crops(112)[:TRACED_BATCH]
    with torch.no_grad():
        age = analyzer(torch.from_numpy(images))["age"].numpy()
    np.testing.assert_allclose(predict_by(trap)(images)["age"], age, atol=TOLERANCES["age"])
    with pytest.raises(ExportError, match=r"age: the graph differs from the network by .* at batch size 1"):
        compare(trap, predict_with(analyzer), NO_CROPS, 112)


def test_graph_of_other_weights_is_refused(graph_bytes: bytes) -> None:
    """A graph made of one network is refused for another one of the same configuration."""
    other = Analyzer(rounded(tiny_network(seed=1))).eval()
    with pytest.raises(ExportError, match="differs from the network"):
        compare(open_session(graph_bytes), predict_with(other), NO_CROPS, 112)


def test_graph_of_unrounded_weights_differs_more_than_the_tolerance(
    network: MultiTaskNetwork, graph_bytes: bytes, crops: NDArray[np.uint8]
) -> None:
    """The tolerance is tight enough to tell half-precision weights from those that they were rounded from."""
    with pytest.raises(ExportError, match="over the tolerance"):
        compare(open_session(graph_bytes), predict_with(Analyzer(network).eval()), crops, 112)


def test_an_answer_that_leans_on_the_batch_is_found_without_the_network(graph_bytes: bytes) -> None:
    """A crop whose answer depends on the crops beside it is found with the graph alone."""
    check_rows(open_session(graph_bytes), edge_crops(112))
    leaning = edited(
        graph_bytes,
        "age",
        helper.make_node("ReduceMean", ["raw"], ["batch_mean"], keepdims=1),
        helper.make_node("Mul", ["batch_mean", "little"], ["share"]),
        helper.make_node("Add", ["raw", "share"], ["age"]),
        little=np.array([1.0], np.float32),
    )
    with pytest.raises(ExportError, match="age: a crop's answer depends on the other crops"):
        check_rows(open_session(leaning), edge_crops(112))


@pytest.mark.parametrize(
    ("task", "factor", "complaint"),
    [
        ("embedding", 2.0, "embedding: not of unit length"),
        ("gender", 0.5, "gender: probabilities that do not add up to 1"),
        ("expression", -1.0, "expression: not probabilities"),
        ("attributes", 9.0, "attributes: not probabilities"),
        ("age", np.nan, "age: not 9 rows of finite float32 numbers"),
    ],
)
def test_answers_of_the_wrong_kind_are_found(graph_bytes: bytes, task: Task, factor: float, complaint: str) -> None:
    """Lengths, probabilities and numbers that are none are found with the graph alone, naming the task."""
    wrong = edited(
        graph_bytes, task, helper.make_node("Mul", ["raw", "factor"], [task]), factor=np.array([factor], np.float32)
    )
    with pytest.raises(ExportError, match=complaint):
        check_rows(open_session(wrong), edge_crops(112))


def test_a_lost_output_is_named(analyzer: Analyzer, graph_bytes: bytes) -> None:
    """A graph without one of the network's answers is refused, naming the task."""
    model = onnx.load_from_string(graph_bytes)
    kept = [output for output in model.graph.output if output.name != "race"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    with pytest.raises(ExportError, match="race: the network answers it and the graph does not"):
        compare(open_session(model.SerializeToString()), predict_with(analyzer), NO_CROPS, 112)


def test_edge_inputs_are_what_they_say() -> None:
    """Black, white, and neighbours of one pixel's difference are among the edge inputs; no two are alike."""
    edges = edge_crops(24)
    assert edges.dtype == np.uint8
    assert edges.shape == (9, 24, 24, 3)
    assert (edges[0] == 0).all()
    assert (edges[2] == 255).all()
    assert [int((edges[row] != edges[row + 1]).sum()) for row in (0, 2, 4)] == [1, 1, 1]
    assert len({crop.tobytes() for crop in edges}) == 9


def test_rounding_drift_is_measured_and_bounded(
    network: MultiTaskNetwork, analyzer: Analyzer, crops: NDArray[np.uint8]
) -> None:
    """What half precision does to embeddings and ages is measured on crops; a network that it ruins is refused."""
    measured = drift(predict_with(Analyzer(network).eval()), predict_with(analyzer), crops)
    assert measured is not None
    assert measured.num_crops == 7
    assert measured.min_cosine is not None
    assert measured.max_age_years is not None
    assert 0.999 < measured.min_cosine < 1
    assert 0 < measured.max_age_years < 0.5
    other = predict_with(Analyzer(tiny_network(seed=1)).eval())
    with pytest.raises(ExportError, match="embedding: half-precision weights move an embedding"):
        drift(other, predict_with(analyzer), crops)
    assert drift(other, predict_with(analyzer), NO_CROPS) is None


def test_an_ordinal_age_at_a_border_may_fall_on_either_side() -> None:
    """A logit at 0 may count in the graph and not in the network: such an input may be a year off, and is counted."""
    graph = open_session(ordinal_graph(24))
    network, wavering = ordinal_network(shift=1e-5), ordinal_wavering(shift=1e-5)
    black = edge_crops(24)[:1]
    assert predict_by(graph)(black)["age"][0] != network(black)["age"][0]
    with pytest.raises(ExportError, match=r"age: the graph differs from the network by 1 at batch size 1"):
        compare(graph, network, NO_CROPS_24, 24)
    check = compare(graph, network, NO_CROPS_24, 24, wavering=wavering)
    assert check.num_at_border == 2  # black, and the checkerboard, whose mean is a half
    assert check.worst == {"age": 0.0}


def test_an_ordinal_age_that_is_off_elsewhere_is_refused() -> None:
    """Where no logit lies at 0 an ordinal age may not be a year off, whatever other inputs may."""
    with pytest.raises(ExportError, match="age: the graph differs from the network by 1"):
        compare(
            open_session(ordinal_graph(24, shift=0.3)),
            ordinal_network(),
            NO_CROPS_24,
            24,
            wavering=ordinal_wavering(),
        )


def test_without_a_network_one_whole_year_of_one_crop_is_forgiven() -> None:
    """With the graph alone one input's whole year may turn with the batch, as rounding does, and no second one's."""
    rounding = open_session(ordinal_graph(24, lean=1e-6))
    check_rows(rounding, edge_crops(24)[:6])
    with pytest.raises(ExportError, match="age: a crop's answer depends on the other crops"):
        check_rows(rounding, edge_crops(24))
    with pytest.raises(ExportError, match="age: a crop's answer depends on the other crops"):
        check_rows(open_session(ordinal_graph(24, lean=0.3)), edge_crops(24))
