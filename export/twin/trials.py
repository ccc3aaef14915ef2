"""Trials: every candidate of one analyzer, measured beside its float graph, and the one that is kept.

Holds the order in which they are measured: all by their speed and on training crops, then the promising ones on the
validation sets, fastest first, until one keeps every limit. Never writes a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.check import Answers
from export.errors import ExportError
from export.progress import Stages
from export.twin.candidates import Candidate, Method, answers_of, candidates, cosines
from export.twin.check import check_twin
from export.twin.crops import training_crops
from export.twin.quantisation import Quantiser
from export.twin.speed import measure_speeds
from export.twin.verdict import comparisons, too_far, too_lossy, too_slow
from model.runtime.pack import AnalyzerPart, TwinComparison, TwinSpeed
from model.runtime.session import Session, open_session
from model.training.evaluation.report import EvaluationReport
from model.training.evaluation.subjects import resized
from model.training.evaluation.validation import Predict, evaluate_aligned

NUM_CROPS: Final = 128  # to measure ranges, damage and cosine on
_NUM_CHECKED: Final = 8  # of them, beside the edge inputs
NUM_ROUNDS: Final = 15


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and what was measured of it.

    Attributes:
        candidate: the graph.
        speed: at each batch size.
        cosine_mean: of its embeddings to the float graph's: on the validation rows where it was measured there, else
            on the training crops; None without an embedding.
        cosine_min: likewise, the least.
        compared: figures on the validation sets; empty where it was not measured there.
        reasons: why it is not preferred; empty where it is.
        is_sound: whether it passed the check that every graph of a pack must pass.
    """

    candidate: Candidate
    speed: tuple[TwinSpeed, ...]
    cosine_mean: float | None = None
    cosine_min: float | None = None
    compared: tuple[TwinComparison, ...] = ()
    reasons: tuple[str, ...] = ()
    is_sound: bool = True

    @property
    def slowest_ratio(self) -> float:
        """The middle ratio of its speed at the batch size where it gains least."""
        return min(row.ratio_median for row in self.speed)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried, on what.

    Attributes:
        data: folder with training and validation sets.
        method: which candidates.
        limit: about so many validation images a set, for a quick look; None for all.
        num_crops: training crops.
        num_rounds: turns that each candidate and the float graph are timed in.
    """

    data: Path
    method: Method = "auto"
    limit: int | None = None
    num_crops: int = NUM_CROPS
    num_rounds: int = NUM_ROUNDS


@dataclass(slots=True)
class _Validation:
    """The validation sets, answered by one graph: the report, and the embeddings in the order of the rows."""

    report: EvaluationReport
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)


def try_all(graph: Path, part: AnalyzerPart, plan: Plan, stages: Stages) -> tuple[Trial, ...]:
    """Makes and measures every candidate of an analyzer.

    Returns:
        In the order in which they were made; at most one has no reasons against it.

    Raises:
        ExportError: if the graph cannot be quantised, or there are no crops to quantise it on.
        DataError: if a set is unreadable.
    """
    crops = training_crops(plan.data, part.side_px, part.alignment, plan.num_crops)
    plain = answers_of(graph.read_bytes(), crops)
    with stages.stage(f"{part.file}: making candidates", has_bars=True), stages.progress() as progress:
        bar = progress.add_task("", total=None)
        made = list(
            candidates(
                Quantiser(graph.read_bytes()),
                plan.method,
                crops,
                plain,
                lambda what: progress.update(bar, description=what, advance=1),
            )
        )
    trials = _on_training_crops(graph, part, made, crops, plain, plan, stages)
    return tuple(_on_validation(graph, part, trials, plan, stages))


def measured(graph: Path, part: AnalyzerPart, trial: Trial, plan: Plan, stages: Stages) -> Trial:
    """A trial with its figures on the validation sets, where it was not measured there before."""
    if trial.compared:
        return trial
    return _judged(trial, part, _validated(graph, part, plan, stages, "float32"), plan, stages)


def _on_training_crops(
    graph: Path,
    part: AnalyzerPart,
    made: Sequence[Candidate],
    crops_NSSC: NDArray[np.uint8],
    plain: Answers,
    plan: Plan,
    stages: Stages,
) -> list[Trial]:
    with stages.stage(f"{part.file}: timing", has_bars=True), stages.progress() as progress:
        sessions = {candidate.name: open_session(candidate.graph) for candidate in made}
        bar = progress.add_task("timing", total=2 * plan.num_rounds)
        speeds = measure_speeds(
            open_session(graph), sessions, crops_NSSC, plan.num_rounds, lambda: progress.advance(bar)
        )
    with stages.stage(f"{part.file}: checking"):
        return [_first_look(candidate, speeds[candidate.name], part, crops_NSSC, plain) for candidate in made]


def _first_look(
    candidate: Candidate,
    speed: tuple[TwinSpeed, ...],
    part: AnalyzerPart,
    crops_NSSC: NDArray[np.uint8],
    plain: Answers,
) -> Trial:
    reasons, is_sound = list(too_slow(speed)), True
    try:
        check_twin(open_session(candidate.graph), part.side_px, crops_NSSC[:_NUM_CHECKED])
    except ExportError as error:
        reasons.append(str(error))
        is_sound = False
    mean = least = None
    if "embedding" in plain:
        found = cosines(answers_of(candidate.graph, crops_NSSC)["embedding"], plain["embedding"])
        mean, least = float(found.mean()), float(found.min())
    return Trial(candidate, speed, mean, least, reasons=(*reasons, *too_far(mean)), is_sound=is_sound)


def _on_validation(graph: Path, part: AnalyzerPart, trials: Sequence[Trial], plan: Plan, stages: Stages) -> list[Trial]:
    """Measures the promising trials, fastest first, until one has nothing against it; the slower ones are told so."""
    reference: _Validation | None = None
    found, winner = {trial.candidate.name: trial for trial in trials}, None
    for trial in sorted(trials, key=lambda each: each.slowest_ratio, reverse=True):
        if trial.reasons:
            continue
        if winner is not None:
            found[trial.candidate.name] = replace(trial, reasons=(f"slower than {winner.candidate.name}",))
            continue
        reference = reference or _validated(graph, part, plan, stages, "float32")
        judged = found[trial.candidate.name] = _judged(trial, part, reference, plan, stages)
        winner = None if judged.reasons else judged
    return list(found.values())


def _judged(trial: Trial, part: AnalyzerPart, reference: _Validation, plan: Plan, stages: Stages) -> Trial:
    twin = _validated(trial.candidate.graph, part, plan, stages, trial.candidate.name)
    rows = comparisons(reference.report, twin.report)
    mean, least = trial.cosine_mean, trial.cosine_min
    if twin.embeddings:
        pairs = zip(twin.embeddings, reference.embeddings, strict=True)
        found = np.concatenate([cosines(one, other) for one, other in pairs])
        mean, least = float(found.mean()), float(found.min())
    reasons = dict.fromkeys((*trial.reasons, *too_far(mean), *too_lossy(part.tasks, rows)))
    return replace(trial, cosine_mean=mean, cosine_min=least, compared=rows, reasons=tuple(reasons))


def _validated(graph: Path | bytes, part: AnalyzerPart, plan: Plan, stages: Stages, name: str) -> _Validation:
    embeddings: list[NDArray[np.float32]] = []
    predict = _recording(open_session(graph), part, embeddings)
    with stages.stage(f"{part.file}: validation sets, {name}", has_bars=True):
        report = evaluate_aligned(
            lambda alignment: predict if alignment == part.alignment else None,
            plan.data,
            model=part.file,
            command="mien-export quantise",
            limit=plan.limit,
        )
    return _Validation(report, embeddings)


def _recording(session: Session, part: AnalyzerPart, embeddings: list[NDArray[np.float32]]) -> Predict:
    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        answers = session.run({session.inputs[0].name: resized(images_NSSC, part.side_px)}, part.tasks)
        if "embedding" in answers:
            embeddings.append(answers["embedding"])
        return answers

    return predict


def closeness(trial: Trial) -> tuple[bool, int, float]:
    """Orders trials for a person who wants one anyway: sound ones, then by how little is against them, then speed."""
    return trial.is_sound, -len(trial.reasons), trial.slowest_ratio
