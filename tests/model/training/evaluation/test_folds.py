import numpy as np
import pytest
from numpy.typing import NDArray

from model.training.evaluation.folds import folds_in_order, grid_accuracy, squared_distance


def _published(
    first: NDArray[np.float64], second: NDArray[np.float64], same: list[bool], num_folds: int
) -> tuple[list[float], list[float]]:
    """The published search as its words say it: folds in order, every hundredth tried by a loop, the first best one."""
    sizes = [len(same) // num_folds + (fold < len(same) % num_folds) for fold in range(num_folds)]
    bounds = [sum(sizes[:fold]) for fold in range(num_folds + 1)]
    distances = []
    for a, b in zip(first, second, strict=True):
        a, b = a / np.sqrt((a * a).sum()), b / np.sqrt((b * b).sum())
        distances.append(float(((a - b) ** 2).sum()))
    accuracies, thresholds = [], []
    for fold in range(num_folds):
        tested = range(bounds[fold], bounds[fold + 1])
        trained = [pair for pair in range(len(same)) if pair not in tested]
        best, chosen = -1.0, 0.0
        for step in range(400):
            right = sum((distances[pair] < step * 0.01) == same[pair] for pair in trained) / len(trained)
            if right > best:
                best, chosen = right, step * 0.01
        thresholds.append(chosen)
        accuracies.append(sum((distances[pair] < chosen) == same[pair] for pair in tested) / len(tested))
    return accuracies, thresholds


@pytest.mark.parametrize("num_pairs", [200, 203])
def test_the_grid_search_agrees_with_a_plain_reading_of_the_published_one(num_pairs: int) -> None:
    """Every fold's accuracy and threshold are those of loops over pairs and hundredths, whether ten divides or not."""
    rng = np.random.default_rng(0)
    same = rng.random(num_pairs) < 0.5
    first = rng.normal(size=(num_pairs, 8))
    second = np.where(same[:, None], first, rng.normal(size=(num_pairs, 8))) + rng.normal(size=(num_pairs, 8))
    accuracies, thresholds = _published(first, second, same.tolist(), 10)
    found = grid_accuracy(squared_distance(first, second), same, folds_in_order(num_pairs))
    assert found.accuracies == pytest.approx(accuracies)
    assert found.thresholds == pytest.approx(thresholds)
    assert (found.mean, found.std) == pytest.approx((np.mean(accuracies), np.std(accuracies)))
    assert 0.6 < found.mean < 0.95


def test_folds_follow_the_file_and_the_first_ones_take_the_rest() -> None:
    """Thirteen pairs in five folds are 3, 3, 3, 2 and 2, in order."""
    assert folds_in_order(13, 5).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    with pytest.raises(ValueError, match="9 pairs are too few for 10 folds"):
        folds_in_order(9)


def test_pairs_that_lie_apart_are_told_apart_whole() -> None:
    """The same vector twice and opposite vectors are judged without a mistake; a coin's pairs are not."""
    rng = np.random.default_rng(1)
    first = rng.normal(size=(60, 16))
    same = np.tile([True, False], 30)
    second = np.where(same[:, None], first * 3, -first)
    assert grid_accuracy(squared_distance(first, second), same, folds_in_order(60)).mean == 1
    chance = grid_accuracy(rng.random(4000) * 2, rng.random(4000) < 0.5, folds_in_order(4000)).mean
    assert chance == pytest.approx(0.5, abs=0.04)


def test_a_distance_on_the_grid_is_not_below_its_threshold() -> None:
    """Accepted is what lies strictly under the threshold: distances at 0 need the first hundredth."""
    distance, same = np.tile([0.0, 1.0], 10), np.tile([True, False], 10)
    found = grid_accuracy(distance, same, folds_in_order(20))
    assert found.thresholds == pytest.approx([0.01] * 10)
    assert found.mean == 1


@pytest.mark.parametrize(
    ("distance", "fold", "words"),
    [([0.1, np.nan], [0, 1], "not finite"), ([0.1, 0.2], [0, 0], "two folds"), ([0.1], [0, 1], "differ in length")],
)
def test_the_grid_search_refuses_what_it_cannot_judge(distance: list[float], fold: list[int], words: str) -> None:
    """A NaN, a single fold and unequal lengths are errors, not accuracies."""
    with pytest.raises(ValueError, match=words):
        grid_accuracy(np.array(distance), np.array([True, False]), np.array(fold))


def test_a_vector_without_direction_has_no_distance() -> None:
    """A zero row is an error."""
    with pytest.raises(ValueError, match="zero or not finite"):
        squared_distance(np.eye(3), np.zeros((3, 3)))
