"""Reproduction: every training of the shipped pack in a row, the export, and its figures beside the shipped ones.

Holds the order of things; each training resumes where it stopped. Never imports the exporter: it is run as the command
that a person would run.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from model.runtime.pack import PACKS_DIR, Figure, PackError, read_pack
from model.training.command import run_training
from model.training.recipes.reproduction import Stage
from model.training.run_folder import EMA, has_state, read_state

# (task, metric, dataset): what it is called, and whether less is better.
FIGURES: Final[dict[tuple[str, str, str], tuple[str, bool]]] = {
    ("embedding", "accuracy_10fold", "lfw"): ("LFW pairs, 10-fold accuracy", False),
    ("embedding", "accuracy_10fold", "celeba"): ("CelebA pairs, 10-fold accuracy", False),
    ("embedding", "tar_at_fmr_1e-03", "lfw"): ("TAR at FMR 1e-3, LFW, all pairs", False),
    ("age", "mae_years", "utkface"): ("UTKFace age, MAE in years", True),
    ("gender", "accuracy", "utkface"): ("UTKFace gender", False),
    ("gender", "accuracy", "celeba"): ("CelebA male", False),
    ("race", "accuracy", "utkface"): ("UTKFace race", False),
    ("expression", "accuracy", "fer2013"): ("FER2013 expression", False),
    ("attributes", "accuracy_mean", "celeba"): ("CelebA attributes, mean of 40", False),
    ("detection", "recall_at_iou_0.5", "detection-val"): ("detector recall, faces over 20 px", False),
    ("detection", "false_alarms_per_room", "detection-val"): ("detector false alarms a room", True),
    ("detection", "landmark_error_by_eye_distance", "detection-val"): ("landmark error over eye distance", True),
}


def reproduce(stages: Sequence[Stage], data: Path, out: Path, share: float, shipped: str) -> Path:
    """Trains all stages that are not done, exports the pack, and prints its figures beside the shipped ones.

    Args:
        stages: in their order; those named as `shipped` and `detector` are what is exported.
        data: the folder with the parquet files.
        out: a folder for the runs and the pack; what is done there already is not done again.
        share: of each training's steps.
        shipped: the name of the pack to compare with, and of the new one.

    Returns:
        The new pack's folder.

    Raises:
        click.ClickException: if a training or the export fails; the next call goes on there.
    """
    for place, stage in enumerate(stages, 1):
        click.echo(
            f"[{place}/{len(stages)}] {stage.name}: {stage.assignments(share)['total_steps']} steps of {stage.recipe}"
        )
        train_stage(stage, data, out, share)
    pack = _export(data, out, shipped)
    compare(pack, PACKS_DIR / shipped)
    return pack


def train_stage(stage: Stage, data: Path, out: Path, share: float) -> None:
    """Trains one stage, from where it stopped; does nothing where it is done."""
    folder, changes = out / stage.name, stage.assignments(share)
    begun = has_state(folder)
    if begun and read_state(folder)["step"] >= int(changes["total_steps"]):
        click.echo(f"{folder} is done")
        return
    run_training(
        stage.recipe,
        data,
        folder,
        resume=begun,
        init=None if begun or stage.init is None else out / stage.init / EMA,
        cache=None,
        changes=tuple(f"{key}={value}" for key, value in changes.items()),
        distil=None if stage.distil is None else out / stage.distil / EMA,
    )


def _export(data: Path, out: Path, name: str) -> Path:
    """Runs `mien-export checkpoint`, as a person would: training never imports the exporter."""
    command = [sys.executable, "-c", "from export.cli import main; main()", "checkpoint", str(out / name)]
    command += ["--detector", str(out / "detector"), "--name", name, "--out", str(out / "packs"), "--data", str(data)]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - our own interpreter and arguments
        raise click.ClickException("the export failed; what is trained stays, and the next call goes on there")
    return out / "packs" / name


def compare(pack: Path, shipped: Path) -> None:
    """Prints the figures of two packs side by side, with what the first has more.

    Raises:
        click.ClickException: if one is unreadable.
    """
    try:
        own, theirs = (_figures(read_pack(folder).measured) for folder in (pack, shipped))
    except PackError as error:
        raise click.ClickException(str(error)) from error
    table = Table("figure", "shipped", "reproduced", "difference", title=f"{pack} beside {shipped}")
    for key, (title, less_is_better) in FIGURES.items():
        old, new = theirs.get(key), own.get(key)
        if old is None or new is None:
            table.add_row(title, _shown(old), _shown(new), "")
            continue
        worse = new > old if less_is_better else new < old
        table.add_row(title, _shown(old), _shown(new), f"{new - old:+.4f}", style="red" if worse else None)
    Console().print(table)


def _figures(measured: Sequence[Figure]) -> dict[tuple[str, str, str], float]:
    return {(each.task, each.metric, each.dataset): each.value for each in measured if each.group == "all"}


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
