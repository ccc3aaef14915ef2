"""The load generator: schedules, what counts as lost, and what is measured of the server's processes."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from service.bench.connections import LostAnswerError, connected
from service.bench.exposition import Histogram, answer_histograms
from service.bench.load import LOST, LoadError, at_random, closed_loop, evenly, scheduled
from service.bench.requests import get
from service.bench.results import Spread, percentile
from service.bench.usage import Tree
from service.metrics import Metrics

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(*answers: bytes) -> Serve:
    """A server that gives each request of a connection the next answer; an empty one hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            if not answer:
                break
            writer.write(answer)

    return serve


@contextlib.asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[int]:
    """A server on a port, whose connections are all closed in the end."""
    running: list[asyncio.Task[None] | None] = []

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(whole, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*(task for task in running if task is not None))


@pytest.mark.parametrize(("idle_seconds", "num_connections"), [(60.0, 1), (0.0, 3)])
def test_no_connection_is_used_that_was_idle_for_long(idle_seconds: float, num_connections: int) -> None:
    """A server closes those: three requests, one after another, take one connection or three."""
    num = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num
        num += 1
        await answering(OK, OK, OK)(reader, writer)

    async def ask() -> None:
        async with served(serve) as port, connected(port, idle_seconds) as pool:
            for _ in range(3):
                await pool.exchange(get("/"))

    asyncio.run(ask())
    assert num == num_connections


def test_even_arrivals_are_as_many_as_were_asked_for() -> None:
    """Ten a second for half a second are five, a tenth of a second apart."""
    assert evenly(10, 0.5) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_random_arrivals_have_the_rate_and_repeat() -> None:
    """Arrivals at random come in order, at about the rate, and the same ones from the same seed."""
    due = at_random(100, 50, seed=1)
    assert due == sorted(due)
    assert len(due) == pytest.approx(5000, rel=0.05)
    assert due == at_random(100, 50, seed=1) != at_random(100, 50, seed=2)


def test_slow_answers_do_not_hold_arrivals_back() -> None:
    """With no answer at all until the last request has come, all are sent when they are due."""

    async def check() -> None:
        came = asyncio.Semaphore(0)
        everyone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            came.release()
            await everyone.wait()
            writer.write(OK)

        async with served(serve) as port, connected(port) as pool:
            sending = asyncio.create_task(scheduled(pool, get("/"), evenly(200, 0.1)))
            for _ in range(20):
                await came.acquire()
            everyone.set()
            arrivals = await sending
        assert [arrival.status for arrival in arrivals] == [200] * 20
        assert arrivals[0].seconds >= arrivals[-1].seconds

    asyncio.run(check())


def test_an_answer_that_never_comes_is_lost() -> None:
    """A server that hangs up before its answer gives a lost one, and nothing is sent a second time."""

    async def check() -> None:
        async with served(answering(b"")) as port, connected(port) as pool:
            (arrival,) = await scheduled(pool, get("/"), [0.0])
            assert arrival.status == LOST
            with pytest.raises(LostAnswerError):
                await pool.exchange(get("/"))

    asyncio.run(check())


def test_a_closed_loop_tells_of_a_refusal() -> None:
    """Throughput of answers that are not 200 is no throughput."""

    async def check() -> None:
        refusal = b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nfull"
        async with served(answering(*[refusal] * 9)) as port:
            with pytest.raises(LoadError, match="429"):
                await closed_loop(port, get("/"), 1, 0.05, Tree(os.getpid()))

    asyncio.run(check())


def test_a_tree_holds_the_memory_and_time_of_its_descendants() -> None:
    """A process that has a child counts both; alone, it counts itself."""
    child = "import sys; bytearray(50_000_000).count(1); print('up', flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        both, alone = Tree(process.pid), Tree(process.pid, alone=True)
        assert (len(both.pids()), alone.pids()) == (2, (process.pid,))
        assert both.peak_mb() > alone.peak_mb() + 50
        assert both.cpu_seconds() >= alone.cpu_seconds()
        assert process.stdin is not None
        process.stdin.close()
    assert both.pids() == ()


def test_percentiles_inside_the_service_are_never_stated_too_low() -> None:
    """What came between two readings is told by the upper bound of its bucket."""
    metrics = Metrics()
    timed = metrics.answer_seconds.labels("/livez", "200")
    timed.observe(9.0)
    before = answer_histograms(metrics.render().decode())
    for seconds in [0.0015] * 98 + [0.03] * 2:
        timed.observe(seconds)
    after = answer_histograms(metrics.render().decode())
    told = after["/livez 200"].since(before["/livez 200"]).inside()
    assert told is not None
    assert (told.count, told.p50_ms, told.p99_ms) == (100, 2.0, 50.0)
    assert Histogram({}).inside() is None


def test_a_spread_has_least_median_and_most() -> None:
    """Of three rounds the middle one counts; a percentile is a value that was measured."""
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(minimum=1.0, median=2.0, maximum=3.0)
    assert percentile([5.0, 1.0, 3.0], 0.99) == 5.0
