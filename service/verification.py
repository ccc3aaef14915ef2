"""Verification: whether two embeddings are of one person, at a stated false-match rate.

Holds the arithmetic on embeddings and on a pack's calibrated operating points. Never compares embeddings of different
spaces, and never makes up a threshold or a confidence that was not calibrated.
Shapes: D an embedding's length; G rows of a gallery.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.pack import Threshold, Verification
from service.errors import InvalidOption

DEFAULT_FMR: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Criterion:
    """The similarity from which two embeddings count as one person's; `fmr` where it is a calibrated one's."""

    threshold: float | None = None
    fmr: float | None = None

    def same(self, similarity: float) -> bool | None:
        """Whether it is met; None without a threshold."""
        return None if self.threshold is None else similarity >= self.threshold


def criterion(calibrated: Verification | None, fmr: float | None = None, threshold: float | None = None) -> Criterion:
    """Picks the criterion: a stated threshold, else the calibrated one at a stated rate, else at 1e-3 or nearest to it.

    Raises:
        InvalidOption: if both are stated, or a rate that the pack has no threshold for.
    """
    if fmr is not None and threshold is not None:
        raise InvalidOption("State either fmr or threshold, not both.")
    if threshold is not None:
        return Criterion(threshold)
    points = () if calibrated is None else calibrated.thresholds
    if fmr is None:
        near = min(points, key=lambda point: abs(math.log(point.fmr / DEFAULT_FMR)), default=None)
        return Criterion() if near is None else Criterion(near.threshold, near.fmr)
    for point in points:
        if math.isclose(point.fmr, fmr, rel_tol=1e-6):
            return Criterion(point.threshold, point.fmr)
    known = ", ".join(f"{point.fmr:g}" for point in points)
    raise InvalidOption(
        f"fmr {fmr:g} is not calibrated; this pack has {known}." if known else "This pack has no calibrated thresholds."
    )


def similarities(probe: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of a probe (D,) with each row of a gallery (G, D): float64 (G,), 0 where one of the two is all zero."""
    probe64, gallery64 = probe.astype(np.float64), gallery.astype(np.float64)
    norms = np.linalg.norm(gallery64, axis=1) * np.linalg.norm(probe64)
    return np.clip(gallery64 @ probe64 / np.where(norms > 0, norms, 1.0), -1.0, 1.0)


def confidence(calibrated: Verification | None, similarity: float, same: bool | None) -> float | None:
    """How likely the verdict is right, where a pair is beforehand as likely as not to be one person's.

    A threshold of a small false-match rate refuses pairs that are likelier than not one person's: such a verdict's
    confidence is under a half.

    Returns:
        0 to 1; None without a verdict, or for a pack without a curve and with fewer than two calibrated thresholds.
    """
    if same is None or (likely := probability_of_same(calibrated, similarity)) is None:
        return None
    return likely if same else 1.0 - likely


def probability_of_same(calibrated: Verification | None, similarity: float) -> float | None:
    """How likely the two are one person, at even odds beforehand; None where nothing was measured that tells.

    By the pack's confidence curve: the logarithm of the ratio of genuine to impostor pairs, linear between its points
    and constant beyond them. Of a pack without one, by its thresholds, see `_by_bands`.
    """
    curve = None if calibrated is None else calibrated.confidence
    if curve is not None:
        return _at_even_odds(similarity, curve.similarities, curve.log_ratios)
    return None if calibrated is None else _by_bands(calibrated, similarity)


def _by_bands(calibrated: Verification, similarity: float) -> float | None:
    """The probability from thresholds alone; None for fewer than two.

    Calibrated thresholds t1 < t2 < ... cut similarities into bands. In a band fall TAR(t_i) - TAR(t_i+1) of the genuine
    pairs and FMR(t_i) - FMR(t_i+1) of the impostor pairs (below the first threshold the rest of each, above the last
    its own rate); the ratio of the two is the band's likelihood ratio r, and at even odds the probability is
    r / (1 + r). Between the bands' centres log r is interpolated linearly and kept from falling, outside the outermost
    centres it is constant, so that nothing is claimed beyond what was measured: a monotone, piecewise logistic curve.
    """
    points = _ascending(calibrated)
    if len(points) < 2:
        return None
    least = 0.5 / calibrated.num_genuine_pairs  # a band that no genuine pair fell into could have held half a one
    tars = np.array([1.0, *(point.tar for point in points), 0.0])
    fmrs = np.array([1.0, *(point.fmr for point in points), 0.0])
    genuine = np.maximum(-np.diff(tars), least)
    impostor = np.maximum(-np.diff(fmrs), 0.5 / calibrated.num_impostor_pairs)
    return _at_even_odds(similarity, _centres(points), np.maximum.accumulate(np.log(genuine / impostor)))


def _at_even_odds(
    similarity: float,
    similarities: Sequence[float] | NDArray[np.float64],
    log_ratios: Sequence[float] | NDArray[np.float64],
) -> float:
    return float(1.0 / (1.0 + np.exp(-np.interp(similarity, similarities, log_ratios))))


def _ascending(calibrated: Verification) -> list[Threshold]:
    points = {point.threshold: point for point in calibrated.thresholds}
    return [points[threshold] for threshold in sorted(points)]


def _centres(points: list[Threshold]) -> NDArray[np.float64]:
    """Middles of the bands; the outer two, which are open, are taken as wide as their neighbours."""
    edges = np.array([point.threshold for point in points])
    inner = (edges[1:] + edges[:-1]) / 2
    first, last = edges[0] - (inner[0] - edges[0]), edges[-1] + (edges[-1] - inner[-1])
    return np.array([first, *inner, last])
