"""Tests of model.fusion."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from model.attention import ChannelGate
from model.config import FusionConfig
from model.fusion import GlobalPool, GroupFusion, MultiLevelFusion, pool_to_last_grid


def test_early_maps_are_pooled_to_the_last_grid() -> None:
    """A 28-, a 14- and a 7-token map become 7-token means; the last is left as it is."""
    maps = [torch.randn(2, 3, side, side) for side in (28, 14, 7)]
    pooled = pool_to_last_grid(maps)
    assert [tuple(level.shape[2:]) for level in pooled] == [(7, 7)] * 3
    torch.testing.assert_close(pooled[0][0, 0, 0, 1], maps[0][0, 0, :4, 4:8].mean())
    assert pooled[2] is maps[2]


def test_each_level_has_its_own_convolution() -> None:
    """The fused channels are the levels' own 3x3 convolutions side by side, without bias."""
    fusion = MultiLevelFusion((3, 5), (2, 4), "split")
    maps = [torch.randn(2, 3, 7, 7), torch.randn(2, 5, 7, 7)]
    fused = fusion(maps)
    assert fused.shape == (2, 6, 7, 7)
    assert all(conv.bias is None for conv in fusion.convs)
    convs: Any = fusion.convs
    expected = F.conv2d(maps[1], convs[1].weight, padding=1)
    torch.testing.assert_close(fused[:, 2:], expected)


def test_channel_gate_is_cbams() -> None:
    """The gate is the sigmoid of one shared MLP on the mean and on the maximum, summed."""
    gate = ChannelGate(6, 2)
    x = torch.randn(3, 6, 4, 4)
    layers: Any = gate.mlp
    first, second = layers[0], layers[2]

    def mlp(v: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(torch.relu(v @ first.weight.T + first.bias) @ second.weight.T + second.bias)

    scale = torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.flatten(2).max(2).values))
    torch.testing.assert_close(gate(x), x * scale[:, :, None, None])
    assert first.weight.shape == (3, 6)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pool_kind(kind: str) -> None:
    """The configured pool decides between the maximum and the mean over the grid."""
    x = torch.arange(8.0).view(1, 2, 2, 2)
    expected = [[3.0, 7.0]] if kind == "max" else [[1.5, 5.5]]
    assert GlobalPool(kind)(x).tolist() == expected  # type: ignore[arg-type]


def test_descriptor_is_the_normed_pool_of_the_positive_part() -> None:
    """A group's descriptor is batch norm of the pooled ReLU of the gated, fused map."""
    fusion = GroupFusion((3, 5), FusionConfig(widths=(2, 4), reduction=2), 1, 2e-5)
    maps = [torch.randn(4, 3, 7, 7), torch.randn(4, 5, 7, 7)]
    fused: Any = fusion.fusion
    gated = fusion.attention(fused(maps)).clamp(min=0).flatten(2).max(2).values
    expected = (gated - gated.mean(0)) / (gated.var(0, unbiased=False) + 2e-5).sqrt()
    torch.testing.assert_close(fusion(maps), expected, rtol=1e-4, atol=1e-4)
