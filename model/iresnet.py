"""Improved-residual ResNets, "IR" and "IR-SE", the trunks of face_analysis_pytorch, tapped after each stage.

Holds the trunk. Never holds the output layer that makes an embedding of the last map (see `model.recognition`). Shape
suffixes: B batch; C channels; H, W pixels or places of a map.
"""

import torch
from torch import Tensor, nn

from model.trunk import Trunk
from model.trunk_config import IResNetConfig


class SqueezeExcitation(nn.Module):
    """A channel gate (Hu et al. 2018, arXiv 1709.01507) without bias: mean, linear, ReLU, linear, sigmoid."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x_BCHW * torch.sigmoid(self.fc2(torch.relu(self.fc1(x_BCHW.mean((2, 3), keepdim=True)))))


class ResidualUnit(nn.Module):
    """Batch norm, 3x3 convolution, batch norm, PReLU, 3x3 convolution, batch norm (Deng et al. 2019, section 3.2.1).

    The last convolution carries the stride; with a stride the shortcut is a 1x1 convolution and batch norm.
    """

    def __init__(self, in_width: int, width: int, stride: int, reduction: int | None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(in_width),
            nn.Conv2d(in_width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.gate = nn.Identity() if reduction is None else SqueezeExcitation(width, reduction)
        self.shortcut = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(in_width, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the unit's width and stride."""
        out_BCHW: Tensor = self.gate(self.body(x_BCHW)) + self.shortcut(x_BCHW)
        return out_BCHW


class IResNetBackbone(Trunk):
    """The stem and the stages of residual units; each stage's first unit halves the map.

    As published, with the output layer of `model.recognition`, at 112 pixels (multiply and add counted): IR-50 has
    43.6 M parameters and takes 12.6 GFLOP, IR-100 65.2 M and 24.2, IR-152 70.8 M and 24.6; "SE" adds 0.5 % of
    parameters and next to no operation.
    """

    def __init__(self, config: IResNetConfig) -> None:
        super().__init__()
        stem_width = config.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_width, 3, 1, 1, bias=False), nn.BatchNorm2d(stem_width), nn.PReLU(stem_width)
        )
        reduction = config.reduction if config.squeeze_excitation else None
        in_widths = (stem_width, *config.widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                ResidualUnit(in_width, width, 2, reduction),
                *(ResidualUnit(width, width, 1, reduction) for _ in range(num - 1)),
            )
            for in_width, width, num in zip(in_widths, config.widths, config.units, strict=True)
        )

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """One float (B, C, H, W) after each stage, of float (B, 3, side_px, side_px), normalised."""
        x_BCHW = self.stem(images_BCHW)
        taps = []
        for stage in self.stages:
            assert isinstance(stage, nn.Sequential)
            x_BCHW = self.run(stage, x_BCHW)
            taps.append(x_BCHW)
        return tuple(taps)
