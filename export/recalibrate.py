"""Recalibration: a pack that stands on disk gets its thresholds and its temperatures anew.

Holds the order of things and what of the pack is written. Never computes a rate or a temperature itself, never touches
an embedding, and never leaves a graph beside a manifest that states another's hash.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import Progress

from export.calibrate import CALIBRATION_SET, calibrate, calibrated
from export.errors import ExportError
from export.pack_check import check_pack
from export.pack_writer import write_manifest
from export.staging import staged
from export.temperature import Temperature
from export.tempering import fit_temperatures, replaced, temper_files
from model.runtime.labels import Task
from model.runtime.pack import AnalyzerPart, Figure, Pack, Verification, find_pack, read_pack, verify_pack
from model.training.evaluation.examination import Request


@dataclass(slots=True)
class Recalibration:
    """What a pack got.

    Attributes:
        verification: None of a pack without embeddings.
        temperatures: by task; tasks that no set labels enough are absent.
        figures: calibration errors of those tasks: answered now, and before and after by held-out faces.
        notes: what was left out and why.
    """

    verification: Verification | None = None
    temperatures: dict[Task, Temperature] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def recalibrate(
    named: str, data: Path, progress: Progress, dataset: str = CALIBRATION_SET, *, temperatures: bool = True
) -> Recalibration:
    """Calibrates a pack that stands on disk; its weights and embeddings stay.

    Thresholds change the manifest and the card alone. Temperatures change the graph and the make-up of the stored
    network too: a copy of the pack is changed, checked, and put into the old one's place.

    Args:
        named: the pack, by name or path, as it is to stand in the figures' commands.
        data: the folder with the parquet files.
        progress: gets a bar a set.
        dataset: the set whose pairs give the thresholds.
        temperatures: whether to fit these too.

    Raises:
        ExportError: if there is nothing to calibrate, the set has too few pairs, or the pack cannot be written.
        PackError: if there is no such pack, it is unreadable, or a file is not the one that it states.
        DataError: if a set is missing or unreadable.
    """
    folder = find_pack(named).resolve()
    pack, found = read_pack(folder), Recalibration()
    verify_pack(folder, pack, checkpoints=temperatures)
    if "embedding" in pack.tasks:
        found.verification = calibrate(folder, pack, data, progress, dataset)
        pack = calibrated(pack, found.verification)
    command = Request(named, data).command
    fitted = _fit_all(folder, pack, data, progress, found, command) if temperatures else {}
    if found.verification is None and not fitted:
        raise ExportError(f"pack {pack.name} has neither embeddings nor probabilities that {data} labels")
    pack = pack.model_copy(update={"measured": replaced(pack.measured, found.figures)})
    if any(_changes(part, fitted.get(part.file, {})) for part in pack.analyzers):
        _write_anew(folder, pack, fitted)
    else:
        write_manifest(folder, pack)
    return found


def _fit_all(
    folder: Path, pack: Pack, data: Path, progress: Progress, found: Recalibration, command: str
) -> dict[str, dict[Task, Temperature]]:
    """Temperatures by the analyzer's file, noted among the findings."""
    fitted: dict[str, dict[Task, Temperature]] = {}
    for part in pack.analyzers:
        own = fit_temperatures(
            folder / part.file, part.side_px, part.alignment, part.tasks, part.temperatures, data, progress
        )
        fitted[part.file] = own.temperatures
        found.temperatures |= own.temperatures
        found.figures += [measure.figure(command) for measure in (*own.answered, *own.measures)]
        found.notes += own.notes
    return {file: own for file, own in fitted.items() if own}


def _changes(part: AnalyzerPart, fitted: Mapping[Task, Temperature]) -> bool:
    return any(part.temperatures.get(task, (1.0,)) != value for task, value in fitted.items())


def _write_anew(folder: Path, pack: Pack, fitted: Mapping[str, Mapping[Task, Temperature]]) -> None:
    with staged(folder.parent, folder.name) as beside:
        shutil.copytree(folder, beside, dirs_exist_ok=True)
        for part in pack.analyzers:
            if _changes(part, fitted.get(part.file, {})):
                pack = temper_files(beside, pack, part, fitted[part.file])
        write_manifest(beside, pack)
        check_pack(beside)
