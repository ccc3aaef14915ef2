"""Folds: the ten-fold protocol as the published verification code runs it, on a fixed grid of thresholds.

Holds the folds in order and the search over the grid, so that a figure can be laid beside a published one. The exact
search, which every other figure of this project rests on, is in `verification`. Never computes an embedding.
Shape suffixes: P pairs; D embedding length; T thresholds.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.verification import TenFold

NUM_FOLDS: Final = 10
# Squared distances of unit vectors lie in 0 to 4; the published search tries every hundredth (InsightFace's
# recognition/arcface_torch/eval/verification.py, MIT, after David Sandberg's facenet, MIT).
GRID: Final[NDArray[np.float64]] = np.arange(0, 4, 0.01)


def folds_in_order(num_pairs: int, num_folds: int = NUM_FOLDS) -> NDArray[np.int64]:
    """The fold (P,) of each pair: consecutive runs of equal length, the first few one longer where that leaves a rest.

    Raises:
        ValueError: if there are fewer pairs than folds.
    """
    if num_pairs < num_folds:
        raise ValueError(f"{num_pairs} pairs are too few for {num_folds} folds")
    return np.concatenate(
        [np.full(len(part), number) for number, part in enumerate(np.array_split(np.arange(num_pairs), num_folds))]
    ).astype(np.int64)


def squared_distance(first_PD: NDArray[np.floating], second_PD: NDArray[np.floating]) -> NDArray[np.float64]:
    """Squared Euclidean distance (P,) of embeddings that are brought to unit length; 2 - 2 cos of them.

    Raises:
        ValueError: if an embedding is zero or not finite.
    """
    first, second = _unit(first_PD), _unit(second_PD)
    return np.asarray(((first - second) ** 2).sum(1), np.float64)


def grid_accuracy(distance: NDArray[np.floating], same: NDArray[np.bool_], fold: NDArray[np.integer]) -> TenFold:
    """Accuracy on each fold at the threshold of `GRID` that is best on the others.

    A pair is accepted when its squared distance is BELOW the threshold; of equally good thresholds the lowest distance,
    so the strictest, is taken. The exact search differs by what lies between two hundredths, a few 0.01 % on 6,000
    pairs.

    Args:
        distance: (P,) squared distances.
        same: (P,) whether the pair is one person.
        fold: (P,) the fold each pair belongs to.

    Returns:
        Accuracies a fold, and its thresholds as squared distances.

    Raises:
        ValueError: if lengths differ, a distance is not finite, or there are fewer than two folds.
    """
    truth, folds = np.asarray(same, bool), np.asarray(fold)
    if not len(distance) == len(truth) == len(folds):
        raise ValueError("distance, same and fold differ in length")
    if not np.isfinite(distance).all():
        raise ValueError("a pair's distance is not finite")
    names = np.unique(folds)
    if len(names) < 2:
        raise ValueError("the protocol needs two folds at least")
    right_PT = (np.asarray(distance)[:, None] < GRID) == truth[:, None]
    best = [int(right_PT[folds != name].sum(0).argmax()) for name in names]
    accuracies = [float(right_PT[folds == name, place].mean()) for name, place in zip(names, best, strict=True)]
    return TenFold(
        float(np.mean(accuracies)), float(np.std(accuracies)), tuple(accuracies), tuple(float(GRID[k]) for k in best)
    )


def _unit(rows_PD: NDArray[np.floating]) -> NDArray[np.float64]:
    rows = np.asarray(rows_PD, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(length).all() or not length.all():
        raise ValueError("an embedding is zero or not finite")
    return np.asarray(rows / length, np.float64)
