"""Several workers against one: what the same callers get of the same cores, and what a process does beside its graphs.

Two services run at once and take turns, so that whatever else the machine does befalls both; the median of the rounds'
ratios counts. `--processor-time` asks another question: what a request costs one process, with its graphs and with ones
that answer at once, out of memory. What is left then is what one process can do on a few cores at most, however many
there are: its Python runs one thread at a time. Never compares with figures of another machine or another time.
"""

import contextlib
import http.client
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click
import numpy as np
from named import named_request
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rounds import HEAD, add_row

from model.runtime.detection import Detections
from model.runtime.pack import DEFAULT_PACK
from service.app import serve
from service.bench.requests import Request
from service.client import HOST, free_port, serving
from service.cores import usable_cores
from service.engine import Outputs
from service.onnx_engine import OnnxEngine, open_engine
from service.settings import read_settings

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_READY_SECONDS: Final = 60.0


class RecordedEngine:
    """An engine that answers what the real one answered to the first image and its crops; it costs nothing."""

    def __init__(self, engine: OnnxEngine) -> None:
        self._engine = engine
        self._detections: Detections | None = None
        self._row: dict[int, Outputs] = {}
        self.pack, self.device = engine.pack, engine.device

    def warm_up(self) -> None:
        """Does as the real one does."""
        self._engine.warm_up()

    def spreads(self, index: int | None = None) -> bool:  # noqa: ARG002 - none does
        """What costs nothing needs no second thread."""
        return False

    def detect(
        self, images: Sequence[NDArray[np.uint8]], min_score: float, *, spread: bool = False
    ) -> Sequence[Detections]:
        """As it was recorded."""
        if self._detections is None:
            (self._detections,) = self._engine.detect(images[:1], min_score, spread=spread)
        return [self._detections] * len(images)

    def analyze(self, index: int, crops: NDArray[np.uint8], *, spread: bool = False) -> Outputs:
        """As it was recorded."""
        if index not in self._row:
            self._row[index] = self._engine.analyze(index, crops[:1], spread=spread)
        return {task: np.repeat(rows, len(crops), axis=0) for task, rows in self._row[index].items()}


@click.command(help=__doc__)
@click.option("--pack", default=DEFAULT_PACK, show_default=True)
@click.option("--workers", "num_workers", type=click.IntRange(min=2), default=2, show_default=True)
@click.option("--rounds", "num_rounds", type=click.IntRange(min=3), default=7, show_default=True)
@click.option(
    "--requests", "num_requests", type=click.IntRange(min=8), default=64, show_default=True, help="In each round."
)
@click.option("--callers", "num_callers", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option(
    "--request", "name", default="six faces", show_default=True, help="What is asked, as `mien bench` names it."
)
@click.option("--processor-time", is_flag=True, help="What one process spends on a request, instead.")
def main(
    pack: str, num_workers: int, num_rounds: int, num_requests: int, num_callers: int, name: str, processor_time: bool
) -> None:
    """Runs the bench."""
    request = named_request(pack, name)
    if processor_time:
        _processor_time(pack, request, num_rounds, num_requests, num_callers)
        return
    each = max(num_requests // num_callers, 1)
    seconds: dict[int, list[float]] = {1: [], num_workers: []}
    rates: dict[int, list[float]] = {1: [], num_workers: []}
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(num_callers))
        services = {num: stack.enter_context(serving(free_port(), pack, {"MIEN_WORKERS": str(num)})) for num in seconds}
        for service in services.values():
            _load(threads, service.port, request, each, num_callers)
        for _ in track(range(num_rounds), "rounds"):
            for num, service in services.items():
                began = time.perf_counter()
                seconds[num] += _load(threads, service.port, request, each, num_callers)
                rates[num].append(each * num_callers / (time.perf_counter() - began))
    _show(rates, seconds, num_callers, name)


def _load(threads: ThreadPoolExecutor, port: int, request: Request, each: int, num_callers: int) -> list[float]:
    """Every caller POSTs the same over and over on a connection of its own; the seconds each answer took."""
    answers = threads.map(lambda _: _ask(port, request, each), range(num_callers))
    return [second for part in answers for second in part]


def _ask(port: int, request: Request, num: int) -> list[float]:
    seconds = []
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=120)) as connection:
        for _ in range(num):
            began = time.perf_counter()
            connection.request("POST", request.path, request.body, {"content-type": request.content_type})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise click.ClickException(f"the service answered {answer.status}")
            seconds.append(time.perf_counter() - began)
    return seconds


def _show(rates: dict[int, list[float]], seconds: dict[int, list[float]], num_callers: int, name: str) -> None:
    title = f"{usable_cores()} cores, {num_callers} callers, {name}"
    table = Table(*HEAD, title=title)
    for num in rates:
        add_row(table, f"workers {num}, requests a second", rates[num], 2)
        add_row(table, f"workers {num}, an answer, ms", [1000 * second for second in seconds[num]], 0)
    one, several = rates.values()
    add_row(table, "several by one", [more / less for less, more in zip(one, several, strict=True)], 3)
    Console().print(table)


def _serve_recorded(pack: str, port: int) -> None:
    settings = read_settings(None, pack=pack, port=port, log_level="error")
    serve(settings, engine=RecordedEngine(open_engine(pack)))


def _serve_real(pack: str, port: int) -> None:
    serve(read_settings(None, pack=pack, port=port, log_level="error"))


def _processor_time(pack: str, request: Request, num_rounds: int, num_requests: int, num_callers: int) -> None:
    """Of processes of their own: the callers' time is not counted, and a machine that is shared moves it little."""
    table = Table("processor time of one process", "min", "median", "max", title=request.name)
    for name, target in (("with graphs", _serve_real), ("with free graphs", _serve_recorded)):
        whole, loop = _spent(target, pack, request, num_rounds, num_requests, num_callers)
        add_row(table, f"{name}, all threads, ms a request", whole, 2)
        add_row(table, f"{name}, the event loop's thread, ms a request", loop, 2)
    Console().print(table)


def _spent(
    target: Callable[[str, int], None],
    pack: str,
    request: Request,
    num_rounds: int,
    num_requests: int,
    num_callers: int,
) -> tuple[list[float], list[float]]:
    """Milliseconds of each round, of a whole process and of its main thread."""
    each, port = max(num_requests // num_callers, 1), free_port()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(pack, port), daemon=True)
    process.start()
    whole: list[float] = []
    loop: list[float] = []
    try:
        _wait_until_ready(port)
        with ThreadPoolExecutor(num_callers) as threads:
            _load(threads, port, request, each, num_callers)
            for _ in track(range(num_rounds), "rounds"):
                before = _cpu_seconds(process.pid)
                _load(threads, port, request, each, num_callers)
                spent = [after - begun for after, begun in zip(_cpu_seconds(process.pid), before, strict=True)]
                for values, second in zip((whole, loop), spent, strict=True):
                    values.append(1000 * second / (each * num_callers))
    finally:
        process.terminate()
        process.join()
    return whole, loop


def _wait_until_ready(port: int) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection,
        ):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise click.ClickException("the service was not ready in time")


def _cpu_seconds(pid: int | None) -> tuple[float, float]:
    """Processor time of a process and of its main thread, which runs the event loop (Linux)."""
    process = Path("/proc") / str(pid)
    return _read(process / "stat"), _read(process / "task" / str(pid) / "stat")


def _read(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
