"""Condition: threads that wait for a change under one lock, of which the one that came last is woken first.

The library's wakes the one that has waited longest. Where less work comes than threads wait, all of them would take
turns: each with cold caches, and the kernel finds them on cores that others want. Never holds what has changed.
"""

import threading
from types import TracebackType


class LifoCondition:
    """As `threading.Condition`, for use in a `with` block, but for whom `notify` wakes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[threading.Lock] = []  # a lock each, which is let go of to wake the thread

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def num_waiting(self) -> int:
        """Threads that wait."""
        return len(self._waiting)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Lets go of the lock until woken, or for so long, and takes it again.

        Returns:
            Whether it was woken.
        """
        waker = threading.Lock()
        waker.acquire()
        self._waiting.append(waker)
        self._lock.release()
        try:
            waker.acquire(timeout=-1 if timeout_seconds is None else max(timeout_seconds, 0))
        finally:
            self._lock.acquire()
            is_woken = waker not in self._waiting
            if not is_woken:
                self._waiting.remove(waker)
        return is_woken

    def notify(self, num: int = 1) -> None:
        """Wakes so many, or as many as wait. Under the lock."""
        for _ in range(min(num, len(self._waiting))):
            self._waiting.pop().release()

    def notify_all(self) -> None:
        """Wakes all. Under the lock."""
        self.notify(len(self._waiting))
