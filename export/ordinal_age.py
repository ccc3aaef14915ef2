"""What an ordinal age needs to be compared fairly: it counts logits over 0, and one at 0 moves it by a whole year.

Holds which inputs stand at such a border, and a known crop that keeps away from it. Never compares and never traces.
Shape suffixes: N faces; S crop side; K ranks.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from export.check import Wavering
from model.analyzer import Analyzer, normalise
from model.runtime.known_answer import known_crops

KNOWN_SEED: Final = 1  # of the known crop where nothing speaks for another
# A logit this near to 0 may stand on either side of it once the same numbers are added in another order.
_AT_BORDER: Final = 1e-4
_NUM_SEEDS: Final = 16


def wavering(twin: Analyzer) -> Wavering | None:
    """How many of an ordinal age's logits lie so near to 0 that the order of additions decides their side.

    None for an analyzer without an ordinal age.
    """
    if not _is_ordinal(twin):
        return None

    def count(images_NSSC: NDArray[np.uint8]) -> NDArray[np.integer]:
        near_NK = np.abs(_age_logits(twin, images_NSSC)) <= _AT_BORDER
        return np.asarray(near_NK.sum(1))

    return count


def clear_seed(twin: Analyzer) -> int:
    """The seed of an analyzer's known crop.

    For an ordinal age it is, of several, the one whose crop keeps furthest from every border: no processor rounds it
    over one.
    """
    if not _is_ordinal(twin):
        return KNOWN_SEED
    crops_NSSC = np.concatenate([known_crops(seed, twin.side_px) for seed in range(1, _NUM_SEEDS + 1)])
    clearance_N = np.abs(_age_logits(twin, crops_NSSC)).min(1)
    return 1 + int(np.argmax(clearance_N))


def _is_ordinal(twin: Analyzer) -> bool:
    return "age" in twin.tasks and twin.network.config.age_form == "ordinal"


def _age_logits(twin: Analyzer, images_NSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, K), one crop at a time, as the network is compared."""
    pixels = twin.network.config.pixels
    with torch.inference_mode():
        rows = [
            twin.network(normalise(torch.from_numpy(image[None].copy()), pixels))["age"].numpy()
            for image in images_NSSC
        ]
    return np.concatenate(rows)
