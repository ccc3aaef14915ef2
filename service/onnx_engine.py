"""The engine that runs a pack by onnxruntime: opens it, refuses it where it is not what it says, warms it up.

Never serves a pack whose hashes, operator set, names, types, shapes or known answer differ from `pack.json`, never
falls back to another device, and never imports onnxruntime (`model.runtime.session` does).
Shapes: N crops; S a crop's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model.runtime.detection import Detections, Detector
from model.runtime.known_answer import breach, known_crops
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, Task
from model.runtime.opset import read_opset
from model.runtime.pack import AnalyzerPart, Pack, PackError, Precision, find_pack, read_pack, verify_pack
from model.runtime.processor import dot_products
from model.runtime.session import Device, Session, SessionError, open_session
from model.runtime.tensorrt import TensorRT
from model.runtime.twin_part import TwinPrecision
from model.runtime.twins import is_preferred, with_twins
from service.engine import MAX_DETECTION_BATCH, Outputs
from service.errors import StartupError
from service.logs import log_event

CPU_BUCKETS: Final = ()  # a CPU run costs what its rows cost: padding would only add to it
GPU_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64)  # a GPU tunes itself anew at each shape it has not met
_SPREAD_THREADS: Final = 2  # of a run that a core without work helps: 1.4 to 1.75 times as fast; more were not measured
_MAX_SPREAD_BYTES: Final = 32_000_000  # of a graph that is opened twice: its weights lie in memory twice
_INPUT: Final = "images"
PrecisionChoice = Literal["auto"] | Precision
# Where each kind of twin runs: int8 was measured on CPUs alone, and a CPU gains nothing by float16.
_HOMES: Final[dict[TwinPrecision, Device]] = {"int8": "cpu", "float16": "cuda"}
LABELS: Final[dict[Task, tuple[str, ...]]] = {
    "gender": GENDERS,
    "expression": EXPRESSIONS,
    "attributes": ATTRIBUTES,
    "race": RACES,
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A pack's graphs, opened a second time, for runs by two threads; None for what is too large to lie there twice."""

    detector: Detector | None
    analyzers: Sequence[Session | None]


class OnnxEngine:
    """A pack's graphs, opened on one device. Build it by `open_engine`; safe to call from several threads."""

    def __init__(
        self,
        pack: Pack,
        detector: Detector,
        sessions: Sequence[Session],
        device: str,
        buckets: Sequence[int] = (),
        spread: Spread | None = None,
    ) -> None:
        self._pack, self._detector, self._sessions = pack, detector, tuple(sessions)
        self._device, self._buckets = device, tuple(buckets)
        self._spread = spread or Spread(None, [None] * len(self._sessions))

    @property
    def pack(self) -> Pack:
        """What is served; with twins, the pack as it is with them in the analyzers' places."""
        return self._pack

    @property
    def device(self) -> str:
        """The execution provider that runs the first analyzer."""
        return self._device

    def spreads(self, index: int | None = None) -> bool:
        """Whether the detector, or analyzer number `index`, can run by two threads as well as by one."""
        return (self._spread.detector if index is None else self._spread.analyzers[index]) is not None

    def detect(
        self, images: Sequence[NDArray[np.uint8]], min_score: float, *, spread: bool = False
    ) -> list[Detections]:
        """Finds the faces of uint8 (H, W, 3) RGB images of any sizes."""
        detector = (self._spread.detector if spread else None) or self._detector
        return detector.detect(images, min_score)

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        """Runs one analyzer on uint8 (N, S, S, 3) crops; where there are buckets, padded to the next and cut again."""
        session = (self._spread.analyzers[index] if spread else None) or self._sessions[index]
        num = len(crops)
        padded = next((bucket for bucket in self._buckets if bucket >= num), num)
        if padded > num:
            crops = np.concatenate([crops, np.zeros((padded - num, *crops.shape[1:]), np.uint8)])
        tasks = self._pack.analyzers[index].tasks
        outputs = session.run({_INPUT: crops}, tasks)
        return {task: np.asarray(outputs[task], np.float32)[:num] for task in tasks}

    def warm_up(self) -> None:
        """Runs every graph, at every bucket, and compares each analyzer with its known answer.

        Raises:
            StartupError: one line, naming the file that answers wrongly.
        """
        blank = np.zeros((64, 64, 3), np.uint8)
        for num in range(1, MAX_DETECTION_BATCH + 1) if self._buckets else (1,):
            self.detect([blank] * num, 0.5)
        if self.spreads():
            self.detect([blank], 0.5, spread=True)
        for index, part in enumerate(self._pack.analyzers):
            crops = known_crops(part.known_answer.seed, part.side_px, 3)
            # Alone and among others: a graph that has frozen the batch size answers only one of the two rightly.
            # Each bucket twice: the first run may record what the second one replays.
            for num in (1, 3, *self._buckets, *self._buckets):
                outputs = self.analyze(index, np.resize(crops, (num, *crops.shape[1:])))
                _check_answer(part, outputs, num)
            if self.spreads(index):
                _check_answer(part, self.analyze(index, crops[:1], spread=True), 1)
        self._tell_of_graphs()

    def _tell_of_graphs(self) -> None:
        """Logs which graphs run without CUDA graphs although they were asked for, and why: slower, and as right."""
        files = [part.file for part in self._pack.analyzers] + [self._pack.detector.file]
        for file, session in zip(files, (*self._sessions, self._detector.session), strict=True):
            if session.graphs_refusal:
                log_event("no CUDA graph", level=30, file=file, reason=session.graphs_refusal)


def open_engine(
    name_or_path: str,
    device: Device = "cpu",
    gpu_memory_mb: int | None = None,
    scales: tuple[float, ...] | None = None,
    precision: PrecisionChoice = "auto",
    cuda_graphs: bool = True,
    tensorrt: bool = False,
    tensorrt_cache: Path | None = None,
    spreads: bool = False,
) -> OnnxEngine:
    """Finds, verifies and opens a pack.

    Args:
        name_or_path: the pack's.
        device: what must run it.
        gpu_memory_mb: the most that a graph may hold on a GPU; None for what the GPU has.
        scales: at which the detector looks at an image; None for the pack's own.
        precision: the analyzers' own graphs or their twins; `auto` as `choose_precision` has it.
        cuda_graphs: on a GPU, whether each batch size's run is recorded once and then launched whole.
        tensorrt: on a GPU, whether TensorRT runs the analyzers; the detector stays with CUDA and its recordings.
        tensorrt_cache: folder that keeps TensorRT's engines; None builds them at each start.
        spreads: on a CPU, whether graphs that are not large are opened a second time, for runs by two threads.

    Raises:
        StartupError: one line that says what is wrong with the pack, or why the device cannot run it.
    """
    try:
        folder = find_pack(name_or_path)
        pack = read_pack(folder)
        verify_pack(folder, pack)
        if scales is not None:
            pack = pack.model_copy(update={"detector": pack.detector.at_scales(scales)})
        chosen = choose_precision(pack, device, precision)
        if chosen != "float32":
            pack = with_twins(pack, chosen)
        if len(set(pack.tasks)) != len(pack.tasks):
            raise PackError(f"{pack.name}: two analyzers have the same task, so neither's answer is the pack's")
        for part in pack.analyzers:
            _check_statement(part, folder)
        open_graph = partial(
            open_session, device=device, gpu_memory_mb=gpu_memory_mb, bound=device == "cuda", graphs=cuda_graphs
        )
        sessions = [
            open_graph(folder / part.file, tensorrt=engines_of(part, tensorrt_cache) if tensorrt else None)
            for part in pack.analyzers
        ]
        for part, session in zip(pack.analyzers, sessions, strict=True):
            _check_graph(part, session)
        detector = Detector(open_graph(folder / pack.detector.file), pack.detector, trims=device == "cpu")
        spread = _open_spread(folder, pack) if spreads and device == "cpu" else None
    except (PackError, SessionError) as error:
        raise StartupError(str(error)) from error
    buckets = GPU_BUCKETS if device == "cuda" else CPU_BUCKETS
    return OnnxEngine(pack, detector, sessions, sessions[0].provider, buckets, spread)


def _open_spread(folder: Path, pack: Pack) -> Spread:
    files = [folder / file for file in (pack.detector.file, *(part.file for part in pack.analyzers))]
    detector, *analyzers = [
        open_session(file, intra_op_threads=_SPREAD_THREADS, spins=True)
        if file.stat().st_size <= _MAX_SPREAD_BYTES
        else None
        for file in files
    ]
    return Spread(Detector(detector, pack.detector) if detector is not None else None, analyzers)


def choose_precision(pack: Pack, device: Device, asked: PrecisionChoice) -> Precision:
    """Which graphs are served: those asked for, or the ones that were measured to be better.

    `auto` takes the int8 twins where the pack states that each was measured to be faster and as good, on a CPU with
    integer dot products: without them a twin is slower than its float graph, and on a GPU nobody measured it. It never
    takes float16, whose speed no pack states.

    Raises:
        StartupError: if int8 is asked for on a GPU, or float16 on a CPU.
    """
    if asked == "auto":
        return "int8" if device == "cpu" and dot_products() and is_preferred(pack) else "float32"
    if asked != "float32" and device != _HOMES[asked]:
        where = "the CPU" if asked == "int8" else "a GPU"
        raise StartupError(
            f"precision {asked} runs on {where} alone, and device {device!r} was asked for: take float32"
        )
    return asked


def engines_of(part: AnalyzerPart, cache: Path | None) -> TensorRT:
    """How TensorRT is to run an analyzer: in half precision only a graph that is in half precision itself."""
    crop = (part.side_px, part.side_px, 3)
    shapes = {_INPUT: ((GPU_BUCKETS[0], *crop), (GPU_BUCKETS[-1], *crop))}
    return TensorRT(shapes, half=part.precision == "float16", cache=cache)


def output_widths(part: AnalyzerPart) -> dict[Task, int | None]:
    """Columns of each of an analyzer's outputs; None for a plain (N,)."""
    widths: dict[Task, int | None] = {"embedding": part.embedding_dim, "age": None}
    return {task: widths[task] if task in widths else len(LABELS[task]) for task in part.tasks}


def _check_statement(part: AnalyzerPart, folder: Path) -> None:
    opset = read_opset(folder / part.file)
    if opset != part.opset:
        raise PackError(f"{part.file}: its operator set is {opset}, and the pack states {part.opset}")
    if (part.alignment == "box") != (part.box_scale is not None):
        raise PackError(f"{part.file}: `box_scale` belongs to the `box` alignment, and to no other")
    if ("embedding" in part.tasks) != (part.embedding_dim is not None):
        raise PackError(f"{part.file}: `embedding_dim` belongs to the embedding task, and to no other")
    for task in part.tasks:
        if task in LABELS and part.labels.get(task) != LABELS[task]:
            raise PackError(f"{part.file}: the labels of {task} are not in the order that every pack has")


def _check_graph(part: AnalyzerPart, session: Session) -> None:
    side = part.side_px
    if [spec.name for spec in session.inputs] != [_INPUT]:
        raise PackError(f"{part.file}: an analyzer has one input, named {_INPUT!r}")
    spec = session.inputs[0]
    if spec.dtype != "tensor(uint8)" or spec.shape != (None, side, side, 3):
        raise PackError(f"{part.file}: the input is {spec.dtype} {spec.shape}, not uint8 (N, {side}, {side}, 3)")
    outputs = {output.name: output for output in session.outputs}
    for task, width in output_widths(part).items():
        if task not in outputs:
            raise PackError(f"{part.file}: the graph has no output named {task!r}, which the pack states")
        output = outputs[task]
        wanted = (None,) if width is None else (None, width)
        # An inner axis that the graph leaves open is held against the pack at the warm-up, on real rows.
        if len(output.shape) != len(wanted) or (width is not None and output.shape[1] not in (None, width)):
            raise PackError(f"{part.file}: output {task!r} has shape {output.shape}, not {wanted}")
        if output.dtype != "tensor(float)":
            raise PackError(f"{part.file}: output {task!r} is {output.dtype}, not float32")


def _check_answer(part: AnalyzerPart, outputs: Outputs, num: int) -> None:
    for task, width in output_widths(part).items():
        wanted = (num,) if width is None else (num, width)
        if outputs[task].shape != wanted:
            raise StartupError(f"{part.file}: {num} crops gave {task} of shape {outputs[task].shape}, not {wanted}")
    wrong = breach(part.known_answer, outputs)
    if wrong is not None:
        raise StartupError(f"{part.file}: {wrong} (batch of {num})")
