"""Provenance: what a checkpoint's training run tells of itself, and the terms of the data it was trained on.

Holds the reading of a run's records beside a checkpoint, and what is known of the sets' terms. Never invents a figure:
what no record tells stays out of the pack.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from export.errors import ExportError
from model.runtime.pack import MANIFEST, PackError, TrainingRun, TrainingSet, read_pack
from model.training.dataset import set_files
from model.training.detection.recipe import CanvasConfig
from model.training.evaluation.subjects import checkpoint_folder
from model.training.logbook import LOG, read_log

_NON_COMMERCIAL: Final = "non-commercial research only"
TERMS: Final = {
    "celeba": f"CelebA: {_NON_COMMERCIAL}",
    "utkface": f"UTKFace: {_NON_COMMERCIAL}",
    "fer2013": f"FER2013: {_NON_COMMERCIAL}",
    "lfw": f"LFW: {_NON_COMMERCIAL}",
    "detection": (
        "boxes and landmarks by YuNet (Apache-2.0) on photographs whose owners' terms do not come with the set: "
        f"taken as {_NON_COMMERCIAL}"
    ),
}
_UNKNOWN_TERMS: Final = "not stated"
DETECTION: Final = "detection"
TEACHER: Final = "the embeddings that come with the training rows, of a MobileFaceNet of ArcFace type"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is known of a training.

    Attributes:
        run: what was recorded of it; None if nothing was.
        earlier: trainings that it rests on, the first one first.
        sets: names of the sets it drew from, still to be counted.
        counted: sets that another pack has counted.
        alignment: of the crops that it was trained on, as the sets' files call it; None where nothing tells.
    """

    run: TrainingRun | None = None
    earlier: tuple[TrainingRun, ...] = ()
    sets: tuple[str, ...] = ()
    counted: tuple[TrainingSet, ...] = ()
    alignment: str | None = None


def analyzer_provenance(checkpoint: Path, machine: str | None) -> Provenance:
    """What stands beside an analyzer's checkpoint: its run (`RUN/ema` beside `RUN/last`), or the pack that it lies in.

    Raises:
        ExportError: if what stands there is unreadable.
    """
    if (checkpoint.parent / MANIFEST).is_file():
        return _of_pack(checkpoint.parent)
    state = _state_beside(checkpoint)
    if state is None:
        return Provenance()
    rows: dict[str, int] = state["recipe"]["rows"]
    sets = tuple(name for name, num in rows.items() if num > 0)
    num_images = state["step"] * state.get("batches_per_step", 1) * sum(rows.values())
    run = _run("analyzer", state["step"], num_images, checkpoint, machine)
    if run is not None and state["recipe"].get("losses", {}).get("teacher", 0) > 0:
        run = run.model_copy(update={"teacher": TEACHER})
    return Provenance(run, sets=sets, alignment=state.get("alignment"))


def earlier_provenance(stated: str, machine: str | None) -> Provenance:
    """An earlier training that went into a pack: its weights were the start, or its answers were taught.

    Args:
        stated: a run's folder, a checkpoint's, or a pack's, with `=ROLE` behind it where there is one to state.
        machine: where it was trained, if not where the pack says.

    Raises:
        ExportError: if nothing of a training is recorded there.
    """
    place, _, role = stated.partition("=")
    folder = Path(place)
    checkpoint = folder / "analyzer" if (folder / MANIFEST).is_file() else checkpoint_folder(folder)
    found = Provenance() if checkpoint is None else analyzer_provenance(checkpoint, machine)
    if found.run is None:
        raise ExportError(f"{place} holds no record of a training: it is a run's folder, its ema/, or a pack")
    run = found.run.model_copy(update={"role": role or "earlier", "file": None})
    return replace(found, run=run)


def detector_provenance(checkpoint: Path, machine: str | None) -> Provenance:
    """The same of a detector's checkpoint; its images are the canvases that faces were pasted or drawn on."""
    state = _state_beside(checkpoint)
    if state is None:
        return Provenance()
    canvas = CanvasConfig(**state["recipe"]["canvas"])
    num_images = sum(canvas.of_step(step)[1] for step in range(state["step"]))
    return Provenance(_run("detector", state["step"], num_images, checkpoint, machine), sets=(DETECTION,))


def training_sets(names: Sequence[str], data: Path) -> tuple[TrainingSet, ...]:
    """The training sets of a data folder with their rows and terms.

    Raises:
        ExportError: if one of them is not in the folder or is unreadable.
    """
    return tuple(
        TrainingSet(name=name, num_rows=_num_rows(data, name), terms=TERMS.get(name, _UNKNOWN_TERMS)) for name in names
    )


def default_license(sets: Sequence[str]) -> tuple[str, str] | None:
    """Licence and allowed use that the terms of known sets leave; None if a set is unknown, or none is recorded."""
    if not sets or any(name not in TERMS for name in sets):
        return None
    return (
        "LicenseRef-NonCommercial-Research",
        "Non-commercial research only: the weights were trained on sets that are given for that alone "
        f"({', '.join(sets)}). The program around them is MIT.",
    )


def _run(
    part: Literal["analyzer", "detector"], num_steps: int, num_images: int, checkpoint: Path, machine: str | None
) -> TrainingRun | None:
    if num_steps < 1:
        return None
    seconds = _seconds(checkpoint.parent / LOG, num_steps)
    return TrainingRun(part=part, num_steps=num_steps, num_images=num_images, seconds=seconds, machine=machine)


def _of_pack(folder: Path) -> Provenance:
    try:
        pack = read_pack(folder)
    except PackError as error:
        raise ExportError(str(error)) from error
    runs = [run for run in pack.training if run.part == "analyzer"]
    counted = tuple(entry for entry in pack.training_data if entry.name != DETECTION)
    run = runs[-1] if runs else None
    return Provenance(run, tuple(runs[:-1]), counted=counted, alignment=pack.analyzers[0].alignment)


def _state_beside(checkpoint: Path) -> dict[str, Any] | None:
    path = checkpoint.parent / "last" / "state.json"
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text())
        if not isinstance(state["step"], int) or not isinstance(state["recipe"], dict):
            raise ExportError(f"{path} is not a training's state")
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{path} is not a training's state") from error
    return dict(state)


def _seconds(log: Path, num_steps: int) -> float | None:
    """Time spent on steps, from each log row's steps a second; pauses between a kill and a resume do not count."""
    seconds, last = 0.0, 0
    for row in read_log(log):
        if row["step"] > num_steps or "steps_per_second" not in row:
            continue
        seconds += (row["step"] - last) / max(row["steps_per_second"], 1e-6)
        last = int(row["step"])
    # Rows stop a little before a run's last step; what they do not cover went at their mean speed.
    return round(seconds * num_steps / last, 1) if last else None


def _num_rows(data: Path, name: str) -> int:
    files = set_files(data, name, "train")
    if not files:
        raise ExportError(f"the checkpoint was trained on {name}, and {data} holds no {name}-train.parquet to count")
    try:
        return sum(int(pq.ParquetFile(file).metadata.num_rows) for file in files)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(f"cannot read {files[0]}: {str(error).splitlines()[0]}") from error
