"""The mixed-batch sampler: which rows of which set a step sees.

Each set is walked in a fresh order every pass, so that each row is seen once a pass whatever the other sets' sizes.
Never reads pixels, and never remembers anything: a step's rows depend on (seed, step) alone.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.training.seeds import DRAW, numpy_generator


class MixedSampler:
    """Stated rows of each set in each batch."""

    def __init__(self, sizes: Mapping[str, int], rows: Mapping[str, int], seed: int) -> None:
        """States the mixture.

        Args:
            sizes: rows that each set has.
            rows: rows of each set in a batch; a set with 0 is left out.
            seed: of the walk.
        """
        self.sizes = dict(sizes)
        self.rows = {name: count for name, count in rows.items() if count > 0}
        self.seed = seed
        self._order = lru_cache(maxsize=2 * len(self.rows) + 1)(self._shuffled)

    def draw(self, step: int) -> dict[str, NDArray[np.int64]]:
        """Row numbers of each set for a step."""
        return {name: self._draw_set(number, name, step) for number, name in enumerate(self.rows)}

    def _draw_set(self, number: int, name: str, step: int) -> NDArray[np.int64]:
        first, size = step * self.rows[name], self.sizes[name]
        places = np.arange(first, first + self.rows[name])
        orders = {walk: self._order(number, walk, size) for walk in np.unique(places // size).tolist()}
        return np.array([orders[place // size][place % size] for place in places.tolist()], np.int64)

    def _shuffled(self, number: int, walk: int, size: int) -> NDArray[np.int64]:
        return numpy_generator(self.seed, DRAW, number, walk).permutation(size)
