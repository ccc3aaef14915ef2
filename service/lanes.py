"""Lanes: threads for work that blocks, as many as may run at once.

One set of lanes runs every graph of a pack, detector and analyzers alike: a queue takes a lane before it forms a batch,
so lanes times intra-op threads (one) never exceed the cores. Decoding has lanes of its own, or it would starve the
queues. Never holds a queue of graphs: what waits for a lane waits in its `Batcher`, where it can be dropped.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Lanes:
    """A fixed number of threads. All methods but `run`'s callee belong to one event loop."""

    def __init__(self, num: int, name: str) -> None:
        self.num = num
        self._name = name
        self._executor = ThreadPoolExecutor(num, thread_name_prefix=f"mien-{name}")
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
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _Guarded(call, args, kwargs))

    def close(self) -> None:
        """Ends the threads when what they run has finished; what has not begun never will."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Guarded:
    """A call whose `SystemExit` or `KeyboardInterrupt` would otherwise end the event loop of everyone."""

    def __init__(self, call: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._call, self._args, self._kwargs = call, args, kwargs

    def __call__(self) -> T:  # type: ignore[type-var]
        try:
            return self._call(*self._args, **self._kwargs)  # type: ignore[return-value]
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"{type(error).__name__} in a lane") from error
