import numpy as np
import pytest

from model.training.evaluation.intervals import (
    Interval,
    bootstrap_impostors,
    bootstrap_mean,
    of_mean,
    wilson,
)


@pytest.mark.parametrize(("share", "number", "low", "high"), [(0.5, 100, 0.4038, 0.5962), (0.0, 10, 0.0, 0.2775)])
def test_a_shares_interval_is_wilsons(share: float, number: int, low: float, high: float) -> None:
    """Half of a hundred, and none of ten, have the intervals that the published formula gives."""
    found = wilson(share, number)
    assert [found.low, found.high] == pytest.approx([low, high], abs=1e-4)


def test_a_share_lies_in_its_own_interval_to_the_last_bit() -> None:
    """All right and all wrong are inside, however the ends are rounded."""
    for number in range(1, 200):
        assert wilson(1.0, number).high == 1.0
        assert wilson(0.0, number).low == 0.0


def test_a_bootstrapped_mean_is_as_wide_as_the_normal_one() -> None:
    """Of 2,000 samples of a deviation of 3, the interval is about 1.96 times 3 by the root of 2,000 to either side."""
    values = np.random.default_rng(0).normal(10, 3, 2000)
    found = bootstrap_mean(values)
    assert found.high - values.mean() == pytest.approx(1.96 * 3 / 2000**0.5, rel=0.15)
    assert found == bootstrap_mean(values)


def test_samples_of_one_person_say_less_than_as_many_of_many() -> None:
    """Forty copies of each of fifty people's errors have an interval about as wide as the fifty alone."""
    people = np.random.default_rng(1).normal(0, 1, 50)
    values, cluster = np.repeat(people, 40), np.repeat(np.arange(50), 40)
    clustered, alone, naive = bootstrap_mean(values, cluster), bootstrap_mean(people), bootstrap_mean(values)
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert naive.high - naive.low < (alone.high - alone.low) / 4


def test_pairs_of_two_people_are_drawn_by_people() -> None:
    """One person who is taken for everyone makes the rate as uncertain as it is whether that person is there."""
    pairs = np.full((10, 10), 4) - 4 * np.eye(10, dtype=int)
    accepted = np.zeros((10, 10), int)
    accepted[0, 1:] = accepted[1:, 0] = 4
    found = bootstrap_impostors(accepted, pairs)
    assert found.low == 0.0
    assert found.high > 0.3


def test_a_mean_of_figures_is_surer_than_each() -> None:
    """Four independent figures of one width have a mean of half that width."""
    found = of_mean([(0.5, Interval(0.4, 0.6))] * 4)
    assert [found.low, found.high] == pytest.approx([0.45, 0.55])
