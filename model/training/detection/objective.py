"""The detector's objective: a network's answers and a batch's targets to the losses of a step.

Holds the gathering of positive anchors and the weighing. Never assigns anchors and holds no loss's formula.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from model.detector.network import NUM_LANDMARKS
from model.training.detection.drawing import Batch
from model.training.detection.losses import box_iou, distance_iou, landmark_distance, quality_focal
from model.training.detection.recipe import DetectorLossWeights
from model.training.detection.targets import anchor_grid


class _Grid(NamedTuple):
    """`targets.AnchorGrid` on a device."""

    centres: Tensor
    strides: Tensor
    sides: Tensor


@lru_cache(maxsize=16)
def _grid(height: int, width: int, device: torch.device) -> _Grid:
    # Kept: a copy to the device in every step would have it wait for all that was launched before.
    grid = anchor_grid(height, width)
    return _Grid(*(torch.from_numpy(each).to(device) for each in (grid.centres, grid.strides, grid.sides)))


def detection_losses(levels: list[tuple[Tensor, Tensor, Tensor]], batch: Batch) -> dict[str, Tensor]:
    """The three losses, each a positive anchor.

    Args:
        levels: what `DetectorNetwork.levels` answers on the batch's images.
        batch: the targets.

    Returns:
        `score`, `box`, `landmarks`, and `iou` (the positives' mean, for the log), scalars.
    """
    logits, distances, points = (torch.cat(each, dim=1) for each in zip(*levels, strict=True))
    height, width = batch.images.shape[2:]
    grid = _grid(height, width, logits.device)
    centres, strides, sides = (each.index_select(0, batch.anchor) for each in (grid.centres, grid.strides, grid.sides))
    # One index into all images' anchors: a row is picked, and its gradient put back, by one kernel.
    place = batch.image * logits.shape[1] + batch.anchor
    reach = distances.flatten(0, 1).index_select(0, place) * strides[:, None]
    boxes = torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], dim=1)
    offsets = points.flatten(0, 1).index_select(0, place).unflatten(1, (NUM_LANDMARKS, 2)) * strides[:, None, None]
    iou = box_iou(boxes.detach(), batch.boxes)
    quality = torch.zeros_like(logits[:, :, 0])
    quality.view(-1).index_copy_(0, place, iou)
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
