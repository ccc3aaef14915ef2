"""History: the pictures of how a training went, from its `log.jsonl`.

Holds one picture of every figure that was logged over the steps. Never reads TensorBoard's files and never decides what
is logged. Needs no torch.
"""

import json
import math
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.training.evaluation.curves import DPI, PALETTE, save_figure

LOG: Final = "log.jsonl"
_STEP: Final = "step"
_COLUMNS: Final = 3
_SMOOTHED_SHARE: Final = 0.05  # of the rows, in the smoothed line's window
_LOG_SCALE: Final = ("gradient_norm",)


class HistoryError(ValueError):
    """A log that cannot be drawn; the message is one clear line."""


def draw_training(log: Path, target: Path) -> Path:
    """Draws every figure of a run's log over its steps, a panel each: the rows as they are, and their running mean.

    Args:
        log: a JSON object with `step` a line, and numbers; a last line that a kill cut short is left out.
        target: the PNG.

    Raises:
        HistoryError: if the log cannot be read or holds no row.
    """
    rows = read_rows(log)
    names = list(dict.fromkeys(name for row in rows for name in row if name != _STEP))
    num_lines = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(4.2 * min(_COLUMNS, len(names)), 2.6 * num_lines), dpi=DPI, layout="constrained")
    for place, name in enumerate(names):
        drawn = [(row[_STEP], row[name]) for row in rows if name in row]
        steps, values = np.array(drawn, np.float64).T
        axes = figure.add_subplot(num_lines, min(_COLUMNS, len(names)), place + 1)
        _panel(axes, name, steps, values)
        if place >= len(names) - _COLUMNS:
            axes.set_xlabel(_STEP)
    return save_figure(figure, target)


def read_rows(log: Path) -> list[dict[str, float]]:
    """Rows of a log with a step and at least one number beside it.

    Raises:
        HistoryError: as `draw_training`.
    """
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise HistoryError(f"cannot read {log}: {error.strerror}") from error
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        numbers = {name: float(value) for name, value in row.items() if _is_number(value)}
        if _STEP in numbers and len(numbers) > 1:
            rows.append(numbers)
    if not rows:
        raise HistoryError(f"{log} holds no rows with a step and figures")
    return rows


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Means of `window` neighbours on average, fewer at both ends, so that no value is made up beyond them."""
    padded = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low = np.maximum(places - window // 2, 0)
    high = np.minimum(places + window // 2 + 1, len(values))
    return np.asarray((padded[high] - padded[low]) / (high - low), np.float64)


def _panel(axes: Axes, name: str, steps: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    window = max(int(len(values) * _SMOOTHED_SHARE), 1)
    axes.plot(steps, values, color=PALETTE[5], linewidth=0.8, alpha=0.6 if window > 1 else 1)
    if window > 1:
        axes.plot(steps, running_mean(values, window), color=PALETTE[0], linewidth=1.6)
    axes.set_title(f"{name.replace('_', ' ')}  (last {values[-1]:.4g})", fontsize=10)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    if name in _LOG_SCALE and (values > 0).all():
        axes.set_yscale("log")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
