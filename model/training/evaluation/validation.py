"""Validation: every figure of a model on the validation split of every set that is there.

Holds the way from a data folder and something that predicts to a report. Never loads a model (see `subjects`) and never
trains on what it reads. Shape suffixes: N faces; S crop side; P pairs.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.runtime.pack import Threshold
from model.runtime.quality_curve import QualityCurve
from model.training.dataset import ALIGNMENT, DataError, FaceTable, read_faces
from model.training.encoded_images import Images
from model.training.evaluation.calibration import TEMPERED, Calibration, CalibrationFindings, Temperatures
from model.training.evaluation.confidence import Curve
from model.training.evaluation.matching import Matching, measure_all_pairs, measure_pairs
from model.training.evaluation.pairs import PairList, read_pairs
from model.training.evaluation.report import Confusion, EvaluationReport, Measure, Reliability, VerificationCurve
from model.training.evaluation.rows import few_of
from model.training.evaluation.tasks import labelled_tasks, measure_tasks

# uint8 (N, S, S, 3) RGB aligned crops to float32 answers by task, as a pack's analyzer gives them.
Predict = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]
# Who answers crops in an alignment, of those that a set's files state; None if nobody takes them.
PredictOn = Callable[[str], Predict | None]
# What else is drawn from a set's answers: the model, the set, answers by task, the set's own threshold at an FMR of
# 0.001 (None where it has none), bars.
Inspect = Callable[[Predict, FaceTable, Mapping[str, NDArray[np.float32]], float | None, Progress], list[QualityCurve]]

SETS: Final = ("lfw", "celeba", "utkface", "fer2013")
_VALIDATION: Final = "val"
_FILE: Final = re.compile(r"(?P<name>.+?)-(?P<split>val|test)(-\d\d+)?\.parquet")
_NOT_FACES: Final = "detection"  # its boxes are the detector's evaluation's
BATCH_SIZE: Final = 32


class EvaluationError(ValueError):
    """A model whose answers cannot be measured; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What an evaluation states beside the sets' own figures.

    Attributes:
        shipped: thresholds that a pack states already.
        inspect: draws quality's curves from each set; None for none.
    """

    shipped: Sequence[Threshold] = ()
    inspect: Inspect | None = None


@dataclass(frozen=True, slots=True)
class _How:
    """How every set is measured alike."""

    batch_size: int
    beside: Beside


@dataclass(slots=True)
class _Findings:
    """A report, as it grows."""

    measures: list[Measure] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)
    curves: list[VerificationCurve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    quality: list[QualityCurve] = field(default_factory=list)
    reliabilities: list[Reliability] = field(default_factory=list)

    def add_calibration(self, found: CalibrationFindings) -> None:
        self.measures += found.measures
        self.reliabilities += found.reliabilities
        self.notes += found.notes

    def add(self, matching: Matching) -> None:
        self.measures += matching.measures
        self.curves += matching.curves
        self.notes += matching.notes


def evaluate(
    predict: Predict,
    data: Path,
    *,
    model: str,
    command: str,
    limit: int | None = None,
    batch_size: int = BATCH_SIZE,
    cache: Path | None = None,
    temperatures: Temperatures | None = None,
) -> EvaluationReport:
    """Measures a model that takes the crops of every set, whatever their side and alignment; see `evaluate_aligned`."""
    return evaluate_aligned(
        lambda _alignment: predict,
        data,
        model=model,
        command=command,
        limit=limit,
        batch_size=batch_size,
        cache=cache,
        temperatures=temperatures,
    )


def evaluate_aligned(
    predict_on: PredictOn,
    data: Path,
    *,
    model: str,
    command: str,
    limit: int | None = None,
    batch_size: int = BATCH_SIZE,
    cache: Path | None = None,
    temperatures: Temperatures | None = None,
    confidence: Curve | None = None,
    beside: Beside | None = None,
) -> EvaluationReport:
    """Measures all that a model answers and the sets label.

    Every `NAME-val.parquet` in the folder is a set, one's own beside the known four, and every `NAME-test.parquet` is
    one called `NAME-test`; what its columns label decides what is measured, and a known set that is absent is left out
    with a note.

    Args:
        predict_on: who answers crops of the alignment that a set's files state; None leaves that set out with a note.
        data: the folder with the parquet files and `NAME-val-pairs.csv`.
        model: what the report calls it.
        command: what made the report, as one would type it.
        limit: no more images of each set than about so many, for a quick look; the figures are then rough.
        batch_size: crops a call of `predict`.
        cache: folder for decoded pixels, see `dataset.read_faces`.
        temperatures: those that the model's answers are given at, by task; 1 where a task is absent.
        confidence: the curve that a pack states already.
        beside: what else is stated.

    Raises:
        DataError: if the folder holds no validation set, or one is unreadable.
        EvaluationError: if an answer has the wrong length or is not finite.
    """
    sets, found, calibration = find_measured(data), _Findings(), Calibration(temperatures or {}, confidence)
    known = {name for name, _ in sets}
    found.notes += [f"{name}: not in {data}, left out" for name in SETS if name not in known]
    if limit is not None:
        found.notes.append(f"a quick look at no more than about {limit} images a set: the figures are rough")
    with progress_bars() as progress:
        for name, split in sets:
            table, pairs = _read_set(data, name, split, limit, cache)
            predict = predict_on(table.alignment)
            if table.alignment != ALIGNMENT:
                found.notes.append(f"{table.dataset}: holds {table.alignment} crops of {table.images.shape[1]} pixels")
            if predict is None:
                found.notes.append(f"{table.dataset}: nothing in the model takes such crops, left out")
                continue
            outputs = _measure_set(predict, table, pairs, _How(batch_size, beside or Beside()), found, progress)
            if split == _VALIDATION:  # what a temperature is fitted on; a test set's `ece` is of the model as it is
                calibration.add(outputs, table)
    found.add_calibration(calibration.measured())
    return EvaluationReport(
        model,
        command,
        tuple(found.measures),
        tuple(found.confusions),
        tuple(found.curves),
        tuple(found.notes),
        tuple(found.reliabilities),
        quality=tuple(found.quality),
    )


def calibration_of(
    predict_on: PredictOn, data: Path, temperatures: Temperatures, progress: Progress, cache: Path | None = None
) -> CalibrationFindings:
    """The temperatures that the validation sets give a model's tasks, and what they do to its calibration errors.

    Args:
        predict_on: as `evaluate_aligned` takes it.
        data: the folder with the parquet files.
        temperatures: those that the model's answers are given at, by task.
        progress: gets a bar a set.
        cache: folder for decoded pixels.

    Raises:
        DataError: if the folder holds no validation set, or one is unreadable.
        EvaluationError: if an answer has the wrong length or is not finite.
    """
    calibration = Calibration(temperatures)
    for name in find_sets(data):
        table = read_faces(data, name, _VALIDATION, cache)
        predict, labelled = predict_on(table.alignment), labelled_tasks(table) & set(TEMPERED)
        if predict is None or not labelled & set(predict(np.ascontiguousarray(table.images[:1]))):
            continue
        bar = progress.add_task(f"probabilities of {name}", total=len(table))
        outputs = predict_all(predict, table.images, progress=partial(progress.advance, bar))
        calibration.add(outputs, table)
    return calibration.measured()


def find_sets(data: Path) -> tuple[str, ...]:
    """Names of the validation sets in a folder: the known four first, then others by name.

    Raises:
        DataError: if there is no folder, or no validation set in it.
    """
    found = {name for name, split in _parts(data) if split == _VALIDATION}
    if not found:
        raise DataError(f"{data} holds no NAME-val.parquet to evaluate on")
    return (*(name for name in SETS if name in found), *sorted(found - set(SETS)))


def find_measured(data: Path) -> tuple[tuple[str, str], ...]:
    """Names and splits of all that an evaluation measures: the validation sets, then the test sets by name.

    Raises:
        DataError: if there is no folder, or neither in it.
    """
    tested = sorted(part for part in _parts(data) if part[1] != _VALIDATION)
    validated = () if tested and not any(split == _VALIDATION for _, split in _parts(data)) else find_sets(data)
    return (*((name, _VALIDATION) for name in validated), *tested)


def _parts(data: Path) -> set[tuple[str, str]]:
    if not data.is_dir():
        raise DataError(f"no data folder at {data}")
    matches = (_FILE.fullmatch(file.name) for file in data.glob("*.parquet"))
    return {(match["name"], match["split"]) for match in matches if match is not None and match["name"] != _NOT_FACES}


def predict_all(
    predict: Predict,
    images_NSSC: Images,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Answers for all crops, asked for in batches.

    Raises:
        EvaluationError: if an answer has the wrong length or is not finite; the task is named.
    """
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for start in range(0, len(images_NSSC), batch_size):
        batch = np.ascontiguousarray(images_NSSC[start : start + batch_size])
        for task, answer in predict(batch).items():
            _check(task, answer, len(batch))
            parts.setdefault(task, []).append(answer)
        if progress is not None:
            progress(len(batch))
    return {task: np.concatenate(answers) for task, answers in parts.items()}


def _read_set(
    data: Path, name: str, split: str, limit: int | None, cache: Path | None
) -> tuple[FaceTable, PairList | None]:
    table = read_faces(data, name, split, cache)
    pairs = read_pairs(data, name, table.names, split)
    if split != _VALIDATION:
        table = replace(table, dataset=f"{name}-{split}")
    return (table, pairs) if limit is None else few_of(table, pairs, limit)


def _measure_set(
    predict: Predict,
    table: FaceTable,
    pairs: PairList | None,
    how: _How,
    found: _Findings,
    progress: Progress,
) -> Mapping[str, NDArray[np.float32]]:
    """Adds a set's figures to the findings; what the model answered, nothing where it was not asked."""
    asked = labelled_tasks(table) & set(predict(np.ascontiguousarray(table.images[:1])))
    if not asked:
        found.notes.append(f"{table.dataset}: labels nothing that the model answers, left out")
        return {}
    bar = progress.add_task(table.dataset, total=len(table))
    outputs = predict_all(predict, table.images, how.batch_size, lambda num: progress.advance(bar, num))
    measures, confusions = measure_tasks(outputs, table)
    found.measures += measures
    found.confusions += confusions
    if "embedding" in asked:
        _measure_embedding(outputs["embedding"], table, pairs, how.beside.shipped, found, progress)
    if how.beside.inspect is not None:
        found.quality += how.beside.inspect(predict, table, outputs, _own_threshold(found, table.dataset), progress)
    return outputs


def _own_threshold(found: _Findings, dataset: str) -> float | None:
    named = ("threshold_at_fmr_1e-03", dataset)
    return next((row.value for row in found.measures if (row.metric, row.dataset) == named), None)


def _measure_embedding(
    embeddings: NDArray[np.float32],
    table: FaceTable,
    pairs: PairList | None,
    shipped: Sequence[Threshold],
    found: _Findings,
    progress: Progress,
) -> None:
    if pairs is not None:
        found.add(measure_pairs(embeddings, table, pairs))
    else:
        found.notes.append(f"{table.dataset}: no {table.dataset}-val-pairs.csv, so no ten-fold accuracy")
    bar = progress.add_task(f"{table.dataset}, all pairs", total=int((table.identity != -1).sum()))
    found.add(measure_all_pairs(embeddings, table, progress=lambda num: progress.advance(bar, num), shipped=shipped))


def _check(task: str, answer: NDArray[np.float32], num_images: int) -> None:
    if len(answer) != num_images:
        raise EvaluationError(f"the model gave {len(answer)} answers of {task} for {num_images} faces")
    if not np.isfinite(answer).all():
        raise EvaluationError(f"the model's {task} is not finite: its weights are broken")
    if task == "embedding" and not np.any(answer, axis=1).all():
        raise EvaluationError("the model gave an embedding of zeros, which has no direction to compare")


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on the terminal while something long runs; none where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        yield progress
