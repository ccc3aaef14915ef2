"""Errors of single faces and of single pairs, for what asks which faces go wrong.

Holds the way from answers and labels to one number a sample. Never averages them and never runs a network.
Shape suffixes: N faces; P pairs; D embedding length.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.dataset import FaceTable
from model.training.evaluation.quality.correlation import Errors
from model.training.evaluation.verification import pair_similarity

_CLASSES: Final = ("gender", "race", "expression")


def face_errors(
    outputs: Mapping[str, NDArray[np.float32]], table: FaceTable, cluster_N: NDArray[np.int64] | None = None
) -> list[Errors]:
    """Errors of every labelled task but the embedding's.

    Args:
        outputs: answers (N, ...) by task.
        table: labels, rows as the answers'.
        cluster_N: see `Errors`.
    """
    truth = {"gender": table.gender, "race": table.race, "expression": table.expression}
    found = [
        Errors(task, "wrong", _wrong(outputs[task], truth[task]), cluster_N) for task in _CLASSES if task in outputs
    ]
    if "age" in outputs:
        found.append(
            Errors("age", "absolute_error_years", np.abs(outputs["age"].astype(np.float64) - table.age), cluster_N)
        )
    if "attributes" in outputs:
        found.append(Errors("attributes", "wrong_share", _wrong_share(outputs["attributes"], table), cluster_N))
    return [each for each in found if np.isfinite(each.values).any()]


def people_of(table: FaceTable) -> NDArray[np.int64]:
    """Who (N,) each face is; an unknown one is somebody of their own, by a negative number."""
    return np.where(table.identity == -1, -1 - np.arange(len(table)), table.identity)


def genuine_pairs(identity_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of faces of one known person: rows of the first (P,) and of the second (P,)."""
    order = np.argsort(identity_N, kind="stable")
    order = order[identity_N[order] != -1]
    _, starts = np.unique(identity_N[order], return_index=True)
    pairs = [pair for rows in np.split(order, starts[1:]) for pair in combinations(rows.tolist(), 2)]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def pair_errors(
    first_PD: NDArray[np.float32], second_PD: NDArray[np.float32], threshold: float, cluster_P: NDArray[np.int64]
) -> Errors:
    """Which pairs of one person's are refused at a threshold."""
    refused = pair_similarity(first_PD, second_PD) < np.float32(threshold)
    return Errors("embedding", "false_non_match", refused.astype(np.float64), cluster_P)


def _wrong(probabilities_NC: NDArray[np.float32], truth_N: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(truth_N == -1, np.nan, probabilities_NC.argmax(1) != truth_N)


def _wrong_share(probabilities_NA: NDArray[np.float32], table: FaceTable) -> NDArray[np.float64]:
    known = table.attributes != -1
    wrong = ((probabilities_NA > 0.5) != (table.attributes == 1)) & known
    number = known.sum(1)
    share = np.full(len(number), np.nan, np.float64)
    np.divide(wrong.sum(1), number, out=share, where=number > 0)
    return share
