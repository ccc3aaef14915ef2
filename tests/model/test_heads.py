"""Tests of model.heads."""

from typing import Any

import torch

from model.config import GroupConfig
from model.heads import GroupHead
from model.recognition import DepthwisePool, Recognition
from tests.model.networks import TINY


def test_recognition_is_norm_pool_and_two_normed_linears() -> None:
    """The embedding is SwinFace's chain: layer norm, mean over tokens, linear, batch norm, linear, batch norm."""
    torch.manual_seed(0)
    head = Recognition(6, 7, 10, 0, 2e-5).eval()
    last_BCHW = torch.randn(3, 6, 7, 7)
    tokens = last_BCHW.flatten(2).transpose(1, 2)
    normed = (tokens - tokens.mean(2, keepdim=True)) / (tokens.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    feature: Any = head.feature
    first, _, second, _ = feature
    # Untrained running statistics are 0 and 1, so each batch norm only divides by sqrt(1 + eps).
    expected = normed.mean(1) @ first.weight.T @ second.weight.T / (1 + 2e-5)
    torch.testing.assert_close(head(last_BCHW), expected, rtol=1e-4, atol=1e-5)
    assert first.bias is None
    assert second.bias is None


def test_depthwise_pool_weighs_places() -> None:
    """Each channel gives its weighted sums over the grid, one a map, channel after channel."""
    pool = DepthwisePool(3, 4, 2)
    x_BCHW = torch.randn(5, 3, 4, 4)
    weight = pool.weight.view(3, 4, 4, 2)
    expected = [(x_BCHW[:, c] * weight[c, :, :, k]).sum((1, 2)) for c in range(3) for k in range(2)]
    torch.testing.assert_close(pool(x_BCHW), torch.stack(expected, 1))


def test_depthwise_pool_stands_before_the_linears() -> None:
    """With learnt maps the embedding keeps its length, and where a feature stands changes it."""
    torch.manual_seed(0)
    head = Recognition(6, 7, 10, 4, 2e-5).eval()
    last_BCHW = torch.randn(3, 6, 7, 7)
    assert head(last_BCHW).shape == (3, 10)
    assert not torch.allclose(head(last_BCHW), head(last_BCHW.flip(3)), atol=1e-3)
    plain = Recognition(6, 7, 10, 0, 2e-5).eval()
    torch.testing.assert_close(plain(last_BCHW), plain(last_BCHW.flip(3)), rtol=1e-4, atol=1e-5)


def test_group_has_one_layer_an_output() -> None:
    """A group answers each of its outputs with that output's size, from one trunk."""
    head = GroupHead(TINY, GroupConfig("a", ("age", "race", "5_o_clock_shadow", "expression")))
    maps = [torch.randn(2, dim, 7, 7) for dim in TINY.backbone.tap_dims]
    sizes = {name: tuple(value.shape) for name, value in head(maps).items()}
    assert sizes == {"age": (2, 1), "race": (2, 5), "5_o_clock_shadow": (2, 2), "expression": (2, 7)}


def test_dropout_acts_in_training_alone() -> None:
    """In evaluation the trunk answers alike twice; in training dropout makes it differ."""
    head = GroupHead(TINY, GroupConfig("a", ("expression",)))
    trunk: Any = head.trunk
    trunk[2].p = 0.9
    maps = [torch.randn(4, dim, 7, 7) for dim in TINY.backbone.tap_dims]
    head.eval()
    assert torch.equal(head(maps)["expression"], head(maps)["expression"])
    head.train()
    passes = torch.stack([head(maps)["expression"] for _ in range(5)])
    assert not torch.equal(passes[0], passes[1])
