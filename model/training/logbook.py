"""The logbook of a run: `log.jsonl`, TensorBoard scalars, and progress on the terminal.

Holds what is written while a training goes, validations in `validation.jsonl`. Never decides what is measured.
"""

import json
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG: Final = "log.jsonl"
VALIDATIONS: Final = "validation.jsonl"


class Logbook:
    """Writes a run's figures. Use it as a context manager."""

    def __init__(self, out: Path, first_step: int, total_steps: int) -> None:
        """Opens the logbook, dropping rows that a killed run wrote at or after `first_step`: they come again."""
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._validations = out / LOG, out / VALIDATIONS
        for path in (self._path, self._validations):
            kept = [row for row in read_log(path) if row["step"] <= first_step]
            if kept or path == self._path:
                path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # tensorboard's own imports
            from torch.utils.tensorboard import SummaryWriter
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step + 1 if first_step else None)
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, *times, console=self._console, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("training", total=total_steps, completed=first_step)
        self._total_steps = total_steps
        self._last = (first_step, time.monotonic())

    def __enter__(self) -> "Logbook":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._board.close()

    def advance(self, step: int) -> None:
        """Moves the bar to `step` steps done."""
        self._progress.update(self._task, completed=step)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes one row of figures after `step` steps, and the steps a second since the last row."""
        now = time.monotonic()
        rate = (step - self._last[0]) / max(now - self._last[1], 1e-9)
        self._last = (step, now)
        row = {"step": step, **{name: round(value, 6) for name, value in figures.items()}}
        row["steps_per_second"] = round(rate, 4)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            self._board.add_scalar(name, value, step)
        if self._progress.disable:
            shown = " ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "step")
            self.say(f"step {step}/{self._total_steps} {shown}")
        else:
            self._progress.update(self._task, description=f"loss {figures['loss']:.3f}")

    def validated(self, step: int, metric: str, value: float, best: bool) -> None:
        """Writes a validation's figure after `step` steps, and whether it is the best so far."""
        with self._validations.open("a") as file:
            file.write(json.dumps({"step": step, metric: round(value, 6), "best": best}) + "\n")
        self._board.add_scalar(f"validation/{metric}", value, step)
        self.say(f"step {step}: {metric} {value:.4f}{', the best so far' if best else ''}")

    def say(self, text: str) -> None:
        """One line for a person."""
        self._console.print(text, highlight=False, soft_wrap=True)


class Silence:
    """What a process has for a logbook that is not the one which writes."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, step: int) -> None:
        """Says nothing."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes nothing."""

    def validated(self, step: int, metric: str, value: float, best: bool) -> None:
        """Writes nothing."""

    def say(self, text: str) -> None:
        """Says nothing."""


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of a `log.jsonl`; an absent file has none, and a last line that a kill cut short is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
