"""Multi-level feature fusion: how a task group makes one vector of the tapped feature maps.

Holds what stands between the trunk and a group's own layers (SwinFace, arXiv 2308.11509, section 3.2; TMLFA calls
fusion and channel attention MLCA). Never holds an output layer. Shape suffixes: B batch; C channels; H, W places on
the last grid's sides.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import ChannelGate, LocalAttention, SpatialGate
from model.network_config import FusionConfig


def pool_to_last_grid(maps_BCHW: Sequence[Tensor]) -> list[Tensor]:
    """Average-pools every map (B, C, H, W) to the last one's grid, which must divide theirs."""
    side = maps_BCHW[-1].shape[-1]
    return [
        F.avg_pool2d(map_BCHW, map_BCHW.shape[-1] // side) if map_BCHW.shape[-1] > side else map_BCHW
        for map_BCHW in maps_BCHW
    ]


class MultiLevelFusion(nn.Module):
    """MLFF: 3x3 convolutions without bias, concatenated: one a level, or one of all levels side by side."""

    def __init__(self, in_dims: Sequence[int], widths: Sequence[int], mode: Literal["split", "normal"]) -> None:
        super().__init__()
        self.mode = mode
        dims = list(in_dims) if mode == "split" else [sum(in_dims)]
        self.convs = nn.ModuleList(
            nn.Conv2d(dim, width, 3, padding=1, bias=False) for dim, width in zip(dims, widths, strict=True)
        )

    def forward(self, maps_BCHW: Sequence[Tensor]) -> Tensor:
        """Maps of one grid, (B, C_level, H, W) each, to (B, sum of widths, H, W)."""
        maps = maps_BCHW if self.mode == "split" else [torch.cat(list(maps_BCHW), 1)]
        return torch.cat([conv(level) for conv, level in zip(self.convs, maps, strict=True)], 1)


class GlobalPool(nn.Module):
    """(B, C, H, W) to (B, C), by maximum or by mean."""

    def __init__(self, kind: Literal["max", "average"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pools over the whole grid."""
        return x_BCHW.amax((2, 3)) if self.kind == "max" else x_BCHW.mean((2, 3))


class GroupFusion(nn.Module):
    """A group's way from the levels to its descriptor: fusion, attention, ReLU, global pool, batch norm.

    Attributes:
        fusion: the group's own; None where all groups share one, whose output is then what comes in.
    """

    def __init__(self, in_dims: Sequence[int], config: FusionConfig, num_branches: int, batch_norm_eps: float) -> None:
        super().__init__()
        self.fusion = None if config.shared else MultiLevelFusion(in_dims, config.widths, config.mode)
        self.attention = ChannelGate(config.channels, config.reduction) if config.channel_attention else nn.Identity()
        self.spatial = _spatial(config, num_branches)
        self.pool = GlobalPool(config.pool)
        self.norm = nn.BatchNorm1d(config.channels, batch_norm_eps)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> Tensor:
        """Maps of one grid, or the one map of a shared fusion, to (B, sum of widths)."""
        fused_BCHW = maps_BCHW[0] if self.fusion is None else self.fusion(maps_BCHW)
        attended_BCHW = self.spatial(self.attention(fused_BCHW))
        descriptor_BC: Tensor = self.norm(self.pool(torch.relu(attended_BCHW)))
        return descriptor_BC


def _spatial(config: FusionConfig, num_branches: int) -> nn.Module:
    if config.spatial_attention == "cbam":
        return SpatialGate()
    if config.spatial_attention == "lanet":
        return LocalAttention(config.channels, num_branches, config.lanet_dropout)
    return nn.Identity()
