"""Rows: a part of a set's table, for a quick look or another question.

Holds the choice of a few and the taking of chosen ones. Never reads a file and never measures.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.training.dataset import FaceTable
from model.training.evaluation.pairs import PairList, few_pairs


def few_of(table: FaceTable, pairs: PairList | None, limit: int) -> tuple[FaceTable, PairList | None]:
    """No more than `limit` images: those of a balanced few pairs where there are pairs, else spread evenly."""
    if pairs is None:
        rows = np.unique(np.linspace(0, len(table) - 1, min(limit, len(table))).round().astype(np.int64))
        return rows_of(table, rows.tolist()), None
    kept = few_pairs(pairs, limit)
    rows = np.unique(np.concatenate([kept.first, kept.second]))
    renumbered = replace(kept, first=np.searchsorted(rows, kept.first), second=np.searchsorted(rows, kept.second))
    return rows_of(table, rows.tolist()), renumbered


def rows_of(table: FaceTable, rows: Sequence[int]) -> FaceTable:
    """Chosen rows of a table, in their order."""
    chosen = np.asarray(rows, np.int64)
    return replace(
        table,
        images=table.images[chosen],
        names=tuple(table.names[row] for row in rows),
        identity=table.identity[chosen],
        age=table.age[chosen],
        gender=table.gender[chosen],
        race=table.race[chosen],
        expression=table.expression[chosen],
        attributes=table.attributes[chosen],
        teacher=table.teacher[chosen],
        age_sigma=None if table.age_sigma is None else table.age_sigma[chosen],
    )
