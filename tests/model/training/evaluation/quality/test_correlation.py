import numpy as np
import pytest
from scipy.stats import spearmanr

from model.training.evaluation.quality.correlation import MIN_SAMPLES, Errors, curve, mean_ranks, spearman


def test_rank_correlation_is_scipys_with_ties() -> None:
    """Errors of 0 and 1 against a number with ties give what scipy gives, inside the interval."""
    rng = np.random.default_rng(0)
    quality = rng.integers(0, 20, 800) / 10
    wrong = (rng.random(800) < 0.2 + 0.3 * quality / 2).astype(float)
    found, interval = spearman(wrong, quality)
    assert found == pytest.approx(float(spearmanr(wrong, quality).statistic), abs=1e-12)
    assert interval.low < found < interval.high
    assert interval.low > 0


def test_equal_values_share_their_mean_rank() -> None:
    """Ranks count from 0, and ties stand in the middle of their places."""
    assert mean_ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


def test_bins_hold_every_sample_and_none_is_small() -> None:
    """Bins of a quality with a unit meet at its edges; what would be too few joins a neighbour; none is lost."""
    size = np.concatenate([np.full(100, 16.0), np.full(100, 30.0), np.full(5, 45.0), np.full(60, 100.0), [400.0]])
    errors = Errors("age", "absolute_error_years", 500.0 / size)
    found = curve(errors, "size_px", size, "my", "measured", "c")
    assert found is not None
    assert [part.num_samples for part in found.bins] == [100, 100, 66]
    assert min(part.num_samples for part in found.bins) >= MIN_SAMPLES
    assert (found.bins[0].low, found.bins[-1].high) == (16.0, 400.0)
    assert found.spearman == pytest.approx(-1.0)
    assert all(part.error_low <= part.error <= part.error_high for part in found.bins)


def test_faces_without_a_label_or_a_quality_are_left_out() -> None:
    """Unknown errors and poses that no detector found do not count."""
    rng = np.random.default_rng(2)
    values, yaw = rng.random(300), rng.uniform(0, 40, 300)
    values[:50], yaw[40:100] = np.nan, np.nan
    found = curve(Errors("age", "absolute_error_years", values), "yaw_degrees", yaw, "my", "measured", "c")
    assert found is not None
    assert found.num_samples == 200 == sum(part.num_samples for part in found.bins)


def test_too_few_samples_and_errors_that_are_all_alike_have_no_curve() -> None:
    """A handful of faces, and a task without a mistake, say nothing about quality."""
    few = Errors("gender", "wrong", np.array([0.0, 1.0] * 10))
    assert curve(few, "sharpness", np.linspace(0, 1, 20), "my", "measured", "c") is None
    right = Errors("gender", "wrong", np.zeros(500))
    assert curve(right, "sharpness", np.linspace(0, 1, 500), "my", "measured", "c") is None
