"""The mixed-batch sampler: which rows of which set a batch sees.

Each set is walked in a fresh order every pass, so that each row is seen once a pass whatever the other sets' sizes.
Never reads pixels, and never remembers anything: a batch's rows depend on (seed, its number) alone.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.training.seeds import DRAW, numpy_generator


class MixedSampler:
    """Stated rows of each set in each batch."""

    def __init__(
        self, sizes: Mapping[str, int], rows: Mapping[str, int], seed: int, keep: Mapping[str, float] | None = None
    ) -> None:
        """States the mixture.

        Args:
            sizes: rows that each set has.
            rows: rows of each set in a batch; a set with 0 is left out.
            seed: of the walk.
            keep: the probability with which a pass keeps each row of a set, drawn anew each pass; 1 where not named.
        """
        self.sizes = dict(sizes)
        self.rows = {name: count for name, count in rows.items() if count > 0}
        self.seed = seed
        self.lengths = {name: kept_rows(self.sizes[name], (keep or {}).get(name, 1.0)) for name in self.rows}
        self._order = lru_cache(maxsize=2 * len(self.rows) + 1)(self._shuffled)

    def draw(self, number: int) -> dict[str, NDArray[np.int64]]:
        """Row numbers of each set for the batch of this number, 0 for the first."""
        return {name: self._draw_set(place, name, number) for place, name in enumerate(self.rows)}

    def _draw_set(self, place: int, name: str, number: int) -> NDArray[np.int64]:
        first, length = number * self.rows[name], self.lengths[name]
        steps = np.arange(first, first + self.rows[name])
        orders = {walk: self._order(place, walk, self.sizes[name]) for walk in np.unique(steps // length).tolist()}
        return np.array([orders[step // length][step % length] for step in steps.tolist()], np.int64)

    def _shuffled(self, place: int, walk: int, size: int) -> NDArray[np.int64]:
        # A pass that keeps some rows is a prefix of the shuffled whole: each row is kept with the same probability.
        return numpy_generator(self.seed, DRAW, place, walk).permutation(size)


def kept_rows(size: int, keep: float) -> int:
    """Rows of a set that one pass sees, one at least."""
    return size if keep >= 1 else max(round(size * keep), 1)
