"""What `mien-train train` does once its command line is read.

Holds the way from texts to a training, and from a training's errors to one clear line. Never reads the command line.
"""

from pathlib import Path

import click

from model.checkpoint import CheckpointError
from model.training.dataset import DataError
from model.training.loop import TrainingError, train_analyzer
from model.training.overrides import OverrideError, override, parse_assignments
from model.training.recipes import RECIPES
from model.training.state import has_state


def run_training(
    name: str, data: Path, out: Path, *, resume: bool, init: Path | None, cache: Path | None, changes: tuple[str, ...]
) -> None:
    """Trains a recipe by name.

    Raises:
        click.ClickException: on any mistake of the person who runs it.
    """
    try:
        assignments = parse_assignments(changes)
        if name == "detector":
            _train_detector(data, out, assignments, resume=resume, init=init)
            return
        recipe = override(RECIPES[name], assignments)
        if not resume and has_state(out):
            raise click.UsageError(f"{out} holds a training already: --resume it, or give another --out")
        done = train_analyzer(recipe, data, out, resume=resume, init=init, cache=cache)
    except (CheckpointError, DataError, OverrideError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    if not done:
        raise click.ClickException(f"stopped before the end; go on with --resume --out {out}")


def _train_detector(data: Path, out: Path, assignments: dict[str, str], *, resume: bool, init: Path | None) -> None:
    from model.training.detection.command import train_detector

    if init is not None:
        raise click.UsageError("the detector's training takes no --init")
    train_detector(data, out, assignments, resume)
