"""Calibration of probabilities: what all validation sets together say of each task's temperature, and of confidence.

Holds the gathering of answers over sets, the figures before and after a temperature, and the bins of the reliability
diagrams. Never runs a network and never changes one; the fit itself is in `temperature`.
Shape suffixes: N faces; C classes, or attributes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model.runtime.labels import Task
from model.training.dataset import FaceTable
from model.training.evaluation.classification import (
    CalibrationBins,
    binary_calibration_errors,
    calibration_bins,
    sureness,
)
from model.training.evaluation.confidence import Curve, count_pairs, error_of, held_out_error
from model.training.evaluation.report import Measure, Reliability
from model.training.evaluation.temperature import (
    MIN_ROWS,
    NUM_FOLDS,
    Fit,
    Judged,
    Temperature,
    cross_fit,
    logits_of,
)

Temperatures = Mapping[Task, Temperature]
Stage = Literal["before", "after"]
TEMPERED: Final[tuple[Task, ...]] = ("gender", "race", "expression", "attributes")


@dataclass(slots=True)
class _Gathered:
    """One task's answers, set by set."""

    parts: list[Judged] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)

    def whole(self) -> Judged:
        """All sets as one."""
        return Judged(
            self.parts[0].kind,
            np.concatenate([part.logits for part in self.parts]),
            np.concatenate([part.truth for part in self.parts]),
            np.concatenate([part.person for part in self.parts]),
            np.concatenate([part.source for part in self.parts]),
        )


@dataclass(slots=True)
class CalibrationFindings:
    """What a calibration would do, or did.

    Attributes:
        measures: the errors before and after.
        answered: the errors of answers at `temperatures`, on the faces that these were fitted on: what a model that
            has them is measured to have.
        reliabilities: the bins of both stages.
        temperatures: fitted on all faces, by task.
        notes: what was left out and why.
    """

    measures: list[Measure] = field(default_factory=list)
    answered: list[Measure] = field(default_factory=list)
    reliabilities: list[Reliability] = field(default_factory=list)
    temperatures: dict[Task, Temperature] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Calibration:
    """Gathers a model's answers over the validation sets that label a task of probabilities."""

    def __init__(self, temperatures: Temperatures, shipped: Curve | None = None) -> None:
        """A gathering of answers at these temperatures (1 where a task is absent), of a pack with this curve."""
        self._temperatures, self._shipped = temperatures, shipped
        self._tasks: dict[Task, _Gathered] = {}
        self._num_people = 0
        self._measures: list[Measure] = []

    def add(self, outputs: Mapping[str, NDArray[np.float32]], table: FaceTable) -> None:
        """Takes a set's answers (N, ...) by task as far as the set labels them, rows as the table's."""
        if "embedding" in outputs:
            self._measures += confidence_measures(outputs["embedding"], table, self._shipped)
        person_N = self._people(table)
        for task in TEMPERED:
            truth, kind = _truth(table, task)
            known = (truth != -1).reshape(len(truth), -1).any(1)
            if task not in outputs or not known.any():
                continue
            logits_NC = logits_of(kind, outputs[task][known], self._temperatures.get(task, (1.0,)))
            gathered = self._tasks.setdefault(task, _Gathered())
            source_N = np.full(len(logits_NC), len(gathered.parts))
            gathered.parts.append(Judged(kind, logits_NC, truth[known], person_N[known], source_N))
            gathered.datasets.append(table.dataset)

    def measured(self) -> CalibrationFindings:
        """Each task's temperature, and its calibration error on every set before and after one.

        `before` is what the network answers without a temperature; `after` what it answers a face at a temperature
        that was fitted on other people's alone. A task with too few labelled faces is left out with a note.
        """
        found = CalibrationFindings(list(self._measures))
        for task, gathered in self._tasks.items():
            judged = gathered.whole()
            if len(judged) < MIN_ROWS or len(np.unique(judged.person)) < NUM_FOLDS:
                found.notes.append(f"{task}: {len(judged)} labelled faces are too few to fit a temperature on")
                continue
            fit = cross_fit(judged)
            found.temperatures[task] = fit.temperature
            _add_sets(found, task, gathered, fit)
        return found

    def _people(self, table: FaceTable) -> NDArray[np.int64]:
        """Numbers that are equal for faces of one person, and over all sets' for nobody else's."""
        alone = table.identity == -1
        person_N = np.where(alone, len(table.identity_names) + np.arange(len(table)), table.identity) + self._num_people
        self._num_people += len(table.identity_names) + len(table)
        return np.asarray(person_N, np.int64)


def attribute_calibration(probabilities_NA: NDArray[np.float32], table: FaceTable) -> list[Measure]:
    """How far the probabilities of yes are from what came true: of all answers together, and the mean of each one's."""
    known = table.attributes != -1
    total = int(known.any(1).sum())
    together = calibration_bins(probabilities_NA[known], table.attributes[known] == 1).error
    each = float(np.nanmean(binary_calibration_errors(probabilities_NA, table.attributes)))
    return [
        Measure("attributes", "ece", together, table.dataset, total),
        Measure("attributes", "ece_mean", each, table.dataset, total),
    ]


def confidence_measures(
    embeddings_ND: NDArray[np.float32], table: FaceTable, shipped: Curve | None = None
) -> list[Measure]:
    """How far the confidence of a verdict is from what comes true.

    `confidence_ece` is that of the set's own curve on people that it was not drawn from, `confidence_ece_of_pack` that
    of the curve that a pack states already: on another set than the pack's it tells what a user meets there.
    """
    known = table.identity != -1
    if len(np.unique(table.identity[known])) < NUM_FOLDS:
        return []
    counts = count_pairs(embeddings_ND[known], table.identity[known])
    errors = {
        "confidence_ece": held_out_error(counts),
        "confidence_ece_of_pack": None if shipped is None else error_of(shipped, counts),
    }
    num_genuine = int(counts.genuine.sum())
    return [
        Measure("embedding", name, error, table.dataset, num_genuine)
        for name, error in errors.items()
        if error is not None
    ]


def _truth(table: FaceTable, task: Task) -> tuple[NDArray[np.int64], Literal["classes", "attributes"]]:
    if task == "attributes":
        return table.attributes.astype(np.int64), "attributes"
    return {"gender": table.gender, "race": table.race, "expression": table.expression}[task], "classes"


def _add_sets(found: CalibrationFindings, task: Task, gathered: _Gathered, fit: Fit) -> None:
    start = 0
    for part, dataset in zip(gathered.parts, gathered.datasets, strict=True):
        after_NC = fit.probabilities[start : start + len(part)]
        start += len(part)
        stages: dict[Stage, NDArray[np.float64]] = {"before": part.probabilities(np.ones(1)), "after": after_NC}
        for stage, p_NC in stages.items():
            found.measures += _errors(part, p_NC, task, dataset, f"_{stage}")
            found.reliabilities.append(_reliability(task, dataset, stage, _bins(part, p_NC)))
        found.answered += _errors(part, part.probabilities(np.array(fit.temperature)), task, dataset)


def _errors(part: Judged, p_NC: NDArray[np.float64], task: Task, dataset: str, suffix: str = "") -> list[Measure]:
    together = Measure(task, f"ece{suffix}", _bins(part, p_NC).error, dataset, len(part))
    if part.kind == "classes":
        return [together]
    return [together, Measure(task, f"ece_mean{suffix}", part.error(p_NC), dataset, len(part))]


def _bins(part: Judged, p_NC: NDArray[np.float64]) -> CalibrationBins:
    if part.kind == "classes":
        return calibration_bins(*sureness(p_NC, part.truth))
    known = part.truth != -1
    return calibration_bins(p_NC[known], part.truth[known] == 1)


def _reliability(task: Task, dataset: str, stage: Stage, bins: CalibrationBins) -> Reliability:
    filled = bins.weight > 0
    return Reliability(
        task,
        dataset,
        stage,
        tuple(int(value) for value in bins.weight[filled]),
        tuple(bins.stated[filled].tolist()),
        tuple(bins.came_true[filled].tolist()),
    )
