"""The shared backbone: timm's Swin Transformer, walked stage by stage so that its feature maps can be tapped.

Holds the walk, a stem of convolutions and residual blocks of them; the windows' blocks are timm's (Apache-2.0, after
Microsoft's Swin, MIT). Never pools, fuses or norms what it taps. Shape suffixes: B batch; C channels; H, W grid height
and width (pixels or tokens).
"""

from itertools import pairwise

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerStage
from torch import Tensor, nn

from model.trunk import Trunk
from model.trunk_config import SwinConfig


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return torch.relu(x_BCHW + self.body(x_BCHW))


class ConvStem(nn.Module):
    """Pixels to tokens by 3x3 convolutions of stride 2 (Xiao et al. 2021, arXiv 2106.14881), then a layer norm."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        num_halvings = config.patch_px.bit_length() - 1
        dims = [3, *(config.embed_dim // 2**step for step in reversed(range(num_halvings)))]
        layers: list[nn.Module] = []
        for in_dim, out_dim in pairwise(dims):
            layers += [nn.Conv2d(in_dim, out_dim, 3, 2, 1, bias=False), nn.BatchNorm2d(out_dim), nn.ReLU()]
        layers += [ResidualBlock(config.embed_dim) for _ in range(config.stem_blocks)]
        self.convs = nn.Sequential(*layers, nn.Conv2d(config.embed_dim, config.embed_dim, 1))
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Float (B, 3, side_px, side_px) to tokens (B, H, W, C)."""
        # Channels last: the tokens then come out in their own order, and the whole stem costs 5 % of a nano's step.
        tokens_BCHW = self.convs(images_BCHW.contiguous(memory_format=torch.channels_last))
        tokens_BHWC: Tensor = self.norm(tokens_BCHW.permute(0, 2, 3, 1))
        return tokens_BHWC


class SwinBackbone(Trunk):
    """A Swin Transformer without its final norm and classifier."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        whole = SwinTransformer(
            img_size=config.side_px,
            patch_size=config.patch_px,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=config.window,
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path,
            num_classes=0,
        )
        self.patch_embed = ConvStem(config) if config.stem == "conv" else whole.patch_embed
        self.position: nn.Parameter | None = None
        if config.absolute_position:
            self.position = nn.Parameter(torch.empty(config.grids[0], config.grids[0], config.embed_dim))
            nn.init.trunc_normal_(self.position, std=0.02)
        self.layers = nn.ModuleList(whole.layers)
        self.conv_depths = config.conv_depths
        self.convs = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(dim) for _ in range(depth)))
            for dim, depth in zip(config.dims, config.conv_depths, strict=False)
        )

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Taps the maps that SwinFace taps: after each patch merging, and after the last stage, before any norm.

        timm merges patches at the START of a stage, so the tap stands between a stage's merging, with the convolutions
        that may follow it, and its blocks.

        Args:
            images_BCHW: float (B, 3, side_px, side_px), normalised.

        Returns:
            One float (B, C, H, W) a level; the last two share a grid.
        """
        x_BHWC = self.patch_embed(images_BCHW)
        if self.position is not None:
            x_BHWC = x_BHWC + self.position
        taps = []
        for index, stage in enumerate(self.layers):
            assert isinstance(stage, SwinTransformerStage)
            x_BHWC = self._convolved(index, stage.downsample(x_BHWC))
            if index > 0:
                taps.append(x_BHWC)
            x_BHWC = self.run(stage.blocks, x_BHWC)
        return tuple(tap_BHWC.permute(0, 3, 1, 2) for tap_BHWC in (*taps, x_BHWC))

    def _convolved(self, index: int, x_BHWC: Tensor) -> Tensor:
        if not any(self.conv_depths[index : index + 1]):
            return x_BHWC
        convolved_BCHW: Tensor = self.convs[index](x_BHWC.permute(0, 3, 1, 2))
        return convolved_BCHW.permute(0, 2, 3, 1)
