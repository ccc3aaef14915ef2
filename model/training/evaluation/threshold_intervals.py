"""Intervals: how far thresholds and error rates would lie on other people than those of the set.

Holds the bootstrap over people, exact on every pair, in numpy alone. Pairs share people, so that resampling pairs would
state intervals that are far too narrow; people are drawn instead, and a pair counts as often as both of its people were
drawn (the vertex, or subsets, bootstrap: Fogliato, Patil and Perona 2024, arXiv 2306.01198, section 4; Bolle, Ratha and
Pankanti 2004, CVIU 93). Never computes an embedding. Shape suffixes: N faces; D embedding length; I people; K pairs;
B resamples; T thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.verification import OperatingPoint, PairScores, directions, score_blocks

NUM_RESAMPLES: Final = 1000
LEVEL: Final = 0.95
_SEED: Final = 17
_SPARE: Final = 4  # times as many of the hardest impostor pairs as the highest rate allows: what a resample may need
_LEAST_PAIRS: Final = 10_000

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PointIntervals:
    """Of an operating point: where its rate's threshold would lie, and what FMR and TAR would be at its threshold."""

    threshold: Interval
    fmr: Interval
    tar: Interval


@dataclass(frozen=True, slots=True, eq=False)
class _Hardest:
    """The most alike impostor pairs (K,), similarity falling, and whom each is of."""

    scores: NDArray[np.float32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]


def intervals_of(
    embeddings_ND: NDArray[np.floating],
    identities: NDArray[np.generic] | Sequence[object],
    scores: PairScores,
    points: Sequence[OperatingPoint],
    *,
    num_resamples: int = NUM_RESAMPLES,
    level: float = LEVEL,
) -> tuple[PointIntervals, ...]:
    """Percentile intervals of operating points over bootstrap samples of people, the same ones every time.

    Args:
        embeddings_ND: (N, D).
        identities: (N,) who each row is.
        scores: what `all_pairs` gave for them.
        points: what `thresholds_at_fmr` gave for these.
        num_resamples: samples.
        level: the share of samples that an interval holds.
    """
    unit, codes = directions(embeddings_ND, identities)
    drawn_BI = _drawn(int(codes.max()) + 1, num_resamples)
    tar_BT = _tars(unit, codes, points, drawn_BI)
    num_pairs = len(scores.impostor)
    kept = max(_LEAST_PAIRS, int(_SPARE * num_pairs * max(point.fmr for point in points)))
    found = None
    while found is None:
        kept = min(kept, num_pairs)
        found = _impostors(_hardest(unit, codes, scores, kept), np.bincount(codes), points, drawn_BI, kept == num_pairs)
        kept *= 2
    threshold_BT, fmr_BT = found
    ends = [(1 - level) / 2, (1 + level) / 2]
    columns = zip(threshold_BT.T, fmr_BT.T, tar_BT.T, strict=True)
    return tuple(PointIntervals(*(_interval(values_B, ends) for values_B in each)) for each in columns)


def _drawn(num_people: int, num_resamples: int) -> NDArray[np.int64]:
    """How often each person was drawn, as many draws as there are people."""
    rng = np.random.default_rng(_SEED)
    return np.asarray(rng.multinomial(num_people, np.full(num_people, 1 / num_people), num_resamples), np.int64)


def _tars(
    unit: NDArray[np.float32], codes: NDArray[np.int64], points: Sequence[OperatingPoint], drawn_BI: NDArray[np.int64]
) -> NDArray[np.float64]:
    num_people = drawn_BI.shape[1]
    accepted_IT, total_I = np.zeros((num_people, len(points))), np.zeros(num_people)
    for block in score_blocks(unit, codes):
        rows, _ = np.nonzero(block.genuine)
        person, similarity = codes[block.start + rows], block.scores[block.genuine]
        total_I += np.bincount(person, minlength=num_people)
        for column, point in enumerate(points):
            passed = person[similarity >= np.float32(point.threshold)]
            accepted_IT[:, column] += np.bincount(passed, minlength=num_people)
    total_B = drawn_BI @ total_I
    # A sample that drew no person with two photographs says nothing of a TAR.
    return np.divide(drawn_BI @ accepted_IT, total_B[:, None], out=_nans(drawn_BI, points), where=total_B[:, None] > 0)


def _hardest(unit: NDArray[np.float32], codes: NDArray[np.int64], scores: PairScores, num: int) -> _Hardest:
    floor = np.partition(scores.impostor, len(scores.impostor) - num)[len(scores.impostor) - num]
    similarity, first, second = [], [], []
    for block in score_blocks(unit, codes):
        rows, columns = np.nonzero(block.impostor & (block.scores >= floor))
        similarity.append(block.scores[rows, columns])
        first.append(codes[block.start + rows].astype(np.int32))
        second.append(codes[block.start + columns].astype(np.int32))
    joined = np.concatenate(similarity)
    order = np.argsort(-joined, kind="stable")
    return _Hardest(joined[order], np.concatenate(first)[order], np.concatenate(second)[order])


def _impostors(
    hardest: _Hardest,
    images_I: NDArray[np.int64],
    points: Sequence[OperatingPoint],
    drawn_BI: NDArray[np.int64],
    all_kept: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Thresholds and false-match rates (B, T); None where a sample's threshold lies below the pairs that were kept."""
    threshold_BT, fmr_BT = _nans(drawn_BI, points), _nans(drawn_BI, points)
    thresholds = np.array([point.threshold for point in points], np.float32)
    num_accepted = np.searchsorted(-hardest.scores, -thresholds, side="right")
    above = np.nextafter(hardest.scores, np.float32(2))
    for row, drawn_I in enumerate(drawn_BI):
        drawn_images_I = drawn_I * images_I
        total = (drawn_images_I.sum() ** 2 - (drawn_images_I**2).sum()) // 2
        if not total:  # one person, drawn every time
            continue
        weight = drawn_I.astype(np.int32)
        accepted = np.concatenate([[0], np.cumsum(weight[hardest.first] * weight[hardest.second], dtype=np.int64)])
        allowed = np.array([point.fmr * total for point in points])
        places = np.searchsorted(accepted[1:], allowed, side="right")  # the first pair that is one too many
        if places.max() == len(above) and not all_kept:
            return None
        threshold_BT[row] = above[np.minimum(places, len(above) - 1)]
        fmr_BT[row] = accepted[num_accepted] / total
    return threshold_BT, fmr_BT


def _nans(drawn_BI: NDArray[np.int64], points: Sequence[OperatingPoint]) -> NDArray[np.float64]:
    return np.full((len(drawn_BI), len(points)), np.nan)


def _interval(values_B: NDArray[np.float64], ends: Sequence[float]) -> Interval:
    low, high = np.nanquantile(values_B, ends)
    return float(low), float(high)
