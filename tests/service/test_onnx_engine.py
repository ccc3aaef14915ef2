"""The engine: what it refuses to serve, and that padding to buckets changes no answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from model.runtime.detection import Detector
from model.runtime.known_answer import known_crops
from model.runtime.labels import TASKS
from model.runtime.pack import read_pack, sha256_of
from model.runtime.session import provider_options
from model.runtime.tensorrt import TENSORRT
from model.runtime.twin_part import HalfPart
from model.runtime.twins import twin_of
from service.engine import Engine
from service.errors import StartupError
from service.imaging import decode
from service.onnx_engine import GPU_BUCKETS, OnnxEngine, engines_of, open_engine
from tests.packs import SIDE_PX, Fault, analyzer_graph, build_pack, detector_graph

Edit = Callable[[dict[str, Any]], None]


def edited(folder: Path, edit: Edit) -> str:
    """Changes a pack's manifest; gives its folder back."""
    manifest = json.loads((folder / "pack.json").read_text())
    edit(manifest)
    (folder / "pack.json").write_text(json.dumps(manifest))
    return str(folder)


def replaced(folder: Path, part: str, model: onnx.ModelProto) -> str:
    """Puts another graph in a part's place, with its true hash."""
    file = folder / ("detector.onnx" if part == "detector" else "analyzer-0.onnx")
    file.write_bytes(model.SerializeToString())

    def edit(manifest: dict[str, Any]) -> None:
        (manifest["detector"] if part == "detector" else manifest["analyzers"][0])["sha256"] = sha256_of(file)

    return edited(folder, edit)


def refuses(pack: str, words: str) -> None:
    with pytest.raises(StartupError, match=words) as caught:
        open_engine(pack).warm_up()
    assert "\n" not in str(caught.value)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack to spoil."""
    return build_pack(tmp_path / "tiny")


def test_opens_what_is_right(pack: Path) -> None:
    """A right pack opens and passes its known answer."""
    engine: Engine = open_engine(str(pack))
    engine.warm_up()
    assert (engine.pack.name, engine.device) == ("tiny", "CPUExecutionProvider")


def test_hash_that_differs(pack: Path) -> None:
    """One changed byte of a graph is found before it is opened."""
    data = bytearray((pack / "analyzer-0.onnx").read_bytes())
    data[-1] ^= 1
    (pack / "analyzer-0.onnx").write_bytes(data)
    refuses(str(pack), "analyzer-0.onnx: its SHA-256")


def test_file_that_is_missing(pack: Path) -> None:
    """A missing graph is named."""
    (pack / "detector.onnx").unlink()
    refuses(str(pack), "cannot read .*detector.onnx")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m: m["analyzers"][0].update(opset=16), "operator set is 17, and the pack states 16"),
        (lambda m: m["analyzers"][0].update(side_px=64), r"not uint8 \(N, 64, 64, 3\)"),
        (lambda m: m["analyzers"][0].update(embedding_dim=13), "output 'embedding' has shape"),
        (lambda m: m["analyzers"][0].update(embedding_dim=None), "`embedding_dim` belongs"),
        (lambda m: m["analyzers"][0].update(alignment="oval"), r"alignment: Input should be 'arcface-5pt', 'box' or"),
        (lambda m: m["analyzers"][0].update(alignment="celeba", box_scale=1.5), "`box_scale` belongs"),
        (lambda m: m["analyzers"][0].update(alignment="box"), "`box_scale` belongs"),
        (lambda m: m["analyzers"][0]["labels"]["race"].reverse(), "labels of race are not in the order"),
        (lambda m: m["analyzers"][0]["labels"].pop("gender"), "labels of gender are not in the order"),
        (lambda m: m["analyzers"].append(m["analyzers"][0]), "two analyzers have the same task"),
        (lambda m: m["analyzers"][0]["known_answer"]["outputs"].update(age=[1.0]), "age differs from the known answer"),
        (lambda m: m["analyzers"][0]["known_answer"].update(seed=8), "differs from the known answer"),
        (lambda m: m.update(format=2), "format"),
        (lambda m: m.pop("license"), "license"),
    ],
)
def test_statement_that_differs(pack: Path, edit: Edit, words: str) -> None:
    """A manifest that states what the graph is not is refused, in one line that says what."""
    refuses(edited(pack, edit), words)


def test_graph_of_another_shape(pack: Path) -> None:
    """A graph that lacks a task, or is no detector with key points, is refused."""
    refuses(replaced(pack, "analyzer", analyzer_graph(TASKS[1:])), "no output named 'embedding'")


def test_detector_without_key_points(pack: Path) -> None:
    """A detector whose key points are gone cannot align, and is refused."""
    model = detector_graph()
    del model.graph.output[6:]
    refuses(replaced(pack, "detector", model), "key points")


def test_frozen_batch_size_is_refused(pack: Path) -> None:
    """A graph whose batch size is fixed answers one caller alone, and is refused."""
    model = analyzer_graph(TASKS)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    refuses(replaced(pack, "analyzer", model), "not uint8")


def test_batch_that_is_answered_otherwise_than_one(pack: Path) -> None:
    """A graph that is right at a batch of one and wrong at three fails the known answer."""
    model = analyzer_graph(TASKS)
    # Ages of the whole batch are averaged: at one crop that is the crop's own.
    for node in model.graph.node:
        if list(node.output) == ["age"]:
            node.output[0] = "own_age"
    model.graph.node.append(helper.make_node("ReduceMean", ["own_age"], ["mean_age"], keepdims=1))
    model.graph.node.append(helper.make_node("Shape", ["own_age"], ["how_many"]))
    model.graph.node.append(helper.make_node("Expand", ["mean_age", "how_many"], ["age"]))
    refuses(replaced(pack, "analyzer", model), r"age differs .*batch of 3")


def test_output_of_another_type(pack: Path) -> None:
    """An output that is not float32 is refused."""
    model = analyzer_graph(TASKS)
    for node in model.graph.node:
        if list(node.output) == ["age"]:
            node.output[0] = "exact_age"
    model.graph.node.append(helper.make_node("Cast", ["exact_age"], ["age"], to=TensorProto.DOUBLE))
    for output in model.graph.output:
        if output.name == "age":
            output.type.tensor_type.elem_type = TensorProto.DOUBLE
    refuses(replaced(pack, "analyzer", model), "output 'age' is tensor.double., not float32")


def test_text_in_place_of_a_graph(pack: Path) -> None:
    """A file that is no ONNX is refused without a word of the runtime's."""
    (pack / "analyzer-0.onnx").write_bytes(b"not a graph at all")
    digest = sha256_of(pack / "analyzer-0.onnx")
    refuses(edited(pack, lambda m: m["analyzers"][0].update(sha256=digest)), "not an ONNX model|no operator set")


def test_cuda_that_is_missing_stops_start_up(pack: Path) -> None:
    """Asked for CUDA where there is none, the service does not start, and never falls back to the CPU."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(StartupError, match="'cuda' was asked for"):
        open_engine(str(pack), "cuda")


def test_tensorrt_that_is_missing_stops_start_up(pack: Path, tmp_path: Path) -> None:
    """TensorRT is asked for and not there: no engine, no fall back to CUDA or the CPU, one line, and no folder made."""
    if TENSORRT in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    with pytest.raises(StartupError, match=f"TensorRT was asked for, .* has no {TENSORRT}") as caught:
        open_engine(str(pack), "cuda", tensorrt=True, tensorrt_cache=tmp_path / "engines")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "engines").exists()


def test_tensorrt_is_told_the_buckets_and_the_precision(pack: Path, tmp_path: Path) -> None:
    """An analyzer's engine is for every bucket of its crops, and in half precision only where its graph is."""
    (part,) = read_pack(pack).analyzers
    plain = engines_of(part, None)
    assert plain.shapes == {"images": ((1, SIDE_PX, SIDE_PX, 3), (64, SIDE_PX, SIDE_PX, 3))}
    assert (plain.half, plain.cache) == (False, None)
    twin = HalfPart(file="analyzer-0.float16.onnx", sha256="0" * 64, known_answer=part.known_answer)
    half = engines_of(twin_of(part.model_copy(update={"float16": twin}), "float16"), tmp_path)
    assert (half.half, half.cache) == (True, tmp_path)


def test_gpu_is_told_its_memory_and_not_to_tune_by_trial() -> None:
    """A GPU's limit is given in bytes; the CPU is told nothing, and opens with a limit all the same."""
    assert provider_options("cpu", 100) == {}
    assert provider_options("cuda", 100)["gpu_mem_limit"] == "100000000"
    assert "gpu_mem_limit" not in provider_options("cuda")
    assert provider_options("cuda")["cudnn_conv_algo_search"] == "HEURISTIC"


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="needs onnxruntime-gpu and a GPU"
)
def test_a_gpu_answers_as_the_processor(astronaut: bytes) -> None:
    """The shipped pack on a GPU records every graph and answers as on the CPU, faces and crops, at every bucket."""
    on_gpu, on_cpu = open_engine("nano", "cuda"), open_engine("nano", precision="float32")
    on_gpu.warm_up()
    sessions = (*on_gpu._sessions, on_gpu._detector.session)
    assert [(session.graphs, session.graphs_refusal) for session in sessions] == [(True, "")] * len(sessions)
    for num in GPU_BUCKETS:
        crops = known_crops(num, 112, num)
        for task, rows in on_gpu.analyze(0, crops).items():
            np.testing.assert_allclose(rows, on_cpu.analyze(0, crops)[task], atol=2e-3, rtol=1e-3)
    pixels = decode(astronaut, max_pixels=10**7).pixels
    # On a GPU canvases are not trimmed, and a canvas that ends elsewhere moves a box by a hair.
    whole = Detector(on_cpu._detector.session, on_cpu.pack.detector, trims=False)
    for found, wanted in zip(on_gpu.detect([pixels] * 3, 0.5), whole.detect([pixels] * 3, 0.5), strict=True):
        assert (len(found), found.num_views) == (len(wanted), wanted.num_views)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.5)
        np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.5)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=0.01)


@pytest.mark.parametrize("num", [1, 2, 3, 5, 9, 64])
def test_buckets_pad_and_cut(pack: Path, num: int) -> None:
    """A batch padded to the next bucket answers as many rows, each the same as without padding."""
    plain = open_engine(str(pack))
    padded = OnnxEngine(plain._pack, plain._detector, plain._sessions, plain.device, GPU_BUCKETS)
    crops = known_crops(1, SIDE_PX, num)
    for task, rows in padded.analyze(0, crops).items():
        np.testing.assert_allclose(rows, plain.analyze(0, crops)[task], atol=1e-6)


def test_every_bucket_is_warmed(pack: Path) -> None:
    """A warm-up with buckets runs every one of them, for the analyzer and the detector."""
    plain = open_engine(str(pack))
    sizes: list[int] = []

    class Noting:
        graphs_refusal = ""

        def run(self, feeds: dict[str, Any], outputs: Any) -> dict[str, Any]:
            sizes.append(len(feeds["images"]))
            return plain._sessions[0].run(feeds, outputs)

    OnnxEngine(plain._pack, plain._detector, [Noting()], "noting", GPU_BUCKETS).warm_up()  # type: ignore[list-item]
    assert set(GPU_BUCKETS) <= set(sizes)


@pytest.mark.parametrize("fault", ["failing", "nan", "short", "slow"])
def test_tiny_packs_faults_show_on_white_alone(tmp_path: Path, fault: Fault) -> None:
    """A tiny pack with a fault passes its own warm-up, so that the fault is met in service and not before."""
    open_engine(str(build_pack(tmp_path / fault, fault=fault))).warm_up()
