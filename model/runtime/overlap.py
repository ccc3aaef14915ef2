"""Overlap: how much boxes share.

Holds areas alone, of boxes x1, y1, x2, y2 in any unit. Never decides which box is which. SCRFD's suppression counts end
pixels and has its own (see `model.runtime.detection.suppress`).
"""

import numpy as np
from numpy.typing import NDArray


def areas(boxes_K4: NDArray[np.floating]) -> NDArray[np.floating]:
    """Areas (K,), 0 for a box that is inside out."""
    return np.asarray(np.clip(boxes_K4[:, 2:] - boxes_K4[:, :2], 0, None).prod(axis=1))


def shared_areas(boxes_K4: NDArray[np.floating], others_L4: NDArray[np.floating]) -> NDArray[np.floating]:
    """What each box (K, 4) has in common with each of others (L, 4), (K, L)."""
    low = np.maximum(boxes_K4[:, None, :2], others_L4[None, :, :2])
    high = np.minimum(boxes_K4[:, None, 2:], others_L4[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))


def intersection_over_union(boxes_K4: NDArray[np.floating], others_L4: NDArray[np.floating]) -> NDArray[np.floating]:
    """IoU of each box (K, 4) with each of others (L, 4), (K, L); 0 where neither has an area."""
    shared_KL = shared_areas(boxes_K4, others_L4)
    union_KL = areas(boxes_K4)[:, None] + areas(others_L4)[None] - shared_KL
    return np.asarray(shared_KL / np.maximum(union_KL, 1e-9))
