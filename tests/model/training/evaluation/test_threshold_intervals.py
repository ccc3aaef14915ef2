"""Intervals against samples that are drawn and counted by hand, and against a distribution that is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.training.evaluation import threshold_intervals
from model.training.evaluation.threshold_intervals import PointIntervals, intervals_of
from model.training.evaluation.verification import OperatingPoint, all_pairs, thresholds_at_fmr

FMRS = (0.05, 0.01)


def people(num_people: int, num_each: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit embeddings scattered around a centre for each person."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(num_people), num_each)
    rows = rng.normal(size=(num_people, 8))[identity] + 0.8 * rng.normal(size=(len(identity), 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identity


def measured(
    embeddings: NDArray[np.float32], identity: NDArray[np.int64], fmrs: tuple[float, ...] = FMRS
) -> tuple[tuple[OperatingPoint, ...], tuple[PointIntervals, ...]]:
    scores = all_pairs(embeddings, identity)
    points = thresholds_at_fmr(scores.impostor, scores.genuine, fmrs)
    return points, intervals_of(embeddings, identity, scores, points, num_resamples=200)


def by_hand(
    embeddings: NDArray[np.float32], identity: NDArray[np.int64], points: tuple[OperatingPoint, ...]
) -> dict[str, NDArray[np.float64]]:
    """Every sample with its people standing in it as often as they were drawn; a person's copies are not compared."""
    values: dict[str, list[list[float]]] = {"threshold": [], "fmr": [], "tar": []}
    for drawn in threshold_intervals._drawn(int(identity.max()) + 1, 200):
        rows = np.concatenate([np.tile(np.flatnonzero(identity == who), times) for who, times in enumerate(drawn)])
        copy = np.concatenate([np.repeat(np.arange(times), (identity == who).sum()) for who, times in enumerate(drawn)])
        similarity = np.clip(embeddings[rows] @ embeddings[rows].T, -1, 1)
        upper = np.triu(np.ones(similarity.shape, bool), 1)
        same_person = identity[rows][:, None] == identity[rows][None]
        impostor = similarity[upper & ~same_person]
        genuine = similarity[upper & same_person & (copy[:, None] == copy[None])]
        again = thresholds_at_fmr(impostor, genuine, [point.fmr for point in points])
        values["threshold"].append([point.threshold for point in again])
        values["fmr"].append([float((impostor >= point.threshold).mean()) for point in points])
        values["tar"].append([float((genuine >= point.threshold).mean()) for point in points])
    return {name: np.quantile(np.array(rows), [0.025, 0.975], axis=0) for name, rows in values.items()}


def test_intervals_are_those_of_samples_counted_by_hand() -> None:
    """Weights on the hardest pairs give what whole samples of people give, drawn and counted pair by pair."""
    embeddings, identity = people(30, 3)
    points, found = measured(embeddings, identity)
    expected = by_hand(embeddings, identity, points)
    for column, each in enumerate(found):
        for name, values in expected.items():
            assert getattr(each, name) == pytest.approx(values[:, column].tolist(), abs=2e-3), name


def test_intervals_hold_what_was_measured() -> None:
    """A point's own threshold, rate and TAR lie within its intervals, whose ends are in order."""
    points, found = measured(*people(80, 3))
    for point, each in zip(points, found, strict=True):
        for (low, high), value in (
            (each.threshold, point.threshold),
            (each.fmr, point.measured_fmr),
            (each.tar, point.tar),
        ):
            assert low < high
            assert low <= value <= high


def test_more_pairs_are_taken_where_a_sample_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few of the hardest pairs are kept at first, the intervals are the same."""
    embeddings, identity = people(60, 4)
    _, expected = measured(embeddings, identity)
    monkeypatch.setattr(threshold_intervals, "_LEAST_PAIRS", 10)
    monkeypatch.setattr(threshold_intervals, "_SPARE", 0.5)
    assert measured(embeddings, identity)[1] == expected


def test_intervals_cover_a_known_rate_and_pairs_alone_would_not() -> None:
    """Where the true FMR at a threshold is known, nine in ten intervals hold it; those of pairs drawn alone miss it.

    Embeddings (1, b) of people whose b is drawn evenly from -1 to 1, so that a pair's similarity is over a threshold
    where the two b lie near each other: pairs share people, as faces do.
    """
    holds, holds_by_pairs, num = 0, 0, 60
    threshold = float(np.cos(0.1))
    draws = np.arctan(np.random.default_rng(1).uniform(-1, 1, (2, 4_000_000)))
    truth = float((np.cos(draws[0] - draws[1]) >= threshold).mean())
    for seed in range(num):
        side = np.random.default_rng(seed).uniform(-1, 1, 60)
        identity = np.repeat(np.arange(60), 2)
        embeddings = np.stack([np.ones(120), np.repeat(side, 2)], 1).astype(np.float32)
        scores = all_pairs(embeddings, identity)
        point = OperatingPoint(truth, threshold, 1.0, truth, len(scores.impostor), len(scores.genuine))
        (found,) = intervals_of(embeddings, identity, scores, [point], num_resamples=300)
        holds += found.fmr[0] <= truth <= found.fmr[1]
        rate = float((scores.impostor >= np.float32(threshold)).mean())
        deviation = np.sqrt(rate * (1 - rate) / len(scores.impostor))
        holds_by_pairs += abs(rate - truth) <= 1.96 * deviation
    assert holds >= 0.85 * num
    assert holds_by_pairs < 0.7 * num


def test_a_person_who_is_alone_is_no_genuine_pair() -> None:
    """People with one photograph count among impostors alone; a sample without any genuine pair is left out of TAR."""
    embeddings, identity = people(40, 1)
    both = np.concatenate([embeddings, embeddings[:1]]), np.append(identity, 0)
    scores = all_pairs(*both)
    points = thresholds_at_fmr(scores.impostor, scores.genuine, (0.05,))
    (found,) = intervals_of(*both, scores, points, num_resamples=100)
    assert found.tar == (1.0, 1.0)
    assert found.fmr[0] < found.fmr[1]
