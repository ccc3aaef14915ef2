"""Reliability diagrams: stated probabilities against what came true, before and after a temperature, as PNG.

Holds the drawing (DeGroot and Fienberg 1983; as in Guo et al. 2017, figure 4). Never counts: what it draws stands in
the report.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from model.training.evaluation.classification import CALIBRATION_BINS
from model.training.evaluation.curves import DPI, PALETTE, save_figure
from model.training.evaluation.report import EvaluationReport, Reliability

_COLOURS: Final = {"before": PALETTE[1], "after": PALETTE[0]}
_STATED: Final = {"attributes": "stated probability of yes"}
_CAME_TRUE: Final = {"attributes": "share of yes"}


def draw_reliabilities(report: EvaluationReport, folder: Path) -> tuple[Path, ...]:
    """Draws `reliability-TASK-SET.png` for each task and set that the report has such bins of; their paths."""
    return tuple(
        draw_reliability(tuple(rows), folder / f"reliability-{task}-{dataset}.png")
        for (task, dataset), rows in groupby(report.reliabilities, lambda row: (row.task, row.dataset))
    )


def draw_reliability(rows: Sequence[Reliability], target: Path) -> Path:
    """Both stages of one task on one set: what came true over what was stated, and how many answers each bin holds.

    On the dotted line probabilities mean what they say; under it the network is surer than it is right.
    """
    figure = Figure(figsize=(6, 7), dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    task = rows[0].task
    upper.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    for row in rows:
        label = f"{row.stage} (expected calibration error {row.error:.4f})"
        upper.plot(row.stated, row.came_true, "o-", color=_COLOURS[row.stage], markersize=4, label=label)
        lower.step(row.stated, row.counts, where="mid", color=_COLOURS[row.stage])
    _label(upper, lower, task)
    upper.set_title(f"{task} on {rows[0].dataset}, {CALIBRATION_BINS} bins", fontsize=11)
    return save_figure(figure, target)


def _label(upper: Axes, lower: Axes, task: str) -> None:
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel=_CAME_TRUE.get(task, "share right"))
    upper.legend(loc="upper left", fontsize=9)
    lower.set(xlabel=_STATED.get(task, "stated probability of the likeliest class"), ylabel="answers", yscale="log")
    for axis in (upper.xaxis, upper.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
