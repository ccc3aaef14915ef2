"""The detector's losses, each a pure function of predictions and targets.

Holds no weights and no state. Never assigns anchors (see `model.training.detection.targets`).
Shape suffixes: B batch; A anchors; P positive anchors of the whole batch.
"""

import torch
from torch import Tensor
from torch.nn import functional

_FOCUS = 2.0  # the exponent that quiets anchors which are nearly right (Li et al. 2020)
_SMOOTH_L1_BETA = 0.05  # in half sides of an anchor: under it the error counts squared


def quality_focal(logits: Tensor, quality: Tensor, counted: Tensor) -> Tensor:
    """Quality focal loss: cross-entropy towards the box's IoU, weighted by the squared distance from it.

    Li et al. 2020, arXiv 2006.04388, eq. 4.

    Args:
        logits: (B, A).
        quality: (B, A), the IoU of a positive anchor's box with its face, 0 for all others.
        counted: (B, A) bool; other anchors lose nothing.

    Returns:
        The sum over counted anchors, a scalar.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    weight = (quality - logits.sigmoid()).abs() ** _FOCUS
    return (entropy * weight * counted).sum()


def box_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """IoU of boxes (P, 4) with targets (P, 4), pairwise, (P,)."""
    shared = _intersection(boxes, targets)
    return shared / (_area(boxes) + _area(targets) - shared).clamp(min=1e-6)


def distance_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """DIoU loss of boxes (P, 4) against targets (P, 4): 1 - IoU + squared centre distance by the hull's diagonal.

    Zheng et al. 2020, arXiv 1911.08287, eq. 7.

    Returns:
        (P,), 0 for equal boxes and at most 2.
    """
    between = ((boxes[:, :2] + boxes[:, 2:]) - (targets[:, :2] + targets[:, 2:])) / 2
    hull = torch.maximum(boxes[:, 2:], targets[:, 2:]) - torch.minimum(boxes[:, :2], targets[:, :2])
    return 1 - box_iou(boxes, targets) + between.square().sum(1) / hull.square().sum(1).clamp(min=1e-6)


def landmark_distance(points: Tensor, targets: Tensor, half_sides: Tensor) -> Tensor:
    """Smooth L1 of key points in half sides of their anchor, so that a face's size does not weigh it.

    Args:
        points: (P, 5, 2), pixels.
        targets: (P, 5, 2), pixels.
        half_sides: (P,), half the anchor's side, pixels.

    Returns:
        (P,), the mean over a face's ten numbers.
    """
    scale = half_sides[:, None, None]
    loss = functional.smooth_l1_loss(points / scale, targets / scale, beta=_SMOOTH_L1_BETA, reduction="none")
    return loss.mean(dim=(1, 2))


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def _intersection(boxes: Tensor, targets: Tensor) -> Tensor:
    extent = torch.minimum(boxes[:, 2:], targets[:, 2:]) - torch.maximum(boxes[:, :2], targets[:, :2])
    return extent.clamp(min=0).prod(1)
