"""Batcher: one model's queue, shared by the faces (or images) of every request.

Data flow: `put` adds items to the queue -> a lane that is free takes a batch of what has queued meanwhile -> runs it ->
gives each answer to its asker, in the lane. So a batch is what queued while the last ran. A lane's turn may be several
runs, whose answers are told in one go. Errors, by step: a hopeless deadline is refused at `put` (503); items that
nobody wants any more and expired ones (504) are dropped before stacking; a failed or short run fails its own items
alone (500). Never waits for company unless told to, never lets a full batch wait, and outlives any failure of a run,
and one that hangs (see `service.watchdog`).
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from service.errors import DeadlinePassed, Draining, Internal, ServiceError, Stalled, WouldMissDeadline
from service.lanes import CROWD_SECONDS, Lanes, Run
from service.logs import log_event
from service.metrics import Metrics
from service.reply import together
from service.watchdog import REFUSAL, Watchdog

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_Call = Callable[[Sequence[Item]], Sequence[Answer | ServiceError]]
_IDLE_RUNS: Final = 2  # how long all cores must not have been wanted before one is lent, and CROWD_SECONDS at least
_POLL_SECONDS: Final = 0.005
_TOO_LATE: Final = "The deadline passed while the request waited in the queue."
_NEWEST: Final = 0.2  # weight of the newest run in the running mean of seconds an item


@dataclass(frozen=True, slots=True)
class Answered(Generic[Answer]):
    """An item's answer, the seconds it waited beside its run, and the seconds that the run took."""

    value: Answer
    queue_seconds: float
    run_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Wish(Generic[Item, Answer]):
    """An item in a queue.

    Attributes:
        item: what to run.
        deadline: on `time.monotonic`'s clock.
        done: told the answer, or why there is none, once: in the lane that ran it, or in whichever thread it fails.
        is_wanted: whether anybody still waits; `done` is not called for who does not. Called from any thread.
        since: when the wait began, on the same clock.
    """

    item: Item
    deadline: float
    done: Callable[["Answered[Answer] | ServiceError"], None]
    is_wanted: Callable[[], bool]
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Answer]):
    """One queue, from which lanes take. `close` it on the event loop that its watchdog belongs to.

    Args:
        name: the model's, in metrics and logs.
        run: blocks; takes items, gives as many answers in their order. An answer that is a `ServiceError` fails its
            item alone.
        lanes: threads to run in, shared with other batchers.
        max_batch: items in one run at most.
        max_wait_seconds: how long a batch that is not full waits for company.
        metrics: where to count.
        watchdog: gives up on turns that hang; by default none is given up on.
        max_runs: runs in a lane's turn at most. More than one only where work waits for every lane, and the more the
            longer that line is: then nobody is answered later for it in the mean, and the event loop, woken once a
            turn, takes less from the lanes.
        spread: as `run`, by two threads: for a lone item, where not all cores were wanted for twice as long as a run,
            nor for 30 ms.
    """

    def __init__(
        self,
        name: str,
        run: _Call[Item, Answer],
        lanes: Lanes,
        *,
        max_batch: int,
        max_wait_seconds: float,
        metrics: Metrics,
        watchdog: Watchdog | None = None,
        max_runs: int = 1,
        spread: _Call[Item, Answer] | None = None,
    ) -> None:
        self._name, self._run, self._lanes = name, run, lanes
        self._max_batch, self._max_wait_seconds, self._metrics = max_batch, max_wait_seconds, metrics
        self._max_runs, self._spread = max_runs, spread
        self._queue: deque[Wish[Item, Answer]] = deque()
        self._num_running = 0
        self._seconds_per_item = 0.0
        self._is_closed = False
        self._length = metrics.queue_length.labels(name)
        self._wait_seconds = metrics.queue_seconds.labels(name)
        self._batch_size = metrics.batch_size.labels(name)
        self._watchdog = watchdog or Watchdog(None, lanes.num, metrics)
        self._watchdog.subscribe(self._refuse_if_blocked)
        lanes.add(self)

    async def close(self) -> None:
        """Takes no more; waits for the runs; whoever still waits in the queue gets 503."""
        with self._lanes.changed:
            self._is_closed = True
            left = self._emptied()
        _fail(left, Draining("The service is stopping."))
        while self._num_running:
            await asyncio.sleep(_POLL_SECONDS)

    def predicted_seconds(self) -> float:
        """How long an item that comes now will wait for its answer, by the measured seconds an item; 0 when idle."""
        ahead = len(self._queue) + self._num_running
        return (ahead + 1) * self._seconds_per_item / self._lanes.num if self._queue else 0.0

    def put(self, wishes: Sequence[Wish[Item, Answer]]) -> None:
        """Queues items that belong together; from any thread.

        Raises:
            WouldMissDeadline: if the queue is predicted to outlast the first one's deadline.
            Stalled: if no run can begin since all lanes are held by runs that hang.
            Draining: if the batcher is closed.
        """
        if self._watchdog.is_blocked:
            raise Stalled(REFUSAL)
        # An empty queue is always joined: the prediction could be stale, and only runs can mend it.
        predicted_seconds = self.predicted_seconds()
        if predicted_seconds > 0 and wishes and time.monotonic() + predicted_seconds > wishes[0].deadline:
            raise WouldMissDeadline("The queue is predicted to outlast the deadline.")
        with self._lanes.changed:
            if self._is_closed:
                raise Draining("The service is stopping.")
            self._queue.extend(wishes)
            self._length.set(len(self._queue))
            self._lanes.wake(len(wishes))

    @property
    def since(self) -> float | None:
        """As `lanes.Source` has it: a full turn goes before whatever waits to become one."""
        if not self._queue:
            return None
        return 0.0 if len(self._queue) >= self._turn_items else self._queue[0].since

    @property
    def due(self) -> float:
        """As `lanes.Source` has it: a batch that is full never waits."""
        is_full = not self._max_wait_seconds or len(self._queue) >= self._max_batch
        return 0.0 if is_full else self._queue[0].since + self._max_wait_seconds

    @property
    def _turn_items(self) -> int:
        """Items in a lane's turn at most."""
        if self._max_runs == 1:
            return self._max_batch
        num_waiting = len(self._queue) + self._lanes.num_calls
        return self._max_batch * min(self._max_runs, 1 + num_waiting // (2 * self._lanes.num))

    def take(self, num_idle: int) -> Run | None:
        """A lane's share of the queue, so that idle lanes split what came at once; drops the dead."""
        share = min(self._turn_items, math.ceil(len(self._queue) / (num_idle + 1)))
        batch, expired = list[Wish[Item, Answer]](), list[Wish[Item, Answer]]()
        while self._queue and len(batch) < share:
            wish = self._queue.popleft()
            if not self._is_dead(wish, expired):
                batch.append(wish)
        self._length.set(len(self._queue))
        self._num_running += len(batch)
        if not (batch or expired):
            return None
        is_alone = len(batch) == 1 and not self._queue
        idle_seconds = max(_IDLE_RUNS * self._seconds_per_item, CROWD_SECONDS)
        if self._spread is not None and is_alone and self._lanes.lend(idle_seconds):
            return partial(self._run_turn, batch, expired, self._spread)
        return partial(self._run_turn, batch, expired)

    def _is_dead(self, wish: Wish[Item, Answer], expired: list[Wish[Item, Answer]]) -> bool:
        """Whether nobody waits for an item any more, or has waited too long: then it is among the expired."""
        if not wish.is_wanted():
            self._metrics.dropped.labels(self._name, "cancelled").inc()
            return True
        if time.monotonic() >= wish.deadline:
            self._metrics.dropped.labels(self._name, "expired").inc()
            expired.append(wish)
            return True
        return False

    def _run_turn(
        self,
        batch: Sequence[Wish[Item, Answer]],
        expired: Sequence[Wish[Item, Answer]],
        spread: _Call[Item, Answer] | None = None,
    ) -> None:
        # Told here, without the lanes' lock: whoever is told may have more to put in a queue.
        _fail(expired, DeadlinePassed(_TOO_LATE))
        if not batch:
            return
        is_lent = spread is not None
        watched = self._watchdog.begin(self._name, partial(self._give_up, batch, is_lent=is_lent))
        late = list[Wish[Item, Answer]]()
        ran = [self._run_once(batch[: self._max_batch], spread or self._run)]
        for start in range(self._max_batch, len(batch), self._max_batch):
            living = [wish for wish in batch[start : start + self._max_batch] if not self._is_dead(wish, late)]
            if living:
                ran.append(self._run_once(living, self._run))
        if not self._watchdog.end(watched):
            return  # given up on: nobody waits for these answers any more
        with self._lanes.changed:
            self._lanes.run_is_over()
            if is_lent:
                self._lanes.take_back()
            self._num_running -= len(batch)
            self._measure(sum(run.seconds for run in ran) / sum(len(run.wishes) for run in ran))
        with together():
            for run in ran:
                self._deliver(run)
            _fail(late, DeadlinePassed(_TOO_LATE))

    def _run_once(self, wishes: Sequence[Wish[Item, Answer]], call: _Call[Item, Answer]) -> "_Ran[Item, Answer]":
        started = time.monotonic()
        return _Ran(wishes, self._answers(wishes, call), time.monotonic() - started)

    def _answers(
        self, batch: Sequence[Wish[Item, Answer]], call: _Call[Item, Answer]
    ) -> Sequence[Answer | ServiceError]:
        try:
            answers = call([wish.item for wish in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} items")
        except BaseException as error:  # a run may raise anything, and fails its own items alone
            self._metrics.failed_runs.labels(self._name).inc()
            # The log is the operator's: the library's message names nodes and shapes, never anybody's data.
            log_event("run failed", level=40, error=error, model=self._name, items=len(batch), message=str(error)[:200])
            return [Internal("The model failed on this image.") for _ in batch]
        return answers

    def _give_up(self, batch: Sequence[Wish[Item, Answer]], *, is_lent: bool) -> None:
        with self._lanes.changed:
            if is_lent:
                self._lanes.take_back()
            self._num_running -= len(batch)
        _fail(batch, Stalled(REFUSAL))

    def _refuse_if_blocked(self) -> None:
        if not self._watchdog.is_blocked:
            return
        with self._lanes.changed:
            left = self._emptied()
        _fail(left, Stalled(REFUSAL))

    def _emptied(self) -> list[Wish[Item, Answer]]:
        """Takes everything out of the queue. Under the lanes' lock."""
        left = list(self._queue)
        self._queue.clear()
        self._length.set(0)
        return left

    def _measure(self, seconds_per_item: float) -> None:
        known = self._seconds_per_item
        self._seconds_per_item = seconds_per_item if known == 0 else known + _NEWEST * (seconds_per_item - known)

    def _deliver(self, ran: "_Ran[Item, Answer]") -> None:
        self._batch_size.observe(len(ran.wishes))
        now = time.monotonic()
        for wish, answer in zip(ran.wishes, ran.answers, strict=True):
            waited = now - wish.since - ran.seconds
            self._wait_seconds.observe(waited)
            if isinstance(answer, ServiceError):
                _fail([wish], answer)
            elif wish.is_wanted():
                wish.done(Answered(answer, waited, ran.seconds))


@dataclass(frozen=True, slots=True, eq=False)
class _Ran(Generic[Item, Answer]):
    """Items of one run, their answers, and the seconds that it took."""

    wishes: Sequence[Wish[Item, Answer]]
    answers: Sequence[Answer | ServiceError]
    seconds: float


def _fail(batch: Sequence[Wish[Item, Answer]], error: ServiceError) -> None:
    for wish in batch:
        if wish.is_wanted():
            # Each asker gets an exception of its own: a shared one would gather every asker's traceback.
            wish.done(type(error)(error.detail))
