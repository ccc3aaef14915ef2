"""What `mien-train train detector` does once its command line is read.

Holds the way from a recipe's changes to a trained detector with a measured operating point. Never reads the command
line.
"""

from pathlib import Path

import click

from model.training.detection.loop import run_training
from model.training.detection.operating_point import settle
from model.training.detection.recipe import DetectorRecipe
from model.training.detection.scenes import read_scenes
from model.training.loss_curves import draw_losses
from model.training.overrides import override
from model.training.run_folder import EMA, has_state


def train_detector(data: Path, out: Path, overrides: dict[str, str], resume: bool, init: Path | None = None) -> None:
    """Trains a detector.

    Args:
        data: the folder with `detection-train*.parquet`.
        out: the run's folder.
        overrides: changes of the recipe, dotted key to text.
        resume: go on from `out/last`.
        init: a detector's checkpoint to start from.

    Raises:
        OverrideError: if a key is unknown or a value does not fit.
        DataError: if the data cannot be used.
        CheckpointError: if there is nothing to resume, or it is another training.
        TrainingError: if it cannot go on.
        click.ClickException: if `out` holds a training already, or this one was stopped before its end.
    """
    recipe = override(DetectorRecipe(), overrides)
    if not resume and has_state(out):
        raise click.UsageError(f"{out} holds a training already: --resume it, or give another --out")
    done = run_training(recipe, read_scenes(data, "train"), out, resume=resume, init=init)
    draw_losses(out)
    if not done:
        raise click.ClickException(f"stopped before the end; go on with --resume --out {out}")
    report = settle(out / EMA, data)
    click.echo(
        f"min_score {report.min_score:g}: recall {report.recall:.4f} of {report.num_faces} faces, "
        f"{report.false_alarms_per_room:.4f} false alarms a room, landmark error {report.landmark_error:.4f}"
    )
