"""Trials: every candidate of one analyzer, measured beside its float graph, and the one that is kept.

Holds the order in which they are measured: a round of them by their speed and on training crops, then the promising
ones on the validation sets, fastest first, until one keeps every limit. The round that spares matrices is left out
where one with every matrix in int8 does: nothing is to be gained by it. Never writes a file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.check import Answers
from export.errors import ExportError
from export.progress import Stages
from export.twin.candidates import Candidate, Candidates, answers_of, cosines
from export.twin.check import check_twin
from export.twin.crops import training_crops
from export.twin.quantisation import Quantiser
from export.twin.speed import BATCH_SIZES, measure_speeds
from export.twin.subject import Plan, Subject
from export.twin.verdict import comparisons, too_far, too_lossy, too_slow
from model.runtime.pack import AnalyzerPart
from model.runtime.session import open_session
from model.runtime.twin_part import TwinComparison, TwinSpeed

_NUM_CHECKED: Final = 8  # crops, beside the edge inputs


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


def try_all(graph: Path, part: AnalyzerPart, plan: Plan, stages: Stages) -> tuple[Trial, ...]:
    """Makes and measures an analyzer's candidates, round by round, until one leaves nothing to gain.

    Returns:
        In the order in which they were made; at most one has no reasons against it.

    Raises:
        ExportError: if the graph cannot be quantised, or there are no crops to quantise it on.
        DataError: if a set is unreadable.
    """
    subject = Subject(graph, part, plan, stages)
    crops = training_crops(plan.data, part.side_px, part.alignment, plan.num_crops)
    plain = answers_of(graph.read_bytes(), crops)
    trials: list[Trial] = []
    winner: Trial | None = None
    for make in Candidates(Quantiser(graph.read_bytes()), plan.method, crops, plain).rounds:
        trials += _on_training_crops(subject, _made(subject, make), crops, plain)
        trials, winner = _on_validation(subject, trials)
        if winner is not None and winner.candidate.spares_none:
            break
    return tuple(trial if trial is winner else _beaten(trial, winner) for trial in trials)


def measured(graph: Path, part: AnalyzerPart, trial: Trial, plan: Plan, stages: Stages) -> Trial:
    """A trial with its figures on the validation sets, where it was not measured there before."""
    return trial if trial.compared else _judged(Subject(graph, part, plan, stages), trial)


def _made(subject: Subject, make: Callable[[Callable[[str], None]], list[Candidate]]) -> list[Candidate]:
    stages = subject.stages
    with stages.stage(f"{subject.part.file}: making candidates", has_bars=True), stages.progress() as progress:
        bar = progress.add_task("", total=None)
        return make(lambda what: progress.update(bar, description=what, advance=1))


def _on_training_crops(
    subject: Subject, made: Sequence[Candidate], crops_NSSC: NDArray[np.uint8], plain: Answers
) -> list[Trial]:
    stages, file, num_rounds = subject.stages, subject.part.file, subject.plan.num_rounds
    with stages.stage(f"{file}: timing", has_bars=True), stages.progress() as progress:
        sessions = {candidate.name: open_session(candidate.graph) for candidate in made}
        bar = progress.add_task("timing", total=len(BATCH_SIZES) * num_rounds)
        speeds = measure_speeds(
            open_session(subject.graph), sessions, crops_NSSC, num_rounds, lambda: progress.advance(bar)
        )
    with stages.stage(f"{file}: checking"):
        return [_first_look(candidate, speeds[candidate.name], subject.part, crops_NSSC, plain) for candidate in made]


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


def _on_validation(subject: Subject, trials: Sequence[Trial]) -> tuple[list[Trial], Trial | None]:
    """Measures the promising trials, fastest first, until one has nothing against it; and which that is."""
    found = {trial.candidate.name: trial for trial in trials}
    for trial in sorted(trials, key=lambda each: each.slowest_ratio, reverse=True):
        if trial.reasons:
            continue
        judged = found[trial.candidate.name] = trial if trial.compared else _judged(subject, trial)
        if not judged.reasons:
            return list(found.values()), judged
    return list(found.values()), None


def _beaten(trial: Trial, winner: Trial | None) -> Trial:
    """A trial that nothing stands against but a faster one."""
    if trial.reasons or winner is None:
        return trial
    return replace(trial, reasons=(f"slower than {winner.candidate.name}",))


def _judged(subject: Subject, trial: Trial) -> Trial:
    reference, twin = subject.reference, subject.validated(trial.candidate.graph, trial.candidate.name)
    rows = comparisons(reference.report, twin.report, TwinComparison)
    mean, least = twin.cosines_to(reference) or (trial.cosine_mean, trial.cosine_min)
    reasons = dict.fromkeys((*trial.reasons, *too_far(mean), *too_lossy(subject.part.tasks, rows)))
    return replace(trial, cosine_mean=mean, cosine_min=least, compared=rows, reasons=tuple(reasons))


def closeness(trial: Trial) -> tuple[bool, int, float]:
    """Orders trials for a person who wants one anyway: sound ones, then by how little is against them, then speed."""
    return trial.is_sound, -len(trial.reasons), trial.slowest_ratio
