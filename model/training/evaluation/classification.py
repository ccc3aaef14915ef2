"""Classification: how often the most probable class is the right one, class by class, and how far to trust it.

Holds what is counted from labels and probabilities, in numpy. Never runs a network. Shape suffixes: N faces; C classes;
A attributes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS: Final = 15


@dataclass(frozen=True, slots=True)
class Classification:
    """what a confusion matrix says: counts[t, a] faces of class t were answered with class a."""

    counts: NDArray[np.int64]

    @property
    def num_samples(self) -> int:
        """Faces counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of faces answered rightly."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def recalls(self) -> NDArray[np.float64]:
        """(C,) share of each class's faces answered rightly; NaN for a class without faces."""
        return _share(np.diag(self.counts), self.counts.sum(1))

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have faces: guessing one class gives 1 / C however common it is."""
        return float(np.nanmean(self.recalls))


@dataclass(frozen=True, slots=True)
class AttributeScores:
    """Per attribute (A,): accuracy, balanced accuracy, and the faces it was counted on. NaN where there were none."""

    accuracy: NDArray[np.float64]
    balanced_accuracy: NDArray[np.float64]
    num_samples: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CalibrationBins:
    """Over equal bins of probability: how many answers (or their weight), how likely they were stated, how many true.

    `stated` and `came_true` are means, NaN in an empty bin.
    """

    weight: NDArray[np.float64]
    stated: NDArray[np.float64]
    came_true: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Mean distance of both, over answers: the expected calibration error."""
        return float(np.nansum(self.weight * np.abs(self.stated - self.came_true)) / self.weight.sum())


def classify(probabilities_NC: NDArray[np.floating], truth_N: NDArray[np.integer]) -> Classification:
    """Counts the most probable class against the true one, over rows whose truth is known (not -1).

    Args:
        probabilities_NC: (N, C) probabilities or logits; the first of equal ones counts.
        truth_N: (N,) class or -1.

    Raises:
        ValueError: if no row is labelled, a label is outside the classes, or lengths differ.
    """
    num_classes = probabilities_NC.shape[1]
    if len(probabilities_NC) != len(truth_N):
        raise ValueError(f"{len(probabilities_NC)} answers and {len(truth_N)} labels")
    known = truth_N != -1
    if not known.any():
        raise ValueError("no face is labelled")
    truth, answer = truth_N[known].astype(np.int64), probabilities_NC[known].argmax(1)
    return count(truth, answer, num_classes)


def count(truth_N: NDArray[np.integer], answer_N: NDArray[np.integer], num_classes: int) -> Classification:
    """Counts answers (N,) against truths (N,), both class indices.

    Raises:
        ValueError: if an index is outside the classes.
    """
    if min(truth_N.min(), answer_N.min()) < 0 or max(truth_N.max(), answer_N.max()) >= num_classes:
        raise ValueError(f"a label is not one of the {num_classes} classes")
    flat = np.bincount(truth_N * num_classes + answer_N, minlength=num_classes * num_classes)
    return Classification(flat.reshape(num_classes, num_classes).astype(np.int64))


def expected_calibration_error(
    probabilities_NC: NDArray[np.floating], truth_N: NDArray[np.integer], num_bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance of confidence from accuracy over equal bins of confidence (Guo et al. 2017, arXiv 1706.04599).

    Args:
        probabilities_NC: (N, C), rows summing to 1.
        truth_N: (N,) class or -1; unlabelled rows are left out.
        num_bins: bins (k / num_bins, (k + 1) / num_bins].
    """
    return calibration_bins(*sureness(probabilities_NC, truth_N), num_bins=num_bins).error


def binary_calibration_errors(
    probabilities_NA: NDArray[np.floating], truth_NA: NDArray[np.integer], num_bins: int = CALIBRATION_BINS
) -> NDArray[np.float64]:
    """Of each attribute (A,), the mean distance of the probability of yes from the share of yes; NaN without a label.

    Other than of the surer answer's probability, this also tells of an attribute whose yes is stated too often.
    """
    errors = np.full(probabilities_NA.shape[1], np.nan)
    for column, (p_N, truth_N) in enumerate(zip(probabilities_NA.T, truth_NA.T, strict=True)):
        if (known := truth_N != -1).any():
            errors[column] = calibration_bins(p_N[known], truth_N[known] == 1, num_bins=num_bins).error
    return errors


def sureness(
    probabilities_NC: NDArray[np.floating], truth_N: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of the labelled faces: the likeliest class' probability, and whether it is the true one."""
    known = truth_N != -1
    right = probabilities_NC[known].argmax(1) == truth_N[known]
    return probabilities_NC[known].max(1).astype(np.float64), right


def calibration_bins(
    stated_N: NDArray[np.floating],
    came_true_N: NDArray[np.bool_],
    weight_N: NDArray[np.floating] | None = None,
    *,
    num_bins: int = CALIBRATION_BINS,
) -> CalibrationBins:
    """Counts probabilities (N,) and what came of them over bins (k / num_bins, (k + 1) / num_bins]; 0 is in the first.

    Args:
        stated_N: 0 to 1.
        came_true_N: whether what was stated so likely was so.
        weight_N: how much each counts; one each by default.
        num_bins: how many.
    """
    stated = np.asarray(stated_N, np.float64)
    weight = np.ones(len(stated)) if weight_N is None else np.asarray(weight_N, np.float64)
    bins = np.clip(np.ceil(stated * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    sums = [np.bincount(bins, weight * of, minlength=num_bins) for of in (1.0, stated, np.asarray(came_true_N, float))]
    return CalibrationBins(sums[0].astype(np.float64), _share(sums[1], sums[0]), _share(sums[2], sums[0]))


def score_attributes(probabilities_NA: NDArray[np.floating], truth_NA: NDArray[np.integer]) -> AttributeScores:
    """Scores binary attributes, each over the rows where it is labelled (not -1); yes means a probability above 0.5.

    The balanced accuracy of an attribute that all or none of the faces have is the recall of the one class there is.
    """
    known = truth_NA != -1
    answer, truth = probabilities_NA > 0.5, truth_NA == 1
    right = (answer == truth) & known
    yes, no = truth & known, ~truth & known
    total = known.sum(0)
    recalls = np.stack([_share((right & yes).sum(0), yes.sum(0)), _share((right & no).sum(0), no.sum(0))])
    present = np.isfinite(recalls)
    balanced = _share(np.where(present, recalls, 0).sum(0), present.sum(0))
    return AttributeScores(_share(right.sum(0), total), balanced, total.astype(np.int64))


def _share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    shares = np.full(whole.shape, np.nan, np.float64)
    np.divide(part, whole, out=shares, where=np.asarray(whole) > 0)
    return shares
