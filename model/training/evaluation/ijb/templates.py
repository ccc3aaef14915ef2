"""Templates: from the embeddings of faces to one vector a template, and from those to the scores of pairs.

Holds the aggregation and the comparison, both in blocks: what is held is one batch of embeddings, one vector a template
and one score a pair. Never embeds a face and never reads a list. Shape suffixes: F faces; T templates; P pairs; D
embedding length.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.training.evaluation.validation import EvaluationError

_BLOCK_PAIRS: Final = 1 << 14  # 2 x 32 MB at 512 numbers a vector


def face_weights(
    template_F: NDArray[np.int64], media_F: NDArray[np.int64], score_F: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """What each face's embedding counts for in its template (F,).

    Faces of one media are averaged and the media summed, so that a long video counts no more than a picture: a face
    weighs 1 / (faces of its media in its template), times the detector's score where one is given.
    """
    _, group, counts = np.unique(np.stack([template_F, media_F]), axis=1, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[group.reshape(-1)]
    return weights if score_F is None else weights * np.asarray(score_F, np.float64)


def template_vectors(
    batches: Iterable[NDArray[np.floating]],
    template_F: NDArray[np.int64],
    weight_F: NDArray[np.float64],
    num_templates: int,
    *,
    keep_norms: bool = True,
) -> NDArray[np.float32]:
    """Sums faces into templates as their embeddings come, then brings each to unit length.

    Args:
        batches: embeddings (n, D), in the order of the faces.
        template_F: the row of each face's template.
        weight_F: what each face counts for, see `face_weights`.
        num_templates: T.
        keep_norms: let a longer embedding weigh more, as published; else each is brought to unit length first.

    Returns:
        float32 (T, D), rows of unit length.

    Raises:
        EvaluationError: if a template sums to zero, so that it has no direction.
    """
    sums_TD: NDArray[np.float64] | None = None
    done = 0
    for vectors in batches:
        rows = np.asarray(vectors, np.float64)
        if sums_TD is None:
            sums_TD = np.zeros((num_templates, rows.shape[1]))
        if not keep_norms:
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        here = slice(done, done + len(rows))
        np.add.at(sums_TD, template_F[here], rows * weight_F[here, None])
        done += len(rows)
    if sums_TD is None or done != len(template_F):
        raise EvaluationError(f"{done} embeddings for {len(template_F)} faces")
    length = np.linalg.norm(sums_TD, axis=1, keepdims=True)
    if len(empty := np.flatnonzero(length == 0)):
        raise EvaluationError(f"{len(empty)} templates sum to a zero vector: their faces weigh nothing")
    return np.asarray(sums_TD / length, np.float32)


def pair_scores(
    unit_TD: NDArray[np.float32],
    first_P: NDArray[np.integer],
    second_P: NDArray[np.integer],
    *,
    block_pairs: int = _BLOCK_PAIRS,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Cosine similarity (P,) of pairs of templates, block by block: 4 bytes a pair and one block are held."""
    scores = np.empty(len(first_P), np.float32)
    for start in range(0, len(scores), block_pairs):
        here = slice(start, start + block_pairs)
        scores[here] = np.einsum("pd,pd->p", unit_TD[first_P[here]], unit_TD[second_P[here]])
        if progress is not None:
            progress(len(scores[here]))
    return np.clip(scores, -1.0, 1.0, out=scores)
