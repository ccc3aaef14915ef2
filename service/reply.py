"""Reply: what the event loop waits for and another thread gives, one by one or several in one go.

Never knows what is asked, or who answers.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")
Settle = Callable[[], None]


class _Held(threading.local):
    """What this thread has settled and not yet told, by event loop; None where each is told at once."""

    settled: dict[asyncio.AbstractEventLoop, list[Settle]] | None = None


_held: Final = _Held()


class Reply(Generic[T]):
    """A future of the running event loop, made there, that any thread may settle. What comes second is not heard.

    Attributes:
        future: to wait for; whoever cancels it wants the reply no more.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def is_wanted(self) -> bool:
        """Whether anybody still waits; from any thread."""
        return not self.future.done()

    def give(self, value: T) -> None:
        """Answers; from any thread."""
        self._settle(lambda: self.future.set_result(value))

    def fail(self, error: BaseException) -> None:
        """Answers by an exception; from any thread."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, settle: Settle) -> None:
        def unless_settled() -> None:
            if self.is_wanted():
                settle()

        if _held.settled is None:
            _tell(self._loop, [unless_settled])
        else:
            _held.settled.setdefault(self._loop, []).append(unless_settled)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within it this thread's replies are told at its end, in one go.

    Told one by one, the first would wake the event loop's thread to contend with this one for the interpreter's lock
    over each of the others.
    """
    settled: dict[asyncio.AbstractEventLoop, list[Settle]] = {}
    _held.settled = settled
    try:
        yield
    finally:
        _held.settled = None
        for loop, settles in settled.items():
            _tell(loop, settles)


def _tell(loop: asyncio.AbstractEventLoop, settles: list[Settle]) -> None:
    def settle_all() -> None:
        for settle in settles:
            settle()

    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(settle_all)
