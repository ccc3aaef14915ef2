"""The one door to onnxruntime: opens an ONNX file on a device and runs it.

Holds what serving, export checks and evaluation share of onnxruntime. Never falls back to another device than the one
asked for, and never lets onnxruntime's telemetry on.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model.runtime.processor import dot_products

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read while onnxruntime loads its library
import onnxruntime as ort

Device = Literal["cpu", "cuda"]
_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MB: Final = 1_000_000

ort.disable_telemetry_events()
ort.set_default_logger_severity(3)


class SessionError(RuntimeError):
    """An ONNX file that cannot be opened on the device asked for; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type as onnxruntime writes it (`tensor(uint8)`), and shape; a dynamic axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Session:
    """One ONNX graph, loaded and ready to run. Safe to call from several threads at once."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph."""
        return str(self._session.get_providers()[0])

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
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))


def open_session(
    model: Path | bytes,
    *,
    device: Device = "cpu",
    intra_op_threads: int = 1,
    gpu_memory_mb: int | None = None,
    quiet: bool = False,
    plain: bool = False,
) -> Session:
    """Opens an ONNX graph on one device.

    Args:
        model: an ONNX file, or its bytes.
        device: what must run it.
        intra_op_threads: threads that one run on the CPU may use.
        gpu_memory_mb: the most that the graph's arena on a GPU may hold; None for what the GPU has.
        quiet: a run that fails raises and writes nothing of its own on stderr, for a graph that is on trial.
        plain: node by node as the file has them, nothing fused: a quantised graph then multiplies in float32, as a
            machine whose integer kernels round otherwise might.

    Raises:
        SessionError: if the graph does not load, or CUDA was asked for and the session does not really have it.
    """
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise SessionError(f"device {device!r} was asked for, and this onnxruntime {ort.__version__} has no {provider}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not dot_products():
        # A quantised graph's 16-bit sums would saturate and answer wrongly; slower kernels do not.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if quiet:
        options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=[(provider, provider_options(device, gpu_memory_mb))],
            enable_fallback=False,
        )
    except Exception as error:  # onnxruntime raises a family of its own, without a common base
        where = model.name if isinstance(model, Path) else "the graph"
        raise SessionError(f"onnxruntime cannot load {where}: {str(error).splitlines()[0][:200]}") from error
    if session.get_providers()[0] != provider:
        raise SessionError(
            f"device {device!r} was asked for, and the session fell back to {session.get_providers()[0]}"
        )
    return Session(session)


def provider_options(device: Device, gpu_memory_mb: int | None = None) -> dict[str, str]:
    """What an execution provider is told: on a GPU, not to grow its memory by doubling, and not to search by trial.

    A search of convolution algorithms by trial costs seconds at each new shape, and answers otherwise from run to run.
    """
    if device == "cpu":
        return {}
    options = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    return options if gpu_memory_mb is None else {**options, "gpu_mem_limit": str(gpu_memory_mb * _MB)}


def runtime_version() -> str:
    """Version of the onnxruntime that is loaded."""
    return str(ort.__version__)


def _spec(node: ort.NodeArg) -> TensorSpec:
    return TensorSpec(node.name, node.type, tuple(axis if isinstance(axis, int) else None for axis in node.shape))
