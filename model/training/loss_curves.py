"""A run's losses as a picture: `report/losses.png`, one panel a figure of `log.jsonl`.

Holds the drawing. Never measures anything, and never needs a display.
"""

import math
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.training.logbook import LOG, read_log

PICTURE: Final = Path("report") / "losses.png"
_COLUMNS: Final = 4


def draw_losses(out: Path) -> Path | None:
    """Draws a run's log; returns the picture's path, or None where nothing is logged yet."""
    rows = read_log(out / LOG)
    if not rows:
        return None
    names = [name for name in rows[-1] if name != "step"]
    num_lines = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 3 * num_lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(num_lines, _COLUMNS, number)
        axes.plot([row["step"] for row in rows if name in row], [row[name] for row in rows if name in row], linewidth=1)
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    path = out / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path
