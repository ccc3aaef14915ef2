"""Heads: how feature maps and the embedding become the raw outputs of the task groups.

Holds the kinds of head and the one place where a configuration finds its own. Never applies a softmax or a
normalisation of the answer (see `model.analyzer`). Shape suffixes: B batch; C channels; H, W places of a map; D
embedding length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import ContextualChannelAttention
from model.fusion import GroupFusion, MultiLevelFusion, pool_to_last_grid
from model.network_config import SHARED_FUSION, GroupConfig, Head, NetworkConfig

FEATURE: Final = "feature"


def _outputs(config: NetworkConfig, group: GroupConfig, dim: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(dim, config.output_size(name)) for name in group.outputs})


class GroupHead(nn.Module):
    """A task group: its fusion, a trunk of two linear layers with ReLU and dropout, one linear layer an output."""

    def __init__(self, config: NetworkConfig, group: GroupConfig) -> None:
        super().__init__()
        dims = config.backbone.tap_dims[config.fusion.levels]
        num_branches = config.fusion.num_branches(config.groups.index(group)) if group in config.groups else 1
        self.fusion = GroupFusion(dims, config.fusion, num_branches, config.batch_norm_eps)
        self.trunk = nn.Sequential(
            nn.Linear(config.fusion.channels, config.fc_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.fc_dim, config.fc_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )
        self.outputs = _outputs(config, group, config.fc_dim)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> dict[str, Tensor]:
        """Maps of one grid to one (B, size) an output."""
        trunk_BC = self.trunk(self.fusion(maps_BCHW))
        return {name: layer(trunk_BC) for name, layer in self.outputs.items()}


class FusionHead(nn.ModuleDict):
    """SwinFace's: every group fuses the levels its own way, or all share one fusion (a module beside the groups)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__({group.name: GroupHead(config, group) for group in config.groups})
        self.config = config
        if config.fusion.shared:
            dims = config.backbone.tap_dims[config.fusion.levels]
            self[SHARED_FUSION] = MultiLevelFusion(dims, config.fusion.widths, config.fusion.mode)

    def forward(self, maps_BCHW: Sequence[Tensor], embedding_BD: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """The tapped maps to one (B, size) an output."""
        if not self.config.groups:
            return {}
        levels_BCHW = pool_to_last_grid(maps_BCHW)[self.config.fusion.levels]
        if self.config.fusion.shared:
            levels_BCHW = [self[SHARED_FUSION](levels_BCHW)]
        answers = [self[group.name](levels_BCHW) for group in self.config.groups]
        return {name: out for outputs in answers for name, out in outputs.items()}


class ContextHead(nn.Module):
    """FAER's: contextual channel attention on the last map, its mean, layer norm, one linear layer for the group."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.names = config.outputs
        self.sizes = [config.output_size(name) for name in self.names]
        channels = config.backbone.dims[-1]
        self.attention = ContextualChannelAttention(channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.linear = nn.Linear(channels, sum(self.sizes))

    def forward(self, maps_BCHW: Sequence[Tensor], embedding_BD: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """The tapped maps to one (B, size) an output and `feature` (B, C), the mean before the norm."""
        feature_BC = self.attention(maps_BCHW[-1]).mean((2, 3))
        outputs = torch.split(self.linear(self.norm(feature_BC)), self.sizes, 1)
        return {FEATURE: feature_BC, **dict(zip(self.names, outputs, strict=True))}


class EmbeddingHead(nn.ModuleDict):
    """face_analysis_pytorch's: one linear layer an output on the L2-normalised embedding."""

    def __init__(self, config: NetworkConfig) -> None:
        assert config.embedding_dim is not None
        dim = config.embedding_dim
        super().__init__({group.name: _outputs(config, group, dim) for group in config.groups})

    def forward(self, maps_BCHW: Sequence[Tensor], embedding_BD: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """The embedding, as the recognition subnet gives it, to one (B, size) an output."""
        assert embedding_BD is not None
        unit_BD = F.normalize(embedding_BD, dim=1)
        return {name: layer(unit_BD) for group in self.values() for name, layer in _layers(group)}


def _layers(group: nn.Module) -> list[tuple[str, nn.Module]]:
    assert isinstance(group, nn.ModuleDict)
    return list(group.items())


HEADS: Final[Mapping[Head, Callable[[NetworkConfig], nn.Module]]] = {
    "fusion": FusionHead,
    "context": ContextHead,
    "embedding": EmbeddingHead,
}


def build_head(config: NetworkConfig) -> nn.Module:
    """The head that a network's configuration describes, untrained."""
    return HEADS[config.head](config)
