"""TensorRT: what it is told, where its engines are kept, and that a session without it is refused.

None of these tests runs TensorRT: no machine that they were written on has a GPU.
"""

import fcntl
import os
from pathlib import Path

import onnxruntime
import pytest

from model.runtime import session as door
from model.runtime.session import SessionError, open_session, require_engines
from model.runtime.tensorrt import TENSORRT, TensorRT
from tests.packs import SIDE_PX, analyzer_graph

HAS_TENSORRT = TENSORRT in onnxruntime.get_available_providers()
SHAPES = {"images": ((1, 112, 112, 3), (64, 112, 112, 3))}


@pytest.fixture(scope="module")
def graph() -> bytes:
    """A tiny analyzer's graph."""
    return bytes(analyzer_graph(("embedding", "age", "gender")).SerializeToString())


@pytest.fixture(autouse=True)
def _whole_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets of NVIDIA's variable is gone after it."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")


def _recording() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def test_one_engine_covers_every_bucket(graph: bytes) -> None:
    """The range of shapes is stated from the least to the largest, so that nothing is built at serving time."""
    options = TensorRT(SHAPES).options(graph)
    assert options["trt_profile_min_shapes"] == "images:1x112x112x3"
    assert options["trt_profile_max_shapes"] == options["trt_profile_opt_shapes"] == "images:64x112x112x3"
    several = TensorRT({"a": ((1, 2), (3, 4)), "b": ((5,), (6,))}).options(graph)
    assert several["trt_profile_min_shapes"] == "a:1x2,b:5"


def test_half_precision_is_asked_for_by_half_graphs_alone(graph: bytes) -> None:
    """A float32 graph is not computed in half precision by the way; a float16 one is, but for its norms."""
    plain, half = (TensorRT(SHAPES, half=each).options(graph) for each in (False, True))
    assert (plain["trt_fp16_enable"], plain["trt_layer_norm_fp32_fallback"]) == ("False", "False")
    assert (half["trt_fp16_enable"], half["trt_layer_norm_fp32_fallback"]) == ("True", "True")


def test_nothing_is_recorded_or_kept_unless_asked(graph: bytes) -> None:
    """Recordings by TensorRT are off, and without a folder no engine and no timing is written anywhere."""
    options = TensorRT(SHAPES).options(graph)
    off = ("trt_cuda_graph_enable", "trt_engine_cache_enable", "trt_timing_cache_enable")
    assert {options[name] for name in off} == {"False"}
    assert not any("path" in name for name in options)
    assert "trt_max_workspace_size" not in options
    assert TensorRT(SHAPES).options(graph, 500)["trt_max_workspace_size"] == "500000000"


def test_engines_of_other_weights_lie_elsewhere(graph: bytes, tmp_path: Path) -> None:
    """Graphs of the same names and other weights never share an engine; timings, which know no weight, are shared."""
    told = TensorRT(SHAPES, cache=tmp_path)
    file = tmp_path / "analyzer.onnx"
    file.write_bytes(graph)
    one, same, other = (told.options(each) for each in (graph, file, graph + b"\x00"))
    assert one["trt_engine_cache_enable"] == one["trt_timing_cache_enable"] == "True"
    assert one["trt_engine_cache_path"] == same["trt_engine_cache_path"] != other["trt_engine_cache_path"]
    assert Path(one["trt_engine_cache_path"]).parent == tmp_path == Path(one["trt_timing_cache_path"])


def test_one_process_builds_at_a_time(graph: bytes, tmp_path: Path) -> None:
    """While a graph is opened its folder is there and the cache is locked; afterwards the next one may build."""
    told = TensorRT(SHAPES, cache=tmp_path / "new" / "cache")
    with told.building(graph):
        assert Path(told.options(graph)["trt_engine_cache_path"]).is_dir()
        with (tmp_path / "new" / "cache" / "lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "new" / "cache" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_float32_stays_float32_unless_told_otherwise(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before an engine is built, NVIDIA's variable forbids rounding to TensorFloat-32; one that is set is left."""
    with TensorRT(SHAPES).building(graph):
        assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with TensorRT(SHAPES).building(graph):
        assert os.environ["NVIDIA_TF32_OVERRIDE"] == "1"


def test_a_cache_that_cannot_be_used_is_one_line(graph: bytes, tmp_path: Path) -> None:
    """A folder that cannot be made stops the opening with its name and the reason."""
    (tmp_path / "file").write_text("in the way")
    told = TensorRT(SHAPES, cache=tmp_path / "file" / "cache")
    with pytest.raises(SessionError, match=r"TensorRT was asked for, and .*file.* cannot be used: Not a directory"):
        door._opened(graph, _recording(), [("CPUExecutionProvider", {})], "TensorRT", told)


@pytest.mark.skipif(HAS_TENSORRT, reason="this onnxruntime has TensorRT")
def test_tensorrt_that_is_absent_is_refused(graph: bytes) -> None:
    """Where this onnxruntime has no TensorRT, a graph that is to run by it is not opened on anything else."""
    with pytest.raises(SessionError, match=f"TensorRT was asked for, and this onnxruntime .* has no {TENSORRT}"):
        open_session(graph, device="cuda", tensorrt=TensorRT(SHAPES))
    with pytest.raises(SessionError, match="TensorRT runs on a GPU alone, and device 'cpu' was asked for"):
        open_session(graph, tensorrt=TensorRT(SHAPES))


def test_a_session_that_fell_back_is_refused(graph: bytes) -> None:
    """A session whose first provider is not the one that was asked for is no session."""

    class Fallen:
        """onnxruntime, where TensorRT's libraries do not load: it opens the graph without a word."""

        @staticmethod
        def InferenceSession(*_: object, **__: object) -> onnxruntime.InferenceSession:  # noqa: N802
            return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "ort", Fallen)
        with pytest.raises(SessionError, match="TensorRT was asked for, and the session fell back to CPUExecution"):
            door._opened(graph, None, [(TENSORRT, {})], "TensorRT", TensorRT(SHAPES))


def test_a_graph_of_which_tensorrt_runs_nothing_is_refused(graph: bytes) -> None:
    """A provider that is listed and was given no node does not pass for one that runs the graph."""
    session = onnxruntime.InferenceSession(graph, _recording(), providers=["CPUExecutionProvider"])
    with pytest.raises(SessionError, match=r"TensorRT was asked for, and it runs no node of analyzer\.onnx"):
        require_engines(session, "analyzer.onnx")


def test_an_onnxruntime_that_cannot_tell_is_refused() -> None:
    """Where onnxruntime is too old to say which provider runs which node, nobody knows what TensorRT runs."""
    with pytest.raises(SessionError, match=r"cannot tell what TensorRT runs: 1\.24 can"):
        require_engines(object(), "analyzer.onnx")


def test_a_graph_is_opened_under_the_lock_and_runs(graph: bytes, tmp_path: Path) -> None:
    """What is opened while engines may be built is the graph, whole; here by the processor."""
    told = TensorRT(SHAPES, cache=tmp_path)
    session = door._opened(graph, _recording(), [("CPUExecutionProvider", {})], "TensorRT", told)
    assert session.get_inputs()[0].shape[1:] == [SIDE_PX, SIDE_PX, 3]
    assert (tmp_path / "lock").is_file()
