"""Making twins: from a pack to the same pack with int8 twins beside its analyzers, where they are worth it.

Holds what is written and stated. Never leaves half a pack: everything happens in a staged folder, and a pack whose
analyzers gain nothing stays as it is.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from export.pack_check import check_pack
from export.pack_writer import pack_file, write_manifest
from export.progress import Stages
from export.staging import staged
from export.twin.check import twin_known_answer
from export.twin.subject import Plan
from export.twin.trials import Trial, closeness, measured, try_all
from export.twin.verdict import MIN_COSINE
from model.runtime.opset import read_opset
from model.runtime.pack import AnalyzerPart, read_pack, verify_pack
from model.runtime.part import PackFile
from model.runtime.processor import processor
from model.runtime.twin_part import TwinPart, TwinPrecision

_SPACE_DIGITS = 32  # as `export.precision` names spaces


@dataclass(frozen=True, slots=True)
class TwinOrder:
    """What a person asked for.

    Attributes:
        folder: the pack's.
        plan: what is tried, on what.
        out: the folder of the new pack, whose name is the pack's; None puts the twins into the pack itself.
        keep_anyway: keep the best sound candidate of each analyzer even if it is not preferred.
        force: replace a folder at `out` that is no pack.
        command: what was typed, for the manifest.
    """

    folder: Path
    plan: Plan
    out: Path | None = None
    keep_anyway: bool = False
    force: bool = False
    command: str = "mien-export quantise"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one analyzer: its trials, and the one that was kept."""

    part: AnalyzerPart
    trials: tuple[Trial, ...]
    kept: Trial | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a pack: each analyzer's trials, and where the pack with twins is; None where none was written."""

    tried: tuple[Tried, ...]
    folder: Path | None


def quantise(order: TwinOrder, stages: Stages) -> Outcome:
    """Quantises every analyzer of a pack, and writes the twins that are preferred.

    Raises:
        ExportError: if a graph cannot be quantised, or a check fails; the pack stands untouched then.
        PackError: if the pack is unreadable or a file is not the one that it states.
        DataError: if a set is missing or unreadable.
    """
    source = order.folder.resolve()
    pack = read_pack(source)
    verify_pack(source, pack, checkpoints=True)
    tried = tuple(_try(source, part, order, stages) for part in pack.analyzers)
    if not any(each.kept for each in tried):
        return Outcome(tried, None)
    target = place_twins(
        source, order.out, stages, lambda folder: [_with_twin(folder, each, order) for each in tried], force=order.force
    )
    return Outcome(tried, target)


def place_twins(
    source: Path, out: Path | None, stages: Stages, make: Callable[[Path], Sequence[AnalyzerPart]], *, force: bool
) -> Path:
    """Writes a pack with other twins: the whole folder is copied, changed, checked, and then put into its place.

    Args:
        source: the pack's folder.
        out: the folder of the new pack, whose name is the pack's; None replaces the pack itself.
        stages: what a person sees meanwhile.
        make: writes the twins into the copy, and gives the analyzers as they are then.
        force: replace a folder at `out` that is no pack.

    Returns:
        Where the pack with twins is.
    """
    pack, target = read_pack(source), source if out is None else out
    with staged(target.parent, target.name, force=force) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        with stages.stage("checking the whole pack"):
            name = pack.name if out is None else out.name
            write_manifest(folder, pack.model_copy(update={"name": name, "analyzers": tuple(make(folder))}))
            check_pack(folder)
    return target


def _try(source: Path, part: AnalyzerPart, order: TwinOrder, stages: Stages) -> Tried:
    graph = source / part.file
    trials = try_all(graph, part, order.plan, stages)
    kept = next((trial for trial in trials if not trial.reasons), None)
    if kept is None and order.keep_anyway:
        best = max(trials, key=closeness)
        if best.is_sound:
            kept = measured(graph, part, best, order.plan, stages)
            trials = tuple(kept if trial is best else trial for trial in trials)
    return Tried(part, trials, kept)


def _with_twin(folder: Path, tried: Tried, order: TwinOrder) -> AnalyzerPart:
    """The analyzer with its new twin; without one, where none was kept, so that no old twin's figures stand on."""
    part, kept = tried.part, tried.kept
    if part.int8 is not None:
        (folder / part.int8.file).unlink(missing_ok=True)
    if kept is None:
        return part.model_copy(update={"int8": None})
    is_far = kept.cosine_mean is not None and not kept.cosine_mean >= MIN_COSINE
    twin = TwinPart(
        **write_twin(folder, part, "int8", kept.candidate.graph).model_dump(),
        method=f"{kept.candidate.name}: {kept.candidate.num_matrices} of {kept.candidate.num_possible} large matrices",
        known_answer=twin_known_answer(kept.candidate.graph, part.known_answer.seed, part.side_px),
        preferred=not kept.reasons,
        embedding_space=own_space(kept.candidate.graph) if is_far else None,
        cosine_mean=kept.cosine_mean,
        cosine_min=kept.cosine_min,
        speed=kept.speed,
        compared=kept.compared,
        machine=processor(),
        command=order.command,
    )
    return part.model_copy(update={"int8": twin})


def write_twin(folder: Path, part: AnalyzerPart, precision: TwinPrecision, graph: bytes) -> PackFile:
    """Writes a twin beside its analyzer's graph, as NAME.PRECISION.onnx.

    Raises:
        ExportError: if it is of another operator set than the analyzer.
    """
    file = f"{part.file.removesuffix('.onnx')}.{precision}.onnx"
    (folder / file).write_bytes(graph)
    if read_opset(folder / file) != part.opset:
        raise ExportError(f"{file}: operator set {part.opset} was left for {read_opset(folder / file)}")
    return pack_file(folder, file)


def own_space(graph: bytes) -> str:
    """Names the embedding space of a twin whose embeddings are not to be compared with its float graph's."""
    return hashlib.sha256(graph).hexdigest()[:_SPACE_DIGITS]
