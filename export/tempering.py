"""Tempering: from a graph and the validation sets to a graph whose probabilities mean what they say.

Holds the fit on the graph's own answers, and what it changes of a pack's files and statements. Never puts a pack into
its place (see `export.recalibrate`) and never touches an embedding or an age.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from export.check import INPUT, predict_by
from export.pack_check import ANALYZER
from export.pack_writer import pack_file
from export.temperature import Temperature, temperable, with_temperatures
from export.twin.check import twin_known_answer
from model.checkpoint import CONFIG
from model.network_config import NetworkConfig
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.labels import Task
from model.runtime.pack import Alignment, AnalyzerPart, Figure, Pack
from model.runtime.part import PackFile
from model.runtime.session import open_session
from model.runtime.twin_part import HalfPart, Twin
from model.training.evaluation.calibration import TEMPERED, CalibrationFindings
from model.training.evaluation.subjects import resized
from model.training.evaluation.validation import Predict, calibration_of


def fit_temperatures(
    graph: Path,
    side_px: int,
    alignment: Alignment,
    tasks: Iterable[Task],
    temperatures: Mapping[Task, Temperature],
    data: Path,
    progress: Progress,
) -> CalibrationFindings:
    """The temperatures of a graph's tasks, from its answers for the validation sets that label them.

    Args:
        graph: the ONNX file.
        side_px: of its crops.
        alignment: of its crops; sets of others are left out.
        tasks: those that it answers; what it answers by no Softmax or Sigmoid is left as it is.
        temperatures: those that it answers at already.
        data: the folder with the parquet files.
        progress: gets a bar a set.

    Raises:
        DataError: if the folder holds no validation set, or one is unreadable.
    """
    wanted = temperable(graph.read_bytes(), (task for task in tasks if task in TEMPERED))
    session = open_session(graph)

    def predict(images_NSSC: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return session.run({INPUT: resized(images_NSSC, side_px)}, wanted)

    def predict_on(asked: str) -> Predict | None:
        return predict if asked == alignment and wanted else None

    return calibration_of(predict_on, data, temperatures, progress)


def stated(temperatures: Mapping[Task, Temperature]) -> dict[Task, Temperature]:
    """Those that a manifest states: a task whose logits stay as they are is left out."""
    return {task: value for task, value in temperatures.items() if set(value) != {1.0}}


def configured(config: NetworkConfig, temperatures: Mapping[Task, Temperature]) -> NetworkConfig:
    """A network's make-up with some of its temperatures replaced."""
    return replace(
        config, temperatures=replace(config.temperatures, **{str(task): value for task, value in temperatures.items()})
    )


def temper_files(folder: Path, pack: Pack, part: AnalyzerPart, fitted: Mapping[Task, Temperature]) -> Pack:
    """Writes one analyzer's temperatures into a pack's graphs and, where it holds one, into the network's make-up.

    Args:
        folder: the pack's; its files are replaced.
        pack: its manifest.
        part: the analyzer.
        fitted: temperatures by task.

    Returns:
        The manifest with the new hashes, temperatures and known answer.
    """
    plain = _rewrite(folder, part, fitted)
    twins: dict[str, Twin] = {name: _tempered_twin(folder, twin, part, fitted) for name, twin in part.twins.items()}
    known = part.known_answer
    answers = predict_by(open_session(folder / part.file))(known_crops(known.seed, part.side_px, 1))
    changed = part.model_copy(
        update={
            "sha256": plain.sha256,
            **twins,
            "temperatures": stated({**part.temperatures, **fitted}),
            "known_answer": known_answer(known.seed, {task: answers[task] for task in part.tasks}, known.tolerance),
        }
    )
    analyzers = tuple(changed if each.file == part.file else each for each in pack.analyzers)
    return pack.model_copy(
        update={"analyzers": analyzers, "checkpoints": _checkpoints(folder, pack, part, fitted)},
    )


def replaced(measured: Sequence[Figure], fresh: Sequence[Figure]) -> tuple[Figure, ...]:
    """A pack's figures with calibration errors measured anew in their places, and without those that no longer hold."""
    tasks = {figure.task for figure in fresh}
    waiting = {_key(figure): figure for figure in fresh}
    kept = [waiting.pop(_key(figure), figure) for figure in measured]
    stale = {_key(figure) for figure in kept if figure.task in tasks and figure.metric.startswith("ece")}
    stale -= {_key(figure) for figure in fresh}
    return (*(figure for figure in kept if _key(figure) not in stale), *waiting.values())


def _key(figure: Figure) -> tuple[str, str, str, str]:
    return figure.task, figure.metric, figure.dataset, figure.group


def _rewrite(folder: Path, file: PackFile, fitted: Mapping[Task, Temperature]) -> PackFile:
    path = folder / file.file
    path.write_bytes(with_temperatures(path.read_bytes(), fitted))
    return pack_file(folder, file.file)


def _tempered_twin(folder: Path, twin: Twin, part: AnalyzerPart, fitted: Mapping[Task, Temperature]) -> Twin:
    """A twin whose graph has the temperatures; its known answer is anew, its figures are of answers that stay."""
    changed = twin.model_copy(update={"sha256": _rewrite(folder, twin, fitted).sha256})
    if twin.known_answer is None:
        return changed
    plain = folder / part.file if isinstance(twin, HalfPart) else None
    known = twin_known_answer(folder / twin.file, twin.known_answer.seed, part.side_px, plain)
    return changed.model_copy(update={"known_answer": known})


def _checkpoints(
    folder: Path, pack: Pack, part: AnalyzerPart, fitted: Mapping[Task, Temperature]
) -> tuple[PackFile, ...]:
    """The checkpoint that a pack holds is that of its first analyzer."""
    named = f"{ANALYZER}/{CONFIG}"
    if part.file != pack.analyzers[0].file or named not in {entry.file for entry in pack.checkpoints}:
        return pack.checkpoints
    config = configured(NetworkConfig.from_json((folder / named).read_text()), fitted)
    (folder / named).write_text(config.to_json().rstrip() + "\n")
    return tuple(pack_file(folder, named) if entry.file == named else entry for entry in pack.checkpoints)
