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
        # Kept, as walking a network's modules costs more than moving its average.
        averaged = self.network.state_dict()
        self._floats = {name: value for name, value in averaged.items() if value.is_floating_point()}
        self._integers = {name: value for name, value in averaged.items() if not value.is_floating_point()}

    @torch.no_grad()
    def update(self, network: Network, num_updates: int) -> None:
        """Moves the average towards `network`, after `num_updates` earlier updates; integer buffers are copied."""
        weight = 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))
        current = network.state_dict()
        torch._foreach_lerp_(list(self._floats.values()), [current[name] for name in self._floats], weight)
        if self._integers:
            torch._foreach_copy_(list(self._integers.values()), [current[name] for name in self._integers])
