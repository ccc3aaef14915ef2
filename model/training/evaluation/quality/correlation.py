"""Correlation: how errors go with a measure of quality: bins with intervals, and Spearman's rank correlation.

Holds the counting, in numpy. Never measures a quality and never runs a network. Shape suffix: N samples.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model.runtime.quality_curve import QualityBin, QualityCurve
from model.training.evaluation.intervals import Interval, bootstrap_mean, draws, percentiles, wilson

MIN_SAMPLES: Final = 30  # of a bin; a smaller one joins its neighbour
NUM_QUANTILES: Final = 5
# Where the bins of a quality with a unit meet; every other quality is cut into fifths.
EDGES: Final = {
    "yaw_degrees": (5.0, 10.0, 20.0, 30.0, 45.0),
    "pitch_degrees": (2.0, 5.0, 10.0, 15.0),
    "roll_degrees": (2.0, 5.0, 10.0, 15.0),
    "size_px": (14.0, 20.0, 28.0, 40.0, 56.0, 72.0, 112.0, 160.0),
    "blur_sigma_px": (0.25, 0.75, 1.25, 1.75, 2.5, 3.5),
}


@dataclass(frozen=True, slots=True)
class Errors:
    """A task's error of each sample.

    Attributes:
        task: whose.
        error: what is counted, as `runtime.pack.QualityCurve` names it.
        values: (N,) the error; NaN where no label tells it.
        cluster: (N,) the person or face that each sample is of, where several are of one; else None.
    """

    task: str
    error: str
    values: NDArray[np.float64]
    cluster: NDArray[np.int64] | None = None


def curve(
    errors: Errors,
    quality: str,
    quality_N: NDArray[np.floating],
    dataset: str,
    how: Literal["measured", "degraded"],
    command: str,
) -> QualityCurve | None:
    """How one error goes with one quality; None where there are too few samples for two bins, or all are alike.

    Args:
        errors: of each sample.
        quality: its name, which decides the bins: `EDGES`, or fifths.
        quality_N: (N,) of each sample; NaN where it could not be measured.
        dataset: for the curve.
        how: likewise.
        command: likewise.
    """
    known = np.isfinite(errors.values) & np.isfinite(quality_N)
    values, qualities = errors.values[known], np.asarray(quality_N, np.float64)[known]
    cluster = None if errors.cluster is None else errors.cluster[known]
    if len(values) < 2 * MIN_SAMPLES or np.ptp(values) == 0 or np.ptp(qualities) == 0:
        return None
    bins = tuple(_bin(values, qualities, cluster, low, high) for low, high in _ranges(quality, qualities))
    if len(bins) < 2:
        return None
    rank_correlation, interval = spearman(values, qualities, cluster)
    return QualityCurve(
        task=errors.task,
        error=errors.error,
        quality=quality,
        dataset=dataset,
        how=how,
        spearman=rank_correlation,
        spearman_low=interval.low,
        spearman_high=interval.high,
        num_samples=len(values),
        bins=bins,
        command=command,
    )


def spearman(
    first_N: NDArray[np.floating], second_N: NDArray[np.floating], cluster_N: NDArray[np.int64] | None = None
) -> tuple[float, Interval]:
    """Spearman's rank correlation, ties at their mean rank, with its 95 % interval.

    The interval draws samples again, whole clusters where there are any, and correlates the ranks that they have among
    all.
    """
    x, y = mean_ranks(first_N), mean_ranks(second_N)
    x, y = (x - x.mean()) / len(x), (y - y.mean()) / len(y)
    _, index = np.unique(np.arange(len(x)) if cluster_N is None else cluster_N, return_inverse=True)
    sums = np.stack([np.bincount(index, weights=part) for part in (np.ones(len(x)), x, y, x * x, y * y, x * y)], 1)
    whole = _correlation(sums.sum(0, keepdims=True))
    drawn = _correlation(draws(len(sums)) @ sums)
    return float(np.clip(whole[0], -1, 1)), percentiles(drawn)


def mean_ranks(values_N: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks (N,) from 0; equal values share the mean of theirs."""
    _, index, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[index], np.float64)


def _correlation(sums_B6: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's from weighted sums of 1, x, y, x x, y y, x y; 0 where a draw has no spread."""
    total, x, y, xx, yy, xy = sums_B6.T
    covariance = xy / total - x * y / total**2
    spread = np.sqrt(np.maximum(xx / total - (x / total) ** 2, 0) * np.maximum(yy / total - (y / total) ** 2, 0))
    correlation = np.zeros(covariance.shape, np.float64)
    np.divide(covariance, spread, out=correlation, where=spread > 0)
    return correlation


def _ranges(quality: str, quality_N: NDArray[np.float64]) -> list[tuple[float, float]]:
    """From the lowest quality to the highest, cut at the edges; a bin of too few samples joins the one before it."""
    edges = EDGES.get(quality) or np.quantile(quality_N, np.arange(1, NUM_QUANTILES) / NUM_QUANTILES).tolist()
    lowest, highest = float(quality_N.min()), float(quality_N.max())
    kept = [lowest]
    for edge in [*(float(edge) for edge in edges if lowest < edge < highest), np.nextafter(highest, np.inf)]:
        if _inside(quality_N, kept[-1], edge).sum() >= MIN_SAMPLES:
            kept.append(float(edge))
    kept[-1] = float(np.nextafter(highest, np.inf))  # what is left over at the top joins the last
    return list(pairwise(kept))


def _inside(quality_N: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((quality_N >= low) & (quality_N < high), np.bool_)


def _bin(
    values_N: NDArray[np.float64],
    quality_N: NDArray[np.float64],
    cluster_N: NDArray[np.int64] | None,
    low: float,
    high: float,
) -> QualityBin:
    inside = _inside(quality_N, low, high)
    values, cluster = values_N[inside], None if cluster_N is None else cluster_N[inside]
    mean = float(values.mean())
    is_rate = bool(np.isin(values_N, (0, 1)).all())
    interval = wilson(mean, len(values)) if is_rate and cluster is None else bootstrap_mean(values, cluster)
    return QualityBin(
        low=low,
        high=min(high, float(quality_N.max())),
        mean=float(quality_N[inside].mean()),
        error=mean,
        error_low=interval.low,
        error_high=interval.high,
        num_samples=len(values),
    )
