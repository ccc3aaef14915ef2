"""Halving a pack: from a pack to the same pack with float16 twins beside its analyzers, where they answer as well.

Holds what is tried, judged and stated. Never times a graph: half precision is for a GPU, and packs are
made on processors. Never leaves half a pack: everything happens in a staged folder, and a pack whose twins are no good
stays as it is.
Shape suffixes: N crops; S crop side; C channels (three, RGB).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.check import edge_crops
from export.errors import ExportError
from export.progress import Stages
from export.twin.candidates import answers_of, damage
from export.twin.check import check_twin, twin_known_answer
from export.twin.crops import training_crops
from export.twin.half import Halved, halved
from export.twin.making import own_space, place_twins, write_twin
from export.twin.subject import Plan, Subject
from export.twin.verdict import MIN_COSINE, comparisons, too_far, too_lossy
from model.runtime.known_answer import known_crops
from model.runtime.pack import AnalyzerPart, read_pack, verify_pack
from model.runtime.session import open_session
from model.runtime.twin_part import MADE_BY, HalfComparison, HalfPart

_NUM_CROPS: Final = 32  # training crops that answers are compared on before validation
_NUM_CHECKED: Final = 8  # of them, or of noise, that the check runs in every company


@dataclass(frozen=True, slots=True)
class HalfOrder:
    """What a person asked for.

    Attributes:
        folder: the pack's.
        data: folder with training and validation sets; None compares answers on edge inputs and noise alone.
        limit: about so many validation images a set, for a quick look; None for all.
        out: the folder of the new pack, whose name is the pack's; None puts the twins into the pack itself.
        keep_anyway: keep each sound twin even if it loses too much.
        force: replace a folder at `out` that is no pack.
        command: what was typed, for the manifest.
    """

    folder: Path
    data: Path | None = None
    limit: int | None = None
    out: Path | None = None
    keep_anyway: bool = False
    force: bool = False
    command: str = MADE_BY["float16"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one analyzer.

    Attributes:
        part: the analyzer.
        twin: its graph in half precision; None where there cannot be one.
        moved: how far answers moved on the first crops, as a share of what is allowed.
        cosine_mean: of its embeddings to the float graph's on the validation rows; None where nobody measured.
        cosine_min: likewise, the least.
        compared: figures on the validation sets.
        reasons: why it is not to be kept; empty where it is.
        is_sound: whether it passed the check that every graph of a pack must pass.
    """

    part: AnalyzerPart
    twin: Halved | None
    moved: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    compared: tuple[HalfComparison, ...] = ()
    reasons: tuple[str, ...] = ()
    is_sound: bool = True

    def is_kept(self, *, anyway: bool) -> bool:
        """Whether the twin is written."""
        return self.twin is not None and self.is_sound and (anyway or not self.reasons)


@dataclass(frozen=True, slots=True)
class HalfOutcome:
    """What came of a pack: each analyzer's verdict, and where the pack with twins is; None where none was written."""

    judged: tuple[Judged, ...]
    folder: Path | None


def halve(order: HalfOrder, stages: Stages) -> HalfOutcome:
    """Makes a float16 twin of every analyzer of a pack, and writes those that answer closely enough.

    Raises:
        ExportError: if a check of the whole pack fails; the pack stands untouched then.
        PackError: if the pack is unreadable or a file is not the one that it states.
        DataError: if a set is missing or unreadable.
    """
    source = order.folder.resolve()
    pack = read_pack(source)
    verify_pack(source, pack, checkpoints=True)
    judged = tuple(_judge(source, part, order, stages) for part in pack.analyzers)
    if not any(each.is_kept(anyway=order.keep_anyway) for each in judged):
        return HalfOutcome(judged, None)
    target = place_twins(
        source,
        order.out,
        stages,
        lambda folder: [_with_twin(folder, each, order) for each in judged],
        force=order.force,
    )
    return HalfOutcome(judged, target)


def _judge(source: Path, part: AnalyzerPart, order: HalfOrder, stages: Stages) -> Judged:
    graph = source / part.file
    crops = _crops(part, order.data)
    with stages.stage(f"{part.file}: halving and checking"):
        try:
            twin = halved(graph.read_bytes())
        except ExportError as error:
            return Judged(part, None, reasons=(str(error),), is_sound=False)
        try:
            check_twin(open_session(twin.graph), part.side_px, crops[-_NUM_CHECKED:])
            moved = damage(answers_of(twin.graph, crops), answers_of(graph.read_bytes(), crops))
        except ExportError as error:
            return Judged(part, twin, reasons=(str(error),), is_sound=False)
    # Written so that NaN is too much.
    reasons: tuple[str, ...] = () if moved < 1 else (f"answers moved by {moved:.2f} of what is allowed",)
    if order.data is None:
        return Judged(part, twin, moved, reasons=reasons)
    subject = Subject(graph, part, Plan(order.data, limit=order.limit, command=MADE_BY["float16"]), stages)
    reference, found = subject.reference, subject.validated(twin.graph, "float16")
    rows = comparisons(reference.report, found.report, HalfComparison)
    mean, least = found.cosines_to(reference) or (None, None)
    reasons += (*too_far(mean), *too_lossy(part.tasks, rows))
    return Judged(part, twin, moved, mean, least, rows, reasons)


def _crops(part: AnalyzerPart, data: Path | None) -> NDArray[np.uint8]:
    """Real crops, uint8 (N, S, S, 3), where there is data; else inputs at the edge of what a crop can be, and noise."""
    if data is not None:
        return training_crops(data, part.side_px, part.alignment, _NUM_CROPS)
    noise = known_crops(part.known_answer.seed, part.side_px, _NUM_CHECKED)
    return np.concatenate([edge_crops(part.side_px), noise])


def _with_twin(folder: Path, judged: Judged, order: HalfOrder) -> AnalyzerPart:
    """The analyzer with its new twin; without one, where none was kept, so that no old twin's figures stand on."""
    part, twin = judged.part, judged.twin
    if part.float16 is not None:
        (folder / part.float16.file).unlink(missing_ok=True)
    if twin is None or not judged.is_kept(anyway=order.keep_anyway):
        return part.model_copy(update={"float16": None})
    # A space is shared by a cosine that was measured on real crops, and by nothing else.
    is_near = judged.cosine_mean is not None and judged.cosine_mean >= MIN_COSINE
    is_own = "embedding" in part.tasks and not is_near
    stated = HalfPart(
        **write_twin(folder, part, "float16", twin.graph).model_dump(),
        method=f"{twin.num_matrices} of {twin.num_possible} large matrices; ends, norms and softmax in float32",
        known_answer=twin_known_answer(twin.graph, part.known_answer.seed, part.side_px, folder / part.file),
        embedding_space=own_space(twin.graph) if is_own else None,
        cosine_mean=judged.cosine_mean,
        cosine_min=judged.cosine_min,
        compared=judged.compared,
        command=order.command,
    )
    return part.model_copy(update={"float16": stated})
