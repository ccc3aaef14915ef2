"""Tables: a report on the terminal.

Holds what rich draws: one table of figures for everyone, one by group. Never measures and never writes a file.
"""

from collections.abc import Iterator
from typing import Final

from rich.table import Table
from rich.text import Text

from model.training.evaluation.bins import SUFFIX
from model.training.evaluation.conditions import CONDITION, CONDITION_METRICS
from model.training.evaluation.groups import ALL, is_intersection
from model.training.evaluation.ijb.layout import NAMES
from model.training.evaluation.report import EvaluationReport, Measure
from model.training.evaluation.seen_pairs import seen_and_unseen

_SHARES: Final = ("accuracy", "balanced", "eer", "fnmr", "recall", "tar", "within")
# Told in full by the report and the pictures; 40 attributes and every class's recall would bury the rest.
_DETAILS: Final = ("recall_", "accuracy_", "balanced_accuracy_", "threshold_")
_KEPT: Final = (
    "accuracy_10fold",
    "accuracy_10fold_std",
    "accuracy_10fold_grid",
    "accuracy_10fold_grid_std",
    "accuracy_mean",
    "balanced_accuracy_mean",
    "recall_at_iou_0.5",
)
_BY_GROUP: Final = {
    "age": ("mae_years",),
    "gender": ("accuracy",),
    "race": ("accuracy",),
    "attributes": ("accuracy_mean",),
    "detection": ("recall_at_iou_0.5",),
    "embedding": ("accuracy_10fold", "tar_at_fmr_1e-03", "fmr_at_threshold_of_1e-03"),
}


def tables(report: EvaluationReport) -> Iterator[Table]:
    """The figures for everyone, then those by group where there are any."""
    yield _overall(report)
    if any(_is_by_group(measure) for measure in report.measures):
        yield _by_group(report)
    if any(measure.group.startswith(CONDITION) for measure in report.measures):
        yield _by_condition(report)
    if report.seen:
        yield _seen(report)
    if report.quality:
        yield _quality(report)


def shown(metric: str, value: float, decimals: int = 1) -> str:
    """A figure as a person reads it: shares in per cent, years as years, anything else as it is."""
    if metric.startswith(_SHARES):
        return f"{100 * value:.{decimals}f} %"
    if metric.startswith("fmr_at"):
        return f"{100 * value:.3f} %"
    return f"{value:.2f} years" if metric.endswith("_years") else f"{value:.3f}"


def _overall(report: EvaluationReport) -> Table:
    table = Table("task", "metric", "set", title=Text(f"{report.model}: everyone"), title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("samples", justify="right")
    last = ""
    for measure in report.measures:
        if measure.group != ALL or _is_detail(measure.metric):
            continue
        if last not in ("", measure.dataset):
            table.add_section()
        last = measure.dataset
        # As many decimals as the field reports of these sets.
        published = measure.dataset.endswith(SUFFIX) or measure.dataset in NAMES
        value = shown(measure.metric, measure.value, 2 if published else 1)
        table.add_row(measure.task, measure.metric, measure.dataset, value, f"{measure.num_samples:,}")
    return table


def _by_group(report: EvaluationReport) -> Table:
    table = Table("set", "group", title=Text(f"{report.model}: by group"), title_justify="left")
    rows = [measure for measure in report.measures if _is_by_group(measure)]
    columns = list(dict.fromkeys((measure.task, measure.metric) for measure in rows))
    for task, metric in columns:
        table.add_column(f"{task}\n{metric}", justify="right")
    cells = {(row.dataset, row.group, row.task, row.metric): shown(row.metric, row.value) for row in rows}
    for dataset, group in dict.fromkeys((row.dataset, row.group) for row in rows):
        table.add_row(dataset, group, *(cells.get((dataset, group, *column), "") for column in columns))
    return table


def _by_condition(report: EvaluationReport) -> Table:
    table = Table("condition", title=Text(f"{report.model}: the detector by condition"), title_justify="left")
    for heading in ("faces", *CONDITION_METRICS.values()):
        table.add_column(heading, justify="right")
    rows = {(row.group, row.metric): row for row in report.measures if row.group.startswith(CONDITION)}
    for group in dict.fromkeys(group for group, _ in rows):
        found = [rows.get((group, metric)) for metric in CONDITION_METRICS]
        cells = ["" if row is None else shown(row.metric, row.value) for row in found]
        table.add_row(group.removeprefix(CONDITION), str(found[0].num_samples if found[0] else ""), *cells)
    return table


def _seen(report: EvaluationReport) -> Table:
    table = Table(
        "task", "metric", "set", title=Text(f"{report.model}: seen in training, and not"), title_justify="left"
    )
    for column in ("seen", "unseen", "samples seen"):
        table.add_column(column, justify="right")
    for row, unseen in seen_and_unseen(report.seen, report.measures):
        if not _is_detail(row.metric):
            values = (shown(row.metric, row.value), shown(row.metric, unseen.value), f"{row.num_samples:,}")
            table.add_row(row.task, row.metric, row.dataset, *values)
    return table


def _quality(report: EvaluationReport) -> Table:
    title = Text(f"{report.model}: error against quality, Spearman's rank correlation with its 95 % interval")
    table = Table("task", "error", "quality", "set", "faces", title=title, title_justify="left")
    for column in ("correlation", "worst bin", "best bin", "samples"):
        table.add_column(column, justify="right")
    for each in report.quality:
        ranked = sorted(part.error for part in each.bins)
        correlation = f"{each.spearman:+.2f} ({each.spearman_low:+.2f} to {each.spearman_high:+.2f})"
        cells = (each.task, each.error, each.quality, each.dataset, each.how, correlation)
        table.add_row(*cells, f"{ranked[-1]:.3f}", f"{ranked[0]:.3f}", f"{each.num_samples:,}")
    return table


def _is_detail(metric: str) -> bool:
    return metric.startswith(_DETAILS) and metric not in _KEPT


def _is_by_group(measure: Measure) -> bool:
    if measure.group == ALL or measure.group.startswith(CONDITION) or is_intersection(measure.group):
        return False
    return measure.metric in _BY_GROUP.get(measure.task, ())
