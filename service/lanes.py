"""Lanes: threads for work that blocks, as many as may run at once.

One set of lanes runs every graph of a pack, detector and analyzers alike: a queue takes a lane before it forms a batch,
so lanes times intra-op threads (one) never exceed the cores. Decoding has lanes of its own, or it would starve the
queues. Never holds a queue of graphs: what waits for a lane waits in its `Batcher`, where it can be dropped.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_NICER, _NICEST = 4, 19


class Lanes:
    """A fixed number of threads. All methods but `run`'s callee belong to one event loop.

    Args:
        num: threads.
        name: theirs.
        dropped: called for each call that was cancelled before it began.
        yields: whether they let the other threads of the process go first, where they want the same core.
    """

    def __init__(
        self, num: int, name: str, dropped: Callable[[], None] = lambda: None, *, yields: bool = False
    ) -> None:
        self.num, self._dropped = num, dropped
        self._name = name
        self._executor = ThreadPoolExecutor(
            num, thread_name_prefix=f"mien-{name}", initializer=_yield if yields else None
        )
        self._free = asyncio.Semaphore(num)
        self._num_taken = 0

    @property
    def num_free(self) -> int:
        """Lanes that nobody has taken."""
        return self.num - self._num_taken

    async def take(self) -> None:
        """Waits for a free lane, first come first served, and takes it until `free` is called."""
        await self._free.acquire()
        self._num_taken += 1

    def free(self) -> None:
        """Gives a taken lane back."""
        self._num_taken -= 1
        self._free.release()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call in a thread of the lanes. Cancelled before it began, it never runs."""
        guarded = _Guarded(call, args, kwargs)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, guarded)
        except asyncio.CancelledError:
            if not guarded.has_begun:
                self._dropped()
            raise

    def close(self, *, wait: bool = True) -> None:
        """Ends the threads when what they run has finished, and waits for it; what has not begun never will."""
        self._executor.shutdown(wait=wait, cancel_futures=True)


def _yield() -> None:
    """Lowers this thread's priority: on Linux alone is it a thread's own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + _NICER, _NICEST))


class _Guarded:
    """A call whose `SystemExit` or `KeyboardInterrupt` would otherwise end the event loop of everyone."""

    def __init__(self, call: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._call, self._args, self._kwargs = call, args, kwargs
        self.has_begun = False

    def __call__(self) -> T:  # type: ignore[type-var]
        self.has_begun = True
        try:
            return self._call(*self._args, **self._kwargs)  # type: ignore[return-value]
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"{type(error).__name__} in a lane") from error
