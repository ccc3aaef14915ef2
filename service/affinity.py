"""Affinity: a thread's core, which it keeps to for as long as it is told to.

The kernel at times runs two lanes on one core while the other idles between two short wakings of the event loop, or is
another process's: it weighs threads by priority and by session, and two lanes may weigh no more than one other thread.
Never keeps to a core where somebody else has said where the thread may run.
"""

import os
from collections.abc import Sequence


class Affinity:
    """One thread's, to be used by it alone.

    Args:
        number: the thread's among those that share the cores.
        cores: all that they may use, by number; none where they are to keep to none.
    """

    def __init__(self, number: int, cores: Sequence[int]) -> None:
        self._all = set(cores)
        self._own = {cores[number]} if cores else self._all
        self._keeps = False

    def keep(self, wanted: bool) -> None:
        """Keeps the calling thread to its core from now on, or to none. Costs nothing where it does so already.

        A container may forbid it, and cores may have been taken from the process: then nothing is changed any more.
        """
        if wanted == self._keeps or not self._all:
            return
        now, then = (self._all, self._own) if wanted else (self._own, self._all)
        try:
            is_ours = os.sched_getaffinity(0) == now  # else an operator has set it meanwhile
            if is_ours:
                os.sched_setaffinity(0, then)
            self._keeps = wanted and is_ours
        except OSError:
            self._all = set()
