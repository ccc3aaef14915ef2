"""Blending: one face's key points from all anchors that saw it, not from the surest alone.

Suppression keeps one anchor's answer and throws its neighbours' away, though each is an estimate of the same points;
the mean of them, weighed by score, is nearer (Bazarevsky et al. 2019, "BlazeFace", arXiv 1907.05047, section 3.3).
Holds the mean. Never decides which faces there are. Shape suffixes: A anchors over a floor; K faces that are kept.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.runtime.overlap import intersection_over_union

# Of the surest anchor's score: what its neighbours must have, so that the floor may be as far under a lowest score.
SHARE: Final = 0.75
_MIN_IOU: Final = 0.6  # with the surest anchor's box: another face's anchors overlap it less


def blended(
    boxes_A4: NDArray[np.float32],
    scores_A: NDArray[np.float32],
    landmarks_A52: NDArray[np.float32],
    keep_K: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Key points of the faces that are kept.

    Args:
        boxes_A4: x1, y1, x2, y2 of all anchors of `SHARE` of the lowest score or more.
        scores_A: theirs.
        landmarks_A52: theirs, five points each.
        keep_K: indices of the surest anchors, one a face.

    Returns:
        float32 (K, 5, 2), the means over each face's anchors, weighed by score.
    """
    if not len(keep_K):
        return landmarks_A52[keep_K]
    overlap_KA = intersection_over_union(boxes_A4[keep_K], boxes_A4)
    counts_KA = (overlap_KA >= _MIN_IOU) & (scores_A[None] >= SHARE * scores_A[keep_K][:, None])
    counts_KA[np.arange(len(keep_K)), keep_K] = True  # a box without an area overlaps nothing, itself included
    weight_KA = counts_KA * scores_A[None]
    weight_KA = weight_KA / weight_KA.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("ka,apc->kpc", weight_KA, landmarks_A52), np.float32)
