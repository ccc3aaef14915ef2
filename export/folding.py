"""Folding: batch norms made part of the convolutions before them, so that a graph computes and stores them once.

A folded kernel is rounded like any other: an exporter that folds by itself would leave it in full precision, twice
the bytes. Never changes the network that it is given, and never writes a file.
"""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fold_norms(network: Network) -> Network:
    """A copy in which each batch norm is part of the convolution before it: the same answers from fewer steps.

    Args:
        network: whose convolutions and batch norms follow each other in `nn.Sequential`s; others stay as they are.

    Returns:
        The copy, in evaluation mode.
    """
    folded = copy.deepcopy(network).eval()
    for block in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(block) - 1):
            convolution, norm = block[place], block[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[place], block[place + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return folded
