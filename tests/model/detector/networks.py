"""A detector small enough to build and run in milliseconds, its statistics and scores spread like a trained one's."""

from dataclasses import replace
from typing import Final

import torch
from torch import nn

from model.detector.config import DetectorConfig
from model.detector.network import DetectorNetwork

TINY: Final = DetectorConfig(stem_width=4, widths=(8, 8, 12, 16), depths=(1, 1, 2, 1), neck_width=8, head_depth=1)


OWN_LANDMARKS: Final = replace(TINY, landmark_depth=2, landmark_widths=(8, 12, 16))
WHOLE: Final = replace(OWN_LANDMARKS, level_norms=True, landmark_finer=True)  # all that a recipe's detector has


def tiny_detector(seed: int = 0, config: DetectorConfig = TINY) -> DetectorNetwork:
    """An untrained detector whose every output depends on the image."""
    torch.manual_seed(seed)
    network = DetectorNetwork(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for layer in (
            module for module in network.head.modules() if isinstance(module, nn.Conv2d) and module.bias is not None
        ):
            layer.weight.normal_(0, 0.3)
        network.head.score.bias.zero_()  # type: ignore[union-attr]  # this layer has one
    return network
