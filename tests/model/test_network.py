"""Tests of model.network."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.config import (
    FAER_ATTRIBUTES,
    FAER_EXPRESSION,
    NANO,
    SWINFACE,
    TMLFA,
    GroupConfig,
    NetworkConfig,
    iresnet,
)
from model.network import MultiTaskNetwork
from model.runtime.labels import ATTRIBUTES
from tests.model.networks import SMALL_FAER_ATTRIBUTES, TINY, TINY_TRUNK, small_iresnet


def _gflop(network: MultiTaskNetwork) -> float:
    side = network.config.backbone.side_px
    images_BCHW = torch.zeros(1, 3, side, side, device=next(network.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images_BCHW)
    return float(counter.get_total_flops()) / 1e9


def test_answers_every_task() -> None:
    """Each task of the configuration is answered in its documented shape, and nothing else is."""
    network = MultiTaskNetwork(TINY).eval()
    shapes = {task: tuple(value.shape) for task, value in network(torch.zeros(3, 3, 112, 112)).items()}
    assert shapes == {
        "embedding": (3, 16),
        "expression": (3, 7),
        "gender": (3, 2),
        "race": (3, 5),
        "age": (3,),
        "attributes": (3, 40, 2),
    }


def test_answers_only_the_configured_tasks() -> None:
    """A network without recognition and with one group answers that group alone."""
    network = MultiTaskNetwork(replace(TINY, embedding_dim=None, groups=(GroupConfig("a", ("gender", "age")),)))
    assert set(network.eval()(torch.zeros(1, 3, 112, 112))) == {"gender", "age"}


def test_every_parameter_gets_a_gradient() -> None:
    """No parameter is left out of the answers."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(replace(TINY, backbone=replace(TINY_TRUNK, drop_path=0.0), dropout=0.0))
    sum(value.square().sum() for value in network(torch.randn(4, 3, 112, 112)).values()).backward()
    still = [name for name, value in network.named_parameters() if value.grad is None]
    assert still == []


def test_attributes_stand_in_celebas_order() -> None:
    """Column k of the attributes is the output layer that carries ATTRIBUTES[k]'s name."""
    network = MultiTaskNetwork(TINY).eval()
    groups: Any = network.groups
    with torch.no_grad():
        for group in groups.values():
            for name, layer in group.outputs.items():
                layer.weight.zero_()
                layer.bias.fill_(float(ATTRIBUTES.index(name)) if name in ATTRIBUTES else -1.0)
    attributes = network(torch.randn(1, 3, 112, 112))["attributes"]
    assert attributes[0, :, 1].tolist() == list(range(40))


def test_gender_stands_for_male_where_there_is_no_such_output() -> None:
    """As in SwinFace, a network without an output `male` fills that column with its gender logits."""
    groups = tuple(replace(group, outputs=tuple(n for n in group.outputs if n != "male")) for group in TINY.groups)
    answers = MultiTaskNetwork(replace(TINY, groups=groups)).eval()(torch.randn(2, 3, 112, 112))
    assert torch.equal(answers["attributes"][:, ATTRIBUTES.index("male")], answers["gender"])


def test_age_is_scaled_to_years() -> None:
    """Age is offset + scale * the layer's output, so that an untrained network answers an adult's age."""
    network = MultiTaskNetwork(TINY).eval()
    groups: Any = network.groups
    layer = groups["demographic"].outputs["age"]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(0.5)
    assert network(torch.zeros(1, 3, 112, 112))["age"].tolist() == pytest.approx([43.0])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_rows_do_not_see_each_other(batch: int) -> None:
    """In evaluation a face's answer is the same alone and in a batch of any size."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY).eval()
    images_BCHW = torch.randn(batch, 3, 112, 112)
    together = network(images_BCHW)
    alone = network(images_BCHW[-1:])
    for task, value in together.items():
        torch.testing.assert_close(value[-1:], alone[task], rtol=1e-4, atol=1e-5)


def test_nano_fits_its_budget() -> None:
    """The shipped network takes 0.3 to 1.0 GFLOP a face and under 10 MB in half precision."""
    network = MultiTaskNetwork(NANO)
    assert 0.3 < _gflop(network) < 1.0
    assert 2 * network.num_parameters() < 10e6


def test_swinface_is_the_published_size() -> None:
    """SWINFACE has the published 67.8 M parameters, less the unused classifier, 12.2 GFLOP a face, and its taps.

    The checkpoint's `head` (768 -> 512, 393,728 numbers) is counted in the published figure and never used.
    """
    network = MultiTaskNetwork(SWINFACE)
    assert network.num_parameters() == 67_415_538
    assert network.num_parameters() + 768 * 512 + 512 == pytest.approx(67.8e6, abs=0.05e6)
    assert _gflop(network) == pytest.approx(12.2, abs=0.05)
    with torch.no_grad():
        taps = network.backbone(torch.zeros(1, 3, 112, 112))
    assert [tuple(tap.shape[1:]) for tap in taps] == [(192, 28, 28), (384, 14, 14), (768, 7, 7), (768, 7, 7)]


@pytest.mark.parametrize(
    ("config", "num_parameters", "gflop"),
    [
        (TMLFA, 67_415_538, 12.2),
        (FAER_ATTRIBUTES, 101_768_488, 32.1),
        (FAER_EXPRESSION, 101_734_663, 32.1),
        (iresnet(50), 43_590_848, 12.6),
        (iresnet(50, True), 43_813_568, 12.6),
        (iresnet(100), 65_156_160, 24.2),
        (iresnet(100, True), 65_528_384, 24.2),
        (iresnet(152), 70_765_760, 24.6),
        (iresnet(152, True), 71_176_896, 24.6),
        (iresnet(50, True, "age"), 43_813_568 + 100 * 513, 12.6),
    ],
)
def test_sizes_are_the_documented_ones(config: NetworkConfig, num_parameters: int, gflop: float) -> None:
    """Each published network has the parameters and the GFLOP a face that its docstring states."""
    with torch.device("meta"):
        network = MultiTaskNetwork(config)
    assert network.num_parameters() == num_parameters
    assert _gflop(network) == pytest.approx(gflop, abs=0.05)


def test_an_embedding_may_be_kept_to_itself() -> None:
    """A network that only estimates answers no embedding, though its head reads one."""
    answers = MultiTaskNetwork(small_iresnet(task="age")).eval()(torch.randn(2, 3, 32, 32))
    assert {task: tuple(value.shape) for task, value in answers.items()} == {"age": (2, 100)}


def test_single_attributes_stand_in_celebas_order() -> None:
    """With one logit an attribute column k is ATTRIBUTES[k]'s, whatever the group's order; the feature comes along."""
    names = tuple(reversed(ATTRIBUTES))
    config = replace(SMALL_FAER_ATTRIBUTES, groups=(GroupConfig("attributes", names),))
    network = MultiTaskNetwork(config).eval()
    head: Any = network.groups
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([float(ATTRIBUTES.index(name)) for name in names]))
    answers = network(torch.randn(2, 3, 64, 64))
    assert answers["attributes"].tolist() == [list(range(40))] * 2
    assert answers["feature"].shape == (2, 32)


def test_gender_stands_for_male_with_single_attributes() -> None:
    """Where attributes are single logits the column `male` is how much the gender's male logit leads."""
    groups = tuple(replace(group, outputs=tuple(n for n in group.outputs if n != "male")) for group in TINY.groups)
    network = MultiTaskNetwork(replace(TINY, groups=groups, attribute_form="single")).eval()
    answers = network(torch.randn(2, 3, 112, 112))
    lead = answers["gender"][:, 1] - answers["gender"][:, 0]
    assert answers["attributes"].shape == (2, 40)
    torch.testing.assert_close(answers["attributes"][:, ATTRIBUTES.index("male")], lead)


def test_linear_layers_start_as_configured() -> None:
    """With a deviation every linear layer behind the trunk starts from it, biases at 0; the trunk is untouched."""
    networks = []
    for linear_std in (None, 0.02):
        torch.manual_seed(0)
        networks.append(MultiTaskNetwork(replace(TINY, linear_std=linear_std, fc_dim=64)))
    plain, small = networks
    for name, module in small.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("backbone."):
            assert float(module.weight.detach().abs().max()) < 0.12, name
            assert module.bias is None or bool(module.bias.eq(0).all()), name
    trunk = small.get_submodule("groups.demographic.trunk.3")
    assert isinstance(trunk, nn.Linear)
    assert float(trunk.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert all(
        torch.equal(value, plain.backbone.state_dict()[key]) for key, value in small.backbone.state_dict().items()
    )
