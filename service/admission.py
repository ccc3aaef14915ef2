"""Admission: how many images may be in flight, and whether work is taken at all.

A permit stands for one image. A request takes one at its headers, before its body is read, since how many images it
holds cannot be known then; each further image takes one more as it appears in the body, and a request that outgrows
what is free is refused like one that came too late (429). Never queues: a refusal is immediate. Never counts health
and metrics.
"""

import asyncio
import math
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Final

from service.errors import Draining, QueueFull, ServiceError, Stalled, Starting
from service.metrics import Metrics
from service.watchdog import REFUSAL, Watchdog

_MAX_RETRY_SECONDS: Final = 60


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
        predicted_seconds: how long work that comes now would wait; `Retry-After` is made from it.
        metrics: where to count.
        watchdog: knows whether a run hangs; a service with such a run is not ready, and takes work only while another
            lane is left to do it.
        others_ready: whether the other processes behind the port are ready, without which none says that it is.
    """

    def __init__(
        self,
        capacity: int,
        predicted_seconds: Callable[[], float],
        metrics: Metrics,
        watchdog: Watchdog | None = None,
        others_ready: Callable[[], bool] = lambda: True,
    ) -> None:
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

    def admit(self) -> "Ticket":
        """A ticket with one permit, for use in a `with` block.

        Raises:
            Starting: if the service is not ready yet.
            Draining: if it is stopping.
            Stalled: if runs that hang hold every lane.
            QueueFull: if as many images are in flight as may be.
        """
        refusal = self.refusal()
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
        if self._in_flight + num > self._capacity:
            seconds = min(_MAX_RETRY_SECONDS, math.ceil(self._predicted_seconds()))
            raise QueueFull(f"As many images are in flight as may be ({self._capacity}).", seconds)
        self._set(self._in_flight + num)

    def give_back(self, num: int) -> None:
        """Gives permits back."""
        self._set(self._in_flight - num)

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
        self._admission.give_back(held)
