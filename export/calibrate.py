"""Calibration: at which cosine similarity a pack accepts a pair, for stated false-match rates, and how surely.

Holds the way from a pack's own graph and a set of identified faces to `Verification`. Never computes a rate itself (see
`model.training.evaluation.verification`) and never calibrates on rows that were trained on.
Shape suffixes: N faces; D embedding length; S crop side.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from export.errors import ExportError
from model.runtime.pack import ConfidenceCurve, Intervals, Pack, Threshold, Verification
from model.training.dataset import FaceTable, read_faces
from model.training.evaluation.confidence import Curve, count_pairs, curve_of_scores, held_out_error, whole_curve
from model.training.evaluation.subjects import open_pack
from model.training.evaluation.temperature import NUM_FOLDS
from model.training.evaluation.threshold_intervals import LEVEL, NUM_RESAMPLES, PointIntervals, intervals_of
from model.training.evaluation.validation import Predict, predict_all
from model.training.evaluation.verification import OperatingPoint, PairScores, all_pairs, thresholds_at_fmr

FMRS: Final = (1e-2, 1e-3, 1e-4)
CALIBRATION_SET: Final = "lfw"
# Figures of a pack's thresholds and curve; `mien-train evaluate` measures them of new ones.
_OF_THE_OLD: Final = ("confidence_ece_of_pack", "fmr_at_shipped_", "fnmr_at_shipped_")
_MIN_FALSE_MATCHES: Final = 10  # a rate measured on fewer is noise: its relative deviation is 1 / sqrt(count)


def calibrate(folder: Path, pack: Pack, data: Path, progress: Progress, dataset: str = CALIBRATION_SET) -> Verification:
    """Calibrates a pack on every pair of a validation set, with the embeddings of the pack's own graph.

    Args:
        folder: the pack's.
        pack: its manifest.
        data: the folder that holds the set.
        progress: gets a bar for the embeddings and one for the pairs.
        dataset: the set's name.

    Raises:
        ExportError: if the pack has no embeddings or the set has too few pairs.
        DataError: if the set is missing or unreadable.
    """
    subject = open_pack(folder, pack, "cpu")
    if subject is None or "embedding" not in pack.tasks:
        raise ExportError(f"pack {pack.name} has no embeddings of aligned crops, so there is nothing to calibrate")
    table = read_faces(data, dataset, "val")
    known = np.flatnonzero(table.identity != -1)
    embeddings_ND = _embed(subject.predict, table, known, progress)
    bar = progress.add_task(f"calibrating on all pairs of {dataset}", total=len(known))
    return thresholds(
        embeddings_ND,
        table.identity[known],
        f"{dataset.upper()} validation images, every pair",
        advance=lambda num: progress.advance(bar, num),
    )


def calibrated(pack: Pack, found: Verification) -> Pack:
    """The pack with other thresholds and another curve, without the figures that were stated of the old ones."""
    kept = tuple(figure for figure in pack.measured if not figure.metric.startswith(_OF_THE_OLD))
    return pack.model_copy(update={"verification": found, "measured": kept})


def thresholds(
    embeddings_ND: NDArray[np.float32],
    identity_N: NDArray[np.int64],
    calibrated_on: str,
    fmrs: Sequence[float] = FMRS,
    advance: Callable[[int], None] | None = None,
) -> Verification:
    """Thresholds at stated false-match rates over every pair of a set's embeddings, with intervals and confidence.

    Args:
        embeddings_ND: one a face.
        identity_N: who each is.
        calibrated_on: how the pack names the set.
        fmrs: the false-match rates.
        advance: told how many faces were compared, after each block.

    Raises:
        ExportError: as `thresholds_of`.
    """
    scores = all_pairs(embeddings_ND, identity_N, progress=advance)
    found = thresholds_of(scores, len(embeddings_ND), calibrated_on, fmrs)
    kept = [row.fmr for row in found.thresholds]
    intervals = intervals_of(
        embeddings_ND, identity_N, scores, thresholds_at_fmr(scores.impostor, scores.genuine, kept)
    )
    num_identities = len(np.unique(identity_N))
    return found.model_copy(
        update={
            "thresholds": tuple(_with_intervals(*each) for each in zip(found.thresholds, intervals, strict=True)),
            "intervals": Intervals(level=LEVEL, num_resamples=NUM_RESAMPLES, num_identities=num_identities),
            "confidence": _curve(embeddings_ND, identity_N, num_identities) or found.confidence,
        }
    )


def thresholds_of(
    scores: PairScores, num_images: int, calibrated_on: str, fmrs: Sequence[float] = FMRS
) -> Verification:
    """Thresholds at stated false-match rates over scored pairs.

    A threshold is the lowest at which no more than the stated share of all impostor pairs is accepted. A rate that
    would rest on fewer than ten false matches is left out.

    Args:
        scores: of every pair that counts.
        num_images: distinct images in them.
        calibrated_on: how the pack names them.
        fmrs: the false-match rates.

    Raises:
        ExportError: if no rate can be measured, or an impostor pair is so alike that no threshold keeps the rate.
    """
    kept = [fmr for fmr in fmrs if fmr * len(scores.impostor) >= _MIN_FALSE_MATCHES]
    if not kept or not len(scores.genuine):
        raise ExportError(
            f"{len(scores.impostor):,} impostor and {len(scores.genuine):,} genuine pairs are too few to calibrate on"
        )
    points = thresholds_at_fmr(scores.impostor, scores.genuine, kept)
    return Verification(
        calibrated_on=calibrated_on,
        num_images=num_images,
        num_impostor_pairs=len(scores.impostor),
        num_genuine_pairs=len(scores.genuine),
        thresholds=tuple(_threshold(point) for point in points),
        confidence=_stated(curve_of_scores(scores), None),
    )


def _threshold(point: OperatingPoint) -> Threshold:
    if point.threshold > 1:
        raise ExportError(f"an FMR of {point.fmr:g} cannot be kept: too many impostor pairs have similarity 1")
    return Threshold(fmr=point.fmr, threshold=point.threshold, tar=point.tar)


def _with_intervals(point: Threshold, found: PointIntervals) -> Threshold:
    low, high = found.threshold
    return point.model_copy(
        update={
            "threshold_interval": (low, min(high, 1.0)),  # a sample's may lie just above 1, where nothing is accepted
            "fmr_interval": found.fmr,
            "tar_interval": found.tar,
        }
    )


def _curve(
    embeddings_ND: NDArray[np.float32], identity_N: NDArray[np.int64], num_identities: int
) -> ConfidenceCurve | None:
    """The curve of all pairs with its error on people held out; None where there are too few people to hold any out."""
    if num_identities < NUM_FOLDS:
        return None
    counts = count_pairs(embeddings_ND, identity_N)
    return _stated(whole_curve(counts), held_out_error(counts))


def _stated(curve: Curve | None, error: float | None) -> ConfidenceCurve | None:
    if curve is None:
        return None
    return ConfidenceCurve(similarities=curve.similarities, log_ratios=curve.log_ratios, ece=error)


def _embed(predict: Predict, table: FaceTable, rows: NDArray[np.int64], progress: Progress) -> NDArray[np.float32]:
    bar = progress.add_task(f"embedding {table.dataset}", total=len(rows))
    answers = predict_all(
        lambda images: {"embedding": predict(images)["embedding"]},
        table.images[rows],
        progress=lambda num: progress.advance(bar, num),
    )
    return answers["embedding"]
