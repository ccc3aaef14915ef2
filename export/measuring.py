"""Measuring: a finished pack's figures, what was seen in training, quality, and the card's pictures.

Holds the way from a pack's folder to its manifest with all of these, for an export and for a pack that stands. Never
calibrates, and never measures itself (see `model.training.evaluation`).
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from export.energy import Power, accounted
from export.errors import ExportError
from export.pack_writer import write_manifest
from export.pictures import PICTURES, draw_pictures
from model.runtime.pack import Figure, Pack, Picture, read_pack, verify_pack
from model.training.evaluation.examination import Request, examine, run_folder
from model.training.evaluation.history import LOG

_EVALUATED_BY: Final = "mien-train evaluate"


def measured(folder: Path, pack: Pack, data: Path, finished: Path, logs: Mapping[str, Path]) -> Pack:
    """A pack with every figure of the sets, of rows that were trained on, of quality and of conditions, and pictures.

    Args:
        folder: the pack's, its manifest written.
        pack: its manifest; figures by other commands than the evaluation's are kept.
        data: the folder with the sets.
        finished: where the pack will stand, for the command that gives the figures again.
        logs: of trainings, by part, to draw.
    """
    asked = Request(str(folder), data, "cpu", num_threads=1, quality=True, train_gap=True, robustness=True)
    again = replace(asked, target=str(finished)).command  # gives all of it again on the finished pack
    report = examine(asked)
    quality = tuple(curve.model_copy(update={"command": again}) for curve in report.quality)
    report = replace(report, command=again, quality=quality)
    kept = tuple(figure for figure in pack.measured if not figure.command.startswith(_EVALUATED_BY))
    seen: tuple[Figure, ...] = tuple(measure.figure(again) for measure in report.seen)
    pictures = draw_pictures(folder, report, logs)
    return pack.model_copy(
        update={
            "measured": (*kept, *report.figures()),
            "seen": seen,
            "quality": quality,
            # A training's log may be elsewhere by now: what it drew stays.
            "pictures": (*pictures, *_kept(pack, pictures, "training-")),
        }
    )


def refresh(folder: Path, data: Path | None, runs: Mapping[str, Path], power: Power) -> Pack:
    """Makes the card of a pack that stands anew; its graphs, thresholds and weights stay.

    Args:
        folder: the pack's.
        data: to measure everything again on; None keeps what the manifest states.
        runs: training runs by part, whose curves are drawn.
        power: of the machines, for energy and carbon.

    Raises:
        ExportError: if a run has no log.
        PackError: if the pack is unreadable or a file is not the one that it states.
        DataError: if the data cannot be used.
    """
    pack = read_pack(folder)
    verify_pack(folder, pack)
    logs = {part: _required_log(path) for part, path in runs.items()}
    pack = pack.model_copy(update={"training": tuple(accounted(run, power) for run in pack.training)})
    if data is not None:
        pack = measured(folder, pack, data, folder, logs)
    elif logs:
        drawn = draw_pictures(folder, None, logs)
        pack = pack.model_copy(update={"pictures": (*drawn, *_kept(pack, drawn, ""))})
    write_manifest(folder, pack)
    _sweep(folder, pack)
    return pack


def training_log(path: Path) -> Path | None:
    """The log of the training run that a checkpoint or a run's folder belongs to; None where there is none."""
    run = run_folder(str(path), LOG)
    return None if run is None else run / LOG


def _required_log(path: Path) -> Path:
    log = training_log(path)
    if log is None:
        raise ExportError(f"{path} is no training run: it holds no {LOG}")
    return log


def _kept(pack: Pack, drawn: Sequence[Picture], beginning: str) -> Iterator[Picture]:
    """Pictures that were not drawn again and are still true, by how their names begin."""
    names = {picture.file for picture in drawn}
    for picture in pack.pictures:
        if picture.file not in names and picture.file.startswith(f"{PICTURES}/{beginning}"):
            yield picture


def _sweep(folder: Path, pack: Pack) -> None:
    stated = {picture.file for picture in pack.pictures}
    for path in (folder / PICTURES).glob("*.png"):
        if f"{PICTURES}/{path.name}" not in stated:
            path.unlink()
    if (folder / PICTURES).is_dir() and not any((folder / PICTURES).iterdir()):
        shutil.rmtree(folder / PICTURES)
