"""Precise batch norm: running statistics that belong to the averaged weights.

An average of weights is no network that any batch ran through, so averaged running statistics are not its own, and they
trail even the last weights'. Measured on nano: unlike faces had a mean cosine of 0.7 with averaged statistics and 0.08
with these. Never changes a weight.
"""

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def with_precise_statistics(network: Network, batches_BCHW: Iterable[Tensor]) -> Network:
    """A copy, in evaluation mode, whose running statistics are the plain mean over the batches' own.

    Izmailov et al. 2018 (arXiv 1803.05407, section 3.2); Wu and Johnson 2021 (arXiv 2105.07576, section 3).

    Args:
        network: with any number of batch norms; it is left as it is.
        batches_BCHW: normalised images, as the network takes them; none leaves the statistics as they are.
    """
    renewed = copy.deepcopy(network).eval()
    norms = [layer for layer in renewed.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    started = False
    for images_BCHW in batches_BCHW:
        if not started:
            _start(norms)
            started = True
        renewed(images_BCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return renewed.eval()


def _start(norms: list[nn.modules.batchnorm._BatchNorm]) -> None:
    """Only the norms learn: dropout and stochastic depth would shift what they see."""
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
        norm.train()
