"""Recognition subnets: how the last feature map becomes an embedding.

Holds the subnets and the one place where a configuration finds its own. Never L2-normalises the embedding (see
`model.analyzer`). Shape suffixes: B batch; C channels; H, W places on the grid's sides; D embedding length.
"""

from collections.abc import Callable, Mapping
from typing import Final, cast

import torch
from torch import Tensor, nn

from model.fusion import GlobalPool
from model.network_config import NetworkConfig, RecognitionKind


class DepthwisePool(nn.Module):
    """(B, C, H, W) to (B, C * num_maps): each channel's weighted sums over the grid, the weights learnt."""

    def __init__(self, channels: int, grid: int, num_maps: int) -> None:
        super().__init__()
        self.num_maps = num_maps
        # (C, H * W, maps). Around the mean's own weights, apart enough for the maps to become different ones.
        self.weight = nn.Parameter(1 / grid**2 + torch.randn(channels, grid**2, num_maps) / grid**2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Weighs and sums over the whole grid.

        Written as a product a channel: onnxruntime's CUDA Einsum cannot be recorded as a CUDA graph.
        """
        x_CBN = x_BCHW.flatten(2).transpose(0, 1)
        return torch.matmul(x_CBN, self.weight).transpose(0, 1).flatten(1)


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

    @property
    def output_layers(self) -> tuple[nn.Linear, nn.BatchNorm1d]:
        """The last two layers: what an affine map of the embedding can be written into."""
        return cast("nn.Linear", self.feature[2]), cast("nn.BatchNorm1d", self.feature[3])

    def forward(self, last_BCHW: Tensor) -> Tensor:
        """The last stage's map to the embedding (B, D), not L2-normalised."""
        tokens_BHWC = self.norm(last_BCHW.permute(0, 2, 3, 1))
        embedding_BD: Tensor = self.feature(self.pool(tokens_BHWC.permute(0, 3, 1, 2)))
        return embedding_BD


class FlatRecognition(nn.Module):
    """IR's output layer: batch norm, dropout, every place of every channel into one linear layer, batch norm.

    The same as ArcFace's option "E" (Deng et al. 2019, arXiv 1801.07698, section 3.2.1).
    """

    def __init__(self, channels: int, grid: int, embedding_dim: int, dropout: float, batch_norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, batch_norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels * grid**2, embedding_dim)
        self.feature_norm = nn.BatchNorm1d(embedding_dim, batch_norm_eps)

    @property
    def output_layers(self) -> tuple[nn.Linear, nn.BatchNorm1d]:
        """The last two layers: what an affine map of the embedding can be written into."""
        return self.linear, self.feature_norm

    def forward(self, last_BCHW: Tensor) -> Tensor:
        """The last stage's map to the embedding (B, D), not L2-normalised."""
        flat_BC = self.dropout(self.norm(last_BCHW)).flatten(1)
        embedding_BD: Tensor = self.feature_norm(self.linear(flat_BC))
        return embedding_BD


def _pooled(config: NetworkConfig, channels: int, grid: int, embedding_dim: int) -> nn.Module:
    return Recognition(channels, grid, embedding_dim, config.recognition_maps, config.batch_norm_eps)


def _flat(config: NetworkConfig, channels: int, grid: int, embedding_dim: int) -> nn.Module:
    return FlatRecognition(channels, grid, embedding_dim, config.recognition_dropout, config.batch_norm_eps)


RECOGNITIONS: Final[Mapping[RecognitionKind, Callable[[NetworkConfig, int, int, int], nn.Module]]] = {
    "pooled": _pooled,
    "flat": _flat,
}


def build_recognition(config: NetworkConfig) -> nn.Module | None:
    """The subnet that a network's configuration describes, untrained; None for a network without one."""
    if config.embedding_dim is None:
        return None
    trunk = config.backbone
    return RECOGNITIONS[config.recognition](config, trunk.dims[-1], trunk.grids[-1], config.embedding_dim)


def output_layers(subnet: nn.Module) -> tuple[nn.Linear, nn.BatchNorm1d]:
    """A subnet's last two layers: what an affine map of the embedding can be written into."""
    assert isinstance(subnet, Recognition | FlatRecognition)
    return subnet.output_layers
