"""Matching: from a set's embeddings to the report's rows on verification, for everyone and by group.

Holds which figures verification is stated by. Never computes an embedding; the protocols are in `verification`.
Shape suffixes: N faces; D embedding length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.dataset import FaceTable
from model.training.evaluation.groups import ALL, groups_of
from model.training.evaluation.pairs import PairList
from model.training.evaluation.report import Measure, VerificationCurve
from model.training.evaluation.verification import (
    OperatingPoint,
    PairScores,
    all_pairs,
    equal_error_rate,
    error_curve,
    pair_similarity,
    ten_fold_accuracy,
    thresholds_at_fmr,
)

FMRS: Final = (1e-2, 1e-3, 1e-4)
MIN_FALSE_MATCHES: Final = 10  # a rate measured on fewer is noise: its relative deviation is 1 / sqrt(count)
_CURVE_POINTS: Final = 256


@dataclass(slots=True)
class Matching:
    """What was measured of one set's embeddings, as it grows."""

    measures: list[Measure] = field(default_factory=list)
    curves: list[VerificationCurve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure_pairs(embeddings_ND: NDArray[np.float32], table: FaceTable, pairs: PairList) -> Matching:
    """Ten-fold accuracy over the set's pair list, and over the pairs that lie within each group."""
    found = Matching()
    similarity = pair_similarity(embeddings_ND[pairs.first], embeddings_ND[pairs.second])
    everyone = np.ones(len(pairs), bool)
    for group, inside in {ALL: np.ones(len(table), bool), **groups_of(table)}.items():
        within = everyone & inside[pairs.first] & inside[pairs.second]
        if not _judgeable(pairs.where(within)):
            found.notes.append(f"{table.dataset}: too few pairs within {group} for the ten-fold protocol")
            continue
        outcome = ten_fold_accuracy(similarity[within], pairs.same[within], pairs.fold[within])
        values = {"accuracy_10fold": outcome.mean, "accuracy_10fold_std": outcome.std}
        num_pairs = int(within.sum())
        found.measures += [
            Measure("embedding", name, value, table.dataset, num_pairs, group) for name, value in values.items()
        ]
    return found


def measure_all_pairs(
    embeddings_ND: NDArray[np.float32],
    table: FaceTable,
    fmrs: Sequence[float] = FMRS,
    progress: Callable[[int], None] | None = None,
) -> Matching:
    """TAR, threshold and curve over every pair of faces of known identity; at the same threshold, each group's errors.

    A rate at which the set's impostor pairs allow fewer than ten false matches is left out and noted.
    """
    found, known = Matching(), np.flatnonzero(table.identity != -1)
    scores = all_pairs(embeddings_ND[known], table.identity[known], progress=progress)
    if not len(scores.genuine) or not len(scores.impostor):
        found.notes.append(f"{table.dataset}: no genuine or no impostor pair among its identities, so no TAR")
        return found
    kept = [fmr for fmr in fmrs if fmr * len(scores.impostor) >= MIN_FALSE_MATCHES]
    found.notes += [_too_few(table.dataset, fmr, len(scores.impostor)) for fmr in fmrs if fmr not in kept]
    points = thresholds_at_fmr(scores.impostor, scores.genuine, kept)
    rate, _ = equal_error_rate(scores.impostor, scores.genuine)
    found.measures += [row for point in points for row in _point_measures(table.dataset, point)]
    found.measures.append(Measure("embedding", "eer", rate, table.dataset, len(scores.genuine)))
    found.curves.append(curve_of(table.dataset, ALL, scores))
    for group, inside in groups_of(table).items():
        rows = known[inside[known]]
        part = all_pairs(embeddings_ND[rows], table.identity[rows])
        if len(part.genuine) and len(part.impostor):
            found.measures += [row for point in points for row in _group_measures(table.dataset, group, point, part)]
            found.curves.append(curve_of(table.dataset, group, part))
    return found


def rate_name(fmr: float) -> str:
    """A rate as a metric's name writes it: 0.001 is `1e-03`."""
    return f"{fmr:.0e}" if float(f"{fmr:.0e}") == fmr else f"{fmr:g}"


def _point_measures(dataset: str, point: OperatingPoint) -> list[Measure]:
    name = rate_name(point.fmr)
    return [
        Measure("embedding", f"tar_at_fmr_{name}", point.tar, dataset, point.num_genuine),
        Measure("embedding", f"threshold_at_fmr_{name}", point.threshold, dataset, point.num_impostor),
    ]


def _group_measures(dataset: str, group: str, point: OperatingPoint, scores: PairScores) -> list[Measure]:
    """A group's own errors at everyone's threshold: one threshold is what a service applies to all."""
    name, threshold = rate_name(point.fmr), np.float32(point.threshold)
    tar = float((scores.genuine >= threshold).mean())
    fmr = float((scores.impostor >= threshold).mean())
    return [
        Measure("embedding", f"tar_at_fmr_{name}", tar, dataset, len(scores.genuine), group),
        Measure("embedding", f"fmr_at_threshold_of_{name}", fmr, dataset, len(scores.impostor), group),
    ]


def curve_of(dataset: str, group: str, scores: PairScores) -> VerificationCurve:
    """The curve of a set's scores as a report holds it, thinned to a few hundred measured points."""
    curve = error_curve(scores.impostor, scores.genuine, _CURVE_POINTS)
    return VerificationCurve(
        dataset,
        group,
        len(scores.impostor),
        len(scores.genuine),
        tuple(curve.fmr.tolist()),
        tuple(curve.fnmr.tolist()),
        tuple(curve.threshold.tolist()),
    )


def _judgeable(pairs: PairList) -> bool:
    """Whether there are folds to leave out, and both kinds of pairs however one is left out."""
    kinds: Mapping[bool, set[int]] = {kind: set(pairs.fold[pairs.same == kind].tolist()) for kind in (True, False)}
    return all(len(folds) >= 2 for folds in kinds.values())


def _too_few(dataset: str, fmr: float, num_impostor: int) -> str:
    needed = round(MIN_FALSE_MATCHES / fmr)
    return f"{dataset}: an FMR of {fmr:g} needs {needed:,} impostor pairs to be measured; there are {num_impostor:,}"
