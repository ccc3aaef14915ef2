"""Matching: from a set's embeddings to the report's rows on verification, for everyone and by group.

Holds which figures verification is stated by. Never computes an embedding; the protocols are in `verification`.
Shape suffixes: N faces; D embedding length.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.pack import Threshold
from model.training.dataset import FaceTable
from model.training.evaluation.groups import ALL, groups_of, intersections_of, is_intersection, kind_of
from model.training.evaluation.intervals import Interval
from model.training.evaluation.pairs import PairList
from model.training.evaluation.people import MAX_FACES, Errors, People
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
_DEFAULT_FMR: Final = 1e-3
_CURVE_POINTS: Final = 256
_WITHOUT_CURVES: Final = ("youth",)  # their figures are stated; more lines would hide the others'


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
    shipped: Sequence[Threshold] = (),
) -> Matching:
    """TAR, threshold and curve over every pair of faces of known identity; at the same threshold, each group's errors.

    A rate at which the set's impostor pairs allow fewer than ten false matches is left out and noted.

    Args:
        embeddings_ND: one a face.
        table: who each is, and of which groups.
        fmrs: rates to set thresholds at, on this set.
        progress: told how many faces were compared, after each block.
        shipped: thresholds that a pack states already, by another set: both errors at these are what a user meets.
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
    people = _people(embeddings_ND, table, known)
    for point in points:
        found.measures += _point_measures(table.dataset, point, None if people is None else people.at(point.threshold))
    found.measures.append(Measure("embedding", "eer", rate, table.dataset, len(scores.genuine)))
    found.measures += _shipped_measures(table.dataset, ALL, shipped, scores, people)
    found.curves.append(curve_of(table.dataset, ALL, scores))
    for group, inside in {**groups_of(table), **intersections_of(table)}.items():
        rows = known[inside[known]]
        part = all_pairs(embeddings_ND[rows], table.identity[rows])
        if len(part.genuine) and len(part.impostor):
            of_group = _people(embeddings_ND, table, rows)
            if is_intersection(group):  # of many small groups, what a user meets by default
                default = [row for row in shipped if row.fmr == _DEFAULT_FMR]
                found.measures += _shipped_measures(table.dataset, group, default, part, of_group)
                continue
            found.measures += [
                row for point in points for row in _group_measures(table.dataset, group, point, part, of_group)
            ]
            found.measures += _shipped_measures(table.dataset, group, shipped, part, of_group)
            if kind_of(group) not in _WITHOUT_CURVES:
                found.curves.append(curve_of(table.dataset, group, part))
    return found


def rate_name(fmr: float) -> str:
    """A rate as a metric's name writes it: 0.001 is `1e-03`."""
    return f"{fmr:.0e}" if float(f"{fmr:.0e}") == fmr else f"{fmr:g}"


def _people(embeddings_ND: NDArray[np.float32], table: FaceTable, rows: NDArray[np.int64]) -> People | None:
    return People(embeddings_ND[rows], table.identity[rows]) if len(rows) <= MAX_FACES else None


def _point_measures(dataset: str, point: OperatingPoint, errors: Errors | None) -> list[Measure]:
    name = rate_name(point.fmr)
    tar = Measure("embedding", f"tar_at_fmr_{name}", point.tar, dataset, point.num_genuine)
    return [
        tar.within(None if errors is None else errors.tar),
        Measure("embedding", f"threshold_at_fmr_{name}", point.threshold, dataset, point.num_impostor),
    ]


def _group_measures(
    dataset: str, group: str, point: OperatingPoint, scores: PairScores, people: People | None
) -> list[Measure]:
    """A group's own errors at everyone's threshold: one threshold is what a service applies to all."""
    name, threshold = rate_name(point.fmr), np.float32(point.threshold)
    tar = float((scores.genuine >= threshold).mean())
    fmr = float((scores.impostor >= threshold).mean())
    errors = None if people is None else people.at(point.threshold)
    accepted = Measure("embedding", f"tar_at_fmr_{name}", tar, dataset, len(scores.genuine), group)
    matched = Measure("embedding", f"fmr_at_threshold_of_{name}", fmr, dataset, len(scores.impostor), group)
    return [
        accepted.within(None if errors is None else errors.tar),
        matched.within(None if errors is None else errors.fmr),
    ]


def _shipped_measures(
    dataset: str, group: str, shipped: Sequence[Threshold], scores: PairScores, people: People | None
) -> list[Measure]:
    """Both errors at the thresholds that a pack states: rates, as the service's users meet them."""
    rows = []
    for each in shipped:
        threshold, name = np.float32(each.threshold), rate_name(each.fmr)
        fnmr = float((scores.genuine < threshold).mean())
        fmr = float((scores.impostor >= threshold).mean())
        errors = None if people is None else people.at(each.threshold)
        rejected = Measure("embedding", f"fnmr_at_shipped_{name}", fnmr, dataset, len(scores.genuine), group)
        matched = Measure("embedding", f"fmr_at_shipped_{name}", fmr, dataset, len(scores.impostor), group)
        tar = None if errors is None else errors.tar
        rows += [
            rejected.within(None if tar is None else Interval(1 - tar.high, 1 - tar.low)),
            matched.within(None if errors is None else errors.fmr),
        ]
    return rows


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
