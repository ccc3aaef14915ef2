"""The known answer: the crops that a pack was asked at its export, and whether an analyzer still answers them the same.

Export writes `KnownAnswer` from `known_crops`; start-up runs the same crops and compares. Never runs a network itself.
Shape suffixes: N crops, S crop side, C channels (three, RGB).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import Task
from model.runtime.part import KnownAnswer

NUM_LEADING = 16  # numbers of each output's row 0 that a known answer keeps


def known_crops(seed: int, side_px: int, num: int = 1) -> NDArray[np.uint8]:
    """Crops (num, side_px, side_px, 3) uint8 that are the same on every machine.

    Drawn crop by crop from PCG64's raw 64-bit words (numpy keeps a bit generator's stream stable, not `Generator`'s),
    read as little-endian bytes; so the first crop does not depend on `num`.
    """
    size = side_px * side_px * 3
    words_per_crop = -(-size // 8)
    words = np.random.PCG64(seed).random_raw(words_per_crop * num)
    flat = np.asarray(words, "<u8").view(np.uint8).reshape(num, words_per_crop * 8)[:, :size]
    return np.ascontiguousarray(flat.reshape(num, side_px, side_px, 3))


def known_answer(seed: int, outputs: Mapping[Task, NDArray[Any]], tolerance: float) -> KnownAnswer:
    """What a pack states: the leading numbers of row 0 of each output (N, ...) that `known_crops(seed, ...)` gave."""
    leading = {task: tuple(float(value) for value in np.ravel(rows[0])[:NUM_LEADING]) for task, rows in outputs.items()}
    return KnownAnswer(seed=seed, outputs=leading, tolerance=tolerance)


def breach(known: KnownAnswer, outputs: Mapping[Task, NDArray[Any]]) -> str | None:
    """Compares an analyzer's outputs for the known crops with the stated ones.

    Args:
        known: what the pack states.
        outputs: arrays (N, ...) by task; row 0 is compared.

    Returns:
        None where every stated number is met within the (absolute) tolerance, else one line that names an output.
    """
    for task, stated in known.outputs.items():
        if task not in outputs:
            return f"{task} is in the known answer and not among the outputs"
        answered = np.ravel(outputs[task][0])[: len(stated)].astype(np.float64)
        if len(answered) != len(stated):
            return f"{task} has {len(answered)} numbers where the known answer states {len(stated)}"
        worst = float(np.max(np.abs(answered - np.asarray(stated)), initial=0.0))
        tolerance = known.tolerance_of(task)
        if not worst <= tolerance:  # written so that NaN is a breach
            return f"{task} differs from the known answer by {worst:.3g}, over the tolerance of {tolerance:.3g}"
    return None
