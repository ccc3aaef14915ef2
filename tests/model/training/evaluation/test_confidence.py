"""Confidence against score distributions whose likelihood ratio is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.training.evaluation.confidence import (
    Curve,
    count_pairs,
    curve_of_scores,
    error_of,
    held_out_error,
    whole_curve,
)
from model.training.evaluation.verification import PairScores, all_pairs

MEANS, DEVIATION = (0.5, 0.1), 0.12  # of genuine and of impostor similarities


def normal_scores(num_genuine: int, num_impostor: int, seed: int = 0) -> PairScores:
    rng = np.random.default_rng(seed)
    drawn = (rng.normal(mean, DEVIATION, num) for mean, num in zip(MEANS, (num_genuine, num_impostor), strict=True))
    return PairScores(*(np.clip(each, -1, 1).astype(np.float32) for each in drawn))


def true_probability(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    log_ratio = ((similarity - MEANS[1]) ** 2 - (similarity - MEANS[0]) ** 2) / (2 * DEVIATION**2)
    return np.asarray(1 / (1 + np.exp(-log_ratio)))


def people(num_people: int, num_each: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(3)
    identity = np.repeat(np.arange(num_people), num_each)
    rows = rng.normal(size=(num_people, 16))[identity] + 0.9 * rng.normal(size=(num_people * num_each, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identity


def test_the_curve_is_the_known_posterior() -> None:
    """Of normal scores the curve gives their posterior at even odds, however many more impostor pairs there are."""
    curve = curve_of_scores(normal_scores(50_000, 2_000_000))
    assert curve is not None
    similarity = np.linspace(0.0, 0.6, 61)
    np.testing.assert_allclose(curve.probability(similarity), true_probability(similarity), atol=0.02)


def test_the_curve_never_falls_and_claims_nothing_unmeasured() -> None:
    """Higher similarity, no lower probability; beyond the outermost ten pairs of a kind it stays where it was."""
    scores = normal_scores(300, 2000)
    curve = curve_of_scores(scores)
    assert curve is not None
    values = curve.probability(np.linspace(-1, 1, 401))
    assert (np.diff(values) >= 0).all()
    assert (np.diff(curve.similarities) > 0).all()
    # Ten of 2,000 impostor pairs are half a per cent: no similarity is claimed to be rarer among them.
    assert values.max() <= 1 / (1 + 10 / 2000)
    assert values.min() >= (10 / 300) / (10 / 300 + 1)


def test_distributions_that_are_one_tell_nothing() -> None:
    """Where genuine and impostor pairs are alike there is no curve, or one that stays at even odds."""
    alike = np.random.default_rng(0).normal(0.2, 0.1, 40_000).astype(np.float32)
    curve = curve_of_scores(PairScores(alike[:20_000], alike[20_000:]))
    similarity = np.linspace(0, 0.4, 41)
    assert curve is None or np.abs(curve.probability(similarity) - 0.5).max() < 0.1


@pytest.mark.parametrize(("num_genuine", "num_impostor"), [(0, 100), (100, 0), (5, 10_000)])
def test_too_few_pairs_make_no_curve(num_genuine: int, num_impostor: int) -> None:
    """Without ten pairs of either kind twice over, there is nothing to draw a curve through."""
    assert curve_of_scores(normal_scores(num_genuine, num_impostor)) is None


def test_every_pair_is_counted_once() -> None:
    """Counts over folds add up to all pairs, genuine ones within a fold; their curve is that of the scores."""
    embeddings, identity = people(120, 4)
    counts, scores = count_pairs(embeddings, identity), all_pairs(embeddings, identity)
    assert (counts.genuine.sum(), counts.impostor.sum()) == (len(scores.genuine), len(scores.impostor))
    across = ~np.eye(len(counts.genuine), dtype=bool)
    assert counts.genuine[across].sum() == 0
    assert whole_curve(counts) == curve_of_scores(scores)


def test_the_error_on_held_out_people_is_small_and_honest() -> None:
    """On people that a curve was not drawn from its probabilities come true; of too few none is stated."""
    error = held_out_error(count_pairs(*people(300, 4)))
    assert error is not None
    assert 0 < error < 0.03
    assert held_out_error(count_pairs(*people(6, 2))) is None
    with pytest.raises(ValueError, match="3 people do not make 5 folds"):
        count_pairs(*people(3, 2))


def test_a_curve_of_other_people_tells_its_error_here() -> None:
    """A set's own curve has next to no error on it; one that takes everyone for one person is wrong half the time."""
    counts = count_pairs(*people(120, 4))
    own = whole_curve(counts)
    assert own is not None
    found = error_of(own, counts)
    assert found is not None
    assert found < 0.02
    assert error_of(Curve((-1.0, 1.0), (20.0, 20.0)), counts) == pytest.approx(0.5, abs=1e-6)
    assert error_of(own, count_pairs(*people(10, 1))) is None
