"""Heads: the recognition subnet, and a task group's trunk with its output layers.

Holds what turns features into raw outputs. Never applies a softmax or a normalisation of the answer (see
`model.analyzer`). Shape suffixes: B batch; C channels; H, W tokens on the grid's sides; D embedding length.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.config import OUTPUT_SIZES, GroupConfig, NetworkConfig
from model.fusion import GlobalPool, GroupFusion


class DepthwisePool(nn.Module):
    """(B, C, H, W) to (B, C * num_maps): each channel's weighted sums over the grid, the weights learnt."""

    def __init__(self, channels: int, grid: int, num_maps: int) -> None:
        super().__init__()
        self.num_maps = num_maps
        # (C, H * W, maps). Around the mean's own weights, apart enough for the maps to become different ones.
        self.weight = nn.Parameter(1 / grid**2 + torch.randn(channels, grid**2, num_maps) / grid**2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Weighs and sums over the whole grid."""
        return torch.einsum("bcn,cnk->bck", x_BCHW.flatten(2), self.weight).flatten(1)


class Recognition(nn.Module):
    """SwinFace's recognition subnet: layer norm, pool, linear, batch norm, linear, batch norm."""

    def __init__(self, channels: int, grid: int, embedding_dim: int, num_maps: int, batch_norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.pool = DepthwisePool(channels, grid, num_maps) if num_maps else GlobalPool("average")
        self.feature = nn.Sequential(
            nn.Linear(channels * max(num_maps, 1), channels, bias=False),
            nn.BatchNorm1d(channels, batch_norm_eps),
            nn.Linear(channels, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim, batch_norm_eps),
        )

    def forward(self, last_BCHW: Tensor) -> Tensor:
        """The last stage's map to the embedding (B, D), not L2-normalised."""
        tokens_BHWC = self.norm(last_BCHW.permute(0, 2, 3, 1))
        embedding_BD: Tensor = self.feature(self.pool(tokens_BHWC.permute(0, 3, 1, 2)))
        return embedding_BD


class GroupHead(nn.Module):
    """A task group: its fusion, a trunk of two linear layers with ReLU and dropout, one linear layer an output."""

    def __init__(self, config: NetworkConfig, group: GroupConfig) -> None:
        super().__init__()
        self.fusion = GroupFusion(config.backbone.tap_dims, config.fusion, config.batch_norm_eps)
        self.trunk = nn.Sequential(
            nn.Linear(config.fusion.channels, config.fc_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.fc_dim, config.fc_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )
        self.outputs = nn.ModuleDict({name: nn.Linear(config.fc_dim, OUTPUT_SIZES[name]) for name in group.outputs})

    def forward(self, maps_BCHW: Sequence[Tensor]) -> dict[str, Tensor]:
        """Maps of one grid to one (B, size) an output."""
        trunk_BC = self.trunk(self.fusion(maps_BCHW))
        return {name: layer(trunk_BC) for name, layer in self.outputs.items()}
