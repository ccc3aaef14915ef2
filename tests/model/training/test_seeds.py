"""Tests of model.training.seeds."""

from itertools import product

import torch

from model.training.seeds import numpy_generator, seed_of, torch_generator


def test_every_position_has_its_own_seed() -> None:
    """No two of some thousand (seed, stream, step) share a seed, and each fits a signed 64-bit integer."""
    seeds = [seed_of(*position) for position in product(range(3), range(4), range(200))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_repeat() -> None:
    """Two generators of one position draw alike; of two positions, differently."""
    assert torch.equal(
        torch.rand(4, generator=torch_generator(1, 2, 3)), torch.rand(4, generator=torch_generator(1, 2, 3))
    )
    assert numpy_generator(1, 2, 3).random() == numpy_generator(1, 2, 3).random()
    assert numpy_generator(1, 2, 3).random() != numpy_generator(1, 2, 4).random()
