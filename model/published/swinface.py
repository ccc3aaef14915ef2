"""SwinFace's and TMLFA's checkpoints: four state dicts, and which tensor of them is which here.

Holds the names (github.com/lxq1000/SwinFace, MIT). Never opens a file and never holds a weight.

The parts are `state_dict_backbone`, `state_dict_fam` (fusion and attention), `state_dict_tss` (the groups' two linear
layers) and `state_dict_om` (the output layers, in the order of `SWINFACE.outputs`, not CelebA's). TMLFA's are the same
but for the output layers' name. The published Swin merges patches at a stage's end, timm at the next one's start.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Final, Literal

import torch
from torch import Tensor

from model.config import SWINFACE
from model.network_config import NetworkConfig
from model.published.errors import PublishedError
from model.published.layout import Parts, Row, read, require, rows_of, without_prefix, write
from model.swin import SwinBackbone
from model.trunk_config import SwinConfig

BACKBONE: Final = "state_dict_backbone"
FUSION: Final = "state_dict_fam"
SUBNETS: Final = "state_dict_tss"
OUTPUTS: Final = "state_dict_om"
OutputLayers = Literal["output_fcs", "result_fcs"]  # SwinFace's name, TMLFA's name

_SYSTEM: Final = "SwinFace"
# Own layer of an attention to the published one; the published channel MLP begins with a flatten.
_ATTENTION: Final = {
    "attention.mlp.0": "channel_attention.mlp.1",
    "attention.mlp.2": "channel_attention.mlp.3",
    "spatial.conv": "spatial_attention.spatial.conv",
    "spatial.norm": "spatial_attention.spatial.bn",
}


def from_published(parts: Parts, config: NetworkConfig = SWINFACE) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Reads a checkpoint of SwinFace or TMLFA.

    The buffers `attn_mask` and `relative_position_index`, which Swin derives from its sizes, may be absent. So may the
    linear layer `head.*`, which the published network holds and never uses. All of them are checked where they are
    there, and let go of.

    Args:
        parts: the four state dicts by their published names, and nothing else.
        config: what the checkpoint is of: the published sizes, reduced ones, or a variant.

    Returns:
        The configuration and the state of its `MultiTaskNetwork`, float32.

    Raises:
        PublishedError: if a key is missing, extra or misshapen, or no published network has the configuration.
    """
    return config, read(_rows(config, _output_layers(parts)), parts)


def to_published(
    state: Mapping[str, Tensor], config: NetworkConfig = SWINFACE, *, output_layers: OutputLayers = "output_fcs"
) -> dict[str, dict[str, Tensor]]:
    """Writes the state of a `MultiTaskNetwork` as the published code loads it, strictly.

    The derived buffers are there; the unused `head.*` is zeros.

    Args:
        state: of a network of `config`.
        config: its configuration.
        output_layers: what the output layers are called: SwinFace's name, or TMLFA's.

    Raises:
        PublishedError: if the state is not the configuration's, or no published network has the configuration.
    """
    return write(_rows(config, output_layers), state)


def is_derived(key: str) -> bool:
    """Whether a key of the backbone names a buffer that Swin derives from its sizes."""
    return key.endswith((".attn_mask", ".relative_position_index"))


def _output_layers(parts: Parts) -> OutputLayers:
    keys = without_prefix(OUTPUTS, parts.get(OUTPUTS, {}))
    return "result_fcs" if any(key.startswith("result_fcs.") for key in keys) else "output_fcs"


def _rows(config: NetworkConfig, output_layers: OutputLayers) -> list[Row]:
    trunk = _published_trunk(config)
    outputs = [(group.name, name) for group in config.groups for name in group.outputs]
    layers = {f"{group}.outputs.{name}": f"{output_layers}.{k}" for k, (group, name) in enumerate(outputs)}
    groups = {group.name: index for index, group in enumerate(config.groups)}

    def place(own: str) -> tuple[str, str]:
        if not own.startswith("groups."):
            return BACKBONE, _backbone_key(own)
        own = own.removeprefix("groups.")
        layer, leaf = own.rsplit(".", 1)
        if layer in layers:
            return OUTPUTS, f"{layers[layer]}.{leaf}"
        name, rest = own.split(".", 1)
        if name not in groups:  # the fusion that all groups share
            return FUSION, _convolution_key(rest, config)
        return _group_place(f"nets.{groups[name]}", rest, config)

    assert config.embedding_dim is not None
    return [*rows_of(config, place), *_unused(trunk, config.embedding_dim)]


def _published_trunk(config: NetworkConfig) -> SwinConfig:
    require(config, _SYSTEM, head="fusion", recognition="pooled", recognition_maps=0, attribute_form="pairs")
    require(config, _SYSTEM, age_form="years", age_offset_years=0.0, age_scale_years=1.0, pixels="symmetric")
    trunk = config.backbone
    if not isinstance(trunk, SwinConfig) or trunk.stem != "patch" or trunk.absolute_position:
        raise PublishedError(f"{_SYSTEM}'s trunk is a Swin with patches for a stem and no absolute position")
    if config.embedding_dim is None:
        raise PublishedError(f"{_SYSTEM} publishes no network without an embedding")
    return trunk


def _backbone_key(own: str) -> str:
    if own.startswith("recognition."):
        return own.removeprefix("recognition.")
    key = own.removeprefix("backbone.")
    if ".downsample." in key:
        _, stage, rest = key.split(".", 2)
        return f"layers.{int(stage) - 1}.{rest}"
    return key


def _group_place(net: str, rest: str, config: NetworkConfig) -> tuple[str, str]:
    if rest.startswith("trunk."):
        return SUBNETS, f"{net}.feature.{rest.removeprefix('trunk.')}"
    rest = rest.removeprefix("fusion.")
    if rest.startswith("fusion."):
        return FUSION, f"{net}.{_convolution_key(rest.removeprefix('fusion.'), config)}"
    layer, leaf = rest.rsplit(".", 1)
    if layer.startswith("spatial.branches."):
        *_, branch, number = layer.split(".")  # of 1x1 convolution, ReLU, 1x1 convolution
        return FUSION, f"{net}.spatial_attention.LANets.{branch}.conv{1 + int(number) // 2}.{leaf}"
    return FUSION, f"{net}.{_ATTENTION.get(layer, layer)}.{leaf}"


def _convolution_key(rest: str, config: NetworkConfig) -> str:
    """`convs.K.weight` as the published fusion calls it."""
    return f"conv.{rest}" if config.fusion.mode == "split" else f"conv.conv.{rest.rsplit('.', 1)[1]}"


def _unused(trunk: SwinConfig, embedding_dim: int) -> Iterator[Row]:
    """What the published network holds and no forward pass here reads."""
    yield Row(
        BACKBONE, "head.weight", None, (embedding_dim, trunk.dims[-1]), fill=_zeros(embedding_dim, trunk.dims[-1])
    )
    yield Row(BACKBONE, "head.bias", None, (embedding_dim,), fill=_zeros(embedding_dim))
    with torch.device("meta"):
        described = _derived(trunk)
    for key, buffer in described.items():
        fill = partial(_derived_once, trunk, key)
        yield Row(BACKBONE, key, None, tuple(buffer.shape), buffer.is_floating_point(), fill)


def _zeros(*shape: int) -> Callable[[], Tensor]:
    return partial(torch.zeros, shape)


def _derived(trunk: SwinConfig) -> dict[str, Tensor]:
    return {key: buffer for key, buffer in SwinBackbone(trunk).named_buffers() if is_derived(key)}


@cache
def _computed(trunk: SwinConfig) -> dict[str, Tensor]:
    return _derived(trunk)


def _derived_once(trunk: SwinConfig, key: str) -> Tensor:
    return _computed(trunk)[key].clone()
