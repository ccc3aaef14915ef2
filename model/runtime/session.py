"""The one door to onnxruntime: opens an ONNX file on a device and runs it.

Holds what serving, export checks and evaluation share of onnxruntime. Never falls back to another device than the one
asked for, and never lets onnxruntime's telemetry on.

Where a graph's inputs come in few shapes, as on a GPU, each shape keeps its buffers (`model.runtime.binding`) and, if
CUDA graphs are asked for, a recording of its run, which is launched whole. onnxruntime records under a number
(`gpu_graph_id`) at the first run of that number, from buffers that must stay where they are; -1 records nothing.
Without recordings each shape has an onnxruntime session of its own: on a GPU one session plans its convolutions for the
shape that it met last, and plans them anew, for seconds in a deep graph, when another comes. TensorRT, where it is
asked for, builds one engine for all shapes (`model.runtime.tensorrt`), so that they share a session.

On the CPU all sessions of a process take what their runs need from one arena: of a pack's graphs few run at once, and
each would hold the most that it ever needed.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model.runtime.binding import BoundRun, shape_key
from model.runtime.processor import dot_products
from model.runtime.tensorrt import TENSORRT, TensorRT

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read while onnxruntime loads its library
import onnxruntime as ort

Device = Literal["cpu", "cuda"]
_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MB: Final = 1_000_000
_MAX_SHAPES: Final = 32  # whose buffers are kept; a further one runs without
_GRAPH_OPTION: Final = "gpu_graph_id"
_NO_GRAPH: Final = -1
_RECORD_ASSIGNMENT: Final = "session.record_ep_graph_assignment_info"  # which provider runs which node
_AS_REQUESTED: Final = 1  # how an arena grows: by what a run lacks, where onnxruntime's default doubles it

ort.disable_telemetry_events()
ort.set_default_logger_severity(3)
ort.create_and_register_allocator(  # the arena; it holds nothing until a session that shares it runs
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    ort.OrtArenaCfg({"arena_extend_strategy": _AS_REQUESTED}),
)


class SessionError(RuntimeError):
    """An ONNX file that cannot be opened on the device asked for; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type as onnxruntime writes it (`tensor(uint8)`), and shape; a dynamic axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Session:
    """One ONNX graph, loaded and ready to run. Safe to call from several threads at once.

    Args:
        open_graph: opens it, with CUDA graphs or without.
        bind_on: the device whose buffers are kept for each shape, without CUDA graphs in a session of its own; None
            where every run brings its own.
        graphs: whether to record each shape's run as a CUDA graph.
        shares: whether all shapes run in one session where nothing is recorded: one that plans nothing by the shape.
    """

    def __init__(
        self,
        open_graph: Callable[[bool], ort.InferenceSession],
        *,
        bind_on: Device | None = None,
        graphs: bool = False,
        shares: bool = False,
    ) -> None:
        self._open_graph, self._bind_on, self._shares = open_graph, bind_on, shares
        self._bound: dict[object, BoundRun] = {}
        self._lock = threading.Lock()  # of the buffers and sessions, which are one caller's at a time
        self.graphs, self.graphs_refusal = graphs, ""
        try:
            self._session = open_graph(graphs)
        except SessionError as error:
            if not graphs:
                raise
            self._go_without_graphs(error)
        self._spare: ort.InferenceSession | None = self._session  # for the next shape
        self.inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph."""
        return str(self._session.get_providers()[0])

    @property
    def num_bound(self) -> int:
        """Shapes that have buffers of their own."""
        return len(self._bound)

    def run(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Runs the graph once.

        Args:
            feeds: an array for each input name.
            outputs: names to compute; all of them by default, in the graph's order.

        Returns:
            The arrays by output name.
        """
        names = list(outputs) if outputs is not None else [spec.name for spec in self.outputs]
        if self._bind_on is None:
            return self._plain(self._session, feeds, names)
        with self._lock:
            return self._run_bound(feeds, names)

    def _plain(
        self, session: ort.InferenceSession, feeds: Mapping[str, NDArray[np.generic]], names: list[str]
    ) -> dict[str, NDArray[Any]]:
        options = _run_options(_NO_GRAPH) if self.graphs else None
        return dict(zip(names, session.run(names, dict(feeds), options), strict=True))

    def _run_bound(self, feeds: Mapping[str, NDArray[np.generic]], names: list[str]) -> dict[str, NDArray[Any]]:
        key = shape_key(feeds)
        bound = self._bound.get(key)
        if bound is not None:
            return bound(feeds, names)
        if len(self._bound) == _MAX_SHAPES:
            return self._plain(self._session, feeds, names)
        session = self._spare = self._spare or self._open_graph(False)
        # The first run of a shape tells the shapes of its outputs, and raises where the feeds are wrong.
        answers = self._plain(session, feeds, [spec.name for spec in self.outputs])
        bound = self._bind(session, feeds, answers)
        try:
            found = bound(feeds, names)
        except Exception as error:  # onnxruntime raises a family of its own, without a common base
            if not self.graphs:
                raise
            self._go_without_graphs(error)
            return self._run_bound(feeds, names)
        self._bound[key] = bound
        if not (self.graphs or self._shares):
            self._spare = None  # it is this shape's now; one session holds the recordings of all
        return found

    def _bind(
        self,
        session: ort.InferenceSession,
        feeds: Mapping[str, NDArray[np.generic]],
        answers: Mapping[str, NDArray[Any]],
    ) -> BoundRun:
        options = _run_options(len(self._bound) + 1) if self.graphs else None
        return BoundRun(
            session,
            lambda like: ort.OrtValue.ortvalue_from_shape_and_type(like.shape, like.dtype.type, self._bind_on),
            feeds,
            answers,
            options,
        )

    def _go_without_graphs(self, error: Exception) -> None:
        """Opens the graph anew without CUDA graphs: a recording that failed leaves its session's stream unusable."""
        self.graphs, self.graphs_refusal = False, str(error).splitlines()[0][:200]
        self._bound.clear()
        self._session = self._spare = self._open_graph(False)


def open_session(
    model: Path | bytes,
    *,
    device: Device = "cpu",
    intra_op_threads: int = 1,
    gpu_memory_mb: int | None = None,
    quiet: bool = False,
    plain: bool = False,
    bound: bool = False,
    graphs: bool = False,
    tf32: bool = False,
    tensorrt: TensorRT | None = None,
    spins: bool = False,
) -> Session:
    """Opens an ONNX graph on one device.

    Args:
        model: an ONNX file, or its bytes.
        device: what must run it.
        intra_op_threads: threads that one run on the CPU may use.
        gpu_memory_mb: the most that each onnxruntime session's arena on a GPU may hold; None for what the GPU has.
        quiet: a run that fails raises and writes nothing of its own on stderr, for a graph that is on trial.
        plain: node by node as the file has them, nothing fused: a quantised graph then multiplies in float32, as a
            machine whose integer kernels round otherwise might.
        bound: keep each shape's buffers on the device, for a graph whose inputs come in few shapes; where nothing is
            recorded, in a session of its own, with weights of its own.
        graphs: record each shape's run as a CUDA graph too. Where the graph cannot be recorded, it runs without, and
            `Session.graphs_refusal` says why.
        tf32: on a GPU, products of float32 may be rounded to TensorFloat-32: faster, to about three decimals.
        tensorrt: on a GPU, run by TensorRT what it can run, and by CUDA the rest; nothing is recorded then.
        spins: whether a run's threads wait for each other at full speed, which small graphs need to gain by a second
            one; they stop when the run ends.

    Raises:
        SessionError: if the graph does not load, or CUDA or TensorRT was asked for and the session does not really have
            it.
    """
    if tensorrt is not None:
        if device != "cuda":
            raise SessionError(f"TensorRT runs on a GPU alone, and device {device!r} was asked for")
        _require_available(TENSORRT, "TensorRT")
        graphs = False
    _require_available(_PROVIDERS[device], f"device {device!r}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    if spins:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", str(int(device == "cpu")))
    if not dot_products():
        # A quantised graph's 16-bit sums would saturate and answer wrongly; slower kernels do not.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if quiet:
        options.log_severity_level = 4

    if tensorrt is not None:
        options.add_session_config_entry(_RECORD_ASSIGNMENT, "1")

    def open_graph(with_graphs: bool) -> ort.InferenceSession:
        # Memory that is planned at a shape's second run would be asked for in the middle of its recording.
        options.enable_mem_pattern = not with_graphs
        plain = (_PROVIDERS[device], provider_options(device, gpu_memory_mb, tf32=tf32, graphs=with_graphs))
        if tensorrt is None:
            return _opened(model, options, [plain], f"device {device!r}")
        session = _opened(
            model, options, [(TENSORRT, tensorrt.options(model, gpu_memory_mb)), plain], "TensorRT", tensorrt
        )
        require_engines(session, _name(model))
        return session

    graphs = graphs and device == "cuda"
    bind_on = device if bound or graphs else None
    return Session(open_graph, bind_on=bind_on, graphs=graphs, shares=tensorrt is not None)


def _require_available(provider: str, asked: str) -> None:
    if provider not in ort.get_available_providers():
        raise SessionError(f"{asked} was asked for, and this onnxruntime {ort.__version__} has no {provider}")


def _opened(
    model: Path | bytes,
    options: ort.SessionOptions,
    providers: Sequence[tuple[str, dict[str, str]]],
    asked: str,
    tensorrt: TensorRT | None = None,
) -> ort.InferenceSession:
    try:
        with contextlib.nullcontext() if tensorrt is None else tensorrt.building(model):
            session = ort.InferenceSession(
                str(model) if isinstance(model, Path) else model,
                options,
                providers=list(providers),
                enable_fallback=False,
            )
    except OSError as error:
        raise SessionError(f"{asked} was asked for, and {error.filename} cannot be used: {error.strerror}") from error
    except Exception as error:  # onnxruntime raises a family of its own, without a common base
        raise SessionError(f"onnxruntime cannot load {_name(model)}: {str(error).splitlines()[0][:200]}") from error
    if session.get_providers()[0] != providers[0][0]:
        raise SessionError(f"{asked} was asked for, and the session fell back to {session.get_providers()[0]}")
    return session


def require_engines(session: ort.InferenceSession, graph: str) -> None:
    """Makes sure that TensorRT runs some of a graph: onnxruntime lists it as a provider where it has taken nothing too.

    Raises:
        SessionError: if it runs nothing of it, or this onnxruntime cannot tell.
    """
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    if tell is None:
        raise SessionError(
            f"TensorRT was asked for, and this onnxruntime {ort.__version__} cannot tell what TensorRT runs: 1.24 can"
        )
    if not any(part.ep_name == TENSORRT for part in tell()):
        raise SessionError(f"TensorRT was asked for, and it runs no node of {graph}")


def _name(model: Path | bytes) -> str:
    return model.name if isinstance(model, Path) else "the graph"


def provider_options(
    device: Device, gpu_memory_mb: int | None = None, *, tf32: bool = False, graphs: bool = False
) -> dict[str, str]:
    """What an execution provider is told: on a GPU, not to grow its memory by doubling, and not to search by trial.

    A search of convolution algorithms by trial costs seconds at each new shape, and answers otherwise from run to run.
    """
    if device == "cpu":
        return {}
    options = {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": str(int(tf32)),  # onnxruntime's own default is to round
        "enable_cuda_graph": str(int(graphs)),
    }
    return options if gpu_memory_mb is None else {**options, "gpu_mem_limit": str(gpu_memory_mb * _MB)}


def runtime_version() -> str:
    """Version of the onnxruntime that is loaded."""
    return str(ort.__version__)


def _run_options(graph: int) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry(_GRAPH_OPTION, str(graph))
    return options


def _spec(node: ort.NodeArg) -> TensorSpec:
    return TensorSpec(node.name, node.type, tuple(axis if isinstance(axis, int) else None for axis in node.shape))
