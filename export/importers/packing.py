"""Packing: from graphs of foreign weights and a detector to a checked pack of one or several analyzers.

Holds what every importer shares: the staged folder, the detector, the comparison of each graph with what it must
answer, the known answers, the manifest and the card. Never reads a foreign file and never traces a network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.check import GraphCheck, Predict, Wavering, check_rows, compare, edge_crops, predict_by
from export.crops import crops_from_photographs, installed_photographs
from export.errors import ExportError
from export.ordinal_age import KNOWN_SEED
from export.pack_check import LABELS, check_pack
from export.pack_writer import pack_file, write_manifest
from export.progress import Stages
from export.record import compared, versions
from export.sources import DetectorSource, open_detector, place_detector
from export.staging import staged
from model.runtime.known_answer import known_answer, known_crops
from model.runtime.labels import Task
from model.runtime.opset import read_opset
from model.runtime.pack import DEFAULT_PACK, Alignment, AnalyzerPart, Pack, PackError
from model.runtime.session import Session, SessionError, open_session

DETECTOR_TERMS: Final = " The detector is of the pack "  # begins the last sentence of the allowed use
# As of a pack of this project's own (see `export.assembly`): another processor moves an answer by some 1e-5.
KNOWN_TOLERANCE: Final = 5e-3
# Absolute, of graph against what it was made of. Wider than for networks of this project's own, whose sizes are known:
# a foreign network of any depth adds its float32 numbers in an order of its own.
FOREIGN_TOLERANCES: Final[dict[Task, float]] = {
    "embedding": 1e-3,
    "expression": 1e-3,
    "age": 5e-3,  # years
    "gender": 1e-3,
    "attributes": 1e-3,
    "race": 1e-3,
}


@dataclass(frozen=True, slots=True)
class ForeignAnalyzer:
    """A graph of foreign weights that keeps the contract of a pack's analyzer.

    Attributes:
        file_stem: of its ONNX file in the pack.
        graph: the ONNX model, serialised: `images` uint8 (N, side, side, 3) to one named float32 output a task.
        side_px: of its crops.
        tasks: its outputs, in the pack's label orders.
        origin: whose weights these are, in words: system, file, what is known of their training.
        alignment: the crops that its weights were trained on.
        box_scale: of the `box` alignment alone.
        embedding_dim: of the embedding task alone.
        embedding_space: names the space of its embeddings.
        network: what the graph must answer, row by row; None where the graph itself is all that there is.
        network_name: what that is, in words.
        wavering: for an ordinal age, how many ranks of each input's stand at their border (see `export.check`).
        known_seed: of the crops of its known answer.
    """

    file_stem: str
    graph: bytes
    side_px: int
    tasks: tuple[Task, ...]
    origin: str
    alignment: Alignment = "arcface-5pt"
    box_scale: float | None = None
    embedding_dim: int | None = None
    embedding_space: str | None = None
    network: Predict | None = None
    network_name: str = "its network"
    wavering: Wavering | None = None
    known_seed: int = KNOWN_SEED

    @property
    def file(self) -> str:
        """Its ONNX file's name."""
        return f"{self.file_stem}.onnx"


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a pack's analyzers may be used."""

    license: str
    allowed_use: str


@dataclass(frozen=True, slots=True)
class Target:
    """The pack that a person asked for.

    Attributes:
        out: its folder, whose name is the pack's.
        terms: of the analyzers' weights; a detector's own terms are added.
        detector: a checkpoint, a run, an ONNX file, or a pack by name or path whose detector is copied.
        version: of the pack.
        photographs: to compare on; none takes those that installed packages carry.
        force: replace a folder that is no pack.
        command: what was typed, for the manifest.
        left_out: what of the source has no place in the pack, in words.
    """

    out: Path
    terms: Terms
    detector: str = DEFAULT_PACK
    version: str = "0.1.0"
    photographs: tuple[Path, ...] = ()
    force: bool = False
    command: str = "mien-export import"
    left_out: tuple[str, ...] = ()


def pack_analyzers(target: Target, analyzers: Iterable[ForeignAnalyzer], stages: Stages) -> Path:
    """Makes a pack of foreign analyzers.

    Args:
        target: what was asked for.
        analyzers: taken one by one once the detector is in its place, so that a generator may make them as they come.
        stages: what a person sees meanwhile.

    Returns:
        The pack's folder.

    Raises:
        ExportError: if a task has two analyzers, the detector cannot be used, or a check fails; nothing is left then.
    """
    with staged(target.out.parent, target.out.name, force=target.force) as folder:
        with stages.stage("detector"):
            detector = place_detector(target.detector, folder, None)
            opened = open_detector(folder, detector.part)
        photographs = target.photographs or installed_photographs()
        parts: list[AnalyzerPart] = []
        notes: dict[str, str] = {}
        space: str | None = None
        for analyzer in analyzers:
            require_distinct([*((part.file, part.tasks) for part in parts), (analyzer.file, analyzer.tasks)])
            with stages.stage(f"{analyzer.file}: comparing"):
                crops = crops_from_photographs(
                    photographs, opened, analyzer.side_px, analyzer.alignment, analyzer.box_scale
                )
                part, found = _place(analyzer, crops, folder)
            parts.append(part)
            space = space or analyzer.embedding_space
            if found is not None:
                crops_from = ", ".join(path.name for path in photographs)
                notes[f"compared {part.file}"] = compared(found, crops_from, analyzer.network_name)
            del analyzer, crops  # a generator makes the next one now, and a network with its graph is some gigabyte
        with stages.stage("checking the whole pack"):
            write_manifest(folder, _manifest(target, parts, space, detector, notes))
            check_pack(folder)
    return target.out


def require_distinct(tasks_by_file: Sequence[tuple[str, Sequence[Task]]]) -> None:
    """Refuses two analyzers that answer the same task: a pack's answer must be one analyzer's.

    Args:
        tasks_by_file: what people know an analyzer by, and its tasks.

    Raises:
        ExportError: naming the task and both.
    """
    answered: dict[Task, str] = {}
    for file, tasks in tasks_by_file:
        for task in tasks:
            if task in answered:
                raise ExportError(f"{task} is answered by {answered[task]} and by {file}, and a pack answers it once")
            answered[task] = file


def _place(
    analyzer: ForeignAnalyzer, crops_NSSC: NDArray[np.uint8], folder: Path
) -> tuple[AnalyzerPart, GraphCheck | None]:
    """Writes one graph, compares it and asks it for its known answer."""
    (folder / analyzer.file).write_bytes(analyzer.graph)
    try:
        session, opset = open_session(folder / analyzer.file), read_opset(folder / analyzer.file)
    except (SessionError, PackError) as error:
        raise ExportError(str(error)) from error
    found = _compare(analyzer, session, crops_NSSC)
    asked = known_crops(analyzer.known_seed, analyzer.side_px, 1)
    known = known_answer(analyzer.known_seed, predict_by(session)(asked), KNOWN_TOLERANCE)
    plain = pack_file(folder, analyzer.file)
    part = AnalyzerPart(
        file=plain.file,
        sha256=plain.sha256,
        side_px=analyzer.side_px,
        alignment=analyzer.alignment,
        box_scale=analyzer.box_scale,
        tasks=analyzer.tasks,
        labels={task: LABELS[task] for task in analyzer.tasks if task in LABELS},
        embedding_dim=analyzer.embedding_dim,
        opset=opset,
        known_answer=known,
        origin=analyzer.origin,
    )
    return part, found


def _compare(analyzer: ForeignAnalyzer, session: Session, crops_NSSC: NDArray[np.uint8]) -> GraphCheck | None:
    side = analyzer.side_px
    try:
        if analyzer.network is not None:
            return compare(session, analyzer.network, crops_NSSC, side, FOREIGN_TOLERANCES, analyzer.wavering)
        check_rows(session, np.concatenate([crops_NSSC, edge_crops(side)]), FOREIGN_TOLERANCES)
    except ExportError as error:
        raise ExportError(f"{analyzer.file}: {error}") from error
    return None


def _manifest(
    target: Target,
    parts: Sequence[AnalyzerPart],
    space: str | None,
    detector: DetectorSource,
    notes: Mapping[str, str],
) -> Pack:
    left_out = {"left out": "; ".join(target.left_out)} if target.left_out else {}
    of_detector = "" if detector.terms is None else f"{DETECTOR_TERMS}{detector.terms}."
    return Pack(
        name=target.out.name,
        version=target.version,
        license=target.terms.license,
        allowed_use=target.terms.allowed_use + of_detector,
        training_data=detector.counted,
        training=detector.runs,
        measured=detector.figures,
        detector=detector.part,
        analyzers=tuple(parts),
        embedding_space=space,
        checkpoints=detector.checkpoints,
        exported_with={**versions(target.command), **notes, **left_out},
    )
