"""An exponential moving average of a network's weights and buffers.

Its weights are what is evaluated and shipped. Never takes part in a forward pass of the training.
"""

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

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
        averaged, current = list(_values(self.network)), list(_values(network))
        floats = [place for place, value in enumerate(averaged) if value.is_floating_point()]
        others = [place for place, value in enumerate(averaged) if not value.is_floating_point()]
        torch._foreach_lerp_([averaged[place] for place in floats], [current[place] for place in floats], weight)
        if others:
            torch._foreach_copy_([averaged[place] for place in others], [current[place] for place in others])


def _values(network: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, not by way of a state's dictionary: that costs a step's processor more than the rest."""
    return chain(network.parameters(), network.buffers())
