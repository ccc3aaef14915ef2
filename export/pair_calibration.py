"""Calibration on listed pairs: the thresholds of a pack from verification sets that say whom to compare with whom.

Holds the way from lists and the pack's own graph to `Verification`. Never computes a rate itself (see
`export.calibrate`), and never says of listed pairs that they are all pairs.
Shape suffixes: N images; P pairs; D embedding length.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from export.calibrate import calibrated, thresholds_of
from export.check import INPUT
from export.errors import ExportError
from export.listed_pairs import ListedPairs, Photographs, find_lists, open_list
from export.pack_writer import write_manifest
from export.sources import open_detector
from model.runtime.pack import AnalyzerPart, Pack, Verification, read_pack, verify_pack
from model.runtime.session import Session, open_session
from model.training.evaluation.subjects import resized
from model.training.evaluation.validation import BATCH_SIZE
from model.training.evaluation.verification import PairScores, pair_similarity
from model.training.prepare.crops import CropError

_NOTHING: Final = np.zeros(0, np.float32)


def recalibrate_on_pairs(
    folder: Path, paths: Sequence[Path], progress: Progress, photographs: Photographs | None = None
) -> Verification:
    """Calibrates a pack that stands on disk on listed pairs, and rewrites its manifest and card alone.

    Args:
        folder: the pack's.
        paths: lists, or folders of them, see `find_lists`; the pairs of several are taken together.
        progress: gets a bar a list.
        photographs: how LFW's become crops; beside the list, and by the pack's own detector, by default.

    Raises:
        ExportError: if the pack has no embeddings, a path names no list, or the pairs are too few.
        PackError: if the pack is unreadable or a file is not the one that it states.
        DataError: if a list breaks its form.
    """
    pack = read_pack(folder)
    verify_pack(folder, pack)
    found = calibrate_on_pairs(folder, pack, paths, progress, photographs or Photographs())
    write_manifest(folder, calibrated(pack, found))
    return found


def calibrate_on_pairs(
    folder: Path, pack: Pack, paths: Sequence[Path], progress: Progress, photographs: Photographs
) -> Verification:
    """The thresholds of a pack on listed pairs, with the embeddings of its own graph.

    The embedding is the one that the service answers, of the crop alone: the published protocols add that of the
    mirror image, which would give thresholds for embeddings that nobody is answered with.

    Raises:
        ExportError: as `recalibrate_on_pairs`.
        DataError: likewise.
    """
    part = _embedding_part(pack)
    detector, session = open_detector(folder, pack.detector), open_session(folder / part.file)
    scores, names, num_images, lost = [], [], 0, Counter[str]()
    for path in find_lists(paths):
        pairs = open_list(path, part, detector, photographs)
        found, num_used, reasons = _score(pairs, session, part.side_px, progress)
        scores.append(found)
        names.append(pairs.name)
        num_images += num_used
        lost += reasons
    together = PairScores(
        np.concatenate([_NOTHING, *(each.genuine for each in scores)]),
        np.concatenate([_NOTHING, *(each.impostor for each in scores)]),
    )
    return thresholds_of(together, num_images, _named(names, lost))


def _embedding_part(pack: Pack) -> AnalyzerPart:
    for part in pack.analyzers:
        if "embedding" in part.tasks:
            return part
    raise ExportError(f"pack {pack.name} has no embeddings, so there is nothing to calibrate")


def _named(names: Sequence[str], lost: Counter[str]) -> str:
    left_out = "".join(f"; {num:,} pairs left out: {reason}" for reason, num in sorted(lost.items()))
    return f"the listed pairs of {', '.join(names)}, not every pair{left_out}"


def _score(
    pairs: ListedPairs, session: Session, side_px: int, progress: Progress
) -> tuple[PairScores, int, Counter[str]]:
    """Similarities of a list's pairs, how many images they rest on, and how many pairs have none, by the reason."""
    embeddings_ND, reasons = _embed(pairs, session, side_px, progress)
    bad = np.array([number in reasons for number in range(len(pairs.crops))], np.bool_)
    kept = ~(bad[pairs.first] | bad[pairs.second])
    lost = Counter(
        reasons[first] if first in reasons else reasons[second]
        for first, second in zip(pairs.first[~kept].tolist(), pairs.second[~kept].tolist(), strict=True)
    )
    first, second, same = pairs.first[kept], pairs.second[kept], pairs.same[kept]
    if not len(same):
        return PairScores(_NOTHING, _NOTHING), 0, lost
    try:
        similarity = pair_similarity(embeddings_ND[first], embeddings_ND[second])
    except ValueError as error:  # an embedding that is zero or not finite has no direction to compare
        raise ExportError(f"{pairs.name}: {error}") from error
    return PairScores(similarity[same], similarity[~same]), len(np.unique([first, second])), lost


def _embed(
    pairs: ListedPairs, session: Session, side_px: int, progress: Progress
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Embeddings (N, D), zeros for an image without a usable crop; why, by its number."""
    bar = progress.add_task(f"embedding {pairs.name}", total=len(pairs.crops))
    rows: dict[int, NDArray[np.float32]] = {}
    reasons: dict[int, str] = {}
    for start in range(0, len(pairs.crops), BATCH_SIZE):
        crops: dict[int, NDArray[np.uint8]] = {}
        for number, crop in enumerate(pairs.crops[start : start + BATCH_SIZE], start):
            try:
                crops[number] = resized(crop()[None], side_px)[0]
            except CropError as error:
                reasons[number] = error.reason.split(": ", 1)[-1]
        if crops:
            answered = session.run({INPUT: np.stack(list(crops.values()))}, ["embedding"])["embedding"]
            rows |= dict(zip(crops, answered, strict=True))
        progress.advance(bar, min(BATCH_SIZE, len(pairs.crops) - start))
    dim = len(next(iter(rows.values()), _NOTHING))
    nothing = np.zeros(dim, np.float32)
    return np.stack([rows.get(number, nothing) for number in range(len(pairs.crops))]), reasons
