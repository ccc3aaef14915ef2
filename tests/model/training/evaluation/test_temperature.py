"""Temperatures of networks whose true probabilities are known, because the labels are drawn from them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.training.evaluation.temperature import Judged, cross_fit, fit, folds_of, logits_of

SHARPENED = 2.5


def classes(scale: float, num: int = 4000, seed: int = 0) -> Judged:
    """Faces whose class is drawn from a softmax; the network states its logits times `scale`."""
    rng = np.random.default_rng(seed)
    true_NC = 1.5 * rng.normal(size=(num, 5))
    truth = (true_NC + rng.gumbel(size=true_NC.shape)).argmax(1)
    return Judged("classes", scale * true_NC, truth, np.arange(num), np.zeros(num, np.int64))


def attributes(scales: NDArray[np.float64], num: int = 4000, seed: int = 0) -> Judged:
    """Faces whose attributes are drawn from a sigmoid; the network states each one's logit times its own scale."""
    rng = np.random.default_rng(seed)
    true_NC = 1.5 * rng.normal(size=(num, len(scales))) - 0.5
    truth = (rng.random(true_NC.shape) < 1 / (1 + np.exp(-true_NC))).astype(np.int64)
    return Judged("attributes", scales * true_NC, truth, np.arange(num), np.zeros(num, np.int64))


@pytest.mark.parametrize("scale", [SHARPENED, 1.0, 0.6])
def test_the_temperature_undoes_what_sharpened_the_logits(scale: float) -> None:
    """Logits that are the true ones times a number are fitted by that number, too sure or not sure enough."""
    assert fit(classes(scale))[0] == pytest.approx(scale, rel=0.05)
    assert fit(attributes(np.full(3, scale)))[0] == pytest.approx(scale, rel=0.05)


def test_faces_that_are_all_judged_rightly_do_not_make_answers_certain() -> None:
    """Where no face is judged wrongly, logits are doubled at most, and not made as large as numbers go."""
    truth = np.arange(400) % 2
    judged = Judged("classes", 3.0 * np.eye(2)[truth], truth, np.arange(400), np.zeros(400, np.int64))
    assert fit(judged)[0] == pytest.approx(0.5)


def test_an_over_confident_network_is_calibrated_on_faces_not_fitted_on() -> None:
    """Of a network that is too sure, the error on held-out faces falls to a fraction; no likeliest class changes."""
    judged = classes(SHARPENED)
    found, before = cross_fit(judged), judged.probabilities(np.ones(1))
    assert judged.error(found.probabilities) < 0.2 * judged.error(before)
    np.testing.assert_array_equal(found.probabilities.argmax(1), before.argmax(1))
    np.testing.assert_array_equal(judged.probabilities(np.array(found.temperature)).argmax(1), before.argmax(1))


def test_attributes_get_one_each_where_they_differ() -> None:
    """Attributes that are sharpened each its own way get a temperature each, and no answer turns."""
    scales = np.array([0.6, 1.0, 3.0])
    judged = attributes(scales)
    found = cross_fit(judged)
    assert found.temperature == pytest.approx(scales, rel=0.1)
    assert judged.error(found.probabilities) < 0.3 * judged.error(judged.probabilities(np.ones(1)))
    np.testing.assert_array_equal(found.probabilities > 0.5, judged.probabilities(np.ones(1)) > 0.5)


def test_a_temperature_that_does_not_help_is_not_taken() -> None:
    """The error on held-out faces is never more than without a temperature; a tie leaves the network as it is."""
    for seed in range(5):
        judged = classes(1.0, 400, seed)
        found = cross_fit(judged)
        assert judged.error(found.probabilities) <= judged.error(judged.probabilities(np.ones(1)))
    certain = Judged("classes", 1e3 * np.eye(2)[[0, 1] * 10], np.array([0, 1] * 10), np.arange(20), np.zeros(20, int))
    assert cross_fit(certain).temperature == (1.0,)


def test_two_sets_errors_do_not_cancel() -> None:
    """A network too sure on one set and not sure enough on another has both errors, not their mean."""
    sure, unsure = classes(2.0, seed=1), classes(0.5, seed=2)
    both = Judged(
        "classes",
        np.concatenate([sure.logits, unsure.logits]),
        np.concatenate([sure.truth, unsure.truth]),
        np.arange(8000),
        np.repeat([0, 1], 4000),
    )
    errors = [part.error(part.probabilities(np.ones(1))) for part in (sure, unsure)]
    assert both.error(both.probabilities(np.ones(1))) == pytest.approx(np.mean(errors))


def test_unlabelled_answers_do_not_count() -> None:
    """Rows without a label, and an attribute that nobody is labelled with, move no temperature."""
    judged = classes(SHARPENED)
    truth = judged.truth.copy()
    truth[::2] = -1
    half = Judged("classes", judged.logits, truth, judged.person, judged.source)
    assert fit(half) == pytest.approx(fit(judged.at(np.arange(1, len(judged), 2))))
    forty = attributes(np.array([2.0, 2.0]))
    unlabelled = np.where([True, False], forty.truth, -1)
    found = fit(Judged("attributes", forty.logits, unlabelled, forty.person, forty.source), each=True)
    assert found[0] == pytest.approx(2.0, rel=0.1)
    assert found[1] == 1.0


def test_a_person_stands_in_one_fold() -> None:
    """Folds part people, not faces; they are of like size, the same every time, and need as many people."""
    person = np.repeat(np.arange(100), 3)[np.random.default_rng(0).permutation(300)]
    fold = folds_of(person, 5)
    assert all(len(np.unique(fold[person == each])) == 1 for each in range(100))
    assert np.bincount(fold).tolist() == [60] * 5
    np.testing.assert_array_equal(fold, folds_of(person, 5))
    with pytest.raises(ValueError, match="3 people do not make 5 folds"):
        folds_of(np.array([1, 2, 3]), 5)


@pytest.mark.parametrize("temperature", [(1.0,), (1.7,)])
def test_logits_come_back_from_probabilities(temperature: tuple[float, ...]) -> None:
    """From float32 probabilities at a temperature come the probabilities at another, as from the logits themselves."""
    for judged in (classes(1.0, 50), attributes(np.ones(3), 50)):
        stated = judged.probabilities(np.array(temperature)).astype(np.float32)
        again = Judged(
            judged.kind, logits_of(judged.kind, stated, temperature), judged.truth, judged.person, judged.source
        )
        for other in (1.0, 3.0):
            expected = judged.probabilities(np.array([other]))
            np.testing.assert_allclose(again.probabilities(np.array([other])), expected, atol=1e-5)


def test_a_saturated_probability_has_finite_logits() -> None:
    """A probability of exactly 0 or 1, which float32 rounds to, stays a number."""
    assert np.isfinite(logits_of("classes", np.array([[0.0, 1.0]], np.float32))).all()
    assert np.isfinite(logits_of("attributes", np.array([[0.0, 1.0]], np.float32))).all()
