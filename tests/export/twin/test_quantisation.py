"""The quantiser: what it makes of a real network's graph, by what ranges, and that it always makes the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.check import Answers, in_batches, predict_by
from export.errors import ExportError
from export.twin.candidates import Candidates, answers_of, cosines, damage
from export.twin.check import check_twin, twin_known_answer
from export.twin.quantisation import RANGE_METHODS, Quantiser, RangeMethod
from model.runtime.known_answer import breach, known_crops
from model.runtime.session import open_session
from tests.packs import analyzer_graph


def quantised_ops(graph: bytes) -> list[str]:
    """Kinds of the nodes that read a weight stored in int8."""
    model = onnx.load_from_string(graph).graph
    weights = {tensor.name for tensor in model.initializer if tensor.data_type == onnx.TensorProto.INT8}
    read = {node.output[0] for node in model.node if node.op_type == "DequantizeLinear" and node.input[0] in weights}
    return sorted(
        node.op_type for node in model.node if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in read
    )


@pytest.fixture(scope="module")
def plain(quantisable_pack: Path, real_crops: NDArray[np.uint8]) -> Answers:
    """What the float graph answers on the crops."""
    return answers_of((quantisable_pack / "analyzer.onnx").read_bytes(), real_crops)


def test_large_matrices_alone_can_be_quantised(quantiser: Quantiser) -> None:
    """Convolutions and products of 4096 weights or more are named, smaller ones are not."""
    kinds = {matrix.kind for matrix in quantiser.matrices}
    assert {"Conv", "MatMul"} <= kinds
    assert min(matrix.num_weights for matrix in quantiser.matrices) >= 4096


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_static_graphs_answer_like_the_float_graph(
    quantiser: Quantiser, plain: Answers, real_crops: NDArray[np.uint8], method: RangeMethod
) -> None:
    """Every matrix in int8 by ranges of real crops: other weights in the file, and nearly the same answers."""
    names = [matrix.name for matrix in quantiser.matrices]
    twin = quantiser.static(quantiser.ranges(real_crops, method), names)
    assert quantised_ops(twin) == sorted(matrix.kind for matrix in quantiser.matrices)
    found = answers_of(twin, real_crops)
    assert damage(found, plain) > 0
    assert cosines(found["embedding"], plain["embedding"]).mean() > 0.9


def test_the_same_input_gives_the_same_bytes(quantiser: Quantiser, real_crops: NDArray[np.uint8]) -> None:
    """A second run over the same crops gives the same file, so that its hash means something."""
    names = [matrix.name for matrix in quantiser.matrices]
    graphs = [quantiser.static(quantiser.ranges(real_crops, "percentile"), names) for _ in range(2)]
    assert graphs[0] == graphs[1]


def test_only_the_named_matrices_are_rounded(
    quantiser: Quantiser, plain: Answers, real_crops: NDArray[np.uint8]
) -> None:
    """What is not named keeps its float weights, and outputs that do not depend on what is named keep their answers."""
    ranges = quantiser.ranges(real_crops, "minmax")
    # The last convolution belongs to one task group, so its rounding must not reach the embedding.
    last = [matrix.name for matrix in quantiser.matrices if matrix.kind == "Conv"][-1]
    graph = quantiser.static(ranges, [last])
    found = answers_of(graph, real_crops)
    assert quantised_ops(graph) == ["Conv"]
    np.testing.assert_allclose(found["embedding"], plain["embedding"], atol=1e-5)
    assert np.abs(found["attributes"] - plain["attributes"]).max() > 1e-5


def test_a_static_twin_keeps_every_rule_of_a_graph(quantiser: Quantiser, real_crops: NDArray[np.uint8]) -> None:
    """At any batch size, on edge inputs, alone and in company a crop gets the same finite answer of the right kind."""
    names = [matrix.name for matrix in quantiser.matrices]
    check_twin(open_session(quantiser.static(quantiser.ranges(real_crops, "percentile"), names)), 112, real_crops[:4])


def test_a_dynamic_twin_is_refused_since_company_moves_its_answers(
    quantiser: Quantiser, real_crops: NDArray[np.uint8]
) -> None:
    """Ranges of each run are ranges of the whole batch: another crop in it moves an answer, and that is no pack's."""
    (dynamic,) = Candidates(quantiser, "dynamic", real_crops, {}).of_kinds()
    assert not dynamic.spares_none
    with pytest.raises(ExportError, match="depends on the other crops of its batch"):
        check_twin(open_session(dynamic.graph), 112, real_crops[:4])


def test_candidates_are_all_distinct_sets(quantiser: Quantiser, plain: Answers, real_crops: NDArray[np.uint8]) -> None:
    """Of each set of matrices there is a graph for each way to measure ranges, and no set twice."""
    made = [candidate for make in Candidates(quantiser, "auto", real_crops, plain).rounds for candidate in make(print)]
    assert len({candidate.graph for candidate in made}) > len(made) / 2
    assert len({candidate.name for candidate in made}) == len(made)
    assert sum(candidate.name.startswith("dynamic") for candidate in made) == 1


def test_the_known_answer_holds_for_both_kinds_of_kernel(quantiser: Quantiser, real_crops: NDArray[np.uint8]) -> None:
    """A twin's known answer is met by integer kernels and by float ones, alone and in a batch."""
    names = [matrix.name for matrix in quantiser.matrices]
    graph = quantiser.static(quantiser.ranges(real_crops, "percentile"), names)
    known = twin_known_answer(graph, 0, 112)
    assert known.tolerance_years is not None
    for plain in (False, True):
        session = open_session(graph, plain=plain)
        assert breach(known, in_batches(predict_by(session), known_crops(0, 112, 3), 3)) is None


def test_a_graph_without_large_matrices_is_one_line() -> None:
    """A graph with nothing to quantise is refused with the reason."""
    with pytest.raises(ExportError, match="no convolution or matrix that is worth quantising"):
        Quantiser(analyzer_graph(["age"]).SerializeToString())
