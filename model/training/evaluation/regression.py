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
