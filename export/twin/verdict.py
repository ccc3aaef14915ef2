"""The verdict on a twin: is it fast enough, where that was measured, and does it answer closely enough, to be kept.

Holds the rules, each a number, and the comparison of two evaluations. Never runs a graph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from model.runtime.labels import TASKS, Task
from model.runtime.twin_part import Comparison, HalfComparison, TwinComparison, TwinSpeed
from model.training.evaluation.groups import ALL
from model.training.evaluation.report import EvaluationReport

RowT = TypeVar("RowT", TwinComparison, HalfComparison)

MIN_SPEED: Final = 1.4  # the middle ratio, at each batch size
MIN_COSINE: Final = 0.995  # on average over real crops; under it the embeddings are of a space of their own
MAX_LOST_POINTS: Final = 0.3  # hundredths, of each share below
# Ages have no points: the mean error may grow by a tenth of a year, under a fiftieth of what a good estimator's is.
MAX_LOST_YEARS: Final = 0.1
# What each task is judged by, on every set that labels it.
JUDGED: Final[dict[Task, tuple[str, ...]]] = {
    "embedding": ("accuracy_10fold", "tar_at_fmr_1e-03"),
    "expression": ("accuracy",),
    "age": ("mae_years",),
    "gender": ("accuracy",),
    "attributes": ("accuracy_mean",),
    "race": ("accuracy",),
}


@dataclass(frozen=True, slots=True)
class Loss:
    """What one figure lost, in points (years for an age), and how much it may lose."""

    row: Comparison
    lost: float
    allowed: float

    @property
    def share(self) -> float:
        """Of what is allowed; 1 and more is too much."""
        return self.lost / self.allowed

    def __str__(self) -> str:
        unit = "years" if self.row.metric.endswith("_years") else "points"
        return f"{self.lost:+.2f} {unit}, {self.row.task} {self.row.metric} on {self.row.dataset}"


def comparisons(plain: EvaluationReport, twin: EvaluationReport, kind: type[RowT]) -> tuple[RowT, ...]:
    """The judged figures that both evaluations hold, in the order of the tasks, as rows of one kind of twin."""
    found = {(row.task, row.metric, row.dataset): row.value for row in twin.measures if row.group == ALL}
    return tuple(
        kind.model_validate(
            {
                "task": task,
                "metric": row.metric,
                "dataset": row.dataset,
                "float32": row.value,
                kind.PRECISION: found[key],
                "num_samples": row.num_samples,
            }
        )
        for task in TASKS
        for row in plain.measures
        if row.task == task and row.metric in JUDGED[task] and row.group == ALL
        if (key := (row.task, row.metric, row.dataset)) in found
    )


def loss(row: Comparison) -> Loss:
    """What the twin lost by one figure; below zero where it gained."""
    if row.metric.endswith("_years"):
        return Loss(row, row.of_twin - row.float32, MAX_LOST_YEARS)
    return Loss(row, 100 * (row.float32 - row.of_twin), MAX_LOST_POINTS)


def worst(rows: Sequence[Comparison]) -> Loss | None:
    """The loss that comes nearest to what is allowed, or passes it furthest; None where nothing was compared."""
    return max((loss(row) for row in rows), key=lambda found: found.share, default=None)


def too_slow(speed: Sequence[TwinSpeed]) -> Iterator[str]:
    """A reason for each batch size at which a twin is not fast enough."""
    for row in speed:
        if not row.ratio_median >= MIN_SPEED:
            yield f"{row.ratio_median:.2f} x at batch {row.batch_size}"


def too_far(cosine_mean: float | None) -> Iterator[str]:
    """A reason where embeddings lie too far from the float graph's."""
    if cosine_mean is not None and not cosine_mean >= MIN_COSINE:
        yield f"cosine {cosine_mean:.4f}"


def too_lossy(tasks: Sequence[Task], rows: Sequence[Comparison]) -> Iterator[str]:
    """A reason for each figure that lost too much, and for each task that no set could judge."""
    for row in rows:
        if not loss(row).share < 1:
            yield str(loss(row))
    for task in tasks:
        if task not in {row.task for row in rows}:
            yield f"{task} not measured: no validation set labels it"
