"""Starting weights: a checkpoint of this project, or a published file of a pretrained trunk.

Holds which of the two a path is, and the taking over. Never runs anything that a file holds: safetensors, or torch's
weights-only loader.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import CheckpointError, load_network, load_tensors
from model.network import MultiTaskNetwork
from model.published.convnext_trunk import trunk_from_published
from model.published.errors import PublishedError


def start_from(network: MultiTaskNetwork, init: Path) -> None:
    """Fills a network from a checkpoint folder as far as it fits, or its trunk from a published file.

    Raises:
        CheckpointError: if `init` is unusable or holds quite another network.
    """
    if init.is_file():
        try:
            trunk = trunk_from_published(_read(init), network.config)
        except PublishedError as error:
            raise CheckpointError(f"{init}: {error}") from error
        network.load_state_dict(network.state_dict() | trunk)
        return
    _take_over(network, load_network(init))


def _take_over(network: MultiTaskNetwork, start: MultiTaskNetwork) -> None:
    """Takes every tensor of another network that has this one's name and shape; the rest keep their fresh start.

    Raises:
        CheckpointError: if the two share less than half of the smaller one's numbers: they are then no relatives.
    """
    own = network.state_dict()
    shared = {
        name: value for name, value in start.state_dict().items() if own.get(name, value[None]).shape == value.shape
    }
    size, other, fits = (
        sum(value.numel() for value in tensors.values()) for tensors in (own, start.state_dict(), shared)
    )
    if fits < min(size, other) / 2:
        raise CheckpointError(f"the network to start from shares only {fits:,} of {size:,} numbers")
    network.load_state_dict(own | shared)


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_tensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint raises nearly anything
        raise CheckpointError(f"{path} is no file of weights that torch reads without running what is in it") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):  # Meta's files
        content = content["model"]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no state dict")
    return content
