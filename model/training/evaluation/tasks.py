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
    classify,
    count,
    expected_calibration_error,
    score_attributes,
)
from model.training.evaluation.groups import ALL, DECADES, decade_of, groups_of
from model.training.evaluation.regression import age_error, epsilon_error
from model.training.evaluation.report import Confusion, Measure

Outputs = Mapping[str, NDArray[np.float32]]

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


def measure_tasks(outputs: Outputs, table: FaceTable) -> tuple[list[Measure], list[Confusion]]:
    """Every figure of every task that was answered and is labelled in this set.

    Args:
        outputs: pack-contract answers (N, ...) by task, rows as the table's.
        table: the labels.
    """
    measures: list[Measure] = []
    confusions: list[Confusion] = []
    groups, asked = groups_of(table), labelled_tasks(table) & set(outputs)
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
    whole = classify(probabilities_NC, truth_N)
    total = whole.num_samples
    measures = [
        Measure(task, "accuracy", whole.accuracy, dataset, total),
        Measure(task, "balanced_accuracy", whole.balanced_accuracy, dataset, total),
        Measure(task, "ece", expected_calibration_error(probabilities_NC, truth_N), dataset, total),
    ]
    per_class = zip(labels, whole.recalls, whole.counts.sum(1), strict=True)
    measures += [
        Measure(task, f"recall_{label}", float(recall), dataset, int(number))
        for label, recall, number in per_class
        if number
    ]
    for group, inside in groups.items():
        if (truth_N[inside] != -1).any():
            part = classify(probabilities_NC[inside], truth_N[inside])
            measures.append(Measure(task, "accuracy", part.accuracy, dataset, part.num_samples, group))
    return measures


def _age_measures(
    years_N: NDArray[np.float32], table: FaceTable, groups: Mapping[str, NDArray[np.bool_]]
) -> list[Measure]:
    measures = []
    for group, inside in {ALL: np.ones(len(table), bool), **groups}.items():
        if not np.isfinite(table.age[inside]).any():
            continue
        error = age_error(years_N[inside], table.age[inside])
        values = {
            "mae_years": error.mae_years,
            "bias_years": error.bias_years,
            "within_5_years": error.cumulative_score,
        }
        measures += [
            Measure("age", name, value, table.dataset, error.num_samples, group) for name, value in values.items()
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
        labelled = scores.num_samples > 0
        if not labelled.any():
            continue
        total = int((table.attributes[inside] != -1).any(1).sum())
        measures += [
            Measure("attributes", "accuracy_mean", _mean(scores.accuracy), table.dataset, total, group),
            Measure(
                "attributes", "balanced_accuracy_mean", _mean(scores.balanced_accuracy), table.dataset, total, group
            ),
        ]
        if group == ALL:
            measures += _each_attribute(scores, table.dataset)
    return measures


def _each_attribute(scores: AttributeScores, dataset: str) -> list[Measure]:
    both = {"accuracy": scores.accuracy, "balanced_accuracy": scores.balanced_accuracy}
    return [
        Measure("attributes", f"{metric}_{name}", float(value), dataset, int(number))
        for metric, values in both.items()
        for name, value, number in zip(ATTRIBUTES, values, scores.num_samples, strict=True)
        if number
    ]


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values))


def _rows(counts_CC: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in counts_CC)
