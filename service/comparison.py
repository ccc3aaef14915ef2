"""Comparison: two images, or two embeddings, held against each other.

Holds what `/verify` and a command line share. Never picks a face but the largest, and never compares across spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.runtime.pack import Pack, Verification
from service.analysis import Analysis, Face, Options, Timings, Upload
from service.analyzer import Analyzer
from service.answers import Json, face_answer, model_answer
from service.errors import NoFace, ServiceError
from service.vectors import embedding_dim
from service.verification import Criterion, confidence, similarities


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Whether two are one person's; `faces` are the two that were compared, None for embeddings that were sent.

    `same` is None without a threshold, `confidence` (that `same` is right, 0 to 1) without a calibration.
    """

    similarity: float
    same: bool | None
    confidence: float | None
    criterion: Criterion
    faces: tuple[Face | None, Face | None] = (None, None)
    timings: Timings | None = None


async def compare_images(
    analyzer: Analyzer, pair: Sequence[Upload], criterion: Criterion, deadline: float
) -> Comparison:
    """Compares the largest face of each of two images.

    Raises:
        UnknownOption: if the pack has no embeddings.
        NoFace: if an image has no face.
        ServiceError: what is wrong with an image.
    """
    embedding_dim(analyzer.pack)
    analysis = await analyzer.analyze(pair, Options(analyzer.default_tasks, max_faces=1), deadline)
    first, second = _largest(analysis)
    calibrated = analyzer.pack.verification
    compared = compare_embeddings(calibrated, first.outputs["embedding"], second.outputs["embedding"], criterion)
    return Comparison(
        compared.similarity,
        compared.same,
        compared.confidence,
        criterion,
        (first, second),
        analysis.timings,
    )


def compare_embeddings(
    calibrated: Verification | None, first: NDArray[np.float32], second: NDArray[np.float32], criterion: Criterion
) -> Comparison:
    """Compares two embeddings (D,) of one space."""
    similarity = float(similarities(first, second[None])[0])
    same = criterion.same(similarity)
    return Comparison(similarity, same, confidence(calibrated, similarity, same), criterion)


def comparison_answer(compared: Comparison, pack: Pack) -> Json:
    """`/verify`'s answer, but for the timings."""
    return {
        "same": compared.same,
        "confidence": compared.confidence,
        "similarity": compared.similarity,
        "threshold": compared.criterion.threshold,
        "fmr": compared.criterion.fmr,
        "faces": [None if face is None else face_answer(face) for face in compared.faces],
        "model": model_answer(pack),
    }


def _largest(analysis: Analysis) -> tuple[Face, Face]:
    faces: list[Face] = []
    for which, image in zip("ab", analysis.images, strict=True):
        if image.error is not None:
            raise _named(image.error, which)
        if not image.faces:
            raise NoFace(f"No face was found on image_{which}.")
        faces.append(image.faces[0])
    return faces[0], faces[1]


def _named(error: ServiceError, which: str) -> ServiceError:
    return type(error)(f"image_{which}: {error.detail}")
