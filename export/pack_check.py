"""The check of a finished pack: everything that the service relies on, and its networks where they are at hand.

Holds what is looked at and in which order. Never writes, and imports torch only where the pack holds a checkpoint to
compare with and torch is installed, so that a pack can be checked where it is served.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from export.card import CARD
from export.check import INPUT, check_rows, compare, edge_crops, predict_by
from export.errors import ExportError
from export.twin.check import check_twin
from model.runtime.detection import Detector
from model.runtime.known_answer import breach, known_crops
from model.runtime.labels import ATTRIBUTES, EXPRESSIONS, GENDERS, RACES, Task
from model.runtime.opset import read_opset
from model.runtime.pack import AnalyzerPart, Pack, PackError, read_pack, verify_pack
from model.runtime.session import Session, SessionError, TensorSpec, open_session
from model.runtime.twins import twin_of

LABELS: Final[dict[Task, tuple[str, ...]]] = {
    "expression": EXPRESSIONS,
    "gender": GENDERS,
    "attributes": ATTRIBUTES,
    "race": RACES,
}
ANALYZER: Final = "analyzer"  # folder of the analyzer's checkpoint in a pack
_CHECKPOINT: Final = f"{ANALYZER}/weights.safetensors"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at and found right, or could not be looked at."""

    what: str
    result: str


def check_pack(folder: Path) -> tuple[Finding, ...]:
    """Checks a pack.

    Returns:
        What was looked at, in order.

    Raises:
        ExportError: naming the first thing that is wrong.
    """
    try:
        pack = read_pack(folder)
        verify_pack(folder, pack, checkpoints=True)
        if not (folder / CARD).is_file():
            raise ExportError(f"{folder / CARD} is missing: a pack has a card for people")
        findings = [Finding("manifest and hashes", f"{len(pack.files())} files")]
        for part in pack.analyzers:
            findings += _check_analyzer(folder, part)
            for precision in part.twins:
                findings += _check_analyzer(folder, twin_of(part, precision))
        findings += [_check_detector(folder, pack), _check_network(folder, pack)]
    except (PackError, SessionError) as error:
        raise ExportError(str(error)) from error
    return tuple(findings)


def _check_analyzer(folder: Path, part: AnalyzerPart) -> list[Finding]:
    opset = read_opset(folder / part.file)
    if opset != part.opset:
        raise ExportError(f"{part.file}: its operator set is {opset}, and the pack states {part.opset}")
    for task in part.tasks:
        if task in LABELS and part.labels.get(task) != LABELS[task]:
            raise ExportError(f"{part.file}: the labels of {task} are not in the order that every pack has")
    session = open_session(folder / part.file)
    _check_signature(part, session)
    edges = edge_crops(part.side_px)
    if part.precision != "float32":
        check_twin(session, part.side_px, edges[:0])
    else:
        check_rows(session, edges)
    wrong = breach(part.known_answer, predict_by(session)(known_crops(part.known_answer.seed, part.side_px)))
    if wrong is not None:
        raise ExportError(f"{part.file}: {wrong}")
    return [
        Finding(part.file, f"opset {opset}; {', '.join(part.tasks)}"),
        Finding(f"{part.file}: known answer", _met(part)),
        Finding(
            f"{part.file}: a row's answer is its own", f"{len(edges)} edge inputs alone, together, in other company"
        ),
    ]


def _met(part: AnalyzerPart) -> str:
    known = part.known_answer
    years = "" if known.tolerance_years is None else f", ages within {known.tolerance_years:g} years"
    return f"met within {known.tolerance:g}{years}"


def _check_signature(part: AnalyzerPart, session: Session) -> None:
    side = part.side_px
    expected = TensorSpec(INPUT, "tensor(uint8)", (None, side, side, 3))
    if session.inputs != (expected,):
        raise ExportError(f"{part.file}: its input is {_text(session.inputs)}, not {_text((expected,))}")
    outputs = {spec.name: spec for spec in session.outputs}
    for task in part.tasks:
        columns = part.embedding_dim if task == "embedding" else len(LABELS[task]) if task in LABELS else None
        shape = (None,) if task == "age" else (None, columns)
        wanted = TensorSpec(task, "tensor(float)", shape)
        if outputs.get(task) != wanted:
            has = _text((outputs[task],)) if task in outputs else "missing"
            raise ExportError(f"{part.file}: its output {task} is {has}, not {_text((wanted,))}")


def _text(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(
        f"{spec.name} {spec.dtype} ({', '.join('N' if axis is None else str(axis) for axis in spec.shape)})"
        for spec in specs
    )


def _check_detector(folder: Path, pack: Pack) -> Finding:
    detector = Detector(open_session(folder / pack.detector.file), pack.detector)
    blank = [np.zeros((480, 640, 3), np.uint8), np.full((300, 200, 3), 255, np.uint8)]
    found = sum(len(faces) for faces in detector.detect(blank))
    if found:
        raise ExportError(f"{pack.detector.file}: finds {found} faces on a black and a white picture")
    return Finding(
        pack.detector.file, f"SCRFD format, {detector.input_width} x {detector.input_height}; blank pictures"
    )


def _check_network(folder: Path, pack: Pack) -> Finding:
    what = "graph and stored network"
    if _CHECKPOINT not in {entry.file for entry in pack.checkpoints}:
        return Finding(what, "not compared: the pack holds no checkpoint of its analyzer")
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("timm") is None:
        return Finding(what, "not compared: torch is not installed here")
    from export.network_check import stored_twin

    twin, space, predict = stored_twin(folder / ANALYZER)
    if pack.embedding_space is not None and space != pack.embedding_space:
        raise ExportError(f"embedding_space is {pack.embedding_space}, and the stored weights' is {space}")
    part = pack.analyzers[0]
    if twin != part.tasks:
        raise ExportError(f"{part.file} answers {', '.join(part.tasks)}, and the stored network {', '.join(twin)}")
    noise = known_crops(2, part.side_px, 8)
    check = compare(open_session(folder / part.file), predict, noise, part.side_px)
    sizes = ", ".join(str(size) for size in check.batch_sizes)
    return Finding(what, f"agree at batch sizes {sizes}; largest difference {max(check.worst.values()):.1e}")
