"""Tests of export.folding."""

from dataclasses import replace

import torch
from torch import nn

from export.folding import fold_norms
from export.graph import trace
from export.precision import rounded
from model.analyzer import Analyzer
from model.network import MultiTaskNetwork
from tests.model.networks import TINY, TINY_TRUNK


def _convolutional() -> MultiTaskNetwork:
    """A network with a stem and a stage of convolutions, and statistics as a training leaves them."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(replace(TINY, backbone=replace(TINY_TRUNK, conv_depths=(0, 1))))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return network.eval()


def test_a_folded_network_answers_the_same() -> None:
    """Every batch norm behind a convolution is gone, and the answers are those of the network that was given."""
    network = _convolutional()
    folded, images = fold_norms(network), torch.randn(3, 3, 112, 112)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        ours, theirs = folded(images), network(images)
    for task, value in theirs.items():
        torch.testing.assert_close(ours[task], value, rtol=1e-3, atol=1e-4)


def test_a_folded_graph_stores_its_kernels_in_half_precision() -> None:
    """An exporter that folds by itself leaves kernels in full precision; folded before, the file is smaller."""
    network = _convolutional()
    plain = len(trace(Analyzer(rounded(network)).eval()))
    folded = len(trace(Analyzer(rounded(fold_norms(rounded(network)))).eval()))
    kernels = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv2d))
    assert plain - folded > kernels / 2
