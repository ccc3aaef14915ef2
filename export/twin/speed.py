"""Speed: how many times as fast as its float graph a quantised one runs here, both in turns.

Holds the clock alone: processor time of the thread that runs the graph, so that waiting for a busy processor counts for
neither. Never times two graphs in different minutes: what else a machine does would be taken for a gain.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.check import INPUT
from model.runtime.session import Session
from model.runtime.twin_part import TwinSpeed

BATCH_SIZES: Final = (1, 8)
_CROPS_A_TURN: Final = 8


def measure_speeds(
    plain: Session,
    twins: Mapping[str, Session],
    crops_NSSC: NDArray[np.uint8],
    num_rounds: int,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, tuple[TwinSpeed, ...]]:
    """Times every twin beside the float graph: in each round both run as many crops, one right after the other.

    Which of the two goes first changes from round to round. Each session has one thread, the caller's.

    Args:
        plain: the float graph.
        twins: by name.
        crops_NSSC: eight or more crops, uint8.
        num_rounds: turns of each pair at each batch size.
        advance: told after each round.

    Returns:
        By name, for each batch size, the least, middle and greatest ratio of the two times of a turn.
    """
    found: dict[str, list[TwinSpeed]] = {name: [] for name in twins}
    for size in BATCH_SIZES:
        batch = np.ascontiguousarray(crops_NSSC[:size])
        ratios: dict[str, list[float]] = {name: [] for name in twins}
        for session in (plain, *twins.values()):
            _seconds(session, batch)  # the first run allocates
        for number in range(num_rounds):
            for name, twin in twins.items():
                ratios[name].append(_ratio(plain, twin, batch, twin_first=number % 2 == 1))
            advance()
        for name, values in ratios.items():
            found[name].append(
                TwinSpeed(
                    batch_size=size,
                    ratio_min=min(values),
                    ratio_median=float(np.median(values)),
                    ratio_max=max(values),
                )
            )
    return {name: tuple(rows) for name, rows in found.items()}


def _ratio(plain: Session, twin: Session, batch: NDArray[np.uint8], *, twin_first: bool) -> float:
    if twin_first:
        quantised = _seconds(twin, batch)
        return _seconds(plain, batch) / quantised
    return _seconds(plain, batch) / _seconds(twin, batch)


def _seconds(session: Session, batch: NDArray[np.uint8]) -> float:
    start = time.thread_time()
    for _ in range(-(-_CROPS_A_TURN // len(batch))):
        session.run({INPUT: batch})
    return time.thread_time() - start
