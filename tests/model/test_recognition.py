"""Tests of model.recognition."""

from dataclasses import replace
from typing import Any

import torch

from model.recognition import DepthwisePool, FlatRecognition, Recognition, build_recognition
from tests.model.networks import TINY, small_iresnet


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


def test_flat_recognition_is_norm_flatten_linear_norm() -> None:
    """IR's subnet: batch norm, every place of every channel, channel by channel, into one linear layer, batch norm."""
    torch.manual_seed(0)
    head = FlatRecognition(3, 4, 10, 0.4, 1e-5).eval()
    last_BCHW = torch.randn(5, 3, 4, 4)
    normed = (last_BCHW / (1 + 1e-5) ** 0.5).reshape(5, 48)
    expected = (normed @ head.linear.weight.T + head.linear.bias) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(head(last_BCHW), expected)


def test_flat_recognition_drops_in_training_alone() -> None:
    """In evaluation the same map gives the same embedding; in training dropout makes it differ."""
    head = FlatRecognition(3, 4, 10, 0.9, 1e-5)
    last_BCHW = torch.randn(5, 3, 4, 4)
    assert not torch.equal(head(last_BCHW), head(last_BCHW))
    head.eval()
    assert torch.equal(head(last_BCHW), head(last_BCHW))


def test_subnet_follows_the_configuration() -> None:
    """The registry gives the subnet that the configuration names, and none for a network without an embedding."""
    assert isinstance(build_recognition(TINY), Recognition)
    flat = build_recognition(small_iresnet())
    assert isinstance(flat, FlatRecognition)
    assert flat.dropout.p == 0.4
    assert build_recognition(replace(TINY, embedding_dim=None)) is None
