"""Tests of model.attention."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from model.attention import ChannelGate, ContextualChannelAttention, LocalAttention, SpatialGate


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


def test_spatial_gate_is_cbams() -> None:
    """The gate is the sigmoid of a normed 7x7 convolution of the channels' maximum and mean, in this order."""
    torch.manual_seed(0)
    gate = SpatialGate()
    gate(torch.randn(8, 5, 7, 7))  # the norm sees something
    gate.eval()
    x = torch.randn(2, 5, 7, 7)
    descriptor = torch.stack([x.max(1).values, x.mean(1)], 1)
    norm = gate.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    normed = (F.conv2d(descriptor, gate.conv.weight, padding=3) - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(gate(x), x * torch.sigmoid(normed), rtol=1e-4, atol=1e-6)
    assert gate.conv.bias is None


def _maps(attention: LocalAttention, x: torch.Tensor) -> torch.Tensor:
    branches: Any = attention.branches
    maps = [F.conv2d(torch.relu(F.conv2d(x, b[0].weight)), b[2].weight).sigmoid() for b in branches]
    return torch.cat(maps, 1)


def test_local_attention_takes_the_largest_answer() -> None:
    """In evaluation each place is scaled by the largest of the branches' sigmoids, every branch alive."""
    attention = LocalAttention(6, 3, 0.6).eval()
    x = torch.randn(4, 6, 5, 5)
    torch.testing.assert_close(attention(x), x * _maps(attention, x).max(1, keepdim=True).values)


def test_local_attention_drops_one_branch_a_face() -> None:
    """In training with probability 1 exactly one branch of each face is dead, now this one, now that one."""
    torch.manual_seed(0)
    attention = LocalAttention(6, 3, 1.0).train()
    x = torch.randn(64, 6, 5, 5)
    maps = _maps(attention, x)
    without = [maps[:, [k for k in range(3) if k != dead]].max(1, keepdim=True).values for dead in range(3)]
    scale = attention(x) / x
    hits = torch.stack(
        [torch.isclose(scale, each.expand_as(scale), rtol=1e-3).all(3).all(2).all(1) for each in without]
    )
    assert bool(hits.any(0).all())
    assert bool(hits.any(1).all())


def test_local_attention_drops_as_often_as_configured() -> None:
    """A face loses a branch with the configured probability, each face by itself; a lone branch is never dropped."""
    torch.manual_seed(0)
    attention = LocalAttention(6, 4, 0.6)
    kept_BK = attention._kept(torch.ones(4000, 4, 1, 1))[:, :, 0, 0]
    num_dropped_B = (1 - kept_BK).sum(1)
    assert set(num_dropped_B.tolist()) == {0.0, 1.0}
    assert float(num_dropped_B.mean()) == pytest.approx(0.6, abs=0.03)
    assert (1 - kept_BK).mean(0).tolist() == pytest.approx([0.15] * 4, abs=0.02)
    alone = LocalAttention(6, 1, 1.0).train()
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(alone(x), x * _maps(alone, x))


def test_contextual_channel_attention_is_the_plain_formula() -> None:
    """Channel by channel, the softmax over the places of context plus key weighs the value, and x is added."""
    torch.manual_seed(0)
    attention = ContextualChannelAttention(16)
    x = torch.randn(2, 16, 3, 4)
    layers: Any = attention.key
    first, last = layers[0], layers[2]
    places = x.flatten(2).transpose(1, 2)  # (B, 12, C)
    value = places @ attention.value.weight.T + attention.value.bias
    key = F.gelu(places @ first.weight.T + first.bias) @ last.weight.T + last.bias
    key = key * places.mean(1, keepdim=True)
    bias: Any = attention.context.bias
    groups = [
        F.conv2d(x[:, 4 * g : 4 * g + 4], attention.context.weight[4 * g : 4 * g + 4], padding=3) for g in range(4)
    ]
    around = F.gelu(torch.cat(groups, 1) + bias[:, None, None]).flatten(2).transpose(1, 2)
    centred = around - around.mean(2, keepdim=True)
    context = centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
    weights = torch.exp(context + key) / torch.exp(context + key).sum(1, keepdim=True)
    expected = (weights * value).transpose(1, 2).view_as(x) + x
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)
    assert first.out_features == 2
