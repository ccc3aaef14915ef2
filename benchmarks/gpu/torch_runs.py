"""Every way that PyTorch runs a network: precisions, launched one by one, recorded as a CUDA graph, compiled.

Copies from and to the host are timed with the rest, as for onnxruntime. A compilation runs in a process of its own,
which is ended when its time is over: `python benchmarks/gpu/torch_runs.py NETWORK PRECISION BATCH,BATCH` prints its
timings as JSON lines.
"""

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from clock import Budget, share_ms, times_ms
from limits import rounding
from networks import SUBJECTS, Subject, deviation
from report import PRECISIONS, Omission, Precision, Timing
from torch import Tensor, nn

from model.analyzer import Analyzer

_TYPES: Final = {"float16": torch.float16, "bfloat16": torch.bfloat16}
Run = Callable[[Tensor], dict[str, Tensor]]


class Narrowed(nn.Module):
    """A network whose weights and activations are of a narrower type; its answers are cast back by the analyzer."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype, self.config = network.to(dtype), dtype, network.config

    def forward(self, images_NCSS: Tensor) -> dict[str, Tensor]:
        """Answers images, float32 (N, C, S, S)."""
        return cast("dict[str, Tensor]", self.network(images_NCSS.to(self.dtype)))


def on_device(analyzer: Analyzer, precision: Precision, device: torch.device) -> Analyzer:
    """A copy of an analyzer on a device, in a precision."""
    made = copy.deepcopy(analyzer).to(device)
    if precision in _TYPES:
        made.network = cast("Any", Narrowed(made.network, _TYPES[precision]))
    return made.eval()


def measure_torch(
    subject: Subject,
    device: torch.device,
    batches: Sequence[int],
    budget: Budget,
    chosen: Callable[[str, Precision], bool],
) -> Iterator[Timing | Omission]:
    """Times every chosen way and precision of one network at every batch size, launched one by one and recorded."""
    ways = {"eager": lambda analyzer, _: analyzer, "CUDA graph": recorded}
    for precision in PRECISIONS if device.type == "cuda" else ("float32",):
        analyzer = on_device(subject.analyzer, precision, device)
        for way, made in ways.items():
            if not chosen(way, precision) or (way == "CUDA graph" and device.type != "cuda"):
                continue
            for batch in batches:
                try:
                    with rounding(precision), torch.inference_mode():
                        crops = torch.from_numpy(subject.crops[:batch])
                        yield timed(subject, made(analyzer, crops.to(device)), way, precision, crops, device, budget)
                except Exception as error:  # torch raises whatever its backends do
                    what = f"{subject.name}, torch, {precision}, {way}, batch {batch}"
                    yield Omission(what=what, why=str(error).strip().splitlines()[0][:200])


def timed(
    subject: Subject, run: Run, way: str, precision: Precision, crops_NSSC: Tensor, device: torch.device, budget: Budget
) -> Timing:
    """Times one way at one batch size."""

    def once() -> dict[str, np.ndarray]:
        return {task: rows.cpu().numpy() for task, rows in run(crops_NSSC.to(device)).items()}

    cosine, difference = deviation(subject.answers, once())
    times = times_ms(once, budget)
    return Timing(
        network=subject.name, engine="torch", way=way, precision=precision, batch=len(crops_NSSC), num_runs=len(times),
        median_ms=share_ms(times, 50), p99_ms=share_ms(times, 99), cosine_min=cosine, difference_max=difference,
    )  # fmt: skip


def recorded(analyzer: Analyzer, crops_NSSC: Tensor) -> Run:
    """A recording of an analyzer's run at one shape, replayed from buffers that stay where they are."""
    held = crops_NSSC.clone()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            analyzer(held)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answers = analyzer(held)

    def replay(crops: Tensor) -> dict[str, Tensor]:
        held.copy_(crops)
        graph.replay()
        return cast("dict[str, Tensor]", answers)

    return replay


def measure_compiled(
    network: str, precision: Precision, batches: Sequence[int], seconds: float, device: str
) -> Iterator[Timing | Omission]:
    """Times a compiled network, in a process of its own that is ended after so many seconds."""
    wanted = ",".join(map(str, batches))
    command = [sys.executable, __file__, network, precision, wanted, device]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        out, errors = process.communicate(timeout=seconds)
        why = (errors.strip().splitlines() or ["it said nothing"])[-1][:200] if process.returncode else ""
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        why = f"its process was ended after {seconds:.0f} seconds"
    done = [Timing.model_validate_json(line) for line in out.splitlines() if line.startswith("{")]
    yield from done
    if missing := [batch for batch in batches if batch not in {timing.batch for timing in done}]:
        yield Omission(what=f"{network}, torch, {precision}, compiled, batches {missing}", why=why or "no answer")


def main(network: str, precision: Precision, batches: Sequence[int], device: torch.device) -> None:
    """Compiles one network for one batch size after another, and prints the timings."""
    subject = SUBJECTS[network](max(batches))
    analyzer = on_device(subject.analyzer, precision, device)
    for batch in batches:
        torch.compiler.reset()
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        run = torch.compile(analyzer, mode=mode, dynamic=False)
        with rounding(precision), torch.inference_mode():
            crops = torch.from_numpy(subject.crops[:batch])
            timing = timed(subject, run, "compiled", precision, crops, device, Budget())
            print(timing.model_dump_json(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], cast("Precision", sys.argv[2]), json.loads(f"[{sys.argv[3]}]"), torch.device(sys.argv[4]))
