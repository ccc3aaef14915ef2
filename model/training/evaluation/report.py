"""The report: every figure of an evaluation, with the matrices and curves behind them.

Holds the frozen report, its JSON, and its rows as a pack's figures. Never measures, and never draws (see `curves` for
pictures and `tables` for the terminal).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from model.runtime.pack import Figure
from model.runtime.quality_curve import QualityCurve
from model.training.evaluation.groups import ALL
from model.training.evaluation.intervals import Interval

REPORT: Final = "report.json"


class ReportError(ValueError):
    """A report that cannot be read; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes:
        task: what was asked of the faces, e.g. `embedding`; `detection` for the detector.
        metric: what was counted, with its unit where it is no share: `mae_years`, `tar_at_fmr_1e-03`.
        value: finite.
        dataset: the set it was counted on.
        num_samples: faces; pairs for verification (genuine ones for a TAR, impostor ones for an FMR and a threshold).
        group: `all`, or a group of `groups.groups_of` or `groups.intersections_of`.
        low: lower end of its 95 % interval; None where none is known.
        high: upper end.
    """

    task: str
    metric: str
    value: float
    dataset: str
    num_samples: int
    group: str = ALL
    low: float | None = None
    high: float | None = None

    def within(self, interval: Interval | None) -> "Measure":
        """The same with its interval."""
        return self if interval is None else replace(self, low=interval.low, high=interval.high)

    def figure(self, command: str) -> Figure:
        """The same as a pack states it, with the command that made it."""
        return Figure(
            task=self.task,
            metric=self.metric,
            value=self.value,
            dataset=self.dataset,
            group=self.group,
            num_samples=self.num_samples,
            command=command,
            low=self.low,
            high=self.high,
        )


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often (row) what is true was answered with (column) what, in the order of `labels`."""

    task: str
    dataset: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class VerificationCurve:
    """Both errors over all pairs of a set (or of one group in it), FMR rising: see `verification.ErrorCurve`."""

    dataset: str
    group: str
    num_impostor: int
    num_genuine: int
    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]
    threshold: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often answers came true that were stated so and so likely, over the filled bins of equal width.

    Attributes:
        task: whose probabilities these are: the likeliest class's; of `attributes` that of yes.
        dataset: the set that they were counted on.
        stage: `before` a temperature, or `after`, each face at one that was fitted on other people's.
        counts: answers a bin.
        stated: mean probability of each bin's.
        came_true: share of them that was right; of `attributes` the share of yes.
    """

    task: str
    dataset: str
    stage: Literal["before", "after"]
    counts: tuple[int, ...]
    stated: tuple[float, ...]
    came_true: tuple[float, ...]

    @property
    def error(self) -> float:
        """The expected calibration error."""
        gaps = (n * abs(p - q) for n, p, q in zip(self.counts, self.stated, self.came_true, strict=True))
        return sum(gaps) / max(sum(self.counts), 1)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Everything measured of one model, and what was left out and why (`notes`, a line each).

    `seen` are figures on rows that were trained on, `quality` how errors go with the quality of a face.
    """

    model: str
    command: str
    measures: tuple[Measure, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    curves: tuple[VerificationCurve, ...] = ()
    notes: tuple[str, ...] = ()
    reliabilities: tuple[Reliability, ...] = ()
    seen: tuple[Measure, ...] = ()
    quality: tuple[QualityCurve, ...] = ()

    def figures(self) -> tuple[Figure, ...]:
        """The measures as a pack states them."""
        return tuple(measure.figure(self.command) for measure in self.measures)

    def value(self, task: str, metric: str, dataset: str, group: str = ALL) -> float:
        """One figure.

        Raises:
            KeyError: if it was not measured.
        """
        for measure in self.measures:
            if (measure.task, measure.metric, measure.dataset, measure.group) == (task, metric, dataset, group):
                return measure.value
        raise KeyError((task, metric, dataset, group))

    def extended(
        self,
        measures: Sequence[Measure] = (),
        notes: Sequence[str] = (),
        curves: Sequence[VerificationCurve] = (),
    ) -> "EvaluationReport":
        """The same with more measures, notes and curves, a detector's beside an analyzer's."""
        return replace(
            self,
            measures=(*self.measures, *measures),
            curves=(*self.curves, *curves),
            notes=(*self.notes, *notes),
        )

    def to_json(self) -> str:
        """The whole report as JSON."""
        return _REPORT.dump_json(self, indent=1).decode()


_REPORT: Final = TypeAdapter(EvaluationReport)


def write_report(report: EvaluationReport, folder: Path) -> Path:
    """Writes `report.json` into a folder, made if absent; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT
    path.write_text(report.to_json() + "\n", encoding="utf-8")
    return path


def read_report(path: Path) -> EvaluationReport:
    """Reads what `write_report` wrote.

    Raises:
        ReportError: if the file is unreadable or is no report; the first breach is named.
    """
    try:
        return _REPORT.validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole file"
        raise ReportError(f"{path}: {where}: {first['msg']}") from error
