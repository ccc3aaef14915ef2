"""What a person sees of a calibration at the terminal.

Never measures and never writes a pack.
"""

import click
from rich.console import Console
from rich.table import Table

from export.card_calibration import COLUMNS, temperature_text, threshold_cells
from export.recalibrate import Recalibration
from model.runtime.pack import Verification


def show(found: Recalibration) -> None:
    """Prints thresholds, temperatures and calibration errors, and notes on what was left out."""
    console = Console()
    if found.verification is not None:
        console.print(_thresholds(found.verification))
        curve = found.verification.confidence
        if curve is not None and curve.ece is not None:
            click.echo(f"confidence: expected calibration error {curve.ece:.4f} on people that it was not fitted on")
    if found.figures:
        console.print(_errors(found))
    for note in found.notes:
        click.echo(f"note: {note}")


def _thresholds(found: Verification) -> Table:
    title = f"{found.num_impostor_pairs:,} impostor and {found.num_genuine_pairs:,} genuine pairs"
    rows = [threshold_cells(row) for row in found.thresholds]
    table = Table(*COLUMNS[: len(rows[0])], title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def _errors(found: Recalibration) -> Table:
    """A row a task and set: the errors as the network was trained, and at temperatures of other people's faces."""
    values = {(figure.task, figure.metric, figure.dataset): figure.value for figure in found.figures}
    title = "expected calibration error; after: on people that the temperature was not fitted on"
    table = Table("task", "set", "metric", "before", "after", "temperature", title=title, title_justify="left")
    temperatures = {str(task): value for task, value in found.temperatures.items()}
    for (task, metric, dataset), before in values.items():
        if metric.endswith("_before"):
            name = metric.removesuffix("_before")
            after = values[task, f"{name}_after", dataset]
            table.add_row(task, dataset, name, f"{before:.4f}", f"{after:.4f}", temperature_text(temperatures[task]))
    return table
