"""The card's section on groups: every figure by gender, race, age and size, and the largest gaps, with their intervals.

Holds the comparison of figures that `pack.json` states. Never measures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from export.figures import (
    ALL,
    interval,
    is_detail,
    is_worse_when_higher,
    is_years,
    kind_of,
    pictured,
    shown,
)
from export.robustness_table import is_by_condition
from model.runtime.pack import Figure, Pack

_MIN_GROUP: Final = 50  # samples; a gap to a smaller group is as likely chance
# No errors of a group: spread over folds, a mean of signed errors, how far probabilities can be trusted.
_NOT_RANKED: Final = ("accuracy_10fold_std", "bias", "ece")


@dataclass(frozen=True, slots=True)
class Gap:
    """The worst and the best group of one figure.

    Attributes:
        worst: its figure.
        best: likewise.
        size: how far apart, in the figure's unit.
        low: lower end of the 95 % interval of `size`; None where a figure has none.
        high: upper end.
        by_error: `size` in units of everyone's error; None where everyone's figure is not stated.
    """

    worst: Figure
    best: Figure
    size: float
    low: float | None = None
    high: float | None = None
    by_error: float | None = None

    @property
    def text(self) -> str:
        """The gap in one line."""
        figure = self.worst
        line = (
            f"{figure.task}, {figure.metric} on {figure.dataset} by {kind_of(figure.group)}: "
            f"worst {figure.group} ({shown(figure)}), best {self.best.group} ({shown(self.best)})"
        )
        if self.low is None or self.high is None:
            return line
        return f"{line}; gap {_apart(figure.metric, self.size, self.low, self.high)}"


def _apart(metric: str, size: float, low: float, high: float) -> str:
    if is_years(metric):
        return f"{size:.2f} years ({low:.2f} to {high:.2f})"
    decimals = 3 if metric.startswith("fmr_at") else 1
    return f"{100 * size:.{decimals}f} points ({100 * low:.{decimals}f} to {100 * high:.{decimals}f})"


def by_group(pack: Pack) -> str:
    """The section, or nothing where no figure is stated by group."""
    rows = [figure for figure in pack.measured if _is_of_group(figure)]
    if not rows:
        return ""
    lines = ["## By group", ""]
    gaps = gaps_of(pack.measured)
    if gaps:
        lines += [*_largest(gaps), ""]
    lines += [*_unstated(pack)]
    lines += [*pictured(pack.pictures, "groups-"), ""]
    if gaps:
        lines += [f"The largest gap of each figure, between groups of {_MIN_GROUP} samples or more:", ""]
        lines += [f"- {gap.text}" for gap in gaps if not is_detail(gap.worst.metric)]
        lines += ["", *_attributes(gaps)]
    single = [row for row in rows if "," not in row.group and not is_detail(row.metric)]
    lines += ["### Every figure by group", "", *_table(single)]
    lines += [*_details([row for row in rows if is_detail(row.metric)])]
    lines += [*_intersections([row for row in rows if "," in row.group])]
    return "\n".join(lines).rstrip()


def gaps_of(measured: Sequence[Figure]) -> list[Gap]:
    """The largest gap of each figure and kind of group."""
    whole = {(row.task, row.metric, row.dataset): row for row in measured if row.group == ALL}
    rows = sorted((row for row in measured if _is_of_group(row)), key=_key)
    found = (_gap(list(group), whole) for _, group in groupby(rows, _key))
    return [gap for gap in found if gap is not None]


def _is_of_group(figure: Figure) -> bool:
    return figure.group != ALL and not is_by_condition(figure)


def _key(figure: Figure) -> tuple[str, str, str, str]:
    return figure.task, figure.metric, figure.dataset, kind_of(figure.group)


def _gap(rows: Sequence[Figure], whole: dict[tuple[str, str, str], Figure]) -> Gap | None:
    large = [row for row in rows if row.num_samples >= _MIN_GROUP]
    if len(large) < 2:
        return None
    ranked = sorted(large, key=lambda row: abs(row.value) if "bias" in row.metric else row.value)
    higher_is_worse = is_worse_when_higher(ranked[0].metric)
    worst, best = (ranked[-1], ranked[0]) if higher_is_worse else (ranked[0], ranked[-1])
    size = abs(worst.value - best.value)
    everyone = whole.get((worst.task, worst.metric, worst.dataset))
    error = None if everyone is None else everyone.value if higher_is_worse else 1 - everyone.value
    by_error = size / error if error is not None and error > 0 else None
    return Gap(worst, best, size, *_between(worst, best, size), by_error)


def _between(worst: Figure, best: Figure, size: float) -> tuple[float | None, float | None]:
    """95 % interval of the difference of two independent figures, from each one's own (MOVER, Zou and Donner 2008)."""
    lower, upper = sorted((worst, best), key=lambda row: row.value)
    if lower.low is None or lower.high is None or upper.low is None or upper.high is None:
        return None, None
    below = ((upper.value - upper.low) ** 2 + (lower.high - lower.value) ** 2) ** 0.5
    above = ((upper.high - upper.value) ** 2 + (lower.value - lower.low) ** 2) ** 0.5
    return size - below, size + above


def _largest(gaps: Sequence[Gap]) -> Iterator[str]:
    """The one largest gap, and the largest of each unit: a task's gap counts where its interval leaves out 0."""
    sure = [
        gap
        for gap in gaps
        if not gap.worst.metric.startswith(_NOT_RANKED)
        and not is_detail(gap.worst.metric)
        and (gap.low is None or gap.low > 0)
        and gap.size > 0
    ]
    compared = [gap for gap in sure if gap.by_error is not None]
    if compared:
        most = max(compared, key=lambda gap: gap.by_error or 0.0)
        yield f"**The largest gap of all**, {most.by_error:.1f} times everyone's error of that figure: {most.text}."
        yield ""
    shares = [gap for gap in sure if not is_years(gap.worst.metric)]
    years = [gap for gap in sure if is_years(gap.worst.metric)]
    for name, some in (("in points of per cent", shares), ("in years", years)):
        if some:
            yield f"- The largest {name}: {max(some, key=lambda gap: gap.size).text}."
    yield ""
    yield (
        "Behind a gap stands its 95 % interval. The worst and the best group were picked for being so, which makes "
        "every gap look a little larger than it is."
    )


def _unstated(pack: Pack) -> Iterator[str]:
    """What has figures for everyone and labels no group."""
    by_task = dict.fromkeys((row.task, row.dataset) for row in pack.measured if row.group == ALL)
    grouped = {(row.task, row.dataset) for row in pack.measured if _is_of_group(row)}
    evaluated = {row.dataset for row in pack.measured if row.metric.startswith(("accuracy", "mae", "recall", "tar"))}
    left = [
        f"{task} on {dataset}" for task, dataset in by_task if (task, dataset) not in grouped and dataset in evaluated
    ]
    if left:
        yield f"Not stated by group, because the set does not label one: {', '.join(left)}."


def _attributes(gaps: Sequence[Gap]) -> Iterator[str]:
    some = [gap for gap in gaps if is_detail(gap.worst.metric) and (gap.low is None or gap.low > 0)]
    if not some:
        return
    ranked = sorted(some, key=lambda gap: -gap.size)
    yield f"Of single classes and attributes, {len(ranked)} gaps whose interval leaves out 0; the five largest:"
    yield ""
    yield from (f"- {gap.text}" for gap in ranked[:5])
    yield ""


def _table(rows: Sequence[Figure]) -> Iterator[str]:
    yield "| task | metric | set | group | value | 95 % interval | samples |"
    yield "|---|---|---|---|---:|---:|---:|"
    for row in rows:
        cells = (row.task, row.metric, row.dataset, row.group, shown(row), interval(row), f"{row.num_samples:,}")
        yield "| " + " | ".join(cells) + " |"


def _details(rows: Sequence[Figure]) -> Iterator[str]:
    """One row a class or attribute, one column a group."""
    for task, dataset in dict.fromkeys((row.task, row.dataset) for row in rows):
        some = [row for row in rows if (row.task, row.dataset) == (task, dataset)]
        groups = list(dict.fromkeys((row.group, row.num_samples) for row in some))
        yield from ("", f"### {task.capitalize()} on {dataset}, one by one", "")
        yield "| metric | " + " | ".join(f"{group} ({number:,})" for group, number in groups) + " |"
        yield "|---|" + "---:|" * len(groups)
        cells = {(row.metric, row.group, row.num_samples): shown(row) for row in some}
        for metric in dict.fromkeys(row.metric for row in some):
            yield f"| {metric} | " + " | ".join(cells.get((metric, *group), "") for group in groups) + " |"


def _intersections(rows: Sequence[Figure]) -> Iterator[str]:
    """One row for people who are in two groups at once, one column a figure."""
    if not rows:
        return
    yield from ("", "### In two groups at once", "", f"Of {_MIN_GROUP} faces or more.", "")
    for dataset in dict.fromkeys(row.dataset for row in rows):
        some = [row for row in rows if row.dataset == dataset]
        figures = list(dict.fromkeys((row.task, row.metric) for row in some))
        yield f"| {dataset} | " + " | ".join(f"{task}, {metric}" for task, metric in figures) + " |"
        yield "|---|" + "---:|" * len(figures)
        cells = {(row.group, row.task, row.metric): f"{shown(row)} ({row.num_samples:,})" for row in some}
        for group in dict.fromkeys(row.group for row in some):
            yield f"| {group} | " + " | ".join(cells.get((group, *figure), "") for figure in figures) + " |"
        yield ""
