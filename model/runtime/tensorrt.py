"""TensorRT: what onnxruntime is told where a graph is to run by TensorRT's engines.

Holds the options and the folder of engines. Never imports onnxruntime (see `model.runtime.session`), and never says
that TensorRT is to be asked for.

TensorRT builds an engine of a graph for a range of shapes, for minutes, and builds it anew for a shape outside of it.
So the range is stated, and one engine serves every shape in it. It is not recorded as a CUDA graph: our recordings are
kept by number, one a shape, and onnxruntime's TensorRT records one shape a session, so that either each shape would
need an engine of its own, or one shape's run would be replayed for another's. An engine launches far fewer kernels than
a graph has nodes, and sparing launches is what a recording is for.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Shape = tuple[int, ...]

TENSORRT: Final = "TensorrtExecutionProvider"
_MB: Final = 1_000_000
_DIGITS: Final = 32  # of a graph's SHA-256, for the folder of its engines
# onnxruntime has no option for it: TensorRT rounds products of float32 to TensorFloat-32 unless NVIDIA's own variable,
# read when an engine is built, says otherwise.
_TF32_VARIABLE: Final = "NVIDIA_TF32_OVERRIDE"


@dataclass(frozen=True, slots=True)
class TensorRT:
    """How a graph is to run by TensorRT.

    Attributes:
        shapes: of each input with a dynamic axis the least and the largest shape that will come, by name.
        half: whether TensorRT may compute in half precision, as a float16 graph does.
        cache: a folder that keeps engines from one start to the next; None builds them at each.
    """

    shapes: Mapping[str, tuple[Shape, Shape]]
    half: bool = False
    cache: Path | None = None

    def options(self, graph: Path | bytes, gpu_memory_mb: int | None = None) -> dict[str, str]:
        """What onnxruntime's TensorRT provider is told; its Python takes `True` and `False` for yes and no.

        Args:
            graph: the ONNX file, or its bytes.
            gpu_memory_mb: the most that it may take for the build of an engine and its runs; None for its own default.
        """
        least, largest = ({name: pair[end] for name, pair in self.shapes.items()} for end in (0, 1))
        options = {
            "trt_profile_min_shapes": _profile(least),
            "trt_profile_max_shapes": _profile(largest),
            "trt_profile_opt_shapes": _profile(largest),  # what an engine is tuned for: a GPU is asked most when full
            "trt_fp16_enable": str(self.half),
            "trt_layer_norm_fp32_fallback": str(self.half),
            "trt_cuda_graph_enable": "False",
            "trt_engine_cache_enable": str(self.cache is not None),
            "trt_timing_cache_enable": str(self.cache is not None),
        }
        if gpu_memory_mb is not None:
            options["trt_max_workspace_size"] = str(gpu_memory_mb * _MB)
        if self.cache is not None:
            # TensorRT knows an engine by the names in its graph, which every training of a network shares: the weights
            # have to tell them apart. How quick a kernel is depends on no weight.
            options["trt_engine_cache_path"] = str(self.cache / _digest(graph))
            options["trt_timing_cache_path"] = str(self.cache)
        return options

    @contextmanager
    def building(self, graph: Path | bytes) -> Iterator[None]:
        """While a graph is opened: float32 stays float32, and of several workers one builds what the others then read.

        Raises:
            OSError: if the cache cannot be written.
        """
        os.environ.setdefault(_TF32_VARIABLE, "0")
        if self.cache is None:
            yield
            return
        import fcntl  # Linux and macOS have it; a service on a CPU runs where it is absent, too

        (self.cache / _digest(graph)).mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, by a kill too
            yield


def _profile(shapes: Mapping[str, Shape]) -> str:
    """Shapes as onnxruntime reads them: `images:1x112x112x3`, inputs separated by commas."""
    return ",".join(f"{name}:{'x'.join(str(axis) for axis in shape)}" for name, shape in shapes.items())


def _digest(graph: Path | bytes) -> str:
    data = graph.read_bytes() if isinstance(graph, Path) else graph
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
