"""Tests of model.trunks: every kind of trunk under every kind of head."""

from dataclasses import replace

import pytest
import torch

from model.config import BackboneConfig, FusionConfig, GroupConfig, NetworkConfig, SwinConfig
from model.heads import HEADS
from model.network import MultiTaskNetwork
from model.network_config import Head, RecognitionKind
from model.recognition import RECOGNITIONS
from model.trunks import TRUNKS, build_trunk
from tests.model.networks import SMALL, SMALL_CONVNEXT, small_iresnet

_TRUNKS: dict[str, BackboneConfig] = {
    "swin": SwinConfig(side_px=56, embed_dim=8, depths=(1, 2, 2), num_heads=(1, 2, 4), drop_path=0.0),
    "convnext": replace(SMALL_CONVNEXT, drop_path=0.0),
    "iresnet": small_iresnet().backbone,
    "iresnet-se": small_iresnet(squeeze_excitation=True).backbone,
}


def _network(trunk: BackboneConfig, head: Head, recognition: RecognitionKind) -> NetworkConfig:
    return NetworkConfig(
        backbone=trunk,
        head=head,
        fusion=FusionConfig(widths=(4,) * len(trunk.tap_dims), reduction=2),
        groups=(GroupConfig("a", ("age", "gender", "expression")),),
        embedding_dim=12,
        recognition=recognition,
        fc_dim=8,
        dropout=0.0,
        recognition_dropout=0.0,
        age_form="ordinal",
        num_age_ranks=10,
    )


def test_every_kind_is_tried() -> None:
    """The trunks below are of every kind that the registry knows."""
    assert {type(config) for config in _TRUNKS.values()} == set(TRUNKS)


@pytest.mark.parametrize("trunk", _TRUNKS.values(), ids=_TRUNKS)
def test_maps_are_what_the_configuration_says(trunk: BackboneConfig) -> None:
    """Each trunk gives as many maps as it has tap_dims, with their channels, the last on the last grid."""
    maps = build_trunk(trunk)(torch.zeros(2, 3, trunk.side_px, trunk.side_px))
    assert tuple(level.shape[1] for level in maps) == trunk.tap_dims
    assert maps[-1].shape[2:] == (trunk.grids[-1], trunk.grids[-1])
    assert all(level.shape[-1] % trunk.grids[-1] == 0 for level in maps)


@pytest.mark.parametrize("trunk", _TRUNKS.values(), ids=_TRUNKS)
@pytest.mark.parametrize("recognition", RECOGNITIONS)
@pytest.mark.parametrize("head", HEADS)
def test_any_trunk_goes_with_any_head(trunk: BackboneConfig, head: Head, recognition: RecognitionKind) -> None:
    """A network of every trunk, head and recognition subnet answers, learns in each parameter, and travels as JSON."""
    torch.manual_seed(0)
    config = _network(trunk, head, recognition)
    assert NetworkConfig.from_json(config.to_json()) == config
    network = MultiTaskNetwork(config)
    answers = network(torch.randn(3, 3, trunk.side_px, trunk.side_px))
    shapes = {task: tuple(value.shape) for task, value in answers.items() if task != "feature"}
    assert shapes == {"embedding": (3, 12), "age": (3, 10), "gender": (3, 2), "expression": (3, 7)}
    sum(value.square().sum() for value in answers.values()).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_the_published_networks_answer_at_any_size(config: NetworkConfig) -> None:
    """Each published network is described, built, trained and evaluated at a few channels, too."""
    assert NetworkConfig.from_json(config.to_json()) == config
    network = MultiTaskNetwork(config)
    images_BCHW = torch.randn(2, 3, config.backbone.side_px, config.backbone.side_px)
    answers = network(images_BCHW)
    assert set(answers) - {"feature"} == set(config.tasks)
    sum(value.square().sum() for value in answers.values()).backward()
    assert all(value.isfinite().all() for value in network.eval()(images_BCHW).values())
