"""What `mien-train train` does once its command line is read.

Holds the way from texts to a training, and from a training's errors to one clear line. Never reads the command line.
"""

from pathlib import Path

import click
import torch

from model.checkpoint import CheckpointError
from model.training.dataset import DataError
from model.training.devices import TrainingError
from model.training.loop import train_analyzer
from model.training.optimizer import OptimizerError
from model.training.overrides import OverrideError, override, parse_assignments
from model.training.recipes.names import IN_PARTS
from model.training.recipes.nano import in_parts
from model.training.recipes.recipe import AnalyzerRecipe
from model.training.recipes.registry import RECIPES
from model.training.run_folder import has_state
from model.training.world import WorldError, asked_world

_MISTAKES = (CheckpointError, DataError, OptimizerError, OverrideError, TrainingError, WorldError)


def run_training(
    name: str,
    data: Path,
    out: Path,
    *,
    resume: bool,
    init: Path | None,
    cache: Path | None,
    changes: tuple[str, ...],
    distil: Path | None = None,
) -> bool:
    """Trains a recipe by name; answers whether this process is the one that writes.

    Raises:
        click.ClickException: on any mistake of the person who runs it. Where several processes train, all fail and the
            one that writes says why.
    """
    world = asked_world()
    try:
        _train(name, data, out, parse_assignments(changes), resume=resume, init=init, cache=cache, distil=distil)
    except (*_MISTAKES, click.ClickException) as error:
        if not world.writes:
            raise SystemExit(1) from None
        raise error if isinstance(error, click.ClickException) else click.ClickException(str(error)) from error
    return world.writes


def _train(
    name: str,
    data: Path,
    out: Path,
    assignments: dict[str, str],
    *,
    resume: bool,
    init: Path | None,
    cache: Path | None,
    distil: Path | None,
) -> None:
    if name == "detector":
        if distil is not None:
            raise click.UsageError("the detector's training takes no --distil")
        _train_detector(data, out, assignments, resume=resume, init=init)
        return
    recipe = fitting(name, override(RECIPES[name](), assignments), assignments)
    if not resume and has_state(out):
        raise click.UsageError(f"{out} holds a training already: --resume it, or give another --out")
    if not train_analyzer(recipe, data, out, resume=resume, init=init, cache=cache, distil=distil):
        raise click.ClickException(f"stopped before the end; go on with --resume --out {out}")


def fitting(name: str, recipe: AnalyzerRecipe, assignments: dict[str, str]) -> AnalyzerRecipe:
    """Nano's and wide's steps in parts where there is no GPU and nobody said how large a batch is."""
    stated = {key.split(".")[0] for key in assignments}
    if name not in IN_PARTS or stated & {"rows", "accumulation"}:
        return recipe
    if recipe.device == "cuda" or (recipe.device == "auto" and torch.cuda.is_available()):
        return recipe
    click.echo(
        "no GPU: a step's faces are taken in sixteen parts (--set rows=... states a batch of your own)", err=True
    )
    return in_parts(recipe)


def _train_detector(data: Path, out: Path, assignments: dict[str, str], *, resume: bool, init: Path | None) -> None:
    from model.training.detection.command import train_detector

    if asked_world().size > 1:
        raise click.UsageError("the detector trains in one process")
    train_detector(data, out, assignments, resume, init)
