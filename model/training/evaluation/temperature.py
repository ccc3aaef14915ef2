"""Temperature: one number that a task's logits are divided by, so that its probabilities mean what they say.

Holds the fit by likelihood, the choice of how many numbers, and the cross-fit that tells what a fit is worth on faces
that it has not seen, in numpy alone. Never runs a network and never names a set (see `calibration`). Source of the
method: Guo et al. 2017, arXiv 1706.04599, section 4.2.
Shape suffixes: N faces; C classes, or attributes; K temperatures (1, or C).
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.classification import binary_calibration_errors, expected_calibration_error

Temperature = tuple[float, ...]
NUM_FOLDS: Final = 5
MIN_ROWS: Final = 200  # labelled; on fewer, fifteen bins hold next to nothing
_SEED: Final = 11
# Of a temperature. Sharpened no more than twofold: of faces that are all judged rightly the likeliest temperature is 0,
# and a thousand of them say nothing of the one in ten thousand that is not.
_LIMITS: Final = (0.5, 20.0)
_NUM_BISECTIONS: Final = 50
_LEAST: Final = {"classes": 1e-30, "attributes": 1e-7}  # of a probability; float32's 1 - p has no more digits


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Answers of one task beside the truth.

    Attributes:
        kind: `classes` are C probabilities that add up to 1, `attributes` C probabilities of yes.
        logits: float64 (N, C), as the network gives them, before any temperature.
        truth: int64, (N,) the class, or (N, C) 0 or 1; -1 where it is not known.
        person: int64 (N,), equal for faces of one person; each face its own where that is not known.
        source: int64 (N,), the set that each row is of.
    """

    kind: Literal["classes", "attributes"]
    logits: NDArray[np.float64]
    truth: NDArray[np.int64]
    person: NDArray[np.int64]
    source: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.logits)

    def at(self, rows: NDArray[np.generic]) -> "Judged":
        """Some of the rows."""
        return Judged(self.kind, self.logits[rows], self.truth[rows], self.person[rows], self.source[rows])

    def probabilities(self, temperatures: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, C) at one temperature for all (K,), or at one a row (N, K)."""
        return _probabilities(self.kind, self.logits / temperatures)

    def error(self, probabilities_NC: NDArray[np.float64]) -> float:
        """Expected calibration error: of attributes the mean of each one's, of several sets each weighed by its rows.

        Sets are not thrown together: too sure on one and not sure enough on another would look like right on both.
        """
        sources, counts = np.unique(self.source, return_counts=True)
        errors = [self.at(here)._error(probabilities_NC[here]) for here in (self.source == each for each in sources)]
        return float(np.average(errors, weights=counts))

    def _error(self, probabilities_NC: NDArray[np.float64]) -> float:
        if self.kind == "classes":
            return expected_calibration_error(probabilities_NC, self.truth)
        return float(np.nanmean(binary_calibration_errors(probabilities_NC, self.truth)))


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A task's temperature.

    Attributes:
        temperature: fitted on all rows; (1,) where none lowers the error on faces that it was not fitted on.
        probabilities: (N, C), of every face, at the temperature that was fitted without its fold.
    """

    temperature: Temperature
    probabilities: NDArray[np.float64]


def logits_of(
    kind: Literal["classes", "attributes"], probabilities_NC: NDArray[np.floating], temperature: Temperature = (1.0,)
) -> NDArray[np.float64]:
    """The logits (N, C) behind probabilities, up to what softmax does not see: `temperature` is what divided them."""
    least = _LEAST[kind]
    p_NC = np.clip(probabilities_NC.astype(np.float64), least, 1.0 if kind == "classes" else 1 - least)
    logits_NC = np.log(p_NC) if kind == "classes" else np.log(p_NC) - np.log1p(-p_NC)
    return np.asarray(logits_NC * np.asarray(temperature), np.float64)


def cross_fit(judged: Judged, num_folds: int = NUM_FOLDS) -> Fit:
    """Fits a temperature, and tells what it does on faces whose people it was not fitted on.

    Of no temperature, one, and for attributes one each, that is taken whose calibration error is least over all faces,
    each answered at the temperature that the other folds gave. A person stands in one fold alone.

    Raises:
        ValueError: if the labelled people are fewer than the folds.
    """
    fold_N = folds_of(judged.person, num_folds)
    plain = Fit((1.0,), judged.probabilities(np.ones(1)))
    fits = [
        plain,
        *(_fitted(judged, fold_N, each) for each in ((False, True) if judged.kind == "attributes" else (False,))),
    ]
    return min(fits, key=lambda fit: judged.error(fit.probabilities))


def fit(judged: Judged, each: bool = False) -> NDArray[np.float64]:
    """The temperatures (K,) of greatest likelihood: one, or with `each` one a column of attributes.

    The negative log-likelihood is convex in 1 / T, so that its slope is bisected for its root, within 1/20 and 2.
    """
    lowest, highest = (np.full(judged.logits.shape[1] if each else 1, np.log(1 / limit)) for limit in _LIMITS[::-1])
    for _ in range(_NUM_BISECTIONS):
        middle = (lowest + highest) / 2
        rises = _slope(judged, np.exp(middle), each) > 0
        lowest, highest = np.where(rises, lowest, middle), np.where(rises, middle, highest)
    found = np.exp(-(lowest + highest) / 2)
    if each:  # an attribute that no face is labelled with has nothing to be fitted on
        found = np.where((judged.truth != -1).any(0), found, 1.0)
    return np.asarray(found, np.float64)


def folds_of(person_N: NDArray[np.int64], num_folds: int) -> NDArray[np.int64]:
    """Deals people to folds, as many to each, the same way every time: (N,) from 0.

    Raises:
        ValueError: if there are fewer people than folds.
    """
    people, number_N = np.unique(person_N, return_inverse=True)
    if len(people) < num_folds:
        raise ValueError(f"{len(people)} people do not make {num_folds} folds")
    order = np.random.default_rng(_SEED).permutation(len(people))
    return np.asarray(order[number_N] % num_folds, np.int64)


def _fitted(judged: Judged, fold_N: NDArray[np.int64], each: bool) -> Fit:
    held_out = np.empty((len(judged), judged.logits.shape[1] if each else 1))
    for fold in np.unique(fold_N):
        held_out[fold_N == fold] = fit(judged.at(fold_N != fold), each)
    return Fit(tuple(fit(judged, each).tolist()), judged.probabilities(held_out))


def _slope(judged: Judged, scale_K: NDArray[np.float64], each: bool) -> NDArray[np.float64]:
    """The derivative (K,) of the NLL by the scale, a sum over labelled rows, at logits * scale."""
    p_NC = _probabilities(judged.kind, judged.logits * scale_K)
    if judged.kind == "classes":
        known = judged.truth != -1
        logits_NC, truth = judged.logits[known], judged.truth[known]
        right = np.take_along_axis(logits_NC, truth[:, None], 1)[:, 0]
        return np.atleast_1d(((p_NC[known] * logits_NC).sum(1) - right).sum())
    slope_NC = np.where(judged.truth != -1, (p_NC - judged.truth) * judged.logits, 0.0)
    return np.atleast_1d(slope_NC.sum(0) if each else slope_NC.sum())


def _probabilities(kind: str, logits_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind == "attributes":
        return np.asarray(1 / (1 + np.exp(-np.clip(logits_NC, -500, 500))))
    shifted = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))
