"""The template protocol of IJB-B and IJB-C, 1:1: the true-accept rate at stated false-accept rates.

Holds the way from a folder and a model to the report's rows, as the published code runs it (InsightFace's
recognition/arcface_torch/eval_ijbc.py, MIT). Never reads a list itself (see `layout`) and never sums a template (see
`templates`). Shape suffixes: F faces; P points (five).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.runtime.alignment import five_point_matrix
from model.training.dataset import DataError
from model.training.evaluation.embedding import CROP_PX, Embed, embed_batches
from model.training.evaluation.groups import ALL
from model.training.evaluation.ijb.layout import TemplateSet
from model.training.evaluation.ijb.templates import face_weights, pair_scores, template_vectors
from model.training.evaluation.matching import MIN_FALSE_MATCHES, Matching, curve_of, rate_name
from model.training.evaluation.report import Measure
from model.training.evaluation.validation import BATCH_SIZE
from model.training.evaluation.verification import PairScores, equal_error_rate, thresholds_at_fmr

FMRS: Final = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_DECODERS: Final = 4


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """How faces become templates; all three are on in the published figures (test mode N1, D1, F2).

    Attributes:
        flip: add the mirror image's embedding.
        feature_norm: let an embedding's length weigh it.
        detector_score: weigh a face by its detector's score.
    """

    flip: bool = True
    feature_norm: bool = True
    detector_score: bool = True


def measure_templates(
    lists: TemplateSet,
    embed: Embed,
    options: TemplateOptions,
    *,
    batch_size: int = BATCH_SIZE,
    on_faces: Callable[[int], None] | None = None,
    on_pairs: Callable[[int], None] | None = None,
) -> Matching:
    """Embeds every face, sums templates, scores every listed pair.

    A rate is stated at the lowest threshold that accepts no more than that share of the impostor pairs; the published
    code takes the point of the curve that is nearest to the rate, on either side of it. On the millions of pairs of the
    true lists both agree to a few 0.01 %.

    Raises:
        DataError: if an image is missing or cannot be decoded, or the pairs are all of one kind.
        EvaluationError: if an embedding or a template has no direction.
    """
    weights = face_weights(lists.template, lists.media, lists.score if options.detector_score else None)
    batches = embed_batches(embed, _crops(lists, batch_size), flip=options.flip, batch_size=batch_size)
    told = _told(batches, on_faces)
    vectors = template_vectors(told, lists.template, weights, len(lists.template_ids), keep_norms=options.feature_norm)
    similarity = pair_scores(vectors, lists.first, lists.second, progress=on_pairs)
    if lists.same.all() or not lists.same.any():
        raise DataError(f"{lists.name}: the pairs are all of one kind, so no rate can be stated")
    return _measured(PairScores(similarity[lists.same], similarity[~lists.same]), lists.name)


def _measured(scores: PairScores, name: str) -> Matching:
    num_impostor = len(scores.impostor)
    kept = [fmr for fmr in FMRS if fmr * num_impostor >= 1]
    points = thresholds_at_fmr(scores.impostor, scores.genuine, kept)
    rate, _ = equal_error_rate(scores.impostor, scores.genuine)
    measures = [
        Measure("embedding", f"tar_at_fmr_{rate_name(point.fmr)}", point.tar, name, point.num_genuine)
        for point in points
    ]
    measures += [
        Measure("embedding", f"threshold_at_fmr_{rate_name(point.fmr)}", point.threshold, name, num_impostor)
        for point in points
    ]
    measures.append(Measure("embedding", "eer", rate, name, len(scores.genuine)))
    return Matching(measures, [curve_of(name, ALL, scores)], _notes(name, num_impostor))


def _notes(name: str, num_impostor: int) -> list[str]:
    notes = []
    for fmr in FMRS:
        allowed = fmr * num_impostor
        if allowed < 1:
            notes.append(f"{name}: an FMR of {fmr:g} needs {1 / fmr:,.0f} impostor pairs; there are {num_impostor:,}")
        elif allowed < MIN_FALSE_MATCHES:
            notes.append(f"{name}: an FMR of {fmr:g} rests on {int(allowed)} false matches: the figure is rough")
    return notes


def _told(
    batches: Iterator[NDArray[np.float32]], on_faces: Callable[[int], None] | None
) -> Iterator[NDArray[np.float32]]:
    for vectors in batches:
        yield vectors
        if on_faces is not None:
            on_faces(len(vectors))


def _crops(lists: TemplateSet, batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """Aligned crops in the order of the faces, decoded in threads, one batch ahead of the network at most."""
    with ThreadPoolExecutor(_DECODERS) as threads:
        for start in range(0, len(lists.files), batch_size):
            rows = range(start, min(start + batch_size, len(lists.files)))
            yield from threads.map(lambda row: _crop(lists.images / lists.files[row], lists.landmarks[row]), rows)


def _crop(path: Path, landmarks_P2: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One sampling step, bilinear, as the published code takes it: the loose crops are about the crop's size."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"cannot read {path}: {reason}") from error
    matrix = five_point_matrix(landmarks_P2, CROP_PX)
    return np.asarray(cv2.warpAffine(pixels, matrix, (CROP_PX, CROP_PX), borderValue=(0, 0, 0)), np.uint8)
