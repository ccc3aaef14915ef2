"""The clock: how long a call takes, many times over, and what a list of times says.

Never times a first run: modules are loaded and algorithms chosen in it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Budget:
    """How long one way is timed: so many seconds, within these numbers of runs; `scale` shrinks all sizes."""

    seconds: float = 0.35
    most_runs: int = 500
    least_runs: int = 10


def times_ms(call: Callable[[], object], budget: Budget) -> list[float]:
    """Milliseconds of each run, after three that do not count; the call must return when its work is done."""
    for _ in range(3):
        call()
    found: list[float] = []
    end = time.perf_counter() + budget.seconds
    while len(found) < budget.least_runs or (len(found) < budget.most_runs and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1000)
    return found


def share_ms(times: Sequence[float], percent: float) -> float:
    """The time that so many percent of the runs stay under."""
    return float(np.percentile(times, percent))
