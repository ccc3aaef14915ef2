"""Multi-level feature fusion and channel attention: how a task group makes one vector of the tapped feature maps.

Holds what stands between the backbone and a group's trunk (SwinFace, arXiv 2308.11509, section 3.2; TMLFA calls the
pair MLCA). Never holds an output layer. Shape suffixes: B batch; C channels; H, W tokens on the last grid's sides.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import FusionConfig


def pool_to_last_grid(maps_BCHW: Sequence[Tensor]) -> list[Tensor]:
    """Average-pools every map (B, C, H, W) to the last one's grid, which must divide theirs."""
    side = maps_BCHW[-1].shape[-1]
    return [
        F.avg_pool2d(map_BCHW, map_BCHW.shape[-1] // side) if map_BCHW.shape[-1] > side else map_BCHW
        for map_BCHW in maps_BCHW
    ]


class MultiLevelFusion(nn.Module):
    """MLFF: one 3x3 convolution without bias a level, concatenated."""

    def __init__(self, in_dims: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(dim, width, 3, padding=1, bias=False) for dim, width in zip(in_dims, widths, strict=True)
        )

    def forward(self, maps_BCHW: Sequence[Tensor]) -> Tensor:
        """Maps of one grid, (B, C_level, H, W) each, to (B, sum of widths, H, W)."""
        return torch.cat([conv(level) for conv, level in zip(self.convs, maps_BCHW, strict=True)], 1)


class ChannelGate(nn.Module):
    """CBAM's channel attention (Woo et al. 2018, arXiv 1807.06521, eq. 2).

    The average- and the max-pooled descriptor go through ONE shared MLP; the sum's sigmoid scales the channels.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        gate_BC = torch.sigmoid(self.mlp(x_BCHW.mean((2, 3))) + self.mlp(x_BCHW.amax((2, 3))))
        return x_BCHW * gate_BC[:, :, None, None]


class GlobalPool(nn.Module):
    """(B, C, H, W) to (B, C), by maximum or by mean."""

    def __init__(self, kind: Literal["max", "average"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pools over the whole grid."""
        return x_BCHW.amax((2, 3)) if self.kind == "max" else x_BCHW.mean((2, 3))


class GroupFusion(nn.Module):
    """A group's way from the levels to its descriptor: fusion, channel gate, ReLU, global pool, batch norm."""

    def __init__(self, in_dims: Sequence[int], config: FusionConfig, batch_norm_eps: float) -> None:
        super().__init__()
        self.fusion = MultiLevelFusion(in_dims, config.widths)
        self.attention = ChannelGate(config.channels, config.reduction)
        self.pool = GlobalPool(config.pool)
        self.norm = nn.BatchNorm1d(config.channels, batch_norm_eps)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> Tensor:
        """Maps of one grid to (B, sum of widths)."""
        gated_BCHW = self.attention(self.fusion(maps_BCHW))
        descriptor_BC: Tensor = self.norm(self.pool(torch.relu(gated_BCHW)))
        return descriptor_BC
