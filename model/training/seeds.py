"""Seeds: every random choice of a training is a pure function of (seed, stream, step).

So a resumed training needs no random state, and draws what the uninterrupted one would have drawn.
Never holds a generator between two steps.
"""

import numpy as np
import torch

DRAW, AUGMENT, DROPOUT, INITIALISE, STATISTICS, MIX, SAMPLE = range(7)  # streams: what a seed is for


def seed_of(seed: int, stream: int, *position: int) -> int:
    """A 63-bit seed that depends on all its arguments (numpy's SeedSequence hashes them well)."""
    return int(np.random.SeedSequence([seed, stream, *position]).generate_state(1, np.uint64)[0] >> 1)


def numpy_generator(seed: int, stream: int, *position: int) -> np.random.Generator:
    """A numpy generator for one position of one stream."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, stream, *position)))


def torch_generator(seed: int, stream: int, *position: int) -> torch.Generator:
    """A torch CPU generator for one position of one stream."""
    return torch.Generator().manual_seed(seed_of(seed, stream, *position))
