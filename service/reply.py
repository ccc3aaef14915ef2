"""Reply: what the event loop waits for and another thread gives.

Never knows what is asked, or who answers.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


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

    def _settle(self, settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(lambda: settle() if self.is_wanted() else None)
