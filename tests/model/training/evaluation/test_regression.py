import numpy as np
import pytest

from model.training.evaluation.regression import age_error


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
