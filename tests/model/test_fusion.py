"""Tests of model.fusion."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from model.attention import ChannelGate, LocalAttention, SpatialGate
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


def test_normal_fusion_is_one_convolution() -> None:
    """In the mode `normal` one 3x3 convolution reads all levels side by side."""
    fusion = MultiLevelFusion((3, 5), (4,), "normal")
    maps = [torch.randn(2, 3, 7, 7), torch.randn(2, 5, 7, 7)]
    convs: Any = fusion.convs
    torch.testing.assert_close(fusion(maps), F.conv2d(torch.cat(maps, 1), convs[0].weight, padding=1))
    assert len(convs) == 1


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


@pytest.mark.parametrize(
    ("config", "gate", "spatial"),
    [
        (FusionConfig(widths=(2, 4), reduction=2), ChannelGate, nn.Identity),
        (FusionConfig(widths=(2, 4), channel_attention=False), nn.Identity, nn.Identity),
        (FusionConfig(widths=(2, 4), spatial_attention="cbam"), ChannelGate, SpatialGate),
        (FusionConfig(widths=(2, 4), channel_attention=False, spatial_attention="lanet"), nn.Identity, LocalAttention),
    ],
)
def test_attention_is_what_the_configuration_says(config: FusionConfig, gate: type, spatial: type) -> None:
    """Channel attention stands before spatial attention, each only where it is asked for."""
    fusion = GroupFusion((3, 5), config, 3, 2e-5).eval()
    assert type(fusion.attention) is gate
    assert type(fusion.spatial) is spatial
    maps = [torch.randn(4, 3, 7, 7), torch.randn(4, 5, 7, 7)]
    fused: Any = fusion.fusion
    expected = fusion.spatial(fusion.attention(fused(maps))).clamp(min=0).amax((2, 3)) / (1 + 2e-5) ** 0.5
    torch.testing.assert_close(fusion(maps), expected)
    if isinstance(fusion.spatial, LocalAttention):
        assert len(fusion.spatial.branches) == 3


def test_a_shared_fusion_is_not_the_groups_own() -> None:
    """A group whose fusion is shared takes the fused map as it comes."""
    fusion = GroupFusion((3, 5), FusionConfig(widths=(2, 4), channel_attention=False, shared=True), 1, 2e-5).eval()
    fused_BCHW = torch.randn(2, 6, 7, 7)
    assert fusion.fusion is None
    torch.testing.assert_close(fusion([fused_BCHW]), fused_BCHW.clamp(min=0).amax((2, 3)) / (1 + 2e-5) ** 0.5)
