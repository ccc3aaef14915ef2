import numpy as np
import pytest

from model.training.evaluation.classification import classify, count, expected_calibration_error, score_attributes


def test_a_confusion_matrix_counts_each_true_class_against_each_answer() -> None:
    """Six faces of three classes, counted by hand; an unlabelled face is left out."""
    truth = np.array([0, 0, 0, 1, 1, 2, -1])
    answer = np.eye(3)[[0, 0, 1, 1, 1, 0, 2]]
    found = classify(answer, truth)
    assert found.counts.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert found.num_samples == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.recalls == pytest.approx([2 / 3, 1, 0])
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_a_class_without_faces_has_no_recall_and_no_share_in_the_balance() -> None:
    """The recall of an absent class is NaN, and the balanced accuracy is over the others."""
    found = count(np.array([0, 1]), np.array([0, 2]), 3)
    assert np.isnan(found.recalls[2])
    assert found.balanced_accuracy == 0.5


def test_guessing_the_majority_class_is_worth_nothing_when_balanced() -> None:
    """Ninety of a hundred right by one answer alone is a balanced accuracy of a half."""
    found = count(np.repeat([0, 1], [90, 10]), np.zeros(100, int), 2)
    assert (found.accuracy, found.balanced_accuracy) == (0.9, 0.5)


@pytest.mark.parametrize(
    ("truth", "words"), [([-1, -1], "no face is labelled"), ([0, 3], "one of the 3"), ([0], "labels")]
)
def test_labels_that_cannot_be_counted_are_refused(truth: list[int], words: str) -> None:
    """No label at all, a class that does not exist, and another number of labels are errors."""
    with pytest.raises(ValueError, match=words):
        classify(np.eye(3)[:2], np.array(truth))


def test_the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    """Four faces in two of five bins: by hand, |1/2 - 0.75| and |1 - 0.95|, each for half of them."""
    probabilities = np.array([[0.75, 0.25], [0.25, 0.75], [0.95, 0.05], [0.05, 0.95], [0.6, 0.4]])
    truth = np.array([0, 0, 0, 1, -1])
    assert expected_calibration_error(probabilities, truth, num_bins=5) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_confidence_that_comes_true_has_no_calibration_error() -> None:
    """Eight of ten right at confidence 0.8 is perfect; a sure answer that is right too."""
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert expected_calibration_error(probabilities, np.repeat([0, 1], [8, 2])) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_attributes_are_scored_each_over_the_faces_that_are_labelled() -> None:
    """Three attributes by hand: one partly labelled, one that nobody has, one without labels."""
    truth = np.array([[1, 0, -1], [0, 0, -1], [1, 0, -1], [-1, 0, -1]])
    said = np.array([[0.9, 0.1, 0.5], [0.8, 0.1, 0.5], [0.7, 0.9, 0.5], [0.9, 0.5, 0.5]])
    found = score_attributes(said, truth)
    assert found.num_samples.tolist() == [3, 4, 0]
    assert found.accuracy[:2] == pytest.approx([2 / 3, 3 / 4])  # 0.5 is no yes
    assert found.balanced_accuracy[:2] == pytest.approx([0.5, 3 / 4])  # nobody has the second: one recall alone
    assert np.isnan(found.accuracy[2])
    assert np.isnan(found.balanced_accuracy[2])
