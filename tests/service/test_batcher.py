"""The batcher on an event loop of its own: who shares a run, whose answer is whose, and what outlives a failure."""

import asyncio
import queue
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.batcher import Answered, Batcher, Wish
from service.errors import DeadlinePassed, Draining, Internal, ServiceError, WouldMissDeadline
from service.lanes import Lanes
from service.metrics import Metrics
from tests.service.asking import ask

Run = Callable[[Sequence[int]], Sequence["int | ServiceError"]]
Test = Callable[[Batcher[int, int]], Awaitable[None]]
WAIT_SECONDS = 30


class Gate:
    """A run that waits at a gate, notes its batches, and answers each item with its square."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int | ServiceError]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.open.wait(WAIT_SECONDS)
        return [item**2 for item in items]

    async def wait_for_run(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=WAIT_SECONDS)


def soon() -> float:
    return time.monotonic() + WAIT_SECONDS


def run(
    call: Run,
    test: Test,
    *,
    num_lanes: int = 1,
    max_batch: int = 8,
    max_wait_seconds: float = 0,
    metrics: Metrics | None = None,
    max_runs: int = 1,
) -> None:
    async def main() -> None:
        lanes = Lanes(num_lanes, "test")
        batcher: Batcher[int, int] = Batcher(
            "m",
            call,
            lanes,
            max_batch=max_batch,
            max_wait_seconds=max_wait_seconds,
            metrics=metrics or Metrics(),
            max_runs=max_runs,
        )
        try:
            await asyncio.wait_for(test(batcher), WAIT_SECONDS)
        finally:
            if isinstance(call, Gate):
                call.open.set()
            await batcher.close()
            lanes.close()

    asyncio.run(main())


async def queued(batcher: Batcher[int, int], items: Sequence[int]) -> list["asyncio.Task[Answered[int]]"]:
    """Asks for each item and lets every question reach the queue."""
    tasks = [asyncio.create_task(ask(batcher, item, soon())) for item in items]
    await asyncio.sleep(0)
    return tasks


def test_batch_is_what_queued_while_the_last_ran() -> None:
    """The first item runs at once and alone; what comes meanwhile is the next batch, whole."""
    gate = Gate()

    async def test(batcher: Batcher[int, int]) -> None:
        first = await queued(batcher, [1])
        await gate.wait_for_run()
        rest = await queued(batcher, [2, 3, 4])
        gate.open.set()
        answers = await asyncio.gather(*first, *rest)
        assert [answer.value for answer in answers] == [1, 4, 9, 16]
        assert gate.batches == [[1], [2, 3, 4]]

    run(gate, test)


def test_batch_is_never_over_its_most() -> None:
    """More than max_batch items make several runs, in the order in which they came."""
    gate = Gate()

    async def test(batcher: Batcher[int, int]) -> None:
        tasks = await queued(batcher, [0])
        await gate.wait_for_run()
        tasks += await queued(batcher, range(1, 8))
        gate.open.set()
        await asyncio.gather(*tasks)
        assert gate.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]

    run(gate, test, max_batch=3)


def test_idle_lanes_split_what_came_at_once() -> None:
    """With two lanes free, four items that came together make two runs of two."""
    gate, answers = Gate(), queue.SimpleQueue[object]()

    async def test(batcher: Batcher[int, int]) -> None:
        batcher.put([Wish(item, soon(), answers.put, lambda: True) for item in (1, 2, 3, 4)])
        await gate.wait_for_run()
        await gate.wait_for_run()
        gate.open.set()
        for _ in range(4):
            await asyncio.to_thread(answers.get, timeout=WAIT_SECONDS)
        assert sorted(map(len, gate.batches)) == [2, 2]

    run(gate, test, num_lanes=2)


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_lands_with_its_asker(seed: int) -> None:
    """Whatever the sizes, the lanes, the order of arrival and who gives up, an answer is its own asker's."""
    rng = random.Random(seed)
    num, cancelled = rng.randint(1, 200), set()

    def square(items: Sequence[int]) -> list[int | ServiceError]:
        return [Internal("odd") if item % 7 == 0 else item**2 for item in items]

    async def ask_one(batcher: Batcher[int, int], item: int) -> None:
        for _ in range(rng.randint(0, 5)):
            await asyncio.sleep(0)
        if item % 7 == 0:
            with pytest.raises(Internal):
                await ask(batcher, item, soon())
        else:
            assert (await ask(batcher, item, soon())).value == item**2

    async def test(batcher: Batcher[int, int]) -> None:
        items = rng.sample(range(10_000), num)
        tasks = [asyncio.create_task(ask_one(batcher, item)) for item in items]
        for task in tasks:
            if rng.random() < 0.2:
                await asyncio.sleep(0)
                cancelled.add(task)
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for task, result in zip(tasks, results, strict=True):
            assert result is None or (task in cancelled and isinstance(result, asyncio.CancelledError))

    run(square, test, num_lanes=rng.randint(1, 4), max_batch=rng.randint(1, 16))


def test_failed_run_fails_only_its_own_items() -> None:
    """A run that raises gives 500 to its own askers; the runs before and after it answer."""

    def fail_on_13(items: Sequence[int]) -> list[int | ServiceError]:
        if 13 in items:
            raise ValueError("unlucky")
        return list(items)

    async def test(batcher: Batcher[int, int]) -> None:
        assert (await ask(batcher, 1, soon())).value == 1
        with pytest.raises(Internal):
            await ask(batcher, 13, soon())
        assert (await ask(batcher, 2, soon())).value == 2

    run(fail_on_13, test)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError, RecursionError])
def test_loop_outlives_anything_that_a_run_raises(error: type[BaseException]) -> None:
    """Even what would end a process fails one batch alone."""

    def fail_on_13(items: Sequence[int]) -> list[int | ServiceError]:
        if 13 in items:
            raise error
        return list(items)

    async def test(batcher: Batcher[int, int]) -> None:
        with pytest.raises(Internal):
            await ask(batcher, 13, soon())
        assert (await ask(batcher, 2, soon())).value == 2

    run(fail_on_13, test)


@pytest.mark.parametrize("answers", [[], [1, 2]])
def test_wrong_number_of_answers_is_a_failure(answers: list[int]) -> None:
    """A run that gives more or fewer answers than items gives none to anybody."""

    async def test(batcher: Batcher[int, int]) -> None:
        with pytest.raises(Internal):
            await ask(batcher, 1, soon())

    run(lambda _: list(answers), test)


def test_cancelled_item_never_runs() -> None:
    """An item whose asker gave up is dropped before stacking, and counted."""
    gate, metrics = Gate(), Metrics()

    async def test(batcher: Batcher[int, int]) -> None:
        first = await queued(batcher, [1])
        await gate.wait_for_run()
        gone, stays = await queued(batcher, [2, 3])
        gone.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*first, stays)
        assert gate.batches == [[1], [3]]
        assert b'mien_dropped_items_total{model="m",reason="cancelled"} 1.0' in metrics.render()

    run(gate, test, metrics=metrics)


def test_expired_item_never_runs() -> None:
    """An item whose deadline passed in the queue is dropped before stacking, counted, and told 504."""
    gate, metrics = Gate(), Metrics()

    async def test(batcher: Batcher[int, int]) -> None:
        first = await queued(batcher, [1])
        await gate.wait_for_run()
        deadline = time.monotonic() + 0.01
        late = asyncio.create_task(ask(batcher, 2, deadline))
        while time.monotonic() < deadline:
            await asyncio.sleep(0)
        gate.open.set()
        with pytest.raises(DeadlinePassed):
            await late
        await asyncio.gather(*first)
        assert gate.batches == [[1]]
        assert b'mien_dropped_items_total{model="m",reason="expired"} 1.0' in metrics.render()

    run(gate, test, metrics=metrics)


def test_hopeless_deadline_is_refused_at_once() -> None:
    """Once runs were measured, an item that the queue is predicted to outlast is refused without being queued."""
    gate = Gate()

    async def test(batcher: Batcher[int, int]) -> None:
        first = await queued(batcher, [1])
        await gate.wait_for_run()
        measured = time.monotonic() + 0.05
        while time.monotonic() < measured:
            await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*first)
        gate.open.clear()
        tasks = await queued(batcher, [2])
        await gate.wait_for_run()
        tasks += await queued(batcher, range(3, 40))
        with pytest.raises(WouldMissDeadline):
            await ask(batcher, 99, time.monotonic() + 0.2)
        gate.open.set()
        await asyncio.gather(*tasks)
        assert not any(99 in batch for batch in gate.batches)

    run(gate, test)


def test_idle_queue_is_joined_whatever_was_measured() -> None:
    """A slow past never refuses anyone from an empty queue, or nothing could ever mend the measure."""
    gate = Gate()

    async def test(batcher: Batcher[int, int]) -> None:
        gate.open.set()
        await ask(batcher, 1, soon())
        batcher._seconds_per_item = 1000.0
        assert (await ask(batcher, 2, soon())).value == 4
        assert batcher._seconds_per_item < 1000

    run(gate, test)


def test_batch_waits_for_company_only_when_told_to() -> None:
    """With max_wait_ms, a batch that is not full waits; a full one goes at once."""
    gate = Gate()
    gate.open.set()

    async def test(batcher: Batcher[int, int]) -> None:
        tasks = await queued(batcher, [1])
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.batches == []
        tasks += await queued(batcher, [2])
        await asyncio.gather(*tasks)  # the wait is an hour: only fullness can have ended it
        assert gate.batches == [[1, 2]]

    run(gate, test, max_batch=2, max_wait_seconds=3600)


def test_closing_fails_what_still_waits() -> None:
    """Whoever waits in the queue of a batcher that closes is told 503; what runs is finished."""
    gate = Gate()

    async def test(batcher: Batcher[int, int]) -> None:
        (running,) = await queued(batcher, [1])
        await gate.wait_for_run()
        (waiting,) = await queued(batcher, [2])
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        gate.open.set()
        await closing
        assert (await running).value == 1
        with pytest.raises(Draining):
            await waiting

    run(gate, test)
