"""Calibration against brute force."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from export.calibrate import thresholds, thresholds_of
from export.errors import ExportError
from model.training.evaluation.verification import PairScores


def people(
    num_people: int, num_each: int, noise: float, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit embeddings scattered around a centre for each person."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(num_people), num_each)
    rows = rng.normal(size=(num_people, 16))[identity] + noise * rng.normal(size=(len(identity), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identity


def test_thresholds_are_those_of_brute_force() -> None:
    """At each threshold the stated share of all impostor pairs is accepted and not one more; TAR is what is counted."""
    embeddings, identity = people(80, 4, 0.7)
    order = np.random.default_rng(1).permutation(len(identity))
    embeddings, identity = embeddings[order], identity[order]
    genuine: list[np.float32] = []
    impostor: list[np.float32] = []
    for a, b in itertools.combinations(range(len(identity)), 2):
        (genuine if identity[a] == identity[b] else impostor).append(np.float32(embeddings[a] @ embeddings[b]))
    found = thresholds(embeddings, identity, "synthetic people")
    assert (found.num_images, found.num_impostor_pairs, found.num_genuine_pairs) == (320, len(impostor), len(genuine))
    assert [row.fmr for row in found.thresholds] == [1e-2, 1e-3]  # 1e-4 would rest on five false matches
    for row in found.thresholds:
        ranked = np.sort(np.array(impostor))[::-1]
        allowed = int(row.fmr * len(impostor))
        # A matrix product adds in another order than a dot product: compare up to that.
        assert ranked[allowed] - 1e-6 <= row.threshold <= ranked[allowed - 1] + 1e-6
        accepted = int((np.array(impostor) >= row.threshold - 1e-6).sum())
        assert abs(accepted - allowed) <= 1
        assert row.tar == pytest.approx((np.array(genuine) >= row.threshold).mean(), abs=2 / len(genuine))
    assert found.thresholds[0].threshold < found.thresholds[1].threshold


def test_too_few_pairs_are_refused() -> None:
    """A set on which no stated rate can be measured is refused, with the number of its pairs."""
    embeddings, identity = people(4, 2, 0.5)
    with pytest.raises(ExportError, match="24 impostor and 4 genuine pairs are too few"):
        thresholds(embeddings, identity, "synthetic people")


def test_a_set_of_single_photographs_is_refused() -> None:
    """Without two photographs of anyone there is no genuine pair to accept."""
    embeddings, identity = people(100, 1, 0.5)
    with pytest.raises(ExportError, match="0 genuine pairs"):
        thresholds(embeddings, identity, "synthetic people")


def test_embeddings_that_tell_nobody_apart_are_refused() -> None:
    """Embeddings that are all alike have no threshold, and no pack gets one."""
    embeddings, identity = people(50, 2, 0.5)
    with pytest.raises(ExportError, match="cannot be kept: too many impostor pairs have similarity 1"):
        thresholds(np.tile(np.eye(16, dtype=np.float32)[:1], (len(embeddings), 1)), identity, "one face")


def test_thresholds_come_with_intervals_and_a_confidence_curve() -> None:
    """Each threshold lies in its interval, as do its rate and TAR; the curve rises and states its error."""
    found = thresholds(*people(120, 4, 0.7), "synthetic people")
    assert found.intervals is not None
    assert (found.intervals.num_identities, found.intervals.level) == (120, 0.95)
    for row in found.thresholds:
        assert row.threshold_interval is not None
        assert row.fmr_interval is not None
        assert row.tar_interval is not None
        assert row.threshold_interval[0] <= row.threshold <= row.threshold_interval[1] <= 1
        assert row.fmr_interval[0] <= row.fmr <= row.fmr_interval[1]
        assert row.tar_interval[0] <= row.tar <= row.tar_interval[1]
    curve = found.confidence
    assert curve is not None
    assert curve.ece is not None
    assert curve.log_ratios[0] < 0 < curve.log_ratios[-1]
    assert 0 < curve.ece < 0.1


def test_scores_of_unknown_people_have_a_curve_and_no_intervals() -> None:
    """Listed pairs, which do not say whose they are, give a curve whose error is not stated, and no intervals."""
    rng = np.random.default_rng(0)
    scores = PairScores(*(rng.normal(mean, 0.1, 3000).astype(np.float32) for mean in (0.5, 0.1)))
    found = thresholds_of(scores, 6000, "listed pairs")
    assert found.intervals is None
    assert all(row.threshold_interval is None for row in found.thresholds)
    assert found.confidence is not None
    assert found.confidence.ece is None
