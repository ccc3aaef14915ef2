"""Intervals: how far a measured figure may lie from what more faces of the same kind would give.

Holds 95 % intervals of shares and means, in numpy, each drawn the same way whenever it is asked for. Never measures the
figure itself. Shape suffixes: N samples; K clusters (people, where their pictures are not independent).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Z: Final = 1.959964  # the standard normal's quantile of 97.5 %
NUM_DRAWS: Final = 500
_SEED: Final = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of a 95 % interval, in the figure's own unit."""

    low: float
    high: float


def wilson(share: float, num_samples: int) -> Interval:
    """Of a share among independent samples (Wilson 1927); 0 of 10 still leaves a width.

    Args:
        share: 0 to 1.
        num_samples: over 0.
    """
    spread = Z**2 / num_samples
    middle = (share + spread / 2) / (1 + spread)
    half = Z * np.sqrt(share * (1 - share) / num_samples + spread / (4 * num_samples)) / (1 + spread)
    # The share itself lies inside, however the last bit is rounded.
    return Interval(min(max(float(middle - half), 0.0), share), max(min(float(middle + half), 1.0), share))


def of_mean(parts: Sequence[tuple[float, Interval]]) -> Interval:
    """Of the mean of independent figures, from each one's own interval (MOVER, Zou and Donner 2008).

    Args:
        parts: each figure with its interval, one at least.
    """
    mean = float(np.mean([value for value, _ in parts]))
    below = np.sqrt(sum((value - each.low) ** 2 for value, each in parts)) / len(parts)
    above = np.sqrt(sum((each.high - value) ** 2 for value, each in parts)) / len(parts)
    return Interval(mean - float(below), mean + float(above))


def bootstrap_mean(values_N: NDArray[np.floating], cluster_N: NDArray[np.integer] | None = None) -> Interval:
    """Of a mean: samples are drawn again with replacement, whole clusters where there are any (percentiles).

    Args:
        values_N: (N,), one at least.
        cluster_N: (N,) the person that each sample is of; None takes samples as independent.
    """
    total_K, count_K = _sums(np.asarray(values_N, np.float64), cluster_N)
    weights = draws(len(total_K))
    return percentiles((weights @ total_K) / np.maximum(weights @ count_K, 1e-12))


def bootstrap_impostors(accepted_KK: NDArray[np.integer], pairs_KK: NDArray[np.integer]) -> Interval:
    """Of a share of pairs of two people: people are drawn again, and with them every pair between those drawn.

    Args:
        accepted_KK: pairs accepted between person and person; the diagonal is 0.
        pairs_KK: all pairs between them; the diagonal is 0.
    """
    weights = draws(len(pairs_KK))
    accepted = np.einsum("bk,bk->b", weights @ accepted_KK.astype(np.float64), weights)
    pairs = np.einsum("bk,bk->b", weights @ pairs_KK.astype(np.float64), weights)
    return percentiles(accepted / np.maximum(pairs, 1e-12))


def draws(num_clusters: int) -> NDArray[np.float64]:
    """How often (B, K) each cluster is drawn in each of `NUM_DRAWS` draws; the same ones every time."""
    rng = np.random.default_rng(_SEED)
    counts = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), NUM_DRAWS)
    return counts.astype(np.float64)


def percentiles(drawn_B: NDArray[np.float64]) -> Interval:
    """The middle 95 % of what draws gave."""
    low, high = np.quantile(drawn_B, [0.025, 0.975])
    return Interval(float(low), float(high))


def _sums(
    values_N: NDArray[np.float64], cluster_N: NDArray[np.integer] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if cluster_N is None:
        return values_N, np.ones(len(values_N))
    _, index = np.unique(cluster_N, return_inverse=True)
    return np.asarray(np.bincount(index, weights=values_N), np.float64), np.bincount(index).astype(np.float64)
