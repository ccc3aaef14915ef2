"""Tests of model.convnext."""

from typing import Any

import torch
from timm.layers.drop import DropPath
from timm.models.convnext import ConvNeXt
from torch import nn

from model.config import ConvNeXtConfig
from model.convnext import ConvNeXtBackbone
from tests.model.networks import SMALL_CONVNEXT


def test_walk_is_timms_own() -> None:
    """The taps are what timm's ConvNeXt computes after each stage, on the same weights."""
    torch.manual_seed(0)
    backbone = ConvNeXtBackbone(SMALL_CONVNEXT).eval()
    whole: Any = ConvNeXt(depths=SMALL_CONVNEXT.depths, dims=SMALL_CONVNEXT.dims, num_classes=0).eval()
    assert whole.load_state_dict(backbone.state_dict(), strict=False).unexpected_keys == []
    images_BCHW = torch.randn(2, 3, 64, 64)
    x_BCHW = whole.stem(images_BCHW)
    for stage, tap in zip(whole.stages, backbone(images_BCHW), strict=True):
        x_BCHW = stage(x_BCHW)
        torch.testing.assert_close(tap, x_BCHW)


def test_stochastic_depth_grows_linearly() -> None:
    """The k-th of n blocks is dropped with k / (n - 1) of the configured probability, the first never."""
    backbone = ConvNeXtBackbone(SMALL_CONVNEXT)
    rates = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    torch.testing.assert_close(torch.tensor(rates), torch.linspace(0, 0.25, 5)[1:])


def test_starts_as_published() -> None:
    """Layer scales start at the configured value, weights small and biases at 0."""
    backbone = ConvNeXtBackbone(ConvNeXtConfig(side_px=32, depths=(1, 1), dims=(8, 16), layer_scale=1e-3))
    for name, value in backbone.named_parameters():
        if name.endswith("gamma"):
            assert value.eq(1e-3).all()
        if name.endswith("bias"):
            assert value.eq(0).all()
    weights = [m.weight for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert 0.01 < float(torch.cat([w.detach().flatten() for w in weights]).std()) < 0.03
