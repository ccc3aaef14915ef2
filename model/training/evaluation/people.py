"""People: both errors of verification with their 95 % intervals, drawn over people.

A person's pictures are in many pairs at once, so pairs are not independent, and a handful of people may decide a rate.
Holds the counts of pairs between person and person. Never computes an embedding. Shape suffixes: N faces; D embedding
length; K people.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.intervals import Interval, bootstrap_impostors, draws, percentiles
from model.training.evaluation.verification import unit_rows

MAX_FACES: Final = 8192  # similarities of all of them at once: 270 MB


@dataclass(frozen=True, slots=True)
class Errors:
    """What holds for some faces at one threshold: pairs accepted and pairs there are, and an interval of their share.

    An interval is None where there is one person alone to draw again.
    """

    genuine_accepted: int
    num_genuine: int
    tar: Interval | None
    impostor_accepted: int
    num_impostor: int
    fmr: Interval | None


class People:
    """The similarities of some faces, sorted by person."""

    def __init__(self, embeddings_ND: NDArray[np.floating], identity_N: NDArray[np.integer]) -> None:
        """Compares every face with every other.

        Args:
            embeddings_ND: one a face, `MAX_FACES` at most.
            identity_N: who each is.
        """
        order = np.argsort(identity_N, kind="stable")
        unit = unit_rows(embeddings_ND[order])
        self._scores = np.clip(unit @ unit.T, -1.0, 1.0)
        _, self._starts, self._faces_K = np.unique(identity_N[order], return_index=True, return_counts=True)

    def at(self, threshold: float) -> Errors:
        """Both errors at a threshold, from which on a pair is accepted."""
        accepted = self._scores >= np.float32(threshold)
        np.fill_diagonal(accepted, val=False)
        accepted_KK = self._between(accepted)
        pairs_KK = np.outer(self._faces_K, self._faces_K)
        # Each pair of one person's stands twice in the square.
        genuine_K = np.diag(accepted_KK) // 2
        genuine_pairs_K = self._faces_K * (self._faces_K - 1) // 2
        np.fill_diagonal(accepted_KK, 0)
        np.fill_diagonal(pairs_KK, 0)
        several = int((genuine_pairs_K > 0).sum()) > 1
        return Errors(
            int(genuine_K.sum()),
            int(genuine_pairs_K.sum()),
            _share(genuine_K, genuine_pairs_K) if several else None,
            int(accepted_KK.sum()) // 2,
            int(pairs_KK.sum()) // 2,
            bootstrap_impostors(accepted_KK, pairs_KK) if len(self._faces_K) > 2 else None,
        )

    def _between(self, accepted_NN: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = np.add.reduceat(accepted_NN, self._starts, axis=0, dtype=np.int32)
        return np.add.reduceat(rows, self._starts, axis=1, dtype=np.int64)


def _share(part_K: NDArray[np.integer], whole_K: NDArray[np.integer]) -> Interval:
    weights = draws(len(whole_K))
    return percentiles((weights @ part_K) / np.maximum(weights @ whole_K, 1e-12))
