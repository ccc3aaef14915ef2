"""Tests of model.published.convnext_trunk."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor

from model.config import FAER_ATTRIBUTES, ConvNeXtConfig
from model.network import MultiTaskNetwork
from model.published.convnext_trunk import trunk_from_published
from model.published.errors import PublishedError
from model.published.faer import to_published
from tests.model.networks import SMALL, SMALL_FAER_ATTRIBUTES


def _timms() -> tuple[ConvNeXtConfig, dict[str, Tensor]]:
    """timm's smallest ConvNeXt, untrained, with its classifier."""
    model = timm.create_model("convnext_atto", pretrained=False, conv_mlp=False, patch_size=4)
    return ConvNeXtConfig(side_px=64, depths=(2, 2, 6, 2), dims=(40, 80, 160, 320)), model.state_dict()


def test_a_timm_file_fills_the_trunk() -> None:
    """timm's own state dict, its classifier left aside, is the whole trunk, number for number."""
    backbone, tensors = _timms()
    config = replace(FAER_ATTRIBUTES, backbone=backbone)
    trunk = trunk_from_published(tensors, config)
    own = MultiTaskNetwork(config).state_dict()
    assert set(trunk) == {name for name in own if name.startswith("backbone.")}
    assert torch.equal(trunk["backbone.stem.0.weight"], tensors["stem.0.weight"])
    network = MultiTaskNetwork(config)
    network.load_state_dict(own | trunk)


def test_metas_file_fills_the_trunk() -> None:
    """The original code's names, with a classifier of another width behind them, give the same trunk."""
    network = MultiTaskNetwork(SMALL_FAER_ATTRIBUTES)
    published = to_published(network.state_dict(), SMALL_FAER_ATTRIBUTES)["state_dict"]
    metas = {key: value for key, value in published.items() if not key.startswith("attention.")}
    metas["head.weight"] = torch.zeros(1000, 8)
    trunk = trunk_from_published({f"module.{key}": value for key, value in metas.items()}, SMALL_FAER_ATTRIBUTES)
    for name, value in network.state_dict().items():
        if name.startswith("backbone."):
            assert torch.equal(trunk[name], value)


def test_what_is_no_trunk_of_the_network_is_named() -> None:
    """A missing, an extra and a misshapen key are named, and so is a network without a ConvNeXt."""
    backbone, tensors = _timms()
    config = replace(FAER_ATTRIBUTES, backbone=backbone)
    with pytest.raises(PublishedError, match=r"trunk: 'stem\.0\.weight' is missing"):
        trunk_from_published({key: value for key, value in tensors.items() if key != "stem.0.weight"}, config)
    with pytest.raises(PublishedError, match=r"trunk: 'extra' is not expected"):
        trunk_from_published(tensors | {"extra": torch.zeros(1)}, config)
    with pytest.raises(PublishedError, match=r"'stem\.0\.weight' has the shape \(1,\), not"):
        trunk_from_published(tensors | {"stem.0.weight": torch.zeros(1)}, config)
    with pytest.raises(PublishedError, match="starts a ConvNeXt alone"):
        trunk_from_published(tensors, SMALL["swinface"])
