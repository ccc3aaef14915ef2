import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from model.training.evaluation.verification import (
    all_pairs,
    best_threshold,
    equal_error_rate,
    error_curve,
    pair_similarity,
    ten_fold_accuracy,
    thresholds_at_fmr,
)


def _plain_ten_fold(
    similarity: NDArray[np.float64], same: NDArray[np.bool_], fold: NDArray[np.int_]
) -> NDArray[np.float64]:
    """The protocol as its words say it: every candidate threshold tried by a loop on the other folds."""
    accuracies = []
    for held_out in sorted(set(fold.tolist())):
        rest = [(float(s), bool(t)) for s, t, f in zip(similarity, same, fold, strict=True) if f != held_out]
        values = sorted({s for s, _ in rest})
        candidates = [values[0] - 1e-6, *((a + b) / 2 for a, b in itertools.pairwise(values)), values[-1] + 1e-6]
        best = max(candidates, key=lambda t: sum((s >= t) == truth for s, truth in rest))  # the first of equals
        tried = [(float(s) >= best) == bool(t) for s, t, f in zip(similarity, same, fold, strict=True) if f == held_out]
        accuracies.append(sum(tried) / len(tried))
    return np.array(accuracies)


def test_ten_folds_agree_with_a_plain_reading_of_the_protocol() -> None:
    """Mean, deviation and every fold's accuracy are those of a loop over all candidate thresholds, ties included."""
    rng = np.random.default_rng(0)
    same = np.tile([True, False], 150)
    fold = np.repeat(np.arange(10), 30)
    similarity = np.round(rng.normal(0.4 * same, 0.25), 2)
    expected = _plain_ten_fold(similarity, same, fold)
    found = ten_fold_accuracy(similarity, same, fold)
    assert found.accuracies == pytest.approx(expected)
    assert (found.mean, found.std) == pytest.approx((expected.mean(), expected.std()))
    assert len(found.thresholds) == 10
    assert 0.6 < found.mean < 0.95


def test_a_folds_own_pairs_never_choose_its_threshold() -> None:
    """A fold whose scores lie elsewhere is judged at the others' threshold and fails."""
    same = np.tile([True, False], 20)
    fold = np.repeat(np.arange(10), 4)
    similarity = np.where(same, 0.8, 0.2)
    similarity[fold == 3] += 0.5  # its impostors at 0.7 pass the others' threshold of 0.5
    found = ten_fold_accuracy(similarity, same, fold)
    assert found.accuracies[3] == 0.5
    assert found.thresholds[3] == pytest.approx(0.5)
    assert found.mean < 1


def test_the_best_threshold_accepts_all_where_all_pairs_are_genuine_and_none_where_none_is() -> None:
    """Degenerate truths have thresholds beyond the ends."""
    scores = np.array([0.1, 0.5, 0.5])
    assert best_threshold(scores, np.ones(3, bool)) < 0.1
    assert best_threshold(scores, np.zeros(3, bool)) > 0.5


@pytest.mark.parametrize(
    ("similarity", "fold", "words"),
    [([0.1, np.nan], [0, 1], "not finite"), ([0.1, 0.2], [0, 0], "two folds"), ([0.1], [0, 1], "differ in length")],
)
def test_the_protocol_refuses_what_it_cannot_judge(similarity: list[float], fold: list[int], words: str) -> None:
    """A NaN, a single fold and unequal lengths are errors, not accuracies."""
    with pytest.raises(ValueError, match=words):
        ten_fold_accuracy(np.array(similarity), np.array([True, False]), np.array(fold))


@pytest.mark.parametrize("block_rows", [1, 7, 40, 512])
def test_all_pairs_are_scored_once_whatever_the_block(block_rows: int) -> None:
    """Genuine and impostor scores are those of a double loop, for blocks that divide the rows and that do not."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 16))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    identities = np.array([f"lfw:{number}" for number in rng.integers(0, 12, 40)], object)
    genuine: list[float] = []
    impostor: list[float] = []
    done: list[int] = []
    for a, b in itertools.combinations(range(40), 2):
        (genuine if identities[a] == identities[b] else impostor).append(unit[a] @ unit[b])
    scores = all_pairs(unit.astype(np.float32), identities, block_rows=block_rows, progress=done.append)
    np.testing.assert_allclose(np.sort(scores.genuine), np.sort(genuine), atol=1e-6)
    np.testing.assert_allclose(np.sort(scores.impostor), np.sort(impostor), atol=1e-6)
    assert sum(done) == 40


def test_scores_stay_within_one_however_long_the_rows() -> None:
    """Rows of any length are brought to unit length, and rounding never lifts a similarity over 1."""
    row = np.random.default_rng(2).normal(size=(1, 64))
    scores = all_pairs(np.concatenate([row * 3, row / 7, -row]), [5, 5, 6])
    assert scores.genuine == pytest.approx([1.0])
    assert scores.impostor == pytest.approx([-1.0, -1.0])
    assert scores.genuine.max() <= 1
    assert scores.impostor.min() >= -1
    assert scores.genuine.dtype == scores.impostor.dtype == np.float32


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_named(bad: float) -> None:
    """A zero, NaN or infinite row is an error that says which row it is."""
    rows = np.eye(4)
    rows[2] = bad
    with pytest.raises(ValueError, match="zero or not finite, the first in row 2"):
        all_pairs(rows, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="row 2"):
        pair_similarity(np.eye(4), rows)


@pytest.mark.parametrize("unknown", [None, -1, float("nan")])
def test_a_row_of_unknown_identity_is_refused(unknown: object) -> None:
    """A pair with an unknown person is neither genuine nor impostor."""
    with pytest.raises(ValueError, match="row 1 has no identity"):
        all_pairs(np.eye(3), ["a", unknown, "b"])


@pytest.mark.parametrize("decimals", [1, 2, 7])
def test_the_false_match_rate_at_a_threshold_never_exceeds_the_stated_one(decimals: int) -> None:
    """By brute force: the rate holds, and the next lower score would break it, with few and with many ties."""
    rng = np.random.default_rng(3)
    impostor = np.round(rng.normal(0, 0.2, 4000), decimals).clip(-1, 1).astype(np.float32)
    genuine = np.round(rng.normal(0.5, 0.2, 300), decimals).clip(-1, 1).astype(np.float32)
    for point in thresholds_at_fmr(impostor, genuine, [0.5, 1e-1, 1e-2, 1e-3, 1e-4]):
        accepted = np.float32(point.threshold) <= impostor
        assert accepted.mean() <= point.fmr
        assert accepted.mean() == pytest.approx(point.measured_fmr)
        assert (impostor > point.threshold).mean() <= point.fmr
        lower = impostor[impostor < point.threshold].max()
        assert (impostor >= lower).mean() > point.fmr
        assert point.tar == pytest.approx((genuine >= point.threshold).mean())
        assert (point.num_impostor, point.num_genuine) == (4000, 300)


def test_thresholds_on_ten_scores_are_those_of_a_hand() -> None:
    """Ten impostors 0.0 to 0.9: one false match is allowed at 0.1, two at 0.2, none at 0.05."""
    impostor = np.arange(10, dtype=np.float32) / 10
    genuine = np.array([0.75, 0.85, 0.95, 0.1], np.float32)
    tenth, fifth, none = thresholds_at_fmr(impostor, genuine, [0.1, 0.2, 0.05])
    assert tenth.threshold == pytest.approx(0.8, abs=1e-6)
    assert (tenth.threshold > 0.8, tenth.tar, tenth.measured_fmr) == (True, 0.5, 0.1)
    assert (fifth.tar, fifth.measured_fmr) == (0.75, 0.2)
    assert (none.tar, none.measured_fmr) == (0.25, 0.0)


def test_a_rate_that_binary_fractions_miss_keeps_its_last_false_match() -> None:
    """0.29 of 100 pairs is 28.999... in floating point, and allows 29."""
    point = thresholds_at_fmr(np.linspace(-1, 1, 100), np.ones(1), [0.29])[0]
    assert point.measured_fmr == 0.29


def test_impostors_that_are_all_alike_are_all_refused() -> None:
    """A tie of every impostor at 1 gives a threshold over 1 and no true accepts."""
    point = thresholds_at_fmr(np.ones(50), np.ones(5), [0.5])[0]
    assert (point.threshold > 1, point.measured_fmr, point.tar) == (True, 0.0, 0.0)


@pytest.mark.parametrize(
    ("impostor", "genuine", "fmr", "words"),
    [
        ([], [1], 0.1, "one impostor"),
        ([1], [], 0.1, "one genuine"),
        ([np.nan], [1], 0.1, "finite"),
        ([0], [1], 0, "0 and 1"),
    ],
)
def test_thresholds_refuse_what_has_no_answer(
    impostor: list[float], genuine: list[float], fmr: float, words: str
) -> None:
    """Empty sets, NaN scores and a rate of nought are errors."""
    with pytest.raises(ValueError, match=words):
        thresholds_at_fmr(np.array(impostor, np.float32), np.array(genuine, np.float32), [fmr])


def test_every_point_of_the_curve_is_measured_at_its_threshold() -> None:
    """Both errors at each point are those of counting; FMR rises from none to all and FNMR falls."""
    rng = np.random.default_rng(4)
    impostor = np.round(rng.normal(0, 0.2, 3000), 2).astype(np.float32)
    genuine = np.round(rng.normal(0.5, 0.2, 200), 2).astype(np.float32)
    curve = error_curve(impostor, genuine, num_points=60)
    for fmr, fnmr, threshold in zip(curve.fmr, curve.fnmr, curve.threshold, strict=True):
        assert fmr == (impostor >= np.float32(threshold)).mean()
        assert fnmr == pytest.approx((genuine < np.float32(threshold)).mean())
    assert (np.diff(curve.fmr) >= 0).all()
    assert (np.diff(curve.fnmr) <= 0).all()
    assert (curve.fmr[0], curve.fmr[-1], curve.fnmr[-1]) == (0.0, 1.0, 0.0)


def test_the_equal_error_rate_is_found_between_the_steps_of_either_error() -> None:
    """No threshold of any score brings both errors nearer to each other."""
    rng = np.random.default_rng(5)
    impostor, genuine = (rng.normal(0, 0.2, 5000).astype(np.float32), rng.normal(0.5, 0.2, 37).astype(np.float32))
    rate, threshold = equal_error_rate(impostor, genuine)
    gaps = [abs((impostor >= t).mean() - (genuine < t).mean()) for t in np.concatenate([impostor, genuine])]
    fmr, fnmr = (impostor >= np.float32(threshold)).mean(), (genuine < np.float32(threshold)).mean()
    assert abs(fmr - fnmr) <= min(gaps) + 1e-12
    assert rate == pytest.approx((fmr + fnmr) / 2)
    assert equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9]))[0] == 0
