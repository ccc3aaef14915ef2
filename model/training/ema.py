"""An exponential moving average of a network's weights and buffers.

Its weights are what is evaluated and shipped. Never takes part in a forward pass of the training.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """Averages a network.

    Attributes:
        network: the averaged twin, in evaluation mode.
        decay: of the average once warmed up; early on it is (1 + n) / (10 + n), or the untrained start would linger.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network, num_updates: int) -> None:
        """Moves the average towards `network`, after `num_updates` earlier updates; integer buffers are copied."""
        weight = 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))
        averaged, current = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[name] for name in floats], [current[name] for name in floats], weight)
        for name, value in averaged.items():
            if not value.is_floating_point():
                value.copy_(current[name])
