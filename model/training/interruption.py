"""Interruption: how a training learns that it should stop after the step it is in.

Never stops anything itself.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping() -> Iterator[list[int]]:
    """Yields a list that SIGTERM or SIGINT fills: the loop that reads it ends after its step and saves."""
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
