"""Temperatures in real graphs: what they do to an answer, and that they are found again."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.check import compare, predict_by
from export.graph import predict_with, trace
from export.temperature import temperable, with_temperatures
from model.analyzer import Analyzer
from model.network_config import Temperatures
from model.runtime.labels import TASKS, Task
from model.runtime.session import open_session

FITTED: dict[Task, tuple[float, ...]] = {
    "gender": (2.0,),
    "race": (0.5,),
    "attributes": tuple(np.linspace(0.5, 2.0, 40).tolist()),
}


def answers(graph: bytes, crops: NDArray[np.uint8]) -> dict[Task, NDArray[np.float32]]:
    return dict(predict_by(open_session(graph))(crops))


def test_a_graph_answers_as_its_network_at_the_same_temperatures(
    analyzer: Analyzer, graph_bytes: bytes, crops: NDArray[np.uint8]
) -> None:
    """A graph that was given temperatures, and one traced of a network that has them, answer as that network does."""
    twin = Analyzer(analyzer.network, Temperatures(gender=(2.0,), race=(0.5,), attributes=FITTED["attributes"])).eval()
    edited = with_temperatures(graph_bytes, FITTED)
    compare(open_session(edited), predict_with(twin), crops, 112)
    assert trace(twin) == edited


def test_the_likeliest_answer_stays_and_its_probability_moves(graph_bytes: bytes, crops: NDArray[np.uint8]) -> None:
    """No class and no yes or no changes; probabilities of the named tasks move, and nothing of the others does."""
    before, after = answers(graph_bytes, crops), answers(with_temperatures(graph_bytes, FITTED), crops)
    of_classes: tuple[Task, ...] = ("gender", "race")
    for task in of_classes:
        np.testing.assert_array_equal(before[task].argmax(1), after[task].argmax(1))
    np.testing.assert_array_equal(before["attributes"] > 0.5, after["attributes"] > 0.5)
    assert (after["gender"].max(1) < before["gender"].max(1)).all()
    assert (after["race"].max(1) > before["race"].max(1)).all()
    untouched: tuple[Task, ...] = ("embedding", "age", "expression")
    for task in untouched:
        np.testing.assert_array_equal(before[task], after[task])


def test_another_fit_replaces_the_first(graph_bytes: bytes) -> None:
    """Temperatures are replaced, not multiplied; 1 gives back the graph that was there before, byte for byte."""
    twice = with_temperatures(with_temperatures(graph_bytes, {"gender": (3.0,)}), FITTED)
    assert twice == with_temperatures(graph_bytes, FITTED)
    assert with_temperatures(twice, dict.fromkeys(FITTED, (1.0,))) == graph_bytes


def test_only_what_a_softmax_or_a_sigmoid_answers_has_logits(graph_bytes: bytes) -> None:
    """Age and embedding have no temperature, nor has a task whose probabilities are worked on after the Softmax."""
    assert set(temperable(graph_bytes, TASKS)) == {"expression", "gender", "attributes", "race"}
    model = onnx.load_from_string(graph_bytes)
    node = next(node for node in model.graph.node if "gender" in node.output)
    node.output[0] = "raw"
    model.graph.node.append(onnx.helper.make_node("Identity", ["raw"], ["gender"]))
    worked_on = model.SerializeToString()
    assert temperable(worked_on, ("gender",)) == ()
    with pytest.raises(ValueError, match="gender does not come of"):
        with_temperatures(worked_on, {"gender": (2.0,)})
