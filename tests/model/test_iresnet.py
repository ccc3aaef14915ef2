"""Tests of model.iresnet."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from model.config import IResNetConfig
from model.iresnet import IResNetBackbone, ResidualUnit, SqueezeExcitation


def _affine(norm: nn.Module, x_BCHW: torch.Tensor) -> torch.Tensor:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (x_BCHW - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def test_unit_is_the_plain_formula() -> None:
    """A unit with a stride: norm, conv, norm, PReLU, strided conv, norm, gate, plus a normed 1x1 convolution."""
    torch.manual_seed(0)
    unit = ResidualUnit(4, 8, 2, 2)
    unit(torch.randn(8, 4, 6, 6))  # the norms see something
    unit.eval()
    x_BCHW = torch.randn(2, 4, 6, 6)
    first, conv, second, prelu, strided, third = unit.body
    layers: Any = (conv, prelu, strided, unit.shortcut, unit.gate)
    conv, prelu, strided, shortcut, gate = layers
    out = F.conv2d(_affine(first, x_BCHW), conv.weight, padding=1)
    out = _affine(second, out)
    out = torch.where(out > 0, out, out * prelu.weight[:, None, None])
    out = _affine(third, F.conv2d(out, strided.weight, stride=2, padding=1))
    scale = torch.sigmoid(F.conv2d(torch.relu(F.conv2d(out.mean((2, 3), True), gate.fc1.weight)), gate.fc2.weight))
    expected = out * scale + _affine(shortcut[1], F.conv2d(x_BCHW, shortcut[0].weight, stride=2))
    torch.testing.assert_close(unit(x_BCHW), expected, rtol=1e-4, atol=1e-5)


def test_shortcut_is_the_identity_without_a_stride() -> None:
    """A unit of stride 1 adds what it was given, and without squeeze and excitation has no gate."""
    unit = ResidualUnit(4, 4, 1, None).eval()
    x_BCHW = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(unit(x_BCHW), x_BCHW + unit.body(x_BCHW))


def test_gate_scales_channels_between_0_and_1() -> None:
    """Squeeze and excitation scales each channel by one number of a face, and reduces to one channel at the least."""
    gate = SqueezeExcitation(4, 16)
    x_BCHW = torch.rand(3, 4, 5, 5) + 0.1
    ratio = gate(x_BCHW) / x_BCHW
    torch.testing.assert_close(ratio, ratio.mean((2, 3), keepdim=True).expand_as(ratio))
    assert bool((ratio > 0).all())
    assert bool((ratio < 1).all())
    assert gate.fc1.out_channels == 1


def test_each_stage_halves() -> None:
    """The stem keeps the side; each stage's first unit halves it and has the stage's width; the others keep both."""
    config = IResNetConfig(side_px=32, units=(2, 1, 3), widths=(8, 12, 16))
    backbone = IResNetBackbone(config)
    images_BCHW = torch.zeros(2, 3, 32, 32)
    assert backbone.stem(images_BCHW).shape == (2, 8, 32, 32)
    assert [tuple(tap.shape[1:]) for tap in backbone(images_BCHW)] == [(8, 16, 16), (12, 8, 8), (16, 4, 4)]
    assert [len(stage) for stage in backbone.stages if isinstance(stage, nn.Sequential)] == [2, 1, 3]
