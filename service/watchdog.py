"""The watchdog: notes runs of a graph that outlast any that ends, and says so to whoever must know.

A thread that hangs inside a library cannot be ended from outside: the lane that it holds is lost until the run comes
back, if it ever does. So the watchdog gives up on the run, never on the process: its askers are refused at once,
`/livez` asks for a restart, and what other lanes can still answer is answered. Never restarts anything itself.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from service.errors import Stalled
from service.logs import log_event
from service.metrics import Metrics

T = TypeVar("T")
REFUSAL: Final = "A run of the model hangs, and the service must be restarted."


class Watchdog:
    """Counts the runs of one set of lanes that hang. Belongs to one event loop.

    Args:
        seconds: how long a run may take; None for as long as it likes.
        num_lanes: runs at once; with as many of them hanging, nothing can be answered any more.
        metrics: where to count.
    """

    def __init__(self, seconds: float | None, num_lanes: int, metrics: Metrics) -> None:
        self._seconds, self._num_lanes, self._metrics = seconds, num_lanes, metrics
        self._num_hanging = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def has_stalled(self) -> bool:
        """Whether a run hangs at this moment."""
        return self._num_hanging > 0

    @property
    def is_blocked(self) -> bool:
        """Whether every lane is held by a run that hangs, so that nothing will be answered."""
        return self._num_hanging >= self._num_lanes

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever a run begins to hang, or one that hung comes back."""
        self._listeners.append(listener)

    async def watch(self, run: Coroutine[Any, Any, T], model: str, ended: Callable[[], None]) -> T:
        """What a run gives, if it gives it in time; `ended` is called when it really ends, in time or not.

        Raises:
            Stalled: if it took too long; it goes on, and its lane stays taken until it ends.
        """
        task = asyncio.ensure_future(run)
        task.add_done_callback(lambda _: ended())
        done, _ = await asyncio.wait({task}, timeout=self._seconds)
        if done:
            return task.result()
        self._metrics.stalled_runs.labels(model).inc()
        self._count(1)
        log_event("run hangs", level=40, model=model, watchdog_seconds=self._seconds, hanging=self._num_hanging)
        task.add_done_callback(self._came_back)
        raise Stalled(REFUSAL)

    def _came_back(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled():  # at the end of the loop; the thread hangs as before
            return
        task.exception()  # nobody waits for what it gave, or raised
        self._count(-1)
        log_event("run that hung came back", level=30, hanging=self._num_hanging)

    def _count(self, change: int) -> None:
        self._num_hanging += change
        for listener in self._listeners:
            listener()
