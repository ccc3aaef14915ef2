"""Tests of model.published.faer."""

import pytest
import torch

from model.config import FAER_ATTRIBUTES, FAER_EXPRESSION, NetworkConfig
from model.network import MultiTaskNetwork
from model.published.errors import PublishedError
from model.published.faer import from_published, to_published
from tests.model.networks import SMALL_FAER_ATTRIBUTES


@pytest.mark.parametrize(("num_outputs", "config"), [(40, FAER_ATTRIBUTES), (7, FAER_EXPRESSION)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_head_tells_the_network(num_outputs: int, config: NetworkConfig, prefix: str) -> None:
    """Forty rows of `head.weight` are the attributes' network, seven the expressions'."""
    with torch.device("meta"):
        parts = to_published(MultiTaskNetwork(config).state_dict(), config)
    named = {f"{prefix}{key}": value for key, value in parts["state_dict"].items()}
    assert named[f"{prefix}head.weight"].shape == (num_outputs, 1024)
    assert from_published({"state_dict": named})[0] == config


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "the part 'state_dict' is missing"),
        ({"state_dict": {}}, "state_dict: 'head.weight' is missing"),
        (
            {"state_dict": {"head.weight": torch.zeros(39, 1024)}},
            "state_dict: 'head.weight' has 39 rows, neither 40 attributes nor 7 expressions",
        ),
        (
            {"state_dict": {"head.weight": torch.tensor(1.0)}},
            "state_dict: 'head.weight' has 0 rows, neither 40 attributes nor 7 expressions",
        ),
        (
            {"state_dict": {"head.weight": torch.zeros(7, 1024)}},
            "state_dict: 'downsample_layers.0.0.weight' is missing, and 352 more",
        ),
    ],
)
def test_a_head_that_tells_nothing_is_refused(parts: dict[str, dict[str, torch.Tensor]], message: str) -> None:
    """A head that is absent or of neither network's width is refused, and named."""
    with pytest.raises(PublishedError) as error:
        from_published(parts)
    assert str(error.value) == message


def test_names_are_convnexts() -> None:
    """Stem and downsampling are `downsample_layers`, a block's scale is its own `gamma`, its linears `pwconv`."""
    state = MultiTaskNetwork(SMALL_FAER_ATTRIBUTES).state_dict()
    published = to_published(state, SMALL_FAER_ATTRIBUTES)["state_dict"]
    for key, own in {
        "downsample_layers.0.1.bias": "backbone.stem.1.bias",
        "downsample_layers.2.1.weight": "backbone.stages.2.downsample.1.weight",
        "stages.2.1.gamma": "backbone.stages.2.blocks.1.gamma",
        "stages.3.0.dwconv.weight": "backbone.stages.3.blocks.0.conv_dw.weight",
        "stages.0.0.pwconv2.bias": "backbone.stages.0.blocks.0.mlp.fc2.bias",
        "attention.mlp.2.weight": "groups.attention.key.2.weight",
        "attention.depthwise.weight": "groups.attention.context.weight",
        "norm.weight": "groups.norm.weight",
        "head.bias": "groups.linear.bias",
    }.items():
        assert torch.equal(published[key], state[own])
