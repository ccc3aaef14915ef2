"""Tables: what the commands that make twins show alike at the terminal, whatever the precision.

Never measures and never judges, and imports nothing heavy before it is asked to show figures.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from model.runtime.twin_part import Comparison, TwinPrecision

_WIDTH: Final = 160  # where the output is no terminal, which has a width of its own


def wide_console() -> Console:
    """Where tables go: as wide as the terminal, and wide enough where there is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def figures(name: str, precision: "TwinPrecision", rows: "Sequence[Comparison]") -> Table:
    """Figures of a float graph and its twin on the same validation rows, and what the twin lost by each."""
    from export.twin.verdict import loss

    title = f"{name}: figures on validation rows"
    table = Table("task", "metric", "set", "float32", precision, "lost", "samples", title=title, title_justify="left")
    for row in rows:
        cells = (row.task, row.metric, row.dataset, f"{row.float32:.4f}", f"{row.of_twin:.4f}")
        table.add_row(*cells, str(loss(row)).split(",")[0], f"{row.num_samples:,}")
    return table
