"""A run's losses as a picture, in the run's folder.

Holds where it lies and what a run without a row gets. Never draws (see `model.training.evaluation.history`).
"""

from pathlib import Path
from typing import Final

from model.training.evaluation.history import HistoryError, draw_training
from model.training.logbook import LOG

PICTURE: Final = Path("report") / "training.png"


def draw_losses(out: Path) -> Path | None:
    """Draws a run's log; returns the picture's path, or None where nothing is logged yet."""
    try:
        return draw_training(out / LOG, out / PICTURE)
    except HistoryError:
        return None
