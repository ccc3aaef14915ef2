"""Combining: analyzers of several packs in one, each at its own side and alignment.

Holds which tasks are taken from where, and what of each pack's statements goes along. A task that is left out is cut
out of its graph, so that it is not computed. Never changes a weight, never measures and never calibrates.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.check import check_rows, edge_crops, predict_by
from export.errors import ExportError
from export.importers.packing import DETECTOR_TERMS, FOREIGN_TOLERANCES, require_distinct
from export.pack_check import check_pack
from export.pack_writer import pack_file, write_manifest
from export.progress import Stages
from export.provenance import DETECTION
from export.record import versions
from export.sources import DetectorSource, place_detector
from export.staging import staged
from export.subgraph import cut
from model.runtime.known_answer import known_crops
from model.runtime.labels import TASKS, Task
from model.runtime.pack import AnalyzerPart, Pack, PackError, TrainingRun, find_pack, read_pack, verify_pack
from model.runtime.part import PackFile
from model.runtime.session import open_session
from model.runtime.twin_part import Twin, TwinPart


@dataclass(frozen=True, slots=True)
class Choice:
    """A pack, as it was named, and the tasks that are taken from it."""

    named: str
    folder: Path
    pack: Pack
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """What a person asked for.

    Attributes:
        sources: each `PACK` or `PACK=TASK,TASK`, a pack by name or path.
        out: the new pack's folder, whose name is the pack's.
        detector: as `place_detector` takes it; None takes the first source's.
        version: of the new pack.
        force: replace a folder that is no pack.
        command: what was typed, for the manifest.
    """

    sources: tuple[str, ...]
    out: Path
    detector: str | None = None
    version: str = "0.1.0"
    force: bool = False
    command: str = "mien-export combine"


def combine(order: Combination, stages: Stages) -> Path:
    """Makes a pack of other packs' analyzers.

    Returns:
        The new pack's folder.

    Raises:
        ExportError: if a pack or a task cannot be used, a task is taken twice, or a check fails; nothing is left then.
    """
    choices = choose(order.sources)
    with staged(order.out.parent, order.out.name, force=order.force) as folder:
        with stages.stage("detector"):
            detector = place_detector(order.detector or str(choices[0].folder.absolute()), folder, None)
        parts: list[AnalyzerPart] = []
        notes: dict[str, str] = {}
        runs: list[TrainingRun] = []
        for choice in choices:
            for part in choice.pack.analyzers:
                if set(part.tasks) & set(choice.tasks):
                    with stages.stage(f"{choice.pack.name}: {part.file}"):
                        parts.append(_place(choice, part, folder, [each.file for each in parts]))
                    notes |= _compared(choice.pack, part.file, parts[-1].file)
                    runs += _runs(choice.pack, part.file, parts[-1].file)
        with stages.stage("checking the whole pack"):
            write_manifest(folder, _manifest(order, choices, parts, runs, notes, detector))
            check_pack(folder)
    return order.out


def choose(sources: Sequence[str]) -> list[Choice]:
    """Opens packs and reads which tasks are wanted of them; one that is named twice is taken once, with both's tasks.

    Raises:
        ExportError: if there is no such pack or task, or two packs are to answer the same task.
    """
    choices: dict[Path, Choice] = {}
    for source in sources:
        choice = _choice(source)
        known = choices.get(choice.folder)
        if known is not None:
            require_distinct([(known.named, known.tasks), (choice.named, choice.tasks)])
            choice = replace(choice, tasks=(*known.tasks, *choice.tasks))
        choices[choice.folder] = choice
    require_distinct([(choice.named, choice.tasks) for choice in choices.values()])
    return list(choices.values())


def _choice(source: str) -> Choice:
    named, tasks = source, None
    if "=" in source and not Path(source).is_dir():
        named, _, tasks = source.rpartition("=")
    try:
        folder = find_pack(named).resolve()
        pack = read_pack(folder)
        verify_pack(folder, pack)
    except PackError as error:
        raise ExportError(str(error)) from error
    if tasks is None:
        return Choice(named, folder, pack, pack.tasks)
    return Choice(named, folder, pack, tuple(_task(name.strip(), pack) for name in tasks.split(",")))


def _task(name: str, pack: Pack) -> Task:
    found = next((task for task in TASKS if task == name), None)
    if found is None:
        raise ExportError(f"no task is named {name!r}; there are: {', '.join(TASKS)}")
    if found not in pack.tasks:
        raise ExportError(f"pack {pack.name} does not answer {name}; it answers {', '.join(pack.tasks)}")
    return found


def _place(choice: Choice, part: AnalyzerPart, folder: Path, taken: Sequence[str]) -> AnalyzerPart:
    """Puts one analyzer into the new pack, cut where a task is left out, and asks it for what it answered before."""
    kept = tuple(task for task in part.tasks if task in choice.tasks)
    name = part.file if part.file not in taken else f"{choice.pack.name}-{part.file}"
    plain = _write(choice.folder / part.file, folder / name, part, kept)
    stem = name.removesuffix(".onnx")
    twins: dict[str, Twin] = {
        precision: _place_twin(choice, part, twin, folder / f"{stem}.{precision}.onnx", kept)
        for precision, twin in part.twins.items()
    }
    if kept != part.tasks:
        _require_same(choice.folder / part.file, folder / name, part, kept)
    known = part.known_answer
    return part.model_copy(
        update={
            "file": plain.file,
            "sha256": plain.sha256,
            **twins,
            "tasks": kept,
            "labels": {task: names for task, names in part.labels.items() if task in kept},
            "embedding_dim": part.embedding_dim if "embedding" in kept else None,
            "temperatures": {task: value for task, value in part.temperatures.items() if task in kept},
            "known_answer": known.model_copy(update={"outputs": {task: known.outputs[task] for task in kept}}),
            "origin": part.origin or f"{part.file} of the pack {choice.pack.name} {choice.pack.version}",
        }
    )


def _place_twin(choice: Choice, part: AnalyzerPart, twin: Twin, target: Path, kept: tuple[Task, ...]) -> Twin:
    """The twin goes along. Of a cut one nobody measured the speed, so that an int8 one is not preferred."""
    plain = _write(choice.folder / twin.file, target, part, kept)
    known = twin.known_answer
    if known is not None:
        known = known.model_copy(update={"outputs": {task: known.outputs[task] for task in kept}})
    unmeasured = {} if kept == part.tasks or not isinstance(twin, TwinPart) else {"preferred": False, "speed": ()}
    return twin.model_copy(
        update={
            "file": plain.file,
            "sha256": plain.sha256,
            "known_answer": known,
            **unmeasured,
            "compared": tuple(row for row in twin.figures if row.task in kept),
            **({} if "embedding" in kept else {"embedding_space": None, "cosine_mean": None, "cosine_min": None}),
        }
    )


def _write(source: Path, target: Path, part: AnalyzerPart, kept: Sequence[Task]) -> PackFile:
    if tuple(kept) == part.tasks:
        shutil.copyfile(source, target)
    else:
        target.write_bytes(cut(source.read_bytes(), kept))
    return pack_file(target.parent, target.name)


def _require_same(source: Path, target: Path, part: AnalyzerPart, kept: Sequence[Task]) -> None:
    """Holds a cut graph to the whole one's answers, and its rows to themselves."""
    images_NSSC = np.concatenate([edge_crops(part.side_px), known_crops(part.known_answer.seed, part.side_px, 3)])
    before, session = predict_by(open_session(source))(images_NSSC), open_session(target)
    after = predict_by(session)(images_NSSC)
    for task in kept:
        difference = float(np.abs(after[task].astype(np.float64) - before[task]).max())
        if not difference <= FOREIGN_TOLERANCES[task]:
            raise ExportError(
                f"{task}: without the tasks left out, {target.name} answers otherwise by {difference:.3g}"
            )
    check_rows(session, images_NSSC, FOREIGN_TOLERANCES)


def _manifest(
    order: Combination,
    choices: Sequence[Choice],
    parts: Sequence[AnalyzerPart],
    runs: Sequence[TrainingRun],
    notes: Mapping[str, str],
    detector: DetectorSource,
) -> Pack:
    embedding = next((choice.pack for choice in choices if "embedding" in choice.tasks), None)
    sets = [entry for choice in choices for entry in choice.pack.training_data if entry.name != DETECTION]
    figures = [figure for choice in choices for figure in choice.pack.measured if figure.task in choice.tasks]
    return Pack(
        name=order.out.name,
        version=order.version,
        license=" AND ".join(dict.fromkeys(choice.pack.license for choice in choices)),
        allowed_use=_allowed_use(choices, detector),
        training_data=(*dict.fromkeys(sets), *detector.counted),
        training=(*runs, *detector.runs),
        detector=detector.part,
        analyzers=tuple(parts),
        embedding_space=None if embedding is None else embedding.embedding_space,
        verification=None if embedding is None else embedding.verification,
        measured=(*figures, *detector.figures),
        checkpoints=detector.checkpoints,
        exported_with={**versions(order.command), **notes},
    )


def _compared(pack: Pack, file: str, name: str) -> dict[str, str]:
    """What a pack states of its graph's comparison with a network, under the graph's new name."""
    found = pack.exported_with.get(f"compared {file}") or pack.exported_with.get("compared")
    return {} if found is None else {f"compared {name}": found}


def _runs(pack: Pack, file: str, name: str) -> list[TrainingRun]:
    """The trainings that a pack states of one of its graphs, under the graph's new name."""
    found = [run for run in pack.training if run.part == "analyzer" and run.file in (None, file)]
    return [run.model_copy(update={"file": name}) for run in found]


def _allowed_use(choices: Sequence[Choice], detector: DetectorSource) -> str:
    terms = [
        f"{', '.join(choice.tasks)} of {choice.pack.name} ({choice.pack.license}): "
        + choice.pack.allowed_use.partition(DETECTOR_TERMS)[0]
        for choice in choices
    ]
    return " ".join(terms) + ("" if detector.terms is None else f"{DETECTOR_TERMS}{detector.terms}.")
