"""Lull: how the event loop's thread keeps out of the lanes' way while it turns callers away.

In a flood each request that comes wakes it, cold, on a core that a lane was running on. So after a refusal it sleeps
for a moment, as a network card holds its interrupts back: what comes meanwhile is handled in one go. Never for so long
that a probe or a refusal would be late, and never where lanes could run out of work for it; both are the caller's word.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

_SECONDS: Final = 0.002  # of the ten milliseconds that a refusal may take; longer gained no more


class Lull:
    """Of one event loop.

    Args:
        sleep: blocks for so many seconds, and lets other threads run.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep, self._is_due = sleep, False

    def begin(self) -> None:
        """Sleeps once this turn of the loop is over, however often it is asked for in it."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        self._sleep(_SECONDS)
        self._is_due = False
