"""Heads: the recognition subnet, and a task group's trunk with its output layers.

Holds what turns features into raw outputs. Never applies a softmax or a normalisation of the answer (see
`model.analyzer`). Shape suffixes: B batch; C channels; H, W tokens on the grid's sides; D embedding length.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from model.config import OUTPUT_SIZES, GroupConfig, NetworkConfig
from model.fusion import GroupFusion


class Recognition(nn.Module):
    """SwinFace's recognition subnet: layer norm, average pool, linear, batch norm, linear, batch norm."""

    def __init__(self, channels: int, embedding_dim: int, batch_norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.feature = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.BatchNorm1d(channels, batch_norm_eps),
            nn.Linear(channels, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim, batch_norm_eps),
        )

    def forward(self, last_BCHW: Tensor) -> Tensor:
        """The last stage's map to the embedding (B, D), not L2-normalised."""
        tokens_BHWC = self.norm(last_BCHW.permute(0, 2, 3, 1))
        embedding_BD: Tensor = self.feature(tokens_BHWC.mean((1, 2)))
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
