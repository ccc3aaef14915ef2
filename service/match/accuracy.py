"""Accuracy: TAR at FMR, EER, AUC and the ROC curve of scores with six decimals, exact over any number of pairs.

Scores between -1 and 1 with six decimals have two million values, so that counting each holds everything there is to
know of a trillion pairs in 32 MB. Never interpolates, and never states a rate that no pair is there to show.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FMRS: Final = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_STEPS: Final = 1_000_000  # of a score from 0 to 1
_NUM_POINTS: Final = 512


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What holds at the lowest score with six decimals from which no more than `fmr` of the impostor pairs pass.

    `threshold`, `tar` and `measured_fmr` are None where `fmr` allows not one of the impostor pairs: there are too few.
    """

    fmr: float
    threshold: float | None = None
    tar: float | None = None
    measured_fmr: float | None = None
    num_false_matches: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Rates at thresholds, from the lowest FMR up: float64 (points,) each."""

    threshold: NDArray[np.float64]
    fmr: NDArray[np.float64]
    tar: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """What pairs were told apart like. Without a pair of either kind `eer`, `auc` and `curve` are None."""

    num_authentic: int
    num_impostor: int
    points: tuple[OperatingPoint, ...]
    eer: float | None = None
    eer_threshold: float | None = None
    auc: float | None = None
    curve: Curve | None = None


class Tally:
    """Counts of every score."""

    def __init__(self) -> None:
        self._authentic = np.zeros(2 * _STEPS + 1, np.int64)
        self._impostor = np.zeros(2 * _STEPS + 1, np.int64)

    def add(self, authentic: NDArray[np.float64], impostor: NDArray[np.float64]) -> None:
        """Counts scores with six decimals, of any shape."""
        for scores, counts in ((authentic, self._authentic), (impostor, self._impostor)):
            if scores.size:
                places = np.clip(np.rint(scores * _STEPS).astype(np.int64) + _STEPS, 0, 2 * _STEPS)
                found = np.bincount(places.ravel())
                counts[: len(found)] += found

    def accuracy(self) -> Accuracy:
        """Everything that the counts say."""
        num = int(self._authentic.sum()), int(self._impostor.sum())
        if not all(num):
            return Accuracy(*num, tuple(OperatingPoint(fmr) for fmr in FMRS))
        # Place k stands for the threshold k: what is counted from it on passes; behind the last nothing does.
        passed, accepted = _from_here_on(self._authentic), _from_here_on(self._impostor)
        points = tuple(_point(fmr, passed, accepted) for fmr in FMRS)
        gap = np.abs(accepted / num[1] - (1 - passed / num[0]))
        best = int(np.flatnonzero(gap <= gap.min() + 1e-12)[0])  # of equal ones the lowest, whatever rounding does
        eer = (accepted[best] / num[1] + 1 - passed[best] / num[0]) / 2
        below = num[1] - accepted[:-1]
        wins = (self._authentic * (below + self._impostor / 2)).sum()  # an equal score is half a win
        auc = wins / num[0] / num[1]
        return Accuracy(*num, points, float(eer), _score(best), float(auc), _curve(passed, accepted))


def _from_here_on(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.append(counts[::-1].cumsum()[::-1], 0)


def _point(fmr: float, passed: NDArray[np.int64], accepted: NDArray[np.int64]) -> OperatingPoint:
    allowed = int(fmr * accepted[0])
    allowed += (allowed + 1) / accepted[0] <= fmr  # 0.29 * 100 is 28.999... and allows 29
    if allowed < 1:
        return OperatingPoint(fmr)
    place = _first_with(accepted, allowed)
    rates = float(passed[place] / passed[0]), float(accepted[place] / accepted[0])
    return OperatingPoint(fmr, _score(place), *rates, int(accepted[place]))


def _curve(passed: NDArray[np.int64], accepted: NDArray[np.int64]) -> Curve:
    """Measured points, spread evenly over the logarithm of the FMR, from none to all of the impostor pairs."""
    allowed = np.unique(np.geomspace(1, accepted[0], _NUM_POINTS).round().astype(np.int64))
    places = np.unique([_first_with(accepted, int(count)) for count in (0, *allowed)])[::-1]
    threshold = (places - _STEPS) / _STEPS
    return Curve(threshold, accepted[places] / accepted[0], passed[places] / passed[0])


def _first_with(accepted: NDArray[np.int64], allowed: int) -> int:
    """The lowest place from which on no more than `allowed` are accepted; `accepted` falls."""
    return int(np.searchsorted(-accepted, -allowed, side="left"))


def _score(place: int) -> float:
    return (place - _STEPS) / _STEPS
