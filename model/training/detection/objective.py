"""The detector's objective: a network's answers and a batch's targets to the losses of a step.

Holds the gathering of positive anchors and the weighing. Never assigns anchors and holds no loss's formula.
"""

import torch
from torch import Tensor

from model.detector.network import NUM_LANDMARKS
from model.training.detection.batches import Batch
from model.training.detection.losses import box_iou, distance_iou, landmark_distance, quality_focal
from model.training.detection.recipe import DetectorLossWeights
from model.training.detection.targets import anchor_grid


def detection_losses(levels: list[tuple[Tensor, Tensor, Tensor]], batch: Batch) -> dict[str, Tensor]:
    """The three losses, each a positive anchor.

    Args:
        levels: what `DetectorNetwork.levels` answers on the batch's images.
        batch: the targets.

    Returns:
        `score`, `box`, `landmarks`, and `iou` (the positives' mean, for the log), scalars.
    """
    logits, distances, points = (torch.cat(each, dim=1) for each in zip(*levels, strict=True))
    grid = anchor_grid(batch.images.shape[2], batch.images.shape[3])
    centres, strides, sides = (
        torch.from_numpy(each).to(logits.device)[batch.anchor] for each in (grid.centres, grid.strides, grid.sides)
    )
    reach = distances[batch.image, batch.anchor] * strides[:, None]
    boxes = torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], dim=1)
    offsets = points[batch.image, batch.anchor].reshape(-1, NUM_LANDMARKS, 2) * strides[:, None, None]
    iou = box_iou(boxes.detach(), batch.boxes)
    quality = torch.zeros_like(logits[:, :, 0])
    quality[batch.image, batch.anchor] = iou
    count = max(len(iou), 1)
    return {
        "score": quality_focal(logits[:, :, 0], quality, batch.counted) / count,
        "box": distance_iou(boxes, batch.boxes).sum() / count,
        "landmarks": landmark_distance(centres[:, None] + offsets, batch.landmarks, sides / 2).sum() / count,
        "iou": iou.sum() / count,
    }


def weighted_sum(losses: dict[str, Tensor], weights: DetectorLossWeights) -> Tensor:
    """The loss that is minimised."""
    return weights.score * losses["score"] + weights.box * losses["box"] + weights.landmarks * losses["landmarks"]
