import numpy as np

from model.training.evaluation.people import People
from model.training.evaluation.verification import all_pairs


def test_counts_are_those_of_every_pair_and_intervals_hold_the_rates() -> None:
    """Both errors are counted as over a list of all pairs, in any order of rows, and lie in their intervals."""
    rng = np.random.default_rng(0)
    identity = rng.permutation(np.repeat(np.arange(40), 5))
    rows = rng.normal(size=(40, 16))[identity] + 0.9 * rng.normal(size=(200, 16))
    found, scores = People(rows, identity).at(0.4), all_pairs(rows, identity)
    assert (found.num_genuine, found.num_impostor) == (len(scores.genuine), len(scores.impostor))
    assert found.genuine_accepted == (scores.genuine >= np.float32(0.4)).sum()
    assert found.impostor_accepted == (scores.impostor >= np.float32(0.4)).sum()
    assert found.tar is not None
    assert found.fmr is not None
    assert found.tar.low < found.genuine_accepted / found.num_genuine < found.tar.high
    assert found.fmr.low < found.impostor_accepted / found.num_impostor < found.fmr.high


def test_one_person_alone_has_no_interval() -> None:
    """Nobody else can be drawn, so nothing is claimed."""
    rows = np.random.default_rng(1).normal(size=(6, 4))
    found = People(rows, np.array([0, 0, 0, 0, 1, 2])).at(0.0)
    assert found.tar is None
    assert People(rows[:5], np.array([0, 0, 0, 1, 1])).at(0.0).fmr is None
