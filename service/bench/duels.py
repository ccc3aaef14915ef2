"""Duels: mien and one opponent in turns, row by row and round by round, so that what disturbs one disturbs both.

The opponent is another server, or the raw loop: the same pipeline on every core, with no server. Never compares
figures of different rounds.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from service.bench.contenders import Contender
from service.bench.load import Throughput, closed_loop
from service.bench.pipeline import Pipeline
from service.bench.requests import Request
from service.bench.results import Row, Side, Spread, percentile
from service.bench.usage import Tree, own_cpu_seconds
from service.cores import usable_cores
from service.memory import keep_freed_memory

RAW: Final = "raw loop"


class Opponent(Protocol):
    """What can be measured beside mien: a server, or no server."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    @property
    def fresh_mb(self) -> float:
        """Its resident memory before any load."""
        ...

    def measure(self, request: Request, num_clients: int, seconds: float) -> Throughput:
        """One turn."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A server under closed-loop clients."""

    contender: Contender

    @property
    def name(self) -> str:
        """The server's."""
        return self.contender.name

    @property
    def fresh_mb(self) -> float:
        """The server's."""
        return self.contender.fresh_mb

    def measure(self, request: Request, num_clients: int, seconds: float) -> Throughput:
        """One turn of so many clients.

        Raises:
            LoadError: if an answer is lost or is not 200.
        """
        wire = self.contender.wire(request)
        return asyncio.run(closed_loop(self.contender.port, wire, num_clients, seconds, self.contender.tree))


class RawLoop:
    """The pipeline on as many threads as cores, in this process; clients are none of its business."""

    name = RAW

    def __init__(self, pipeline: Pipeline) -> None:
        keep_freed_memory()  # as the service does: it is to be the best that no server can be
        self._pipeline = pipeline
        self._tree = Tree(os.getpid(), alone=True)
        self.fresh_mb = self._tree.resident_mb()

    def measure(self, request: Request, num_clients: int, seconds: float) -> Throughput:  # noqa: ARG002
        """One turn, of which each thread finishes what it has begun."""
        over, num_cores, idle_mb = threading.Event(), usable_cores(), self._tree.resident_mb()
        self._tree.reset_peak()

        def one() -> list[float]:
            took = list[float]()
            while not took or not over.is_set():
                began = time.perf_counter()
                self._pipeline.results(request.work, request.body)
                took.append(time.perf_counter() - began)
            return took

        with ThreadPoolExecutor(num_cores) as threads:
            began, cpu = time.perf_counter(), own_cpu_seconds()
            running = [threads.submit(one) for _ in range(num_cores)]
            over.wait(seconds)
            over.set()
            took = [thread.result() for thread in running]
            passed, used = time.perf_counter() - began, own_cpu_seconds() - cpu
        rate = sum(len(each) / sum(each) for each in took)
        latencies = tuple(second for each in took for second in each)
        return Throughput(rate, latencies, used / passed, 0.0, self._tree.peak_mb(), idle_mb)


def duel(
    service: Opponent,
    opponent: Opponent,
    rows: Sequence[tuple[Request, int]],
    num_rounds: int,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measures every row.

    Args:
        service: mien's.
        opponent: what it is held against.
        rows: requests, each with a number of clients.
        num_rounds: of both, in turns; who begins takes turns too.
        seconds: of each turn.
        tell: told each row before it is measured.

    Raises:
        LoadError: if an answer is lost or is not 200.
    """
    made = []
    for request, num_clients in rows:
        tell(f"{opponent.name}: {request.name}, {num_clients} clients")
        for side in (service, opponent):
            side.measure(request, num_clients, 0.0)  # what happens once only, happens here
        turns: list[tuple[Throughput, Throughput]] = []
        for number in range(num_rounds):
            order = (service, opponent) if number % 2 == 0 else (opponent, service)
            first, second = (side.measure(request, num_clients, seconds) for side in order)
            turns.append((first, second) if number % 2 == 0 else (second, first))
        made.append(_row(request, num_clients, turns, (service.fresh_mb, opponent.fresh_mb)))
    return made


def _row(
    request: Request, num_clients: int, turns: Sequence[tuple[Throughput, Throughput]], fresh_mb: tuple[float, float]
) -> Row:
    ours, theirs = ([turn[side] for turn in turns] for side in (0, 1))
    return Row(
        request=request.name,
        num_images=request.num_images,
        num_faces=request.num_faces,
        num_bytes=len(request.body),
        num_clients=num_clients,
        service=_side(request, num_clients, ours, fresh_mb[0]),
        opponent=_side(request, num_clients, theirs, fresh_mb[1]),
        ratio=Spread.of(mine.requests_a_second / other.requests_a_second for mine, other in turns),
        ratio_a_cpu_second=Spread.of(_a_cpu_second(mine) / _a_cpu_second(other) for mine, other in turns),
    )


def _side(request: Request, num_clients: int, turns: Sequence[Throughput], fresh_mb: float) -> Side:
    in_flight = num_clients * request.num_images
    return Side(
        images_a_second=Spread.of(turn.requests_a_second * request.num_images for turn in turns),
        faces_a_second=Spread.of(turn.requests_a_second * request.num_faces for turn in turns),
        p50_ms=_latency(turns, 0.50),
        p95_ms=_latency(turns, 0.95),
        p99_ms=_latency(turns, 0.99),
        cpu_seconds_an_image=Spread.of(1 / (_a_cpu_second(turn) * request.num_images) for turn in turns),
        generator_cores=Spread.of(turn.generator_cores for turn in turns),
        peak_mb=Spread.of(turn.peak_mb for turn in turns),
        peak_mb_an_image=Spread.of((turn.peak_mb - fresh_mb) / in_flight for turn in turns),
    )


def _latency(turns: Sequence[Throughput], share: float) -> Spread:
    return Spread.of(1000 * percentile(turn.seconds, share) for turn in turns)


def _a_cpu_second(turn: Throughput) -> float:
    """Requests a CPU second; in a turn too short for a clock tick, as if one tick had passed."""
    return turn.requests_a_second / max(turn.cpu_cores, 0.01)
