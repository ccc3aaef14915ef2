"""Pace: how quickly images are finished while enough of them are under way, measured as they are.

What a newcomer waits for is everything before it in every stage, whatever that holds; by Little's law the number under
way and the pace say how long. Never measured while lanes idle: that would be the callers' pace, not the service's.
"""

import time
from collections.abc import Callable
from typing import Final

_NEWEST: Final = 1 / 16  # weight of one image in the running mean; they come in batches


class Pace:
    """A running mean of seconds between two finished images. Belongs to one event loop.

    Args:
        full: images under way that keep every lane busy.
        clock: seconds.
    """

    def __init__(self, full: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._full, self._clock = full, clock
        self._since: float | None = None  # when the last image was finished, if as many have been under way ever since
        self._seconds_an_image = 0.0

    def finished(self, num: int, left: int) -> None:
        """Counts images that were finished; `left` are still under way."""
        now = self._clock()
        if self._since is not None and num:
            seconds, known = (now - self._since) / num, self._seconds_an_image
            weight = 1 - (1 - _NEWEST) ** num
            self._seconds_an_image = known + weight * (seconds - known) if known else seconds
        self._since = now if left >= self._full else None

    def dropped(self, left: int) -> None:
        """Takes note of images that left unfinished: they are no work done, and what they held up is none either."""
        if left < self._full:
            self._since = None

    def predicted_seconds(self, ahead: int) -> float:
        """How long an image that comes now will take behind `ahead` others; 0 where lanes idle, or none was measured.

        A mean that is out of date thus never keeps the lanes from the work that would mend it. While nothing is
        finished, what will be next is counted as if it were now, so that a service that slows down says so at once.
        """
        if ahead < self._full or not self._seconds_an_image:
            return 0.0
        pending = 0.0 if self._since is None else self._clock() - self._since - self._seconds_an_image
        return (ahead + 1) * (self._seconds_an_image + _NEWEST * max(pending, 0.0))
