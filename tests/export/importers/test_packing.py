"""Packing foreign graphs: the comparison that each must pass, and that nothing is left of a pack that failed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.check import predict_by
from export.errors import ExportError
from export.importers.packing import ForeignAnalyzer, Target, Terms, pack_analyzers
from export.pack_check import check_pack
from export.progress import Stages
from export.subgraph import cut
from model.runtime.labels import Task
from model.runtime.pack import PACKS_DIR, read_pack
from model.runtime.session import open_session
from tests.export.ordinal_graphs import ordinal_graph, ordinal_network, ordinal_wavering
from tests.export.test_check import right_at_the_traced_batch_alone

TERMS = Terms("MIT", "Anything.")


@pytest.fixture
def foreign(graph_bytes: bytes) -> ForeignAnalyzer:
    """The tiny network's graph as a foreign analyzer that is compared with itself."""
    graph = cut(graph_bytes, ("embedding", "age"))
    return ForeignAnalyzer(
        file_stem="foreign",
        graph=graph,
        side_px=112,
        tasks=("embedding", "age"),
        origin="somebody's weights",
        embedding_dim=32,
        embedding_space="a space",
        network=predict_by(open_session(graph)),
    )


def target(tmp_path: Path) -> Target:
    """A pack called `mine`, with the tiny pack's terms."""
    return Target(tmp_path / "packs" / "mine", TERMS)


def test_several_analyzers_make_one_pack(foreign: ForeignAnalyzer, graph_bytes: bytes, tmp_path: Path) -> None:
    """Each graph keeps its own alignment, and a graph that nothing is compared with is held to itself."""
    boxed = ForeignAnalyzer(
        "boxed", cut(graph_bytes, ("gender",)), 112, ("gender",), "others' weights", "box", box_scale=1.5
    )
    folder = pack_analyzers(target(tmp_path), iter([foreign, boxed]), Stages())
    pack = read_pack(folder)
    assert (pack.name, pack.license, pack.embedding_space) == ("mine", "MIT", "a space")
    assert [(part.file, part.tasks, part.alignment, part.box_scale) for part in pack.analyzers] == [
        ("foreign.onnx", ("embedding", "age"), "arcface-5pt", None),
        ("boxed.onnx", ("gender",), "box", 1.5),
    ]
    assert "compared foreign.onnx" in pack.exported_with
    assert "compared boxed.onnx" not in pack.exported_with
    check_pack(folder)


def test_a_task_of_two_analyzers_is_refused(foreign: ForeignAnalyzer, tmp_path: Path) -> None:
    """Two graphs that answer the same task are refused, naming both, and nothing is left."""
    again = replace(foreign, file_stem="again")
    with pytest.raises(ExportError, match=r"embedding is answered by foreign\.onnx and by again\.onnx"):
        pack_analyzers(target(tmp_path), [foreign, again], Stages())
    assert list((tmp_path / "packs").iterdir()) == []


def _off(by: float) -> ForeignAnalyzer:
    graph = ordinal_graph(24)

    def network(images_NSSC: NDArray[np.uint8]) -> dict[Task, NDArray[np.float32]]:
        return {"age": ordinal_network()(images_NSSC)["age"] + np.float32(by)}

    return ForeignAnalyzer("age", graph, 24, ("age",), "x", network=network, wavering=ordinal_wavering())


@pytest.mark.parametrize("by", [0.006, 1.0, float("nan")])
def test_a_graph_that_differs_leaves_nothing(tmp_path: Path, by: float) -> None:
    """An age that is off by more than 5e-3 years, by a whole year or by no number is refused, and no file is left."""
    with pytest.raises(ExportError, match=r"age\.onnx: age: the graph differs from the network"):
        pack_analyzers(target(tmp_path), [_off(by)], Stages())
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_graph_within_the_tolerance_passes_and_its_difference_is_told(tmp_path: Path) -> None:
    """An age within 5e-3 years passes; the difference, and how many ages stood at a border, are in the manifest."""
    folder = pack_analyzers(target(tmp_path), [_off(0.004)], Stages())
    told = read_pack(folder).exported_with["compared age.onnx"]
    assert "largest differences: age 4.0e-03" in told
    assert "2 ages at the border of two years may fall on either side" in told


def test_a_graph_with_the_batch_baked_in_leaves_nothing(foreign: ForeignAnalyzer, tmp_path: Path) -> None:
    """A graph that is right at the traced batch size alone is refused by what the network says at others."""
    trap = replace(foreign, graph=right_at_the_traced_batch_alone(foreign.graph))
    with pytest.raises(ExportError, match=r"foreign\.onnx: age: the graph differs from the network .* batch size 1"):
        pack_analyzers(target(tmp_path), [trap], Stages())
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_graph_that_is_none_leaves_nothing(foreign: ForeignAnalyzer, tmp_path: Path) -> None:
    """Bytes that onnxruntime cannot load are one clear line."""
    with pytest.raises(ExportError, match=r"onnxruntime cannot load foreign\.onnx"):
        pack_analyzers(target(tmp_path), [replace(foreign, graph=b"no graph")], Stages())
    assert list((tmp_path / "packs").iterdir()) == []


def test_the_detector_can_be_a_file(foreign: ForeignAnalyzer, tmp_path: Path) -> None:
    """An SCRFD graph by its path becomes the detector, about which nothing else is stated."""
    named = replace(target(tmp_path), detector=str(PACKS_DIR / "nano" / "detector.onnx"))
    pack = read_pack(pack_analyzers(named, [foreign], Stages()))
    assert (pack.training, pack.training_data, pack.measured, pack.checkpoints) == ((), (), (), ())
    assert pack.allowed_use == "Anything."


def test_a_missing_detector_costs_no_tracing(tmp_path: Path) -> None:
    """The detector is looked for before the first network is asked for."""

    def never() -> ForeignAnalyzer:
        raise AssertionError("a network was traced")

    with pytest.raises(ExportError, match="nowhere is no detector"):
        pack_analyzers(replace(target(tmp_path), detector="nowhere"), (never() for _ in range(1)), Stages())
