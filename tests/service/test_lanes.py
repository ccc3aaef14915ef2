"""Lanes: which threads let others go first, and whose work is taken next."""

import asyncio
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from service.batcher import Answered, Batcher
from service.errors import ServiceError
from service.lanes import Lanes
from service.metrics import Metrics
from tests.service.asking import ask
from tests.service.serving import wait_until

WAIT_SECONDS = 30


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
@pytest.mark.parametrize("yields", [False, True])
def test_lanes_that_yield_are_behind_the_event_loop(yields: bool) -> None:
    """A lane that yields has a lower priority than the thread that made it, whose own stays as it was."""

    async def check() -> int:
        lanes = Lanes(1, "test", yields=yields)
        try:
            return await lanes.run(niceness)
        finally:
            lanes.close()

    before = niceness()
    assert asyncio.run(check()) == min(before + (4 if yields else 0), 19)
    assert niceness() == before


class Noted:
    """Work of one kind, that notes when it ran."""

    def __init__(self, since: float, ran: list[float]) -> None:
        self.since: float | None = since
        self.due = 0.0
        self._ran = ran

    def take(self, num_idle: int) -> Callable[[], None]:
        assert num_idle == 0
        since, self.since = self.since, None
        assert since is not None
        return lambda: self._ran.append(since)


def test_whoever_has_waited_longest_goes_first() -> None:
    """Of several queues, a lane takes from the one whose oldest item has waited longest."""
    ran: list[float] = []
    lanes = Lanes(1, "test")
    sources = [Noted(since, ran) for since in (2.0, 1.0, 3.0)]
    for source in sources:
        lanes.add(source)
    with lanes.changed:
        lanes.wake()
    done = threading.Event()
    lanes.submit(done.set)  # came last: the others' clocks are long past
    assert done.wait(WAIT_SECONDS)
    lanes.close()
    assert ran == [1.0, 2.0, 3.0]


class Noting:
    """Work of which there is as much as it is told, always younger than any call, that notes each run."""

    def __init__(self, num: int, ran: list[str]) -> None:
        self.num, self.due, self._ran = num, 0.0, ran

    @property
    def since(self) -> float | None:
        return math.inf if self.num else None

    def take(self, num_idle: int) -> Callable[[], None]:
        assert num_idle == 0
        self.num -= 1
        return lambda: self._ran.append("begun")


@pytest.mark.parametrize(
    ("num_calls", "order"),
    [(1, ["begun"] * 2 + ["call"] + ["begun"] * 3), (2, ["call"] + ["begun"] * 2 + ["call"] + ["begun"] * 3)],
)
def test_what_was_begun_goes_before_few_calls(num_calls: int, order: list[str]) -> None:
    """Of two lanes' fewer calls than lanes wait for what was begun after them, once a lane, and not again and again."""
    ran, gates, done = list[str](), [threading.Event() for _ in range(2)], threading.Event()
    entered = threading.Semaphore(0)

    def hold(gate: threading.Event) -> None:
        entered.release()
        assert gate.wait(WAIT_SECONDS)

    lanes, work = Lanes(2, "test"), Noting(5, ran)
    for gate in gates:
        lanes.submit(partial(hold, gate))
        assert entered.acquire(timeout=WAIT_SECONDS)
    lanes.add(work)
    for _ in range(num_calls):
        lanes.submit(lambda: ran.append("call"))
    gates[0].set()  # one lane does it all: the order is its own
    wait_until(lambda: len(ran) == num_calls + 5)
    gates[1].set()
    lanes.submit(done.set)
    assert done.wait(WAIT_SECONDS)
    lanes.close()
    assert ran == order


def test_lane_that_has_just_run_runs_again() -> None:
    """Calls that come one by one are all run by one of several lanes, the one that is warm."""
    lanes, threads = Lanes(3, "test"), list[int]()

    async def check() -> None:
        for _ in range(20):
            threads.append(await lanes.run(threading.get_ident))
            wait_until(lambda: lanes.changed.num_waiting == 3)
        lanes.close()

    asyncio.run(check())
    assert len(set(threads[1:])) == 1


def test_lane_outlives_whatever_its_run_raises() -> None:
    """A run that raises costs the lane nothing: the next one is run."""

    def fail() -> None:
        raise SystemExit

    lanes, done = Lanes(1, "test"), threading.Event()
    lanes.submit(fail)
    lanes.submit(done.set)
    assert done.wait(WAIT_SECONDS)
    lanes.close()


def test_call_that_nobody_wants_any_more_is_dropped() -> None:
    """A call whose caller has gone when its turn comes never runs, and is counted."""
    dropped, gate, done, ran = [0], threading.Event(), threading.Event(), threading.Event()
    lanes = Lanes(1, "test", lambda: dropped.__setitem__(0, dropped[0] + 1))
    lanes.submit(partial(gate.wait, WAIT_SECONDS))
    lanes.submit(ran.set, lambda: False)
    lanes.submit(done.set)
    gate.set()
    assert done.wait(WAIT_SECONDS)
    lanes.close()
    assert (dropped[0], ran.is_set()) == (1, False)


def test_closed_lanes_begin_nothing_and_finish_what_they_run() -> None:
    """What runs when the lanes are closed ends before `close` returns; what waits never runs."""
    gate, entered, finished, ran = (threading.Event() for _ in range(4))

    def run() -> None:
        entered.set()
        assert gate.wait(WAIT_SECONDS)
        finished.set()

    lanes = Lanes(1, "test")
    lanes.submit(run)
    lanes.submit(ran.set)
    assert entered.wait(WAIT_SECONDS)
    closing = threading.Thread(target=lanes.close)
    closing.start()
    gate.set()
    closing.join(WAIT_SECONDS)
    assert (finished.is_set(), ran.is_set()) == (True, False)


def test_lane_that_queues_work_takes_its_share_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that a lane queues at its end wakes no lane for the share that it will take itself."""
    lanes = Lanes(2, "test")
    woken = list[int]()
    notify, done = lanes.changed.notify, threading.Event()

    def note(num: int = 1) -> None:
        woken.append(num)
        notify(num)

    monkeypatch.setattr(lanes.changed, "notify", note)
    lanes.submit(lambda: lanes.submit(done.set))
    assert done.wait(WAIT_SECONDS)
    assert woken == [1, 0]
    lanes.close()


async def asked(batcher: Batcher[int, int], items: Sequence[int]) -> list["asyncio.Task[Answered[int]]"]:
    """Asks for each item and lets every question reach the queue."""
    deadline = time.monotonic() + WAIT_SECONDS
    tasks = [asyncio.create_task(ask(batcher, item, deadline)) for item in items]
    await asyncio.sleep(0)
    return tasks


def test_lanes_never_run_more_than_their_number() -> None:
    """Two queues on shared lanes never run more batches at once than there are lanes."""
    running, most, lock = [0], [0], threading.Lock()

    def count(items: Sequence[int]) -> list[int | ServiceError]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.001)
        with lock:
            running[0] -= 1
        return list(items)

    async def main() -> None:
        lanes, metrics = Lanes(2, "test"), Metrics()
        batchers: list[Batcher[int, int]] = [
            Batcher(name, count, lanes, max_batch=1, max_wait_seconds=0, metrics=metrics) for name in ("a", "b")
        ]
        deadline = time.monotonic() + WAIT_SECONDS
        await asyncio.gather(*(ask(batcher, item, deadline) for item in range(30) for batcher in batchers))
        for batcher in batchers:
            await batcher.close()
        lanes.close()

    asyncio.run(main())
    assert most[0] == 2


def test_full_batch_goes_before_what_has_waited_longer() -> None:
    """Of two queues on one lane, the one with a full batch is taken from first, whoever came first."""
    order = list[str]()
    gate, entered = threading.Event(), threading.Event()

    def noting(name: str) -> Callable[[Sequence[int]], list[int | ServiceError]]:
        def note(items: Sequence[int]) -> list[int | ServiceError]:
            order.append(name)
            entered.set()
            assert gate.wait(WAIT_SECONDS)
            return list(items)

        return note

    async def main() -> None:
        lanes, metrics = Lanes(1, "test"), Metrics()
        first, early, full = (
            Batcher[int, int](name, noting(name), lanes, max_batch=size, max_wait_seconds=0, metrics=metrics)
            for name, size in (("first", 1), ("early", 8), ("full", 2))
        )
        tasks = await asked(first, [1])
        await asyncio.to_thread(entered.wait, WAIT_SECONDS)
        tasks += await asked(early, [2])
        tasks += await asked(full, [3, 4])
        gate.set()
        await asyncio.gather(*tasks)
        for batcher in (first, early, full):
            await batcher.close()
        lanes.close()

    asyncio.run(main())
    assert order == ["first", "full", "early"]
