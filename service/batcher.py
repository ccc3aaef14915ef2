"""Batcher: one model's queue, shared by the faces (or images) of every request.

Data flow: `ask` puts an item in the queue -> the dispatcher takes a free lane, then forms a batch of what has queued
meanwhile -> the batch runs in the lane -> each answer goes to its asker. So a batch is what queued while the last ran.
Errors, by step: a hopeless deadline is refused at `ask` (503); cancelled and expired items (504) are dropped before
stacking; a failed or short run fails its own items alone (500). Never waits for company unless told to, never lets a
full batch wait, and never stops: the dispatcher outlives any failure, and a run that hangs (see `service.watchdog`).
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.errors import DeadlinePassed, Draining, Internal, ServiceError, Stalled, WouldMissDeadline
from service.lanes import Lanes
from service.logs import log_event
from service.metrics import Metrics
from service.watchdog import REFUSAL, Watchdog

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_NEWEST: Final = 0.2  # weight of the newest run in the running mean of seconds an item


@dataclass(frozen=True, slots=True)
class Answered(Generic[Answer]):
    """An item's answer, the seconds it waited for its run, and the seconds that the run took."""

    value: Answer
    queue_seconds: float
    run_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[Item, Answer]):
    item: Item
    future: "asyncio.Future[Answered[Answer]]"
    deadline: float
    since: float


class Batcher(Generic[Item, Answer]):
    """One queue and its dispatcher. Belongs to one event loop.

    Args:
        name: the model's, in metrics and logs.
        run: blocks; takes items, gives as many answers in their order. An answer that is a `ServiceError` fails its
            item alone.
        lanes: the threads that runs happen in, shared among queues.
        max_batch: items in one run at most.
        max_wait_seconds: how long a batch that is not full waits for company.
        metrics: where to count.
        watchdog: gives up on runs that hang; by default none is given up on.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Item]], Sequence[Answer | ServiceError]],
        lanes: Lanes,
        *,
        max_batch: int,
        max_wait_seconds: float,
        metrics: Metrics,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._name, self._run, self._lanes = name, run, lanes
        self._max_batch, self._max_wait_seconds, self._metrics = max_batch, max_wait_seconds, metrics
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._runs: set[asyncio.Task[None]] = set()
        self._num_running = 0
        self._seconds_per_item = 0.0
        self._dispatcher: asyncio.Task[None] | None = None
        self._watchdog = watchdog or Watchdog(None, lanes.num, metrics)
        self._watchdog.subscribe(self._refuse_if_blocked)

    def start(self) -> None:
        """Starts the dispatcher, in the running loop."""
        self._dispatcher = asyncio.get_running_loop().create_task(self._dispatch(), name=f"mien-{self._name}")

    async def close(self) -> None:
        """Stops the dispatcher; waits for the runs; whoever still waits in the queue gets 503."""
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._dispatcher
        await asyncio.gather(*self._runs, return_exceptions=True)
        while self._queue:
            _fail([self._queue.popleft()], Draining("The service is stopping."))

    def predicted_seconds(self) -> float:
        """How long an item that comes now will wait for its answer, by the measured seconds an item; 0 when idle."""
        ahead = len(self._queue) + self._num_running
        return (ahead + 1) * self._seconds_per_item / self._lanes.num if self._queue else 0.0

    async def ask(self, item: Item, deadline: float) -> Answered[Answer]:
        """Queues one item and waits for its answer; cancelling the wait takes the item out.

        Args:
            item: what to run.
            deadline: on `time.monotonic`'s clock.

        Raises:
            WouldMissDeadline: if the queue is predicted to outlast the deadline.
            DeadlinePassed: if it passed in the queue.
            Internal: if the run failed.
            Stalled: if the run hangs, or no run can begin since all lanes are held by such runs.
        """
        if self._watchdog.is_blocked:
            raise Stalled(REFUSAL)
        now = time.monotonic()
        # An empty queue is always joined: the prediction could be stale, and only runs can mend it.
        predicted_seconds = self.predicted_seconds()
        if predicted_seconds > 0 and now + predicted_seconds > deadline:
            raise WouldMissDeadline("The queue is predicted to outlast the deadline.")
        future: asyncio.Future[Answered[Answer]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(item, future, deadline, now))
        self._metrics.queue_length.labels(self._name).set(len(self._queue))
        self._arrived.set()
        return await future

    async def _dispatch(self) -> None:
        while True:
            await self._arrived.wait()
            try:
                await self._fill()
                await self._lanes.take()
                self._launch()
            except Exception as error:
                log_event("dispatcher failed and goes on", level=40, error=error, model=self._name)
                await asyncio.sleep(0)  # whatever keeps failing must not keep the loop from everyone else

    async def _fill(self) -> None:
        """Waits for a full batch, no longer than `max_wait_seconds` after the oldest item came."""
        while self._max_wait_seconds and self._queue and len(self._queue) < self._max_batch:
            left = self._queue[0].since + self._max_wait_seconds - time.monotonic()
            if left <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)
        if self._queue:
            self._arrived.set()

    def _launch(self) -> None:
        """Runs a batch in the lane that was taken, or gives the lane back where nothing is left to run."""
        batch: list[_Waiting[Item, Answer]] = []
        try:
            batch = self._assemble()
        finally:
            if not batch:
                self._lanes.free()
        if batch:
            self._num_running += len(batch)
            task = asyncio.get_running_loop().create_task(self._run_batch(batch))
            self._runs.add(task)
            task.add_done_callback(self._runs.discard)

    def _assemble(self) -> list[_Waiting[Item, Answer]]:
        """Takes this lane's share of the queue, so that idle lanes split what came at once, and drops the dead."""
        share = min(self._max_batch, math.ceil(len(self._queue) / (self._lanes.num_free + 1)))
        batch: list[_Waiting[Item, Answer]] = []
        now = time.monotonic()
        while self._queue and len(batch) < share:
            waiting = self._queue.popleft()
            if self._is_live(waiting, now):
                batch.append(waiting)
        if not self._queue:
            self._arrived.clear()
        self._metrics.queue_length.labels(self._name).set(len(self._queue))
        return batch

    def _is_live(self, waiting: _Waiting[Item, Answer], now: float) -> bool:
        if waiting.future.done():
            self._metrics.dropped.labels(self._name, "cancelled").inc()
            return False
        if now >= waiting.deadline:
            self._metrics.dropped.labels(self._name, "expired").inc()
            _fail([waiting], DeadlinePassed("The deadline passed while the request waited in the queue."))
            return False
        return True

    async def _run_batch(self, batch: list[_Waiting[Item, Answer]]) -> None:
        started = time.monotonic()
        try:
            run = self._lanes.run(self._run, [waiting.item for waiting in batch])
            answers = await self._watchdog.watch(run, self._name, self._lanes.free)
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} items")
        except Stalled as error:
            _fail(batch, error)
        except Exception as error:
            self._metrics.failed_runs.labels(self._name).inc()
            # What runs here sees arrays alone, so its message names shapes and nodes, never anybody's data.
            log_event("run failed", level=40, error=error, model=self._name, items=len(batch), message=str(error)[:200])
            _fail(batch, Internal("The model failed on this image."))
        else:
            self._deliver(batch, answers, started)
        finally:
            self._num_running -= len(batch)

    def _refuse_if_blocked(self) -> None:
        while self._watchdog.is_blocked and self._queue:
            _fail([self._queue.popleft()], Stalled(REFUSAL))
        self._metrics.queue_length.labels(self._name).set(len(self._queue))

    def _deliver(
        self, batch: list[_Waiting[Item, Answer]], answers: Sequence[Answer | ServiceError], started: float
    ) -> None:
        seconds = time.monotonic() - started
        per_item = seconds / len(batch)
        known = self._seconds_per_item
        self._seconds_per_item = per_item if known == 0 else known + _NEWEST * (per_item - known)
        self._metrics.batch_size.labels(self._name).observe(len(batch))
        for waiting, answer in zip(batch, answers, strict=True):
            self._metrics.queue_seconds.labels(self._name).observe(started - waiting.since)
            if isinstance(answer, ServiceError):
                _fail([waiting], answer)
            elif not waiting.future.done():
                waiting.future.set_result(Answered(answer, started - waiting.since, seconds))


def _fail(batch: Sequence[_Waiting[Item, Answer]], error: ServiceError) -> None:
    for waiting in batch:
        if not waiting.future.done():
            # Each asker gets an exception of its own: a shared one would gather every asker's traceback.
            waiting.future.set_exception(type(error)(error.detail))
            waiting.future.exception()  # an asker that was cancelled at this moment leaves it unread, which is no news
