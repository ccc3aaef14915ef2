"""ConvNeXt: timm's stages behind a patch stem, tapped after each stage.

Holds the walk; the blocks are timm's (Apache-2.0, after Meta's ConvNeXt, MIT). Never norms or pools what it taps. Shape
suffixes: B batch; C channels; H, W pixels or places of a map.
"""

import torch
from timm.layers.norm import LayerNorm, LayerNorm2d
from timm.layers.weight_init import trunc_normal_
from timm.models.convnext import ConvNeXtStage
from torch import Tensor, nn

from model.trunk import Trunk
from model.trunk_config import ConvNeXtConfig


class ConvNeXtBackbone(Trunk):
    """A ConvNeXt (Liu et al. 2022, arXiv 2201.03545) without its final norm and classifier.

    As FAER's trunk, ConvNeXt-Base has 87.6 M parameters and takes 30.7 GFLOP (multiply and add counted) an image of 224
    pixels.
    """

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, config.dims[0], 4, 4), LayerNorm2d(config.dims[0]))
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").split(config.depths)
        in_dims = (config.dims[0], *config.dims[:-1])
        self.stages = nn.ModuleList(
            ConvNeXtStage(
                in_dim,
                dim,
                stride=1 if index == 0 else 2,
                depth=depth,
                drop_path_rates=rates[index].tolist(),
                ls_init_value=config.layer_scale,
                norm_layer=LayerNorm2d,
                norm_layer_cl=LayerNorm,
            )
            for index, (in_dim, dim, depth) in enumerate(zip(in_dims, config.dims, config.depths, strict=True))
        )
        self.apply(_initialise)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """One float (B, C, H, W) after each stage, of float (B, 3, side_px, side_px), normalised."""
        x_BCHW = self.stem(images_BCHW)
        taps = []
        for stage in self.stages:
            assert isinstance(stage, ConvNeXtStage)
            x_BCHW = self.run(stage.blocks, stage.downsample(x_BCHW))
            taps.append(x_BCHW)
        return tuple(taps)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
