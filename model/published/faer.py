"""FAER's checkpoints: one state dict, and which tensor of it is which here.

Holds the names. Never opens a file and never holds a weight.

The one part is `state_dict`: the original ConvNeXt's names for the trunk (`downsample_layers`, `stages`; Meta, MIT),
`attention`, `norm` and `head`, whose width tells the 40 attributes' network from the seven expressions'.
"""

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from model.config import FAER_ATTRIBUTES, FAER_EXPRESSION
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.layout import Parts, Row, read, require, rows_of, without_prefix, write
from model.trunk_config import ConvNeXtConfig

PART: Final = "state_dict"

_NETWORKS: Final = {40: FAER_ATTRIBUTES, 7: FAER_EXPRESSION}
# Own module of the head to the published one.
_HEAD: Final = {
    "attention.value": "attention.value",
    "attention.key.0": "attention.mlp.0",
    "attention.key.2": "attention.mlp.2",
    "attention.context": "attention.depthwise",
    "attention.norm": "attention.norm",
    "norm": "norm",
    "linear": "head",
}
# timm's module of a block to ConvNeXt's own.
_BLOCK: Final = {"conv_dw": "dwconv", "norm": "norm", "mlp.fc1": "pwconv1", "mlp.fc2": "pwconv2"}


def from_published(parts: Parts, config: NetworkConfig | None = None) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Reads a checkpoint of FAER.

    Args:
        parts: `{"state_dict": ...}`.
        config: what the checkpoint is of; None finds the attributes' or the expressions' network by the width of
            `head.weight`.

    Returns:
        The configuration and the state of its `MultiTaskNetwork`, float32.

    Raises:
        PublishedError: if a key is missing, extra or misshapen, or no published network has the configuration.
    """
    config = _found(parts) if config is None else config
    return config, read(_rows(config), parts)


def to_published(state: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, dict[str, Tensor]]:
    """Writes the state of a `MultiTaskNetwork` as the published code loads it, strictly.

    Raises:
        PublishedError: if the state is not the configuration's, or no published network has the configuration.
    """
    return write(_rows(config), state)


def _found(parts: Parts) -> NetworkConfig:
    if PART not in parts:
        raise PublishedError(f"the part {PART!r} is missing")
    weight = without_prefix(PART, parts[PART]).get("head.weight")
    if weight is None:
        raise PublishedError(f"{PART}: 'head.weight' is missing")
    num_outputs = len(weight) if isinstance(weight, Tensor) and weight.ndim else 0
    if num_outputs not in _NETWORKS:
        raise PublishedError(f"{PART}: 'head.weight' has {num_outputs} rows, neither 40 attributes nor 7 expressions")
    return _NETWORKS[num_outputs]


def _rows(config: NetworkConfig) -> list[Row]:
    require(config, "FAER", head="context", embedding_dim=None, attribute_form=_form(config), pixels="imagenet")
    if not isinstance(config.backbone, ConvNeXtConfig):
        raise PublishedError("FAER's trunk is a ConvNeXt")
    return rows_of(config, lambda own: (PART, _key(own)))


def _form(config: NetworkConfig) -> str:
    return "single" if "attributes" in config.tasks else config.attribute_form


def _key(own: str) -> str:
    module, leaf = own.rsplit(".", 1)
    if module.startswith("groups."):
        return f"{_HEAD[module.removeprefix('groups.')]}.{leaf}"
    return trunk_key(own)


def trunk_key(own: str) -> str:
    """The original ConvNeXt's name of a tensor of `backbone.*`."""
    module, leaf = own.removeprefix("backbone.").rsplit(".", 1)
    if module.startswith("stem."):
        return f"downsample_layers.0.{module.removeprefix('stem.')}.{leaf}"
    _, stage, kind, rest = module.split(".", 3)
    if kind == "downsample":
        return f"downsample_layers.{stage}.{rest}.{leaf}"
    if leaf == "gamma":  # the block's own parameter: `rest` is the block's number
        return f"stages.{stage}.{rest}.gamma"
    block, name = rest.split(".", 1)
    return f"stages.{stage}.{block}.{_BLOCK[name]}.{leaf}"
