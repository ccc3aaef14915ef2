"""The one place where a trunk's configuration finds its module.

Holds the registry. Never a layer: another trunk is its own file, its configuration in `model.trunk_config`, and a line
here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from model.convnext import ConvNeXtBackbone
from model.iresnet import IResNetBackbone
from model.swin import SwinBackbone
from model.trunk import Trunk
from model.trunk_config import BackboneConfig, ConvNeXtConfig, IResNetConfig, SwinConfig

TRUNKS: Final[Mapping[type, Callable[[Any], Trunk]]] = {
    SwinConfig: SwinBackbone,
    ConvNeXtConfig: ConvNeXtBackbone,
    IResNetConfig: IResNetBackbone,
}


def build_trunk(config: BackboneConfig) -> Trunk:
    """The module that this configuration describes, untrained."""
    return TRUNKS[type(config)](config)
