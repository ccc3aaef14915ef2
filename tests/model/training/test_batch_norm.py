"""Tests of model.training.batch_norm."""

import torch
from torch import nn

from model.training.batch_norm import with_precise_statistics


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3, momentum=0.3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


def test_statistics_are_the_mean_over_the_batches() -> None:
    """The first norm's mean and variance are the plain means of the batches' own, dropout being left out."""
    batches = [torch.randn(4, 3, 5, 5) + 2, torch.randn(4, 3, 5, 5) * 3]
    norm = with_precise_statistics(_network(), batches).state_dict()
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches])
    torch.testing.assert_close(norm["1.running_mean"], means.mean(0))
    torch.testing.assert_close(norm["1.running_var"], variances.mean(0))
    assert norm["1.num_batches_tracked"].item() == 2


def test_the_network_itself_is_left_alone() -> None:
    """Weights are shared by value, the given network's statistics and mode stay, and the copy is in evaluation mode."""
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    renewed = with_precise_statistics(network, [torch.randn(4, 3, 5, 5)])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not any(module.training for module in renewed.modules())
    assert torch.equal(renewed.state_dict()["2.weight"], before["2.weight"])
    assert [layer.momentum for layer in renewed if isinstance(layer, nn.BatchNorm2d)] == [0.3, 0.1]


def test_no_batches_leave_the_statistics() -> None:
    """Without a batch there is nothing to learn from, and the statistics stay."""
    network = _network()
    network[1](torch.randn(4, 3, 5, 5))
    renewed = with_precise_statistics(network, [])
    assert torch.equal(renewed.state_dict()["1.running_mean"], network.state_dict()["1.running_mean"])
