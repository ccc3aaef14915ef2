"""Labelled tasks: from an analyzer's answers and a set's labels to the report's rows, for everyone and by group.

Holds which figures each task is stated by. Never runs a network and never compares embeddings (see `matching`).
Shape suffixes: N faces; C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, Task
from model.training.dataset import FaceTable
from model.training.evaluation.calibration import attribute_calibration
from model.training.evaluation.classification import (
    AttributeScores,
    Classification,
    classify,
    count,
    expected_calibration_error,
    score_attributes,
)
from model.training.evaluation.groups import (
    ALL,
    DECADES,
    decade_of,
    groups_of,
    intersections_of,
    is_intersection,
    kind_of,
)
from model.training.evaluation.intervals import Interval, bootstrap_mean, of_mean, wilson
from model.training.evaluation.regression import age_error, epsilon_error
from model.training.evaluation.report import Confusion, Measure

Outputs = Mapping[str, NDArray[np.float32]]

_GROUP_BY: Final = {"male": "gender", "young": "youth"}  # of these, a group's accuracy is a recall
CLASSES: Final[Mapping[Task, tuple[str, ...]]] = {"gender": GENDERS, "race": RACES, "expression": EXPRESSIONS}


def labelled_tasks(table: FaceTable) -> set[Task]:
    """Tasks whose answers this set can be measured by; identities are the label of `embedding`."""
    labelled: dict[Task, bool] = {
        "embedding": bool((table.identity != -1).any()),
        "age": bool(np.isfinite(table.age).any()),
        "attributes": bool((table.attributes != -1).any()),
        **{task: bool((_truth(table, task) != -1).any()) for task in CLASSES},
    }
    return {task for task, known in labelled.items() if known}


def measure_tasks(
    outputs: Outputs, table: FaceTable, *, by_group: bool = True
) -> tuple[list[Measure], list[Confusion]]:
    """Every figure of every task that was answered and is labelled in this set, with its 95 % interval.

    Args:
        outputs: pack-contract answers (N, ...) by task, rows as the table's.
        table: the labels.
        by_group: state figures for groups and for people who are in two at once, too.
    """
    measures: list[Measure] = []
    confusions: list[Confusion] = []
    groups = {**groups_of(table), **intersections_of(table)} if by_group else {}
    asked = labelled_tasks(table) & set(outputs)
    for task, labels in CLASSES.items():
        truth = _truth(table, task)
        if task in asked:
            measures += _class_measures(task, outputs[task], truth, labels, table.dataset, groups)
            counts = classify(outputs[task], truth).counts
            confusions.append(Confusion(task, table.dataset, labels, _rows(counts)))
    if "age" in asked:
        measures += _age_measures(outputs["age"], table, groups)
        confusions.append(_age_confusion(outputs["age"], table))
    if "attributes" in asked:
        measures += _attribute_measures(outputs["attributes"], table, groups)
        measures += attribute_calibration(outputs["attributes"], table)
    return measures, confusions


def _truth(table: FaceTable, task: Task) -> NDArray[np.int64]:
    return {"gender": table.gender, "race": table.race, "expression": table.expression}[task]


def _class_measures(
    task: Task,
    probabilities_NC: NDArray[np.float32],
    truth_N: NDArray[np.int64],
    labels: Sequence[str],
    dataset: str,
    groups: Mapping[str, NDArray[np.bool_]],
) -> list[Measure]:
    measures = []
    for group, inside in {ALL: np.ones(len(truth_N), bool), **groups}.items():
        inside = inside & (truth_N != -1)
        if not inside.any():
            continue
        part = classify(probabilities_NC[inside], truth_N[inside])
        total = part.num_samples
        accuracy = Measure(task, "accuracy", part.accuracy, dataset, total, group)
        measures.append(accuracy.within(wilson(part.accuracy, total)))
        # Of faces of one class alone, the balanced accuracy is the accuracy; of two groups at once, accuracy will do.
        if is_intersection(group) or kind_of(group) == task:
            continue
        balanced = Measure(task, "balanced_accuracy", part.balanced_accuracy, dataset, total, group)
        ece = expected_calibration_error(probabilities_NC[inside], truth_N[inside])
        measures += [balanced.within(_balanced_interval(part)), Measure(task, "ece", ece, dataset, total, group)]
        if group == ALL:
            measures += _recalls(task, part, labels, dataset)
    return measures


def _recalls(task: str, part: Classification, labels: Sequence[str], dataset: str) -> list[Measure]:
    per_class = zip(labels, part.recalls, part.counts.sum(1), strict=True)
    return [
        Measure(task, f"recall_{label}", float(recall), dataset, int(number)).within(wilson(float(recall), int(number)))
        for label, recall, number in per_class
        if number
    ]


def _balanced_interval(part: Classification) -> Interval:
    numbers = part.counts.sum(1)
    return of_mean(
        [
            (float(recall), wilson(float(recall), int(number)))
            for recall, number in zip(part.recalls, numbers, strict=True)
            if number
        ]
    )


def _age_measures(
    years_N: NDArray[np.float32], table: FaceTable, groups: Mapping[str, NDArray[np.bool_]]
) -> list[Measure]:
    measures = []
    for group, inside in {ALL: np.ones(len(table), bool), **groups}.items():
        inside = inside & np.isfinite(table.age)
        if not inside.any():
            continue
        error = age_error(years_N[inside], table.age[inside])
        difference = years_N[inside].astype(np.float64) - table.age[inside]
        total, dataset = error.num_samples, table.dataset
        mae = Measure("age", "mae_years", error.mae_years, dataset, total, group)
        measures.append(mae.within(bootstrap_mean(np.abs(difference))))
        if is_intersection(group):
            continue
        bias = Measure("age", "bias_years", error.bias_years, dataset, total, group)
        close = Measure("age", "within_5_years", error.cumulative_score, dataset, total, group)
        measures += [
            bias.within(bootstrap_mean(difference)),
            close.within(wilson(error.cumulative_score, total)),
        ]
    return measures + _epsilon_measures(years_N, table)


def _epsilon_measures(years_N: NDArray[np.float32], table: FaceTable) -> list[Measure]:
    """CLAP's own error, where a set says how far people's guesses of each age lay apart."""
    if table.age_sigma is None or not (np.isfinite(table.age_sigma) & np.isfinite(table.age)).any():
        return []
    error, number = epsilon_error(years_N, table.age, table.age_sigma)
    return [Measure("age", "epsilon_error", error, table.dataset, number)]


def _age_confusion(years_N: NDArray[np.float32], table: FaceTable) -> Confusion:
    truth = decade_of(table.age)
    known = truth != -1
    counts = count(truth[known], decade_of(years_N[known]), len(DECADES)).counts
    return Confusion("age", table.dataset, DECADES, _rows(counts))


def _attribute_measures(
    probabilities_NA: NDArray[np.float32], table: FaceTable, groups: Mapping[str, NDArray[np.bool_]]
) -> list[Measure]:
    measures = []
    for group, inside in {ALL: np.ones(len(table), bool), **groups}.items():
        scores = score_attributes(probabilities_NA[inside], table.attributes[inside])
        if not (scores.num_samples > 0).any():
            continue
        right = _share_right(probabilities_NA[inside], table.attributes[inside])
        mean = Measure("attributes", "accuracy_mean", _mean(scores.accuracy), table.dataset, len(right), group)
        measures.append(mean.within(bootstrap_mean(right)))
        if is_intersection(group):
            continue
        balanced = _mean(scores.balanced_accuracy)
        measures.append(Measure("attributes", "balanced_accuracy_mean", balanced, table.dataset, len(right), group))
        measures += _each_attribute(scores, table.dataset, group)
    return measures


def _share_right(probabilities_NA: NDArray[np.float32], truth_NA: NDArray[np.integer]) -> NDArray[np.float64]:
    """Of each labelled face (K,), the share of its labelled attributes that was answered rightly."""
    known = truth_NA != -1
    labelled = known.any(1)
    right = ((probabilities_NA > 0.5) == (truth_NA == 1)) & known
    return np.asarray(right[labelled].sum(1) / known[labelled].sum(1), np.float64)


def _each_attribute(scores: AttributeScores, dataset: str, group: str) -> list[Measure]:
    """Accuracy of each attribute for everyone and each group; balanced accuracy, which needs both kinds, for all."""
    accuracy = [
        Measure("attributes", f"accuracy_{name}", float(value), dataset, int(number), group).within(
            wilson(float(value), int(number))
        )
        for name, value, number in zip(ATTRIBUTES, scores.accuracy, scores.num_samples, strict=True)
        if number and kind_of(group) != _GROUP_BY.get(name)
    ]
    balanced = [
        Measure("attributes", f"balanced_accuracy_{name}", float(value), dataset, int(number))
        for name, value, number in zip(ATTRIBUTES, scores.balanced_accuracy, scores.num_samples, strict=True)
        if number
    ]
    return accuracy + (balanced if group == ALL else [])


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values))


def _rows(counts_CC: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in counts_CC)
