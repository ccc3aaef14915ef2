"""Admission: how many images may be in flight, and whether work is taken at all.

A permit stands for one image. A request takes one at its headers, before its body is read, since how many images it
holds cannot be known then; each further image takes one more as it appears in the body, and a request that outgrows
what is free is refused like one that came too late (429). Never queues: a refusal is immediate. Never counts health
and metrics.
"""

import asyncio
import math
import time
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Final

from service.errors import (
    DeadlinePassed,
    Disconnected,
    Draining,
    QueueFull,
    ServiceError,
    Stalled,
    Starting,
    WouldMissDeadline,
)
from service.metrics import Metrics
from service.pace import Pace
from service.watchdog import REFUSAL, Watchdog

_MAX_RETRY_SECONDS: Final = 60
# What is predicted is a mean, and a request that is let in and misses its deadline has cost others theirs for nothing.
_MARGIN: Final = 1.5
_UNFINISHED: Final = (DeadlinePassed, Disconnected, QueueFull, Stalled, WouldMissDeadline)


class State(Enum):
    """Where the service is in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"  # told to stop: not ready any more, and work is still taken until everyone has noticed
    DRAINING = "draining"  # accepted work is finished, new work is refused
    FAILED = "failed"


class Admission:
    """The permits of one app. Belongs to one event loop.

    Args:
        capacity: images in flight at most.
        predicted_seconds: how long work that comes now would wait, by what is known of the queues; with the pace at
            which images are finished, who would miss their deadline is refused by it, and `Retry-After` made from it.
        metrics: where to count.
        watchdog: knows whether a run hangs; a service with such a run is not ready, and takes work only while another
            lane is left to do it.
        others_ready: whether the other processes behind the port are ready, without which none says that it is.
        full: images under way that keep every lane busy; the pace is measured, and counts, from there on.
    """

    def __init__(
        self,
        capacity: int,
        predicted_seconds: Callable[[], float],
        metrics: Metrics,
        watchdog: Watchdog | None = None,
        others_ready: Callable[[], bool] = lambda: True,
        full: int = 1,
    ) -> None:
        self._pace = Pace(full)
        self._others_ready = others_ready
        self._capacity, self._predicted_seconds, self._metrics = capacity, predicted_seconds, metrics
        self._watchdog = watchdog or Watchdog(None, 1, metrics)
        self._watchdog.subscribe(self.publish)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.state = State.STARTING

    @property
    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        return self.takes_work and self._others_ready()

    @property
    def takes_work(self) -> bool:
        """Whether this process is as it should be, whatever the others are."""
        return self.state is State.READY and not self.has_stalled

    @property
    def has_stalled(self) -> bool:
        """Whether a run of the model hangs, so that the process must be restarted."""
        return self._watchdog.has_stalled

    @property
    def in_flight(self) -> int:
        """Images admitted and not answered yet."""
        return self._in_flight

    def enter(self, state: State) -> None:
        """Goes on to another state; a service that is stopping or has failed never becomes ready again."""
        if state is State.READY and self.state is not State.STARTING:
            return
        self.state = state
        self.publish()

    def publish(self) -> None:
        """Sets the metrics of readiness to what holds now."""
        self._metrics.ready.set(self.ready)
        self._metrics.workers.set(self.takes_work)

    def refusal(self) -> ServiceError | None:
        """Why no work is taken now; None where it is."""
        if self.state in (State.STARTING, State.FAILED):
            return Starting("The service is starting and takes no work yet.")
        if self.state is State.DRAINING:
            return Draining("The service is stopping and takes no further work.")
        if self._watchdog.is_blocked:
            return Stalled(REFUSAL)
        return None

    @property
    def closes_connections(self) -> bool:
        """Whether callers should look for another process from now on."""
        return self.state is State.LEAVING or self.refusal() is not None

    def turned_away(self, deadline: float | None = None) -> ServiceError | None:
        """Why a request that comes now is not taken: as `admit` would raise; None where it is."""
        return self.refusal() or self._full(1) or self._late(deadline)

    def admit(self, deadline: float | None = None) -> "Ticket":
        """A ticket with one permit, for use in a `with` block.

        Args:
            deadline: on `time.monotonic`'s clock; None for work that has none.

        Raises:
            Starting: if the service is not ready yet.
            Draining: if it is stopping.
            Stalled: if runs that hang hold every lane.
            QueueFull: if as many images are in flight as may be.
            WouldMissDeadline: if those are predicted to outlast the deadline.
        """
        refusal = self.turned_away(deadline)
        if refusal is not None:
            raise refusal
        ticket = Ticket(self)
        ticket.grow()
        return ticket

    async def idle(self) -> None:
        """Waits until nothing is in flight."""
        await self._idle.wait()

    def take(self, num: int) -> None:
        """Takes permits: all that are asked for, or none.

        Raises:
            QueueFull: if fewer are free.
        """
        refusal = self._full(num)
        if refusal is not None:
            raise refusal
        self._set(self._in_flight + num)

    def give_back(self, num: int, *, is_finished: bool) -> None:
        """Gives permits back; `is_finished` if the work that they stood for was done."""
        self._set(self._in_flight - num)
        if is_finished:
            self._pace.finished(num, self._in_flight)
        else:
            self._pace.dropped(self._in_flight)

    def _full(self, num: int) -> QueueFull | None:
        if self._in_flight + num <= self._capacity:
            return None
        seconds = min(_MAX_RETRY_SECONDS, math.ceil(self._all_predicted_seconds()))
        return QueueFull(f"As many images are in flight as may be ({self._capacity}).", seconds)

    def _late(self, deadline: float | None) -> WouldMissDeadline | None:
        if deadline is None:
            return None
        seconds = self._all_predicted_seconds()
        if seconds <= 0 or time.monotonic() + seconds <= deadline:
            return None
        return WouldMissDeadline("The queue is predicted to outlast the deadline.")

    def _all_predicted_seconds(self) -> float:
        return max(self._predicted_seconds(), _MARGIN * self._pace.predicted_seconds(self._in_flight))

    def _set(self, num: int) -> None:
        self._in_flight = num
        self._metrics.in_flight.set(num)
        (self._idle.clear if num else self._idle.set)()


class Ticket:
    """One request's permits; leaving the `with` block gives all of them back."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self._held = admission, 0

    def grow(self, num: int = 1) -> None:
        """Takes further permits.

        Raises:
            QueueFull: if fewer are free; those held stay held.
        """
        self._admission.take(num)
        self._held += num

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, 0
        self._admission.give_back(held, is_finished=kind is None or not issubclass(kind, _UNFINISHED))
