"""Regression: how far an estimated age lies from the true one.

Holds errors in years, in numpy. Never runs a network. Shape suffix: N faces.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TOLERANCE_YEARS: Final = 5.0  # CS(5): the cumulative score at five years is the one papers on age report


@dataclass(frozen=True, slots=True)
class AgeError:
    """Errors over faces of known age.

    Attributes:
        mae_years: mean absolute error.
        bias_years: mean of estimate minus truth; above 0 the estimate is too old.
        cumulative_score: share of faces within `TOLERANCE_YEARS`.
        num_samples: faces of known age.
    """

    mae_years: float
    bias_years: float
    cumulative_score: float
    num_samples: int


def age_error(estimate_N: NDArray[np.floating], age_N: NDArray[np.floating]) -> AgeError:
    """Errors of estimates (N,) against ages (N,), both years; rows whose age is NaN are left out.

    Raises:
        ValueError: if lengths differ or no age is known.
    """
    if estimate_N.shape != age_N.shape:
        raise ValueError(f"{len(estimate_N)} estimates and {len(age_N)} ages")
    known = np.isfinite(age_N)
    if not known.any():
        raise ValueError("no face has an age")
    error = estimate_N[known].astype(np.float64) - age_N[known].astype(np.float64)
    distance = np.abs(error)
    within = float((distance <= TOLERANCE_YEARS).mean())
    return AgeError(float(distance.mean()), float(error.mean()), within, int(known.sum()))


def epsilon_error(
    estimate_N: NDArray[np.floating], mean_N: NDArray[np.floating], sigma_N: NDArray[np.floating]
) -> tuple[float, int]:
    """ChaLearn LAP's error of an apparent age: mean of 1 - exp(-(x - mu)^2 / (2 sigma^2)) (Escalera et al. 2015).

    Args:
        estimate_N: (N,) years.
        mean_N: (N,) mean of the ages that people guessed, years; NaN where unknown.
        sigma_N: (N,) their standard deviation, years; NaN where unknown. Where it is 0 only that very age is right.

    Returns:
        The error, 0 to 1, and the faces whose mean and deviation are known.

    Raises:
        ValueError: if lengths differ, a deviation is negative, or none is known.
    """
    if not estimate_N.shape == mean_N.shape == sigma_N.shape:
        raise ValueError("estimates, means and deviations differ in length")
    known = np.isfinite(mean_N) & np.isfinite(sigma_N)
    if not known.any():
        raise ValueError("no face has an age with a deviation")
    sigma = sigma_N[known].astype(np.float64)
    if (sigma < 0).any():
        raise ValueError("a standard deviation is not negative")
    squared = (estimate_N[known].astype(np.float64) - mean_N[known].astype(np.float64)) ** 2
    exponent = np.where(squared > 0, -np.inf, 0.0)  # the limit at a deviation of 0
    np.divide(-squared, 2 * sigma**2, out=exponent, where=sigma > 0)
    return float((1 - np.exp(exponent)).mean()), int(known.sum())
