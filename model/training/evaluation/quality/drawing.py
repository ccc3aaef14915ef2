"""Drawing: errors against quality as pictures, a panel a task and quality, a line a set.

Holds the drawing alone. Never measures: what it draws stands in the report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from model.runtime.quality_curve import QualityCurve
from model.training.evaluation.curves import PALETTE, save_figure

_QUALITIES: Final = {
    "sharpness": "sharpness (0 to 1)",
    "size_px": "face size (px)",
    "blur_sigma_px": "blur, deviation (px)",
    "yaw_degrees": "yaw to either side (degrees)",
    "pitch_degrees": "pitch up or down (degrees)",
    "roll_degrees": "roll to either side (degrees)",
}
_ERRORS: Final = {
    "wrong": "wrong",
    "wrong_share": "attributes wrong",
    "absolute_error_years": "error (years)",
    "false_non_match": "one person's pairs refused",
    "missed": "faces missed",
    "landmark_error_by_eye_distance": "landmarks off (of eye distance)",
}
_DPI: Final = 95  # many small panels
_SIZE_TICKS_PX: Final = (12, 16, 24, 32, 48, 80, 160)


def draw_quality(curves: Sequence[QualityCurve], folder: Path) -> tuple[Path, ...]:
    """Draws `quality-faces.png`, `quality-degraded.png` and `quality-detection.png`, each where it has a curve.

    Returns:
        The pictures' paths.
    """
    faces = [each for each in curves if each.task != "detection"]
    parts = {
        "quality-faces": [each for each in faces if each.how == "measured"],
        "quality-degraded": [each for each in faces if each.how == "degraded"],
        "quality-detection": [each for each in curves if each.task == "detection"],
    }
    return tuple(_grid(part, folder / f"{name}.png") for name, part in parts.items() if part)


def _grid(curves: Sequence[QualityCurve], target: Path) -> Path:
    rows = list(dict.fromkeys((each.task, each.error) for each in curves))
    columns = [name for name in _QUALITIES if any(each.quality == name for each in curves)]
    sets = list(dict.fromkeys(each.dataset for each in curves))
    figure = Figure(figsize=(3.0 * len(columns) + 0.4, 1.9 * len(rows) + 0.3), dpi=_DPI, layout="constrained")
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharey="row")
    for row, (task, error) in enumerate(rows):
        for column, quality in enumerate(columns):
            axes = panels[row, column]
            drawn = [each for each in curves if (each.task, each.error, each.quality) == (task, error, quality)]
            for each in drawn:
                _line(axes, each, PALETTE[sets.index(each.dataset) % len(PALETTE)])
            _dress(axes, error, quality, is_empty=not drawn)
            if column == 0:
                axes.set_ylabel(f"{task}\n{_ERRORS.get(error, error)}", fontsize=8)
            if row == len(rows) - 1:
                axes.set_xlabel(_QUALITIES[quality], fontsize=8)
    return save_figure(figure, target)


def _line(axes: Axes, curve: QualityCurve, colour: str) -> None:
    places = np.array([part.mean for part in curve.bins])
    errors = np.array([part.error for part in curve.bins])
    low = np.array([part.error_low for part in curve.bins])
    high = np.array([part.error_high for part in curve.bins])
    style = "--" if curve.how == "degraded" and curve.task == "detection" else "-"
    shrunk = ", shrunk" if style == "--" else ""
    label = f"{curve.dataset}{shrunk}, rank corr. {curve.spearman:+.2f}"
    axes.errorbar(
        places,
        errors,
        yerr=[np.maximum(errors - low, 0), np.maximum(high - errors, 0)],
        color=colour,
        linestyle=style,
        marker="o",
        markersize=3,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )


def _dress(axes: Axes, error: str, quality: str, *, is_empty: bool) -> None:
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if is_empty:
        axes.set_axis_off()
        return
    axes.legend(fontsize=6, loc="best", frameon=False)
    if not error.endswith("years"):
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if quality == "size_px":
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_SIZE_TICKS_PX))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:.0f}")
