"""The centre loss: features drawn to their class' centre.

Holds the loss and the centres, which are training state. Never travels in a shipped checkpoint. Shape suffixes:
B batch; C feature length; K classes.
"""

import math

import torch
from torch import Tensor, nn

from model.losses.masking import at_least_float32, masked_mean


def centre_distance(feature_BC: Tensor, target_B: Tensor, centres_KC: Tensor) -> Tensor:
    """Mean over labelled rows of half the squared distance to the class' centre (Wen et al. 2016, ECCV, eq. 2).

    The features' gradient is the formula's. The centres' is that of the paper's eq. 4, per labelled row: a class' mean
    pull over 1 + its rows, so that a class that is frequent in a batch does not outrun the others.

    Args:
        feature_BC: float (B, C).
        target_B: int64 (B,), a class, or -1 for a row without a label.
        centres_KC: float (K, C).
    """
    feature_BC, known_B, labelled_B = at_least_float32(feature_BC), target_B.clamp(min=0), target_B >= 0
    counts_K = torch.bincount(target_B[labelled_B], minlength=len(centres_KC)).to(feature_BC.dtype)
    share_B1 = 1 / (1 + counts_K[known_B])[:, None]
    own_BC = centres_KC.to(feature_BC.dtype)[known_B]
    # The same value as `own_BC`, with its gradient scaled.
    own_BC = own_BC.detach() + share_B1 * (own_BC - own_BC.detach())
    difference_BC = torch.where(labelled_B[:, None], feature_BC - own_BC, torch.zeros_like(feature_BC))
    return masked_mean(difference_BC.square().sum(1) / 2, labelled_B)


class CentreLoss(nn.Module):
    """One centre a class, learned with the features."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_uniform_(self.centres, gain=math.sqrt(2.0))

    def forward(self, feature_BC: Tensor, target_B: Tensor) -> Tensor:
        """Features (B, C) and classes (B,), -1 for none, to a scalar."""
        return centre_distance(feature_BC, target_B, self.centres)
