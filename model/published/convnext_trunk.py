"""Pretrained ConvNeXt trunks as they are published: Meta's files and timm's, and which tensor of them is which here.

Holds the names of the trunk alone; the classifier of a thousand classes is let go of. Never opens a file and never
holds a weight.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.faer import trunk_key
from model.published.layout import without_prefix
from model.trunk_config import ConvNeXtConfig

_OWN: Final = "backbone."
# What stands behind the trunk: Meta's final norm and classifier, timm's `head.norm`, `head.fc`.
_CLASSIFIER: Final = ("norm.", "head.")


def trunk_from_published(tensors: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """Reads a pretrained trunk (ConvNeXt, Liu et al. 2022, arXiv 2201.03545) for FAER to start from.

    Args:
        tensors: a file's state dict, by Meta's names (`downsample_layers.*`, `stages.*.dwconv`) or by timm's (`stem.*`,
            `stages.*.blocks`); keys may begin with `module.`.
        config: the network that starts from it.

    Returns:
        `backbone.*` of the state of its `MultiTaskNetwork`, float32.

    Raises:
        PublishedError: if the network's trunk is no ConvNeXt, or a key is missing, extra or misshapen; it is named.
    """
    if not isinstance(config.backbone, ConvNeXtConfig):
        raise PublishedError("a file of pretrained weights starts a ConvNeXt alone; --init takes checkpoint folders")
    found = without_prefix("trunk", tensors)
    names = _names(config, is_metas=any(key.startswith("downsample_layers.") for key in found))
    left = sorted(key for key in found if key not in names and not key.startswith(_CLASSIFIER))
    if left:
        raise PublishedError(f"trunk: {left[0]!r} is not expected")
    return {own: _checked(found, key, shape) for key, (own, shape) in names.items()}


def _names(config: NetworkConfig, *, is_metas: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Published key to own name and shape."""
    with torch.device("meta"):
        state = MultiTaskNetwork(config).state_dict()
    return {
        (trunk_key(own) if is_metas else own.removeprefix(_OWN)): (own, tuple(tensor.shape))
        for own, tensor in state.items()
        if own.startswith(_OWN)
    }


def _checked(found: Mapping[str, Tensor], key: str, shape: tuple[int, ...]) -> Tensor:
    if key not in found:
        raise PublishedError(f"trunk: {key!r} is missing")
    tensor = found[key]
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
        raise PublishedError(f"trunk: {key!r} has the shape {tuple(getattr(tensor, 'shape', ()))}, not {shape}")
    return tensor.detach().to(torch.float32)
