"""Rounds: what some of them measured, as a row of a table: the least, the median, the most."""

import statistics
from collections.abc import Sequence

from rich.table import Table

HEAD = ("", "min", "median", "max")


def add_row(table: Table, name: str, values: Sequence[float], digits: int) -> None:
    """Adds the row of what is named, one value a round, with so many digits behind the point."""
    stated = (min(values), statistics.median(values), max(values))
    table.add_row(name, *(f"{value:.{digits}f}" for value in stated))
