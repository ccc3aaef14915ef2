"""Verification: criteria, cosines, and a confidence that claims no more than was calibrated."""

import numpy as np
import pytest

from model.runtime.pack import ConfidenceCurve, Threshold, Verification
from service.errors import InvalidOption
from service.verification import confidence, criterion, probability_of_same, similarities

POINTS = ((0.01, 0.30, 0.95), (0.001, 0.40, 0.88), (0.0001, 0.50, 0.78))


def calibration(*points: tuple[float, float, float]) -> Verification:
    return Verification(
        calibrated_on="x",
        num_images=10,
        num_impostor_pairs=1_000_000,
        num_genuine_pairs=1000,
        thresholds=tuple(Threshold(fmr=fmr, threshold=at, tar=tar) for fmr, at, tar in points),
    )


CALIBRATED = calibration(*POINTS)


def test_criterion_of_a_calibrated_rate() -> None:
    """A rate picks its own threshold; none picks 1e-3, or the nearest where that was not calibrated."""
    assert criterion(CALIBRATED, fmr=0.01).threshold == 0.30
    assert (criterion(CALIBRATED).threshold, criterion(CALIBRATED).fmr) == (0.40, 0.001)
    assert criterion(calibration(POINTS[0], (1e-5, 0.6, 0.5))).fmr == 0.01
    assert criterion(None).same(1.0) is None


def test_criterion_that_cannot_be() -> None:
    """Both at once, or a rate that was not calibrated, is refused."""
    for calibrated, fmr, threshold in ((CALIBRATED, 0.01, 0.5), (CALIBRATED, 0.02, None), (None, 0.01, None)):
        with pytest.raises(InvalidOption):
            criterion(calibrated, fmr, threshold)


def test_threshold_itself_is_the_same() -> None:
    """A similarity at the threshold counts as the same, one just under it does not."""
    at = criterion(CALIBRATED)
    assert [at.same(0.4), at.same(np.nextafter(0.4, 0))] == [True, False]


CURVE = ConfidenceCurve(similarities=(0.0, 0.2, 0.6), log_ratios=(-4.0, -1.0, 5.0))
WITH_CURVE = CALIBRATED.model_copy(update={"confidence": CURVE})


def test_the_probability_is_the_curves() -> None:
    """A pack's curve decides: at its points, halfway between them in log odds, and constant beyond the outermost."""
    for similarity, log_ratio in ((0.0, -4), (0.1, -2.5), (0.2, -1), (0.4, 2), (0.6, 5), (-1, -4), (1, 5)):
        assert probability_of_same(WITH_CURVE, similarity) == pytest.approx(1 / (1 + np.exp(-log_ratio)))


def test_confidence_is_that_the_verdict_is_right() -> None:
    """Of one pair `same` and `different` have confidences that add up to 1; without a verdict there is none."""
    for calibrated in (WITH_CURVE, CALIBRATED):
        for similarity in (-0.5, 0.3, 0.45, 0.9):
            yes, no = (confidence(calibrated, similarity, same) for same in (True, False))
            assert yes == probability_of_same(calibrated, similarity)
            assert yes is not None
            assert no == pytest.approx(1 - yes)
    assert confidence(WITH_CURVE, 0.5, None) is None
    # Refused by a strict threshold, and likelier than not one person's: the verdict is not likely right.
    assert confidence(WITH_CURVE, 0.39, criterion(WITH_CURVE).same(0.39)) == pytest.approx(1 / (1 + np.exp(1.85)))


def test_a_curve_that_falls_is_no_curve() -> None:
    """A curve whose similarities stand still or whose ratios fall is refused when the pack is read."""
    for similarities_, log_ratios in (
        ((0.1, 0.1), (0.0, 1.0)),
        ((0.1, 0.2), (1.0, 0.0)),
        ((0.1, 0.2), (0.0, 1.0, 2.0)),
    ):
        with pytest.raises(ValueError, match="must"):
            ConfidenceCurve(similarities=similarities_, log_ratios=log_ratios)


def test_without_a_curve_the_probability_is_the_bands_ratio_at_its_centre() -> None:
    """At a band's centre the probability is the band's genuine share over genuine and impostor shares."""
    genuine, impostor = 0.95 - 0.88, 0.01 - 0.001
    assert probability_of_same(CALIBRATED, 0.35) == pytest.approx(genuine / (genuine + impostor))
    assert probability_of_same(CALIBRATED, 0.9) == pytest.approx(0.78 / (0.78 + 0.0001))
    assert probability_of_same(CALIBRATED, -0.9) == pytest.approx(0.05 / (0.05 + 0.99))


def test_the_probability_never_falls() -> None:
    """A higher similarity never has a lower one, even where a band's share was noise; 0 and 1 bound it."""
    noisy = calibration((0.01, 0.3, 0.9), (0.001, 0.4, 0.9), (0.0001, 0.5, 0.2))
    for calibrated in (CALIBRATED, noisy, WITH_CURVE):
        values = [probability_of_same(calibrated, similarity) for similarity in np.linspace(-1, 1, 201)]
        assert all(value is not None and 0 < value < 1 for value in values)
        assert np.all(np.diff(np.array(values, np.float64)) >= 0)


def test_without_a_curve_confidence_needs_two_calibrated_thresholds() -> None:
    """Without a calibration, or with one threshold and no curve, there is none."""
    assert confidence(None, 0.5, True) is None
    assert confidence(calibration(POINTS[0]), 0.5, True) is None


def test_similarities_are_cosines() -> None:
    """Cosines do not depend on length, are bounded by 1, and are 0 for a row of zeros."""
    probe = np.array([3, 4], np.float32)
    gallery = np.array([[30, 40], [-3, -4], [4, -3], [0, 0], [1e-20, 0]], np.float32)
    np.testing.assert_allclose(similarities(probe, gallery), [1, -1, 0, 0, 0.6], atol=1e-7)
