import numpy as np
import pytest

from model.training.evaluation.regression import age_error, epsilon_error


def test_age_errors_are_those_of_a_hand() -> None:
    """Errors of +2, -6 and +5 years: mean 13/3 away, 1/3 too old, two within five years; an unknown age is left out."""
    found = age_error(np.array([32.0, 14.0, 45.0, 99.0]), np.array([30.0, 20.0, 40.0, np.nan], np.float32))
    assert found.mae_years == pytest.approx(13 / 3)
    assert found.bias_years == pytest.approx(1 / 3)
    assert found.cumulative_score == pytest.approx(2 / 3)
    assert found.num_samples == 3


@pytest.mark.parametrize(("ages", "words"), [([np.nan], "no face"), ([1.0, 2.0], "1 estimates and 2 ages")])
def test_ages_that_cannot_be_compared_are_refused(ages: list[float], words: str) -> None:
    """No known age, and another number of ages, are errors."""
    with pytest.raises(ValueError, match=words):
        age_error(np.array([30.0]), np.array(ages))


def test_the_epsilon_error_is_that_of_the_challenge() -> None:
    """By hand: a deviation away is 1 - exp(-1/2), the mean itself 0, far away 1; unknown rows are left out."""
    estimate, mean = np.array([25.0, 40, 90, 3, 3]), np.array([20.0, 40, 10, np.nan, 5])
    sigma = np.array([5.0, 3, 2, 1, np.nan])
    error, number = epsilon_error(estimate, mean, sigma)
    assert number == 3
    assert error == pytest.approx((1 - np.exp(-0.5) + 0 + 1) / 3)


def test_an_age_that_nobody_doubts_is_right_or_wrong() -> None:
    """A deviation of 0 leaves no room: 0 for that very age, 1 for another."""
    error, _ = epsilon_error(np.array([20.0, 20.5]), np.array([20.0, 20.0]), np.zeros(2))
    assert error == 0.5


@pytest.mark.parametrize(
    ("estimate", "sigma", "words"),
    [([1.0, 2.0], [1.0], "differ in length"), ([1.0], [-1.0], "not negative"), ([1.0], [np.nan], "no face has an age")],
)
def test_the_epsilon_error_refuses_what_has_no_answer(estimate: list[float], sigma: list[float], words: str) -> None:
    """Other lengths, a negative deviation and no deviation at all are errors."""
    with pytest.raises(ValueError, match=words):
        epsilon_error(np.array(estimate), np.array(estimate), np.array(sigma))
