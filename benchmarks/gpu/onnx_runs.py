"""Every way that onnxruntime runs a network's graph: precisions, buffers bound or not, CUDA graphs, TensorRT.

Goes through the project's one door to onnxruntime, so that what is timed is what serves. Never keeps a way whose
answers are wrong to itself: deviations stand beside the times.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from clock import Budget, share_ms, times_ms
from networks import INPUT, Subject, deviation
from report import UNRECORDED, Omission, Precision, Timing

from export.twin.half import halved
from model.runtime.session import Device, Session, open_session
from model.runtime.tensorrt import TensorRT
from service.cores import usable_cores

_PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "tf32", "float16")
_WAYS: Final = {"plain": (False, False), "bound": (True, False), "CUDA graphs": (True, True), "TensorRT": (True, False)}


def measure_onnx(
    subject: Subject,
    full_graph: bytes,
    device: Device,
    batches: Sequence[int],
    budget: Budget,
    chosen: Callable[[str, Precision], bool],
) -> Iterator[Timing | Omission]:
    """Times every chosen way and precision of one network at every batch size.

    Right is what its own graph answers on the processor.
    The graph's answers and not its twin's: a pack may have been calibrated anew since.
    """
    plain = open_session(full_graph, intra_op_threads=usable_cores())
    subject = replace(subject, answers=plain.run({INPUT: subject.crops}))
    for precision in _PRECISIONS:
        ways = {way: kind for way, kind in _WAYS.items() if chosen(way, precision)}
        if precision == "tf32":
            ways.pop("TensorRT", None)  # which rounds so only where NVIDIA's own variable lets it
        if not ways or (device == "cpu" and precision == "tf32"):
            continue
        try:
            graph = halved(full_graph).graph if precision == "float16" else full_graph
        except Exception as error:  # the conversion has no errors of its own
            yield Omission(what=f"{subject.name}, onnxruntime, {precision}", why=_line(error))
            continue
        for way, (bound, graphs) in ways.items():
            yield from _one_way(subject, graph, device, precision, way, (bound, graphs), batches, budget)


def _one_way(
    subject: Subject, graph: bytes, device: Device, precision: Precision, way: str, kind: tuple[bool, bool],
    batches: Sequence[int], budget: Budget,
) -> Iterator[Timing | Omission]:  # fmt: skip
    what = f"{subject.name}, onnxruntime, {precision}, {way}"
    try:
        crop = subject.crops.shape[1:]
        engines = TensorRT({INPUT: ((1, *crop), (max(batches), *crop))}, half=precision == "float16")
        session = open_session(
            graph, device=device, tf32=precision == "tf32", bound=kind[0], graphs=kind[1],
            tensorrt=engines if way == "TensorRT" else None,
        )  # fmt: skip
        for batch in batches:
            yield _timed(subject, session, precision, way, batch, budget)
    except Exception as error:  # onnxruntime raises a family of its own, without a common base
        yield Omission(what=what, why=_line(error))
        return
    if kind[1] and not session.graphs:
        yield Omission(what=f"{what}: {UNRECORDED}", why=session.graphs_refusal or "not on this device")


def _timed(subject: Subject, session: Session, precision: Precision, way: str, batch: int, budget: Budget) -> Timing:
    crops = np.ascontiguousarray(subject.crops[:batch])
    for _ in range(2):
        answers = session.run({INPUT: crops})
    cosine, difference = deviation(subject.answers, answers)
    times = times_ms(lambda: session.run({INPUT: crops}), budget)
    return Timing(
        network=subject.name, engine="onnxruntime", way=way, precision=precision, batch=batch, num_runs=len(times),
        median_ms=share_ms(times, 50), p99_ms=share_ms(times, 99), cosine_min=cosine, difference_max=difference,
    )  # fmt: skip


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
