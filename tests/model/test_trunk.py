"""Tests of model.trunk: gradient checkpointing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import NetworkConfig
from model.network import MultiTaskNetwork
from tests.model.networks import SMALL


def _step(config: NetworkConfig, gradient_checkpointing: bool) -> tuple[MultiTaskNetwork, dict[str, Tensor]]:
    torch.manual_seed(3)
    network = MultiTaskNetwork(config)
    network.set_gradient_checkpointing(gradient_checkpointing)
    side = config.backbone.side_px
    answers = network(torch.randn(4, 3, side, side))
    sum(value.square().sum() for value in answers.values()).backward()
    return network, answers


@pytest.mark.parametrize("name", ["swinface", "faer attributes", "ir-se"])
def test_learns_the_same(name: str) -> None:
    """With gradient checkpointing a step has the same answers, gradients, statistics and random draws."""
    plain, answers = _step(SMALL[name], False)
    again, same_answers = _step(SMALL[name], True)
    for task, value in answers.items():
        torch.testing.assert_close(same_answers[task], value, rtol=0, atol=0)
    gradients = {key: value.grad for key, value in plain.named_parameters()}
    for key, value in again.named_parameters():
        torch.testing.assert_close(value.grad, gradients[key], rtol=1e-5, atol=1e-7)
    for key, value in again.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[key], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["swinface", "faer attributes", "ir-se"])
def test_keeps_less(name: str) -> None:
    """With gradient checkpointing fewer numbers wait for the backward pass."""
    kept = []
    for on in (False, True):
        saved: list[int] = []

        def pack(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved.append(tensor.numel())
            return tensor

        network = MultiTaskNetwork(SMALL[name])
        network.set_gradient_checkpointing(on)
        side = network.config.backbone.side_px
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network.backbone(torch.randn(2, 3, side, side))
        kept.append(sum(saved))
    assert kept[1] < 0.75 * kept[0]


def test_evaluation_is_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """In evaluation nothing is computed a second time, whatever the switch says."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a block was to be computed again")

    monkeypatch.setattr("model.trunk._computed_again", refuse)
    network = MultiTaskNetwork(SMALL["ir"]).eval()
    network.set_gradient_checkpointing(True)
    assert network(torch.zeros(1, 3, 32, 32))["embedding"].shape == (1, 12)


def test_statistics_are_counted_again_after_an_error() -> None:
    """A backward pass that fails leaves batch norms that go on counting."""
    network = MultiTaskNetwork(SMALL["ir"])
    network.set_gradient_checkpointing(True)
    embedding_BD = network(torch.randn(2, 3, 32, 32))["embedding"]
    broken: Any = network.backbone.get_submodule("stages.1.1.body.1")
    broken.weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(RuntimeError):
        embedding_BD.sum().backward()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert [norm.num_batches_tracked.item() for norm in norms if norm.num_batches_tracked is not None] == [1] * len(
        norms
    )
