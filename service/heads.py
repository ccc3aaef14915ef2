"""Heads: connections that sit open without a request whose head has come whole.

Whoever opens connections and sends nothing, or a byte now and then, would hold descriptors until nobody else could come
in. The server's own keep-alive closes a connection that is idle between two requests; it never closes one that has not
sent a first request, or is in the middle of a head. Never looks at a connection whose request is being answered.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Protocol


class Connection(Protocol):
    """What a connection of uvicorn's is, whichever parser it has."""

    cycle: Any  # the request that is being answered, or the last that was; None before the first
    timeout_keep_alive_task: asyncio.TimerHandle | None  # set while it is idle between two requests
    transport: asyncio.Transport


class Heads:
    """Closes connections whose request's head takes longer than `seconds`. `sweep` it about once a second."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # By its last request, too: a connection that is seen between two requests each time has asked in between.
        self._since: dict[Connection, tuple[Any, float]] = {}

    def sweep(self, connections: Iterable[Connection]) -> int:
        """Closes those that are late; how many they were. They get no answer: they have not asked."""
        now = time.monotonic()
        before = self._since
        self._since = {each: (each.cycle, now) for each in connections if _has_not_asked(each)}
        for each, (cycle, _) in self._since.items():
            if each in before and before[each][0] is cycle:
                self._since[each] = before[each]
        late = [each for each, (_, since) in self._since.items() if now - since > self._seconds]
        for each in late:
            each.transport.abort()
        return len(late)


def _has_not_asked(connection: Connection) -> bool:
    cycle = connection.cycle
    if cycle is None:
        return True
    return bool(cycle.response_complete) and connection.timeout_keep_alive_task is None
