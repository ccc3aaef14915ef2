"""Tests of model.training.ema."""

import torch
from torch import nn

from model.training.ema import MovingAverage


def _network(value: float) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)
    return network


def test_average_moves_by_the_decay() -> None:
    """Once warmed up, average = decay * average + (1 - decay) * current, for weights and running statistics alike."""
    average = MovingAverage(_network(0.0), decay=0.9)
    average.update(_network(1.0), num_updates=10_000)
    average.update(_network(1.0), num_updates=10_001)
    state = average.network.state_dict()
    for name in ("0.weight", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(state[name], torch.full_like(state[name], 0.19))


def test_early_updates_weigh_more() -> None:
    """The first update moves by 9 tenths, so that the untrained start does not linger."""
    average = MovingAverage(_network(0.0), decay=0.999)
    average.update(_network(1.0), num_updates=0)
    torch.testing.assert_close(average.network.state_dict()["0.bias"], torch.full((2,), 0.9))


def test_counters_are_copied() -> None:
    """An integer buffer, such as batch norm's counter, is the current network's."""
    average = MovingAverage(_network(0.0), decay=0.9)
    average.update(_network(7.0), num_updates=100)
    assert average.network.state_dict()["1.num_batches_tracked"].item() == 7


def test_the_network_is_left_alone() -> None:
    """Updating changes the average only, which is in evaluation mode and takes no gradient."""
    network = _network(1.0)
    average = MovingAverage(network, decay=0.9)
    average.update(_network(3.0), num_updates=100)
    assert network.state_dict()["0.bias"].tolist() == [1.0, 1.0]
    assert network.training
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
