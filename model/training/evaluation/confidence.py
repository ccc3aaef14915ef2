"""Confidence: how likely a pair of faces is one person's, by its similarity, from measured score distributions.

Holds the counting of all pairs by similarity, the monotone curve that is drawn from the counts, and what the curve is
worth on people that it was not drawn from, in numpy alone. Never computes an embedding and never decides on a pair.
Shape suffixes: N faces; D embedding length; F folds of people; K bins of similarity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.classification import calibration_bins
from model.training.evaluation.temperature import NUM_FOLDS, folds_of
from model.training.evaluation.verification import PairScores, directions, score_blocks

_NUM_BINS: Final = 2000  # of similarity from -1 to 1, in which pairs are counted
_BINS_A_STEP: Final = 20  # 0.02 of similarity: as finely as a curve may step
_MIN_PAIRS: Final = 10  # of either kind a step; a ratio of fewer is noise


@dataclass(frozen=True, slots=True, eq=False)
class PairCounts:
    """Pairs by similarity and by the folds of their two people: int64 (F, F, K), each pair once."""

    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Rising similarities, and at each the logarithm of how much likelier it is among genuine pairs; never falling."""

    similarities: tuple[float, ...]
    log_ratios: tuple[float, ...]

    def probability(self, similarity: NDArray[np.float64]) -> NDArray[np.float64]:
        """That a pair is one person's, where it is beforehand as likely as not to be."""
        return np.asarray(1 / (1 + np.exp(-np.interp(similarity, self.similarities, self.log_ratios))))


@dataclass(slots=True)
class _Step:
    """A run of bins: shares of all genuine and of all impostor pairs in it, and the pairs themselves."""

    genuine: float
    impostor: float
    num_genuine: int
    num_impostor: int
    moment: float  # sum of similarity over both shares

    def join(self, other: "_Step") -> None:
        self.genuine += other.genuine
        self.impostor += other.impostor
        self.num_genuine += other.num_genuine
        self.num_impostor += other.num_impostor
        self.moment += other.moment

    @property
    def is_measured(self) -> bool:
        return min(self.num_genuine, self.num_impostor) >= _MIN_PAIRS


def count_pairs(
    embeddings_ND: NDArray[np.floating],
    identities: NDArray[np.generic] | Sequence[object],
    num_folds: int = NUM_FOLDS,
) -> PairCounts:
    """Counts every pair of a set, its people dealt to folds.

    Raises:
        ValueError: as `all_pairs`, or if there are fewer people than folds.
    """
    unit, codes = directions(embeddings_ND, identities)
    fold_N = folds_of(codes, num_folds)
    counts = np.zeros((2, num_folds * num_folds * _NUM_BINS), np.int64)
    for block in score_blocks(unit, codes):
        stop = block.start + len(block.scores)
        place = (fold_N[block.start : stop, None] * num_folds + fold_N[None, block.start :]) * _NUM_BINS
        place += _bins(block.scores)
        for kind, wanted in enumerate((block.genuine, block.impostor)):
            counts[kind] += np.bincount(place[wanted], minlength=counts.shape[1])
    genuine, impostor = counts.reshape(2, num_folds, num_folds, _NUM_BINS)
    return PairCounts(genuine, impostor)


def curve_of_scores(scores: PairScores) -> Curve | None:
    """The curve of scored pairs, whoever is in them."""
    genuine_K, impostor_K = (
        np.bincount(_bins(kind), minlength=_NUM_BINS) for kind in (scores.genuine, scores.impostor)
    )
    return curve_of(genuine_K, impostor_K)


def curve_of(genuine_K: NDArray[np.integer], impostor_K: NDArray[np.integer]) -> Curve | None:
    """The curve of counted pairs; None where there are too few for two steps.

    Similarities are cut into steps of 0.02, which are joined until each holds ten pairs of either kind, and then until
    the ratio of its shares of both rises from step to step (pool adjacent violators, Zadrozny and Elkan 2002, KDD). The
    ratio's logarithm stands at the step's mean similarity; between two it is interpolated, beyond the outermost it
    stays, so that nothing is claimed that fewer than ten pairs have shown.
    """
    if not genuine_K.sum() or not impostor_K.sum():
        return None
    steps: list[_Step] = []
    for step in _measured(_cut(genuine_K, impostor_K)):
        steps.append(step)
        while len(steps) > 1 and steps[-2].genuine * steps[-1].impostor >= steps[-1].genuine * steps[-2].impostor:
            steps[-2].join(steps.pop())
    if len(steps) < 2:
        return None
    return Curve(
        tuple(step.moment / (step.genuine + step.impostor) for step in steps),
        tuple(float(np.log(step.genuine / step.impostor)) for step in steps),
    )


def whole_curve(counts: PairCounts) -> Curve | None:
    """The curve of all pairs."""
    return curve_of(counts.genuine.sum((0, 1)), counts.impostor.sum((0, 1)))


def held_out_error(counts: PairCounts) -> float | None:
    """Expected calibration error of curves on pairs of people that they were not drawn from; None without one.

    A fold's pairs, both people in it, are judged by the curve of all pairs without anyone of it. Genuine pairs count as
    much as impostor pairs, which is what the curve claims to hold at.
    """
    stated: list[NDArray[np.float64]] = []
    came_true: list[NDArray[np.bool_]] = []
    weight: list[NDArray[np.float64]] = []
    own = np.arange(len(counts.genuine))
    totals = [kind[own, own].sum() for kind in (counts.genuine, counts.impostor)]
    for fold in own:
        others = own[own != fold]
        among = np.ix_(others, others)
        curve = curve_of(counts.genuine[among].sum((0, 1)), counts.impostor[among].sum((0, 1)))
        if curve is None or not min(totals):
            return None
        for kind, is_same in ((0, True), (1, False)):
            counted = (counts.genuine, counts.impostor)[kind][fold, fold]
            stated.append(curve.probability(_centres()))
            came_true.append(np.full(_NUM_BINS, is_same))
            weight.append(np.asarray(counted / totals[kind], np.float64))
    return calibration_bins(np.concatenate(stated), np.concatenate(came_true), np.concatenate(weight)).error


def error_of(curve: Curve, counts: PairCounts) -> float | None:
    """Expected calibration error of a curve on a set's pairs, genuine ones weighing as much as impostor pairs."""
    genuine_K, impostor_K = counts.genuine.sum((0, 1)), counts.impostor.sum((0, 1))
    if not genuine_K.sum() or not impostor_K.sum():
        return None
    stated = curve.probability(_centres())
    return calibration_bins(
        np.concatenate([stated, stated]),
        np.repeat([True, False], _NUM_BINS),
        np.concatenate([genuine_K / genuine_K.sum(), impostor_K / impostor_K.sum()]),
    ).error


def _bins(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    bins = ((similarity.astype(np.float64) + 1) * (_NUM_BINS / 2)).astype(np.int64)
    return np.minimum(bins, _NUM_BINS - 1)


def _centres() -> NDArray[np.float64]:
    return np.asarray((np.arange(_NUM_BINS) + 0.5) * (2 / _NUM_BINS) - 1, np.float64)


def _cut(genuine_K: NDArray[np.integer], impostor_K: NDArray[np.integer]) -> list[_Step]:
    shares = genuine_K / genuine_K.sum(), impostor_K / impostor_K.sum()
    moment_K = (shares[0] + shares[1]) * _centres()
    rows = [values.reshape(-1, _BINS_A_STEP).sum(1).tolist() for values in (*shares, genuine_K, impostor_K, moment_K)]
    return [_Step(*values) for values in zip(*rows, strict=True)]


def _measured(cut: Sequence[_Step]) -> list[_Step]:
    """Joins steps, from the lowest similarity on, until each holds enough pairs of either kind."""
    joined: list[_Step] = []
    for step in cut:
        if joined and not joined[-1].is_measured:
            joined[-1].join(step)
        else:
            joined.append(step)
    while len(joined) > 1 and not joined[-1].is_measured:
        joined[-2].join(joined.pop())
    return joined
