"""Verification: how well similarity tells pairs of one person from pairs of two.

Holds the ten-fold protocol, the scores of all pairs of a set, and thresholds, error rates and curves drawn from them,
in numpy alone. Never computes an embedding and never draws a picture.

One convention everywhere: a pair is accepted as the same person when `similarity >= threshold`.
FMR, the false-match rate, is the share of impostor pairs accepted; TAR, the true-accept rate, the share of genuine
pairs accepted; FNMR, the false non-match rate, is 1 - TAR (ISO/IEC 19795-1).
Shape suffixes: N faces; D embedding length; P pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class TenFold:
    """Outcome of the ten-fold protocol: mean and standard deviation over the folds, and what each fold gave."""

    mean: float
    std: float
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairScores:
    """Cosine similarities (float32, within [-1, 1]) of a set's genuine and impostor pairs, in no particular order."""

    genuine: NDArray[np.float32]
    impostor: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreBlock:
    """Similarities of some rows with themselves and all later ones.

    Attributes:
        start: the first row, and the first column.
        scores: float32 (rows, rows from `start` on).
        genuine: which of them are pairs of one person, each pair once.
        impostor: which are pairs of two.
    """

    start: int
    scores: NDArray[np.float32]
    genuine: NDArray[np.bool_]
    impostor: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What holds at a threshold; `fmr` is the rate that was asked for, `measured_fmr` what came of it, never more."""

    fmr: float
    threshold: float
    tar: float
    measured_fmr: float
    num_impostor: int
    num_genuine: int


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Points (K,) of the trade-off between both errors, FMR rising: TPR of an ROC is `1 - fnmr`, a DET draws both."""

    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]
    threshold: NDArray[np.float64]


def pair_similarity(first_PD: NDArray[np.floating], second_PD: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cosine similarity (P,) of embeddings that stand beside each other.

    Raises:
        ValueError: as `all_pairs`, for embeddings that have no direction.
    """
    similarity = np.einsum("pd,pd->p", unit_rows(first_PD), unit_rows(second_PD))
    return np.asarray(np.clip(similarity, -1.0, 1.0), np.float32)


def ten_fold_accuracy(similarity: NDArray[np.floating], same: NDArray[np.bool_], fold: NDArray[np.integer]) -> TenFold:
    """Accuracy on each fold at the threshold that is best on all others (LFW's protocol, Huang et al. 2007).

    Candidate thresholds lie halfway between neighbouring similarities; of equally good ones the lowest is taken. Folds
    may be of any number over one and of unequal size; the mean weighs folds, not pairs.

    Args:
        similarity: (P,) finite.
        same: (P,) whether the pair is one person.
        fold: (P,) the fold each pair belongs to.

    Raises:
        ValueError: if a similarity is not finite, lengths differ, or there are fewer than two folds.
    """
    scores, truth, folds = np.asarray(similarity, np.float64), np.asarray(same, bool), np.asarray(fold)
    if not len(scores) == len(truth) == len(folds):
        raise ValueError("similarity, same and fold differ in length")
    if not np.isfinite(scores).all():
        raise ValueError("a pair's similarity is not finite")
    names = np.unique(folds)
    if len(names) < 2:
        raise ValueError("the protocol needs two folds at least")
    thresholds, accuracies = [], []
    for name in names:
        held_out = folds == name
        threshold = best_threshold(scores[~held_out], truth[~held_out])
        thresholds.append(threshold)
        accuracies.append(float(((scores[held_out] >= threshold) == truth[held_out]).mean()))
    return TenFold(float(np.mean(accuracies)), float(np.std(accuracies)), tuple(accuracies), tuple(thresholds))


def best_threshold(similarity: NDArray[np.floating], same: NDArray[np.bool_]) -> float:
    """The lowest threshold of the most accurate ones over similarities (P,), halfway between neighbouring values.

    Beyond the ends it lies 1e-6 outside: everything, or nothing, is accepted there.
    """
    values, where = np.unique(np.asarray(similarity, np.float64), return_inverse=True)
    if not len(values):
        raise ValueError("no pairs to choose a threshold on")
    genuine = np.bincount(where, weights=same, minlength=len(values))
    impostor = np.bincount(where, weights=~np.asarray(same, bool), minlength=len(values))
    # correct[k]: values[k:] are accepted, values[:k] rejected.
    correct = np.append(genuine[::-1].cumsum()[::-1], 0.0) + np.append(0.0, impostor.cumsum())
    middles = np.concatenate([[values[0] - 1e-6], (values[1:] + values[:-1]) / 2, [values[-1] + 1e-6]])
    return float(middles[int(correct.argmax())])


def all_pairs(
    embeddings_ND: NDArray[np.floating],
    identities: NDArray[np.generic] | Sequence[object],
    *,
    block_rows: int = _BLOCK_ROWS,
    progress: Callable[[int], None] | None = None,
) -> PairScores:
    """Scores every pair of a set once, block by block: 4 bytes a pair and one block are all the memory it takes.

    Args:
        embeddings_ND: (N, D); rows are brought to unit length, so that unit rows stay what they are.
        identities: (N,) who each row is; equal means one person.
        block_rows: rows a block.
        progress: told how many rows were done, after each block.

    Returns:
        N (N - 1) / 2 similarities: those of equal identities as `genuine`, the others as `impostor`.

    Raises:
        ValueError: if lengths differ, an identity is unknown (None, NaN or -1), or an embedding is zero or not finite,
            so that it has no direction to compare: the first such row is named.
    """
    unit, codes = directions(embeddings_ND, identities)
    counts = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    num_genuine = int((counts * (counts - 1) // 2).sum())
    genuine = np.empty(num_genuine, np.float32)
    impostor = np.empty(len(unit) * (len(unit) - 1) // 2 - num_genuine, np.float32)
    genuine_at = impostor_at = 0
    for block in score_blocks(unit, codes, block_rows):
        same, other = block.scores[block.genuine], block.scores[block.impostor]
        genuine[genuine_at : genuine_at + len(same)] = same
        impostor[impostor_at : impostor_at + len(other)] = other
        genuine_at, impostor_at = genuine_at + len(same), impostor_at + len(other)
        if progress is not None:
            progress(len(block.scores))
    return PairScores(genuine, impostor)


def directions(
    embeddings_ND: NDArray[np.floating], identities: NDArray[np.generic] | Sequence[object]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of unit length, and who each is as a number from 0, in the order in which people first stand.

    Raises:
        ValueError: as `all_pairs`.
    """
    unit, codes = unit_rows(embeddings_ND), _identity_codes(identities)
    if len(unit) != len(codes):
        raise ValueError(f"{len(unit)} embeddings and {len(codes)} identities")
    return unit, codes


def score_blocks(
    unit_ND: NDArray[np.float32], codes_N: NDArray[np.int64], block_rows: int = _BLOCK_ROWS
) -> Iterator[ScoreBlock]:
    """Every pair of `directions` once, a block of rows against itself and all later ones."""
    for start in range(0, len(unit_ND), block_rows):
        stop = min(start + block_rows, len(unit_ND))
        scores = unit_ND[start:stop] @ unit_ND[start:].T
        np.clip(scores, -1.0, 1.0, out=scores)
        upper = np.triu(np.ones(scores.shape, bool), 1)  # column 0 is row `start`: the diagonal stays on the diagonal
        equal = codes_N[start:stop, None] == codes_N[None, start:]
        yield ScoreBlock(start, scores, upper & equal, upper & ~equal)


def thresholds_at_fmr(
    impostor: NDArray[np.floating], genuine: NDArray[np.floating], fmrs: Sequence[float]
) -> tuple[OperatingPoint, ...]:
    """The lowest float32 threshold at which no more than each stated share of the impostor pairs is accepted.

    Exact, ties and all: with k the number of false matches that a rate allows, the threshold is the next float32 above
    the (k+1)-th highest impostor score. So `similarity > threshold` keeps the rate as well, and an impostor score of 1
    there gives a threshold just above 1, at which nothing is accepted.

    Args:
        impostor: (P,) similarities of pairs of two people, of any order.
        genuine: (P',) similarities of pairs of one person.
        fmrs: rates strictly between 0 and 1. A rate under 1 / P allows no false match at all.

    Raises:
        ValueError: if either set is empty or not finite, or a rate is not strictly between 0 and 1.
    """
    impostor, genuine = np.asarray(impostor, np.float32), np.asarray(genuine, np.float32)
    if not len(impostor) or not len(genuine):
        raise ValueError("thresholds need one impostor and one genuine pair at least")
    if not (np.isfinite(impostor).all() and np.isfinite(genuine).all()):
        raise ValueError("a pair's similarity is not finite")
    if bad := [fmr for fmr in fmrs if not 0 < fmr < 1]:
        raise ValueError(f"a false-match rate lies strictly between 0 and 1, not {bad[0]}")
    if not fmrs:
        return ()
    places = [len(impostor) - 1 - _allowed(fmr, len(impostor)) for fmr in fmrs]
    ranked = np.partition(impostor, sorted(set(places)))
    return tuple(_point(fmr, ranked[place], impostor, genuine) for fmr, place in zip(fmrs, places, strict=True))


def error_curve(impostor: NDArray[np.floating], genuine: NDArray[np.floating], num_points: int = 512) -> ErrorCurve:
    """Both errors at thresholds spread evenly over the logarithm of the FMR, from one false match to all of them.

    The points are measured, not interpolated: each is `fmr` and `fnmr` at its threshold. The first accepts nothing
    false, the last accepts everything.
    """
    ranked = np.sort(np.asarray(impostor, np.float32))
    kept = np.sort(np.asarray(genuine, np.float32))
    if not len(ranked) or not len(kept):
        raise ValueError("a curve needs one impostor and one genuine pair at least")
    allowed = np.unique(np.geomspace(1, len(ranked), num_points).round().astype(np.int64)) - 1
    threshold = _just_above(ranked[len(ranked) - 1 - allowed])
    threshold = np.append(threshold, min(ranked[0], kept[0]))
    accepted = len(ranked) - np.searchsorted(ranked, threshold, side="left")
    rejected = np.searchsorted(kept, threshold, side="left")
    return ErrorCurve(accepted / len(ranked), rejected / len(kept), threshold.astype(np.float64))


def equal_error_rate(impostor: NDArray[np.floating], genuine: NDArray[np.floating]) -> tuple[float, float]:
    """The threshold at which FMR and FNMR lie nearest to each other, and the mean of both there.

    Returns:
        The rate and the threshold.
    """
    ranked, kept = np.sort(np.asarray(impostor, np.float32)), np.sort(np.asarray(genuine, np.float32))
    if not len(ranked) or not len(kept):
        raise ValueError("an equal error rate needs one impostor and one genuine pair at least")
    # FNMR rises with the threshold and FMR falls. They cross where FNMR steps, at a genuine score or just above one, or
    # between two steps, where FMR reaches the level at which FNMR stands still.
    levels = np.arange(len(kept)) * len(ranked) // len(kept)
    nearest = ranked[len(ranked) - 1 - levels]
    edges = np.concatenate([kept, _just_above(kept), nearest, _just_above(nearest)])
    fmr = 1 - np.searchsorted(ranked, edges, side="left") / len(ranked)
    fnmr = np.searchsorted(kept, edges, side="left") / len(kept)
    best = int(np.abs(fmr - fnmr).argmin())
    return float((fmr[best] + fnmr[best]) / 2), float(edges[best])


def _allowed(fmr: float, num_impostor: int) -> int:
    """The most false matches among so many impostor pairs that keep the rate; 0.29 * 100 is 28.999... and allows 29."""
    count = int(fmr * num_impostor)
    return count + 1 if (count + 1) / num_impostor <= fmr else count


def _point(
    fmr: float, highest_refused: np.float32, impostor: NDArray[np.float32], genuine: NDArray[np.float32]
) -> OperatingPoint:
    threshold = np.nextafter(highest_refused, np.float32(np.inf))
    return OperatingPoint(
        fmr=fmr,
        threshold=float(threshold),
        tar=float((genuine >= threshold).mean()),
        measured_fmr=float((impostor >= threshold).mean()),
        num_impostor=len(impostor),
        num_genuine=len(genuine),
    )


def _just_above(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.nextafter(scores, np.float32(np.inf))


def unit_rows(embeddings_ND: NDArray[np.floating]) -> NDArray[np.float32]:
    """Embeddings (N, D) brought to unit length.

    Raises:
        ValueError: if one is zero or not finite: how many are, and the first such row.
    """
    rows = np.asarray(embeddings_ND, np.float32)
    if rows.ndim != 2:
        raise ValueError(f"embeddings are (N, D), not of shape {rows.shape}")
    length = np.linalg.norm(rows, axis=1)
    if len(wrong := np.flatnonzero(~np.isfinite(length) | (length == 0))):
        raise ValueError(f"{len(wrong)} embeddings are zero or not finite, the first in row {wrong[0]}")
    return np.ascontiguousarray(rows / length[:, None])


def _identity_codes(identities: NDArray[np.generic] | Sequence[object]) -> NDArray[np.int64]:
    seen: dict[object, int] = {}
    codes = np.empty(len(identities), np.int64)
    listed = identities.tolist() if isinstance(identities, np.ndarray) else identities
    for row, identity in enumerate(listed):
        if identity is None or identity == -1 or identity != identity:
            raise ValueError(f"row {row} has no identity, and every pair must be known to be genuine or impostor")
        codes[row] = seen.setdefault(identity, len(seen))
    return codes
