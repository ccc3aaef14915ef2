"""A detector small enough to build and run in milliseconds, its statistics and scores spread like a trained one's."""

from typing import Final

import torch
from torch import nn

from model.detector.config import DetectorConfig
from model.detector.network import DetectorNetwork

TINY: Final = DetectorConfig(stem_width=4, widths=(8, 8, 12, 16), depths=(1, 1, 2, 1), neck_width=8, head_depth=1)


def tiny_detector(seed: int = 0) -> DetectorNetwork:
    """An untrained detector whose every output depends on the image."""
    torch.manual_seed(seed)
    network = DetectorNetwork(TINY).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for layer in (network.head.score, network.head.box, network.head.landmarks):
            layer.weight.normal_(0, 0.3)
        network.head.score.bias.zero_()  # type: ignore[union-attr]  # this layer has one
    return network
