"""Curves: a report's pictures, as PNG: ROC and DET, confusion matrices, attributes, groups.

Holds the drawing, on matplotlib's own Agg canvas without its global state, so that no figure stays open and no display
is needed. Never measures: what it draws stands in the report.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from model.runtime.labels import ATTRIBUTES
from model.training.evaluation.groups import ALL, is_intersection, kind_of, label_of
from model.training.evaluation.report import Confusion, EvaluationReport, Measure, VerificationCurve

# Okabe and Ito's palette, told apart by the colour-blind too.
PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DPI: Final = 120
_RATES: Final = (1e-4, 1e-3, 1e-2)
_LOWEST_ERROR: Final = 1e-8
_HIGHEST_ERROR: Final = 0.6
_ERROR_TICKS: Final = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)
_GROUP_METRICS: Final = {  # task, metric: how its panel is headed
    ("embedding", "accuracy_10fold"): "verification, ten-fold accuracy",
    ("embedding", "tar_at_fmr_1e-03"): "verification, TAR at everyone's threshold",
    ("embedding", "fmr_at_threshold_of_1e-03"): "verification, FMR at everyone's threshold",
    ("age", "mae_years"): "age, mean absolute error (years)",
    ("gender", "accuracy"): "gender, accuracy",
    ("race", "accuracy"): "race, accuracy",
    ("attributes", "accuracy_mean"): "attributes, mean accuracy",
}


def draw_report(report: EvaluationReport, folder: Path) -> tuple[Path, ...]:
    """Draws what the report holds, and nothing for what it does not.

    Returns:
        The pictures' paths: `roc.png`, `det.png`, `confusion-TASK-SET.png`, `attributes-SET.png`, `groups-SET.png`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    if report.curves:
        drawn += [draw_roc(report.curves, folder / "roc.png"), draw_det(report.curves, folder / "det.png")]
    for confusion in report.confusions:
        drawn.append(draw_confusion(confusion, folder / f"confusion-{confusion.task}-{confusion.dataset}.png"))
    for dataset in dict.fromkeys(measure.dataset for measure in report.measures):
        rows = [measure for measure in report.measures if measure.dataset == dataset]
        if any(row.task == "attributes" for row in rows):
            drawn.append(draw_attributes(rows, folder / f"attributes-{dataset}.png"))
        if any(_in_panel(row) and (row.task, row.metric) in _GROUP_METRICS for row in rows):
            drawn.append(draw_groups(rows, folder / f"groups-{dataset}.png"))
    return tuple(drawn)


def draw_roc(curves: Sequence[VerificationCurve], target: Path) -> Path:
    """True-accept rate over false-match rate (logarithmic), a line a set and group."""

    def draw(axes: Axes) -> None:
        for curve, colour, style in _styled(curves):
            fmr, fnmr = _positive(curve)
            axes.plot(fmr, 1 - fnmr, color=colour, linestyle=style, label=_curve_label(curve))
        axes.set(xscale="log", xlim=(1e-6, 1), xlabel="false-match rate")
        axes.grid(which="major", alpha=0.3)
        for rate in _RATES:
            axes.axvline(rate, color="0.6", linewidth=0.8, linestyle=(0, (1, 3)), zorder=0)
        axes.set(ylim=(0, 1.02), ylabel="true-accept rate", title="ROC")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="best", fontsize=9)

    return _drawn(draw, target, (7.5, 5.5))


def draw_det(curves: Sequence[VerificationCurve], target: Path) -> Path:
    """Both errors against each other on normal-deviate scales; on the dotted line they are equal.

    On such scales the curve of normally distributed scores is a straight line (Martin et al. 1997, Eurospeech).
    """

    def draw(axes: Axes) -> None:
        lowest = [_HIGHEST_ERROR, _HIGHEST_ERROR]
        for curve, colour, style in _styled(curves):
            fmr, fnmr = _positive(curve)
            some = (fnmr > 0) & (fnmr < 1) & (fmr < 1)
            inside = some & (fnmr <= _HIGHEST_ERROR) & (fmr <= _HIGHEST_ERROR)
            lowest = [min([least, *rates[inside].tolist()]) for least, rates in zip(lowest, (fmr, fnmr), strict=True)]
            axes.plot(
                normal_deviate(fmr[some]),
                normal_deviate(fnmr[some]),
                color=colour,
                linestyle=style,
                label=_curve_label(curve),
            )
        ends = normal_deviate(np.array([_LOWEST_ERROR, _HIGHEST_ERROR]))
        axes.plot(ends, ends, color="0.6", linestyle=":", linewidth=1)
        _deviate_axis(axes.xaxis, lowest[0])
        _deviate_axis(axes.yaxis, lowest[1])
        axes.grid(alpha=0.3)
        axes.set(xlabel="false-match rate", ylabel="false non-match rate", title="DET, normal-deviate scales")
        axes.legend(loc="best", fontsize=9)

    return _drawn(draw, target, (7.5, 6.5))


def normal_deviate(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard normal's quantile of each rate, which lies between 0 and 1: 0.5 is 0, 0.1587 is -1."""
    quantile = NormalDist().inv_cdf
    return np.array([quantile(float(rate)) for rate in rates], np.float64)


def draw_confusion(confusion: Confusion, target: Path) -> Path:
    """A matrix whose shades are shares of the true class, with its percentages, and the counts of each class."""
    counts = np.array(confusion.counts, np.int64)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    size = len(confusion.labels)

    def draw(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(size, size):
            colour = "white" if shares[row, column] > 0.55 else "0.15"
            text = f"{100 * shares[row, column]:.0f}" if totals[row, 0] else ""
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if size > 6 else 11)
        axes.set_xticks(range(size), confusion.labels, rotation=45, ha="right", rotation_mode="anchor")
        named = [f"{label} ({number:,})" for label, number in zip(confusion.labels, totals[:, 0], strict=True)]
        axes.set_yticks(range(size), named)
        axes.set(xlabel="answered", ylabel="true (faces)")
        accuracy = np.trace(counts) / max(counts.sum(), 1)
        axes.set_title(
            f"{confusion.task} on {confusion.dataset}: {accuracy:.1%} right\n% of each true class", fontsize=11
        )

    side = 3.2 + 0.55 * size
    return _drawn(draw, target, (side + 0.6, side))


def draw_attributes(measures: Sequence[Measure], target: Path) -> Path:
    """Accuracy (bars) and balanced accuracy (dots) of each attribute, best on top, with the mean accuracy."""
    found = {row.metric: row.value for row in measures if row.task == "attributes" and row.group == ALL}
    names = sorted(
        (name for name in ATTRIBUTES if f"accuracy_{name}" in found), key=lambda name: found[f"accuracy_{name}"]
    )

    def draw(axes: Axes) -> None:
        places = range(len(names))
        accuracy = [found[f"accuracy_{name}"] for name in names]
        axes.barh(places, accuracy, color=PALETTE[5], label="accuracy")
        balanced = [found[f"balanced_accuracy_{name}"] for name in names]
        axes.plot(balanced, places, "o", color=PALETTE[1], markersize=4, label="balanced accuracy")
        mean = found["accuracy_mean"]
        axes.axvline(mean, color="0.2", linestyle="--", linewidth=1, label=f"mean accuracy {mean:.1%}")
        axes.set_yticks(places, [name.replace("_", " ") for name in names], fontsize=9)
        axes.set(
            xlim=(min(0.3, *accuracy, *balanced), 1.0),
            ylim=(-0.7, len(names) - 0.3),
            title=f"attributes on {measures[0].dataset}",
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x", alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=3, fontsize=9, frameon=False)

    return _drawn(draw, target, (7.5, 10))


def draw_groups(measures: Sequence[Measure], target: Path) -> Path:
    """One panel a figure that is stated by group, a bar a group, with everyone's figure as a dashed line."""
    panels = {
        key: rows
        for key in _GROUP_METRICS
        if (rows := [row for row in measures if (row.task, row.metric) == key and _in_panel(row)])
    }
    whole = {(row.task, row.metric): row.value for row in measures if row.group == ALL}
    num_groups = max(len(rows) for rows in panels.values())
    figure = Figure(figsize=(1.5 + max(0.45 * num_groups, 5), 3.4 * len(panels)), dpi=DPI, layout="constrained")
    for place, (key, rows) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, place + 1)
        kinds = list(dict.fromkeys(kind_of(row.group) for row in rows))
        colours = [PALETTE[kinds.index(kind_of(row.group))] for row in rows]
        bars = axes.bar([label_of(row.group) for row in rows], [row.value for row in rows], 0.7, color=colours)
        labels = axes.bar_label(bars, [_value(row) for row in rows], fontsize=9, padding=2)
        for label in labels:  # readable where everyone's line runs through it
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
        if key in whole:
            axes.axhline(whole[key], color="0.3", linestyle="--", linewidth=1)
            axes.text(1.005, whole[key], "all", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
        axes.set_title(f"{_GROUP_METRICS[key]}, on {rows[0].dataset}", fontsize=11)
        axes.margins(x=0.3 / num_groups, y=0.15)
        axes.tick_params(axis="x", rotation=45 if num_groups > 6 else 0)
        if not key[1].endswith("_years"):
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    return save_figure(figure, target)


def save_figure(figure: Figure, target: Path) -> Path:
    """Renders a figure into a PNG; its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)  # becomes the figure's canvas: savefig then asks for no display
    figure.savefig(target, format="png")
    return target


def _drawn(draw: Callable[[Axes], None], target: Path, size_inches: tuple[float, float]) -> Path:
    figure = Figure(figsize=size_inches, dpi=DPI, layout="constrained")
    draw(figure.add_subplot())
    return save_figure(figure, target)


def _styled(curves: Sequence[VerificationCurve]) -> list[tuple[VerificationCurve, str, str]]:
    """A colour a set; whole lines for everyone, broken ones for its groups."""
    sets = list(dict.fromkeys(curve.dataset for curve in curves))
    groups = list(dict.fromkeys(curve.group for curve in curves if curve.group != ALL))
    styles = {ALL: "-", **{group: ("--", ":", "-.")[place % 3] for place, group in enumerate(groups)}}
    return [(curve, PALETTE[sets.index(curve.dataset) % len(PALETTE)], styles[curve.group]) for curve in curves]


def _curve_label(curve: VerificationCurve) -> str:
    who = curve.dataset if curve.group == ALL else f"{curve.dataset}, {label_of(curve.group)}"
    return f"{who} ({curve.num_genuine:,} genuine, {curve.num_impostor:,} impostor pairs)"


def _positive(curve: VerificationCurve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points that a logarithmic axis can show."""
    fmr, fnmr = np.array(curve.fmr), np.array(curve.fnmr)
    return fmr[fmr > 0], fnmr[fmr > 0]


def _deviate_axis(axis: Axis, lowest: float) -> None:
    """Ticks in per cent at their normal deviates, from the lowest error there is to `_HIGHEST_ERROR`."""
    ticks = np.array([rate for rate in _ERROR_TICKS if rate >= lowest / 2] or [_HIGHEST_ERROR])
    axis.set_ticks(normal_deviate(ticks).tolist(), [f"{100 * rate:g} %" for rate in ticks], fontsize=8)
    low, high = normal_deviate(np.array([max(min(lowest, ticks[0]), _LOWEST_ERROR), _HIGHEST_ERROR]))
    axis.set_view_interval(low - 0.1, high, ignore=True)


def _value(row: Measure) -> str:
    if row.metric.endswith("_years"):
        return f"{row.value:.1f}"
    return f"{100 * row.value:.3f}" if row.metric.startswith("fmr") else f"{100 * row.value:.1f}"


def _in_panel(row: Measure) -> bool:
    return row.group != ALL and not is_intersection(row.group)
