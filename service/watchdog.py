"""The watchdog: notes runs of a graph that outlast any that ends, and says so to whoever must know.

A thread that hangs inside a library cannot be ended from outside: the lane that it holds is lost until the run comes
back, if it ever does. So the watchdog gives up on the run, never on the process: its askers are refused at once,
`/livez` asks for a restart, and what other lanes can still answer is answered. Never restarts anything itself.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from service.logs import log_event
from service.metrics import Metrics

REFUSAL: Final = "A run of the model hangs, and the service must be restarted."
_LOOKS: Final = 8  # looks at what runs in the time that a run may take
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.01, 1.0  # between two looks


@dataclass(slots=True, eq=False)
class Watched:
    """A run under way: what it runs, what tells its askers that it was given up on, and whether it was."""

    model: str
    give_up: Callable[[], None]
    since: float = field(default_factory=time.monotonic)
    hangs: bool = False


class Watchdog:
    """Counts the runs of one set of lanes that hang. Belongs to one event loop; lanes say when runs begin and end.

    Args:
        seconds: how long a run may take; None for as long as it likes.
        num_lanes: runs at once; with as many of them hanging, nothing can be answered any more.
        metrics: where to count.
    """

    def __init__(self, seconds: float | None, num_lanes: int, metrics: Metrics) -> None:
        self._seconds, self._num_lanes, self._metrics = seconds, num_lanes, metrics
        self._lock = threading.Lock()
        self._running: set[Watched] = set()
        self._num_hanging = 0
        self._listeners: list[Callable[[], None]] = []
        self._looking: asyncio.Task[None] | None = None

    @property
    def has_stalled(self) -> bool:
        """Whether a run hangs at this moment."""
        return self._num_hanging > 0

    @property
    def is_blocked(self) -> bool:
        """Whether every lane is held by a run that hangs, so that nothing will be answered."""
        return self._num_hanging >= self._num_lanes

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener`, on the event loop, whenever a run begins to hang, or one that hung comes back."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begins to look, in the running loop."""
        if self._seconds is not None:
            self._looking = asyncio.get_running_loop().create_task(self._look(self._seconds), name="mien-watchdog")

    async def stop(self) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    def begin(self, model: str, give_up: Callable[[], None]) -> Watched:
        """A run begins, in the calling lane.

        Args:
            model: what it runs, for metrics and logs.
            give_up: called once, on the event loop, if it takes too long; it goes on, and its lane stays taken.
        """
        watched = Watched(model, give_up)
        with self._lock:
            self._running.add(watched)
        return watched

    def end(self, watched: Watched) -> bool:
        """A run ends, in the lane that began it; whether it came in time, so that its askers still wait for it."""
        with self._lock:
            self._running.discard(watched)
        if watched.hangs and self._looking is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._looking.get_loop().call_soon_threadsafe(self._came_back)
        return not watched.hangs

    async def _look(self, seconds: float) -> None:
        between = min(max(seconds / _LOOKS, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        while True:
            await asyncio.sleep(between)
            latest = time.monotonic() - seconds
            with self._lock:
                late = [each for each in self._running if each.since < latest and not each.hangs]
                for each in late:
                    each.hangs = True
            for each in late:
                self._give_up(each)

    def _give_up(self, watched: Watched) -> None:
        self._metrics.stalled_runs.labels(watched.model).inc()
        self._num_hanging += 1
        log_event("run hangs", level=40, model=watched.model, watchdog_seconds=self._seconds, hanging=self._num_hanging)
        watched.give_up()
        self._tell()

    def _came_back(self) -> None:
        self._num_hanging -= 1
        log_event("run that hung came back", level=30, hanging=self._num_hanging)
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
