"""Load: closed-loop clients, which measure throughput, and arrivals by schedule, which slow answers do not hold back.

Latency of a scheduled arrival counts from when it was due, not from when it was sent: a generator that comes late would
otherwise hide the wait. Never decides what a good answer is, but that it is 200.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.bench.connections import LostAnswerError, Pool, connected
from service.bench.usage import Tree, own_cpu_seconds

OK: Final = 200
LOST: Final = 0
SETTLE_SECONDS: Final = 30.0  # the longest that the first answer of every client is waited for


class LoadError(RuntimeError):
    """A server that does not answer as it should; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What closed-loop clients got in one window.

    Attributes:
        requests_a_second: whole answers, from one answer's coming to another's.
        seconds: latency of each answer.
        cpu_cores: CPU seconds of the server a second.
        generator_cores: CPU seconds of the load generator a second.
        peak_mb: highest resident memory of the server's processes.
        idle_mb: resident memory before the load.
    """

    requests_a_second: float
    seconds: tuple[float, ...]
    cpu_cores: float
    generator_cores: float
    peak_mb: float
    idle_mb: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One scheduled request: seconds from the schedule's start when it was due and sent, its latency, its status.

    `status` is `LOST` where no whole answer came.
    """

    due: float
    sent: float
    seconds: float
    status: int


def evenly(rate: float, seconds: float) -> list[float]:
    """Arrivals at equal distances."""
    return [number / rate for number in range(max(1, round(rate * seconds)))]


def at_random(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Arrivals of a Poisson process: independent callers who know nothing of each other."""
    source, due, times = random.Random(seed), 0.0, list[float]()  # noqa: S311 - a repeatable schedule
    while (due := due + source.expovariate(rate)) < seconds:
        times.append(due)
    return times


async def closed_loop(port: int, request: bytes, num_clients: int, seconds: float, tree: Tree) -> Throughput:
    """Clients that each send their next request when the last is answered.

    The window begins when as many answers have come as there are clients, so that the queues are as full as they get.

    Raises:
        LoadError: if an answer is lost or is not 200.
    """
    idle_mb = tree.resident_mb()
    tree.reset_peak()
    finished: list[tuple[float, float]] = []  # when an answer came, and its latency
    warm, over = asyncio.Event(), asyncio.Event()

    async def client(pool: Pool) -> None:
        while not over.is_set():
            began = time.perf_counter()
            answered, body = await pool.exchange(request)
            if answered.status != OK:
                raise LoadError(f"a client was answered {answered.status} {body[:200]!r}")
            finished.append((answered.at, answered.at - began))
            if len(finished) >= num_clients:
                warm.set()

    async def window() -> tuple[float, float, float, int]:
        async with asyncio.timeout(SETTLE_SECONDS):
            await warm.wait()
        first, began, server, own = len(finished) - 1, time.perf_counter(), tree.cpu_seconds(), own_cpu_seconds()
        await asyncio.sleep(seconds)
        while len(finished) < first + 3:  # two answers at least, however slow
            await asyncio.sleep(seconds / 10)
        took = time.perf_counter() - began
        measured = (tree.cpu_seconds() - server) / took, (own_cpu_seconds() - own) / took, tree.peak_mb(), first
        over.set()
        return measured

    async with connected(port) as pool:
        try:
            async with asyncio.TaskGroup() as group:
                measuring = group.create_task(window())
                for _ in range(num_clients):
                    group.create_task(client(pool))
        except BaseExceptionGroup as errors:
            raise _load_error(errors.exceptions[0]) from None
    cpu_cores, generator_cores, peak_mb, first = measuring.result()
    return _throughput(finished[first:], cpu_cores, generator_cores, (peak_mb, idle_mb), seconds)


async def scheduled(pool: Pool, request: bytes, due: Sequence[float]) -> list[Arrival]:
    """Sends a request at each due time, whatever became of those before; waits for every answer."""
    start, tasks = time.perf_counter(), list[asyncio.Task[Arrival]]()

    async def one(due_at: float) -> Arrival:
        sent = time.perf_counter()
        try:
            answered, _ = await pool.exchange(request)
        except LostAnswerError:
            return Arrival(due_at, sent - start, time.perf_counter() - start - due_at, LOST)
        return Arrival(due_at, sent - start, answered.at - start - due_at, answered.status)

    for due_at in due:
        wait = start + due_at - time.perf_counter()
        await asyncio.sleep(max(wait, 0))
        tasks.append(asyncio.ensure_future(one(due_at)))
    return list(await asyncio.gather(*tasks))


async def first_good(exchange: Callable[[], Awaitable[bool]], most_seconds: float) -> float:
    """Seconds until an exchange, tried over and over, comes out well; `most_seconds` if it never does."""
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < most_seconds:
        sent = took
        if await exchange():
            return sent
    return most_seconds


def _throughput(
    finished: Sequence[tuple[float, float]],
    cpu_cores: float,
    generator_cores: float,
    memory_mb: tuple[float, float],
    seconds: float,
) -> Throughput:
    opened = finished[0][0]
    inside = [each for each in finished[1:] if each[0] <= opened + seconds] or list(finished[1:3])
    rate = len(inside) / (inside[-1][0] - opened)
    latencies = tuple(_latencies(inside))
    return Throughput(rate, latencies, cpu_cores, generator_cores, *memory_mb)


def _latencies(finished: Sequence[tuple[float, float]]) -> Iterator[float]:
    return (seconds for _, seconds in finished)


def _load_error(error: BaseException) -> BaseException:
    if isinstance(error, LostAnswerError):
        return LoadError(f"an answer was lost: {error}")
    if isinstance(error, TimeoutError):
        return LoadError(f"no answer to every client in {SETTLE_SECONDS:.0f} seconds")
    return error
