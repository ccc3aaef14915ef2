"""The door to onnxruntime: what is kept for shapes that come again answers as what is made anew each time."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from model.runtime import session as door
from model.runtime.session import Device, Session, SessionError, open_session, provider_options
from tests.house import tree
from tests.packs import SIDE_PX, analyzer_graph

HAS_GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="needs a GPU"))]


def _crops(num: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num, SIDE_PX, SIDE_PX, 3), np.uint8)


@pytest.fixture(scope="module")
def graph() -> bytes:
    """A tiny analyzer's graph."""
    return bytes(analyzer_graph(("embedding", "age", "gender")).SerializeToString())


@pytest.fixture
def plain(graph: bytes) -> Session:
    """It on the processor, each run with arrays of its own."""
    return open_session(graph)


def _same(found: dict[str, NDArray[Any]], right: dict[str, NDArray[Any]]) -> None:
    assert list(found) == list(right)
    for name, rows in right.items():
        np.testing.assert_allclose(found[name], rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_bound_runs_answer_as_plain_ones(graph: bytes, plain: Session, device: Device) -> None:
    """Whatever shapes come in whatever order, buffers that are used again change no answer; each shape has its own."""
    bound = open_session(graph, device=device, bound=True, graphs=True)
    for seed, num in enumerate((1, 4, 2, 4, 1, 2, 4)):
        _same(bound.run({"images": _crops(num, seed)}), plain.run({"images": _crops(num, seed)}))
    assert bound.num_bound == 3


def test_plain_runs_keep_no_buffers(plain: Session) -> None:
    """Without `bound` nothing is kept, whatever comes."""
    plain.run({"images": _crops(2)})
    assert plain.num_bound == 0


@pytest.mark.parametrize("device", DEVICES)
def test_permuted_rows_are_permuted_answers(graph: bytes, device: Device) -> None:
    """A bound run's rows land with their crops."""
    bound = open_session(graph, device=device, bound=True, graphs=True)
    crops, order = _crops(8), np.random.default_rng(1).permutation(8)
    straight = bound.run({"images": crops})
    shuffled = bound.run({"images": crops[order]})
    for name, rows in straight.items():
        np.testing.assert_allclose(shuffled[name], rows[order], rtol=1e-5, atol=1e-5)


def test_an_answer_outlives_the_next_run(graph: bytes) -> None:
    """What a bound run answered is the caller's own: the next run of the shape does not write over it."""
    bound = open_session(graph, bound=True)
    first = bound.run({"images": _crops(2, 1)})
    kept = {name: rows.copy() for name, rows in first.items()}
    bound.run({"images": _crops(2, 2)})
    _same(first, kept)


def test_crops_that_lie_strided_are_read_right(graph: bytes, plain: Session) -> None:
    """A view that is not contiguous is copied as what it shows."""
    bound, crops = open_session(graph, bound=True), _crops(8)
    for _ in range(2):
        _same(bound.run({"images": crops[::2]}), plain.run({"images": np.ascontiguousarray(crops[::2])}))


@pytest.mark.parametrize("device", DEVICES)
def test_callers_at_once_get_their_own_answers(graph: bytes, plain: Session, device: Device) -> None:
    """Several threads share the buffers, one at a time: no answer is another caller's."""
    bound = open_session(graph, device=device, bound=True)
    batches = [_crops(1 + seed % 3, seed) for seed in range(60)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda crops: bound.run({"images": crops}), batches))
    for crops, answers in zip(batches, found, strict=True):
        _same(answers, plain.run({"images": crops}))


def test_only_what_is_asked_is_answered(graph: bytes, plain: Session) -> None:
    """A bound run answers the named outputs, in the order they were named."""
    bound = open_session(graph, bound=True)
    for _ in range(2):
        found = bound.run({"images": _crops(2)}, ["gender", "embedding"])
        _same(found, plain.run({"images": _crops(2)}, ["gender", "embedding"]))


def test_wrong_feeds_fail_and_leave_the_session_whole(graph: bytes, plain: Session) -> None:
    """Crops of a wrong side or type are refused each time, keep no buffers, and the next right run answers."""
    bound = open_session(graph, bound=True)
    for wrong in (np.zeros((2, SIDE_PX + 1, SIDE_PX, 3), np.uint8), _crops(2).astype(np.float32)):
        for _ in range(2):
            with pytest.raises(Exception, match=r"images|Expected|dimensions|data type"):
                bound.run({"images": wrong})
    assert bound.num_bound == 0
    _same(bound.run({"images": _crops(2)}), plain.run({"images": _crops(2)}))


def test_shapes_beyond_the_bound_run_without_buffers(
    graph: bytes, plain: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is kept for so many shapes and no more; further ones are answered all the same."""
    monkeypatch.setattr(door, "_MAX_SHAPES", 2)
    bound = open_session(graph, bound=True)
    for num in (1, 2, 3, 4, 3):
        _same(bound.run({"images": _crops(num)}), plain.run({"images": _crops(num)}))
    assert bound.num_bound == 2


def _opened(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def _counting(graph: bytes, *, shares: bool = False) -> tuple[Session, list[bool]]:
    """A session that keeps buffers and records nothing, and the list that grows with each onnxruntime session."""
    opened: list[bool] = []

    def counted(graphs: bool) -> onnxruntime.InferenceSession:
        opened.append(graphs)
        return _opened(graph)

    return Session(counted, bind_on="cpu", shares=shares), opened


def test_each_shape_runs_in_a_session_of_its_own(graph: bytes, plain: Session) -> None:
    """Without recordings a shape that comes again finds what was planned for it, whatever came in between."""
    bound, opened = _counting(graph)
    for seed, num in enumerate((1, 4, 2, 4, 1, 2, 4)):
        _same(bound.run({"images": _crops(num, seed)}), plain.run({"images": _crops(num, seed)}))
    assert opened == [False] * 3


def test_shapes_may_share_a_session(graph: bytes, plain: Session) -> None:
    """Where one session plans for all shapes, each has buffers of its own and no session of its own."""
    bound, opened = _counting(graph, shares=True)
    for seed, num in enumerate((1, 4, 2, 4, 1, 2, 4)):
        _same(bound.run({"images": _crops(num, seed)}), plain.run({"images": _crops(num, seed)}))
    assert (opened, bound.num_bound) == ([False], 3)


def test_shapes_beyond_the_bound_open_no_session(graph: bytes, plain: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are held for so many shapes and no more; further ones run in the first session."""
    monkeypatch.setattr(door, "_MAX_SHAPES", 2)
    bound, opened = _counting(graph)
    for num in (1, 2, 3, 4, 3):
        _same(bound.run({"images": _crops(num)}), plain.run({"images": _crops(num)}))
    assert len(opened) == 2


def test_wrong_feeds_open_one_session_at_most(graph: bytes) -> None:
    """A session that was opened for feeds that were wrong waits for the next right shape."""
    bound, opened = _counting(graph)
    bound.run({"images": _crops(1)})
    for _ in range(3):
        with pytest.raises(Exception, match=r"images|Expected|dimensions|data type"):
            bound.run({"images": _crops(2).astype(np.float32)})
    bound.run({"images": _crops(2)})
    assert (len(opened), bound.num_bound) == (2, 2)


def test_callers_at_once_open_one_session_a_shape(graph: bytes) -> None:
    """Of several threads that bring a new shape at once, one opens its session and the others wait for it."""
    bound, opened = _counting(graph)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda seed: bound.run({"images": _crops(1 + seed % 3, seed)}), range(30)))
    assert (len(opened), bound.num_bound) == (3, 3)


def test_a_graph_that_cannot_be_recorded_runs_without(graph: bytes, plain: Session) -> None:
    """Where the runtime refuses CUDA graphs as it opens the file, the file opens without, and the reason is kept."""

    def refusing(graphs: bool) -> onnxruntime.InferenceSession:
        if graphs:
            raise SessionError("it has nodes on the processor\nand more")
        return _opened(graph)

    bound = Session(refusing, bind_on="cpu", graphs=True)
    assert (bound.graphs, bound.graphs_refusal) == (False, "it has nodes on the processor")
    _same(bound.run({"images": _crops(2)}), plain.run({"images": _crops(2)}))


def test_a_recording_that_fails_opens_the_graph_anew(graph: bytes, plain: Session) -> None:
    """Where the first recorded run fails, a session without CUDA graphs answers it, and every later one."""

    class Unrecordable:
        """A session whose runs from buffers fail, as where a kernel cannot be recorded."""

        def __init__(self, real: onnxruntime.InferenceSession) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def run_with_iobinding(self, *_: object) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

        def io_binding(self) -> Any:
            return self._real.io_binding()

    bound = Session(
        lambda graphs: Unrecordable(_opened(graph)) if graphs else _opened(graph), bind_on="cpu", graphs=True
    )
    for num in (2, 1, 2):
        _same(bound.run({"images": _crops(num)}), plain.run({"images": _crops(num)}))
    assert bound.graphs_refusal == "operation not permitted when stream is capturing"
    assert (bound.graphs, bound.num_bound) == (False, 2)


def test_a_file_that_is_wrong_is_refused_with_graphs_too() -> None:
    """What cannot be opened at all is an error, not a graph that cannot be recorded."""
    with pytest.raises(SessionError, match="cannot load the graph"):
        open_session(b"no graph", bound=True, graphs=True)


def test_a_gpu_rounds_only_where_it_is_asked() -> None:
    """float32 on a GPU is float32 unless TensorFloat-32 is asked for; CUDA graphs are off unless asked for."""
    asked = provider_options("cuda", tf32=True, graphs=True)
    assert (asked["use_tf32"], asked["enable_cuda_graph"]) == ("1", "1")
    assert (provider_options("cuda")["use_tf32"], provider_options("cuda")["enable_cuda_graph"]) == ("0", "0")


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_a_gpu_records_a_graph_that_it_can(graph: bytes) -> None:
    """On a GPU the tiny graph is recorded: there is no silent run without."""
    recorded = open_session(graph, device="cuda", bound=True, graphs=True)
    recorded.run({"images": _crops(2)})
    assert (recorded.graphs, recorded.graphs_refusal) == (True, "")


# A graph of one multiplication of 32 MB, opened twice; prints how many MB the process holds more after each one's runs.
ARENA = """
import re
import numpy as np
from onnx import TensorProto, helper
from model.runtime.session import open_session

def resident_mb():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmRSS:\\s+(\\d+)", status.read())[1]) / 1000

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
nodes = [helper.make_node("Mul", ["x", "x"], ["z"]), helper.make_node("ReduceSum", ["z"], ["y"])]
graph = helper.make_graph(nodes, "square", value[:1], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
feeds = {"x": np.ones(8_000_000, np.float32)}
sessions = [open_session(model) for _ in range(2)]
for session in sessions:
    before = resident_mb()
    for _ in range(3):
        session.run(feeds)
    print(round(resident_mb() - before))
"""


def test_sessions_share_an_arena() -> None:
    """What one graph's runs needed serves another's: the second holds nothing of its own."""
    done = subprocess.run([sys.executable, "-c", ARENA], cwd=tree.PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert first > 24, "the run needs 32 MB"
    assert second < 8
