"""Augmentation: what a crop may look like, as batched tensor operations.

A crop's black border would betray its set (utkface and fer2013 have one where the source ended, celeba has none), so
borders are exchanged between the crops of a batch and filled at random, on every set alike. Never touches a label, and
draws all its randomness from the generator that it is given. Shape suffixes: B batch; C channels; H, W pixels.
"""

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from model.training.jpeg import compressed

_BEST_JPEG_QUALITY: Final = 90.0


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """How far and how often. Probabilities are a crop's chance to be changed in that way.

    Attributes:
        kind: `crops` is all of what follows `flip`; `flip` a mirror image alone; `randaugment` a mirror image, timm's
            RandAugment by `policy` and random erasing (see `model.training.randaugment`); `none` leaves crops alone.
        flip_only: sets that `randaugment` only mirrors.
        policy: of RandAugment.
        erasing: probability of random erasing, beside RandAugment.
        flip: probability of a mirror image.
        rotation_degrees: up to this, either way.
        scale: up to this share larger or smaller.
        shift: up to this share of the side, either way.
        border: probability that a crop also gets the black border of another crop of the batch.
        border_fill: probability that a border is filled with a colour or another crop's pixels, not left black.
        border_darkness: a border's pixels are all darker than this (0 to 1).
        edge_cut: probability that one or two sides end early, as where a source photograph ended.
        grey: probability of a grey picture.
        brightness: up to this, either way (pixels run from -1 to 1).
        contrast: up to this share more or less.
        tint: up to this share more or less of each channel's light.
        low_resolution: probability of a crop from few pixels.
        min_resolution_px: the fewest.
        blur: probability of a 3x3 binomial blur, `blur_passes` times over at most, drawn for the batch.
        blur_passes: n passes are as wide as a Gaussian of a deviation of sqrt(n / 2) pixels.
        jpeg: probability of a JPEG's loss.
        min_jpeg_quality: the worst, of libjpeg's 1 to 100; the best is 90.
        noise: probability of Gaussian noise.
        noise_sigma: its largest standard deviation.
        erase: probability of an erased rectangle.
        erase_share: its largest side over the crop's.
    """

    kind: Literal["crops", "flip", "randaugment", "none"] = "crops"
    flip_only: tuple[str, ...] = ()
    policy: str = "rand-m9-mstd0.5-inc1"
    erasing: float = 0.25
    flip: float = 0.5
    rotation_degrees: float = 5.0
    scale: float = 0.05
    shift: float = 0.03
    border: float = 0.4
    border_fill: float = 0.7
    border_darkness: float = 0.05
    edge_cut: float = 0.05
    grey: float = 0.25
    brightness: float = 0.1
    contrast: float = 0.15
    tint: float = 0.0
    low_resolution: float = 0.1
    min_resolution_px: int = 28
    blur: float = 0.05
    blur_passes: int = 2
    jpeg: float = 0.0
    min_jpeg_quality: int = 20
    noise: float = 0.05
    noise_sigma: float = 0.1
    erase: float = 0.0
    erase_share: float = 0.4


class Augmentation:
    """Applies a configuration to a batch."""

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config

    def __call__(self, images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Changes a batch.

        Args:
            images_BCHW: float (B, 3, H, W), -1 to 1.
            generator: on the CPU, whatever the images' device: the draws are then the same on every device, but for
                noise.
        """
        draw = _Draws(images_BCHW, generator)
        images_BCHW = self._exchange_borders(images_BCHW, draw)
        images_BCHW = self._warp(images_BCHW, draw)
        images_BCHW = self._soften(images_BCHW, draw)
        images_BCHW = self._colour(images_BCHW, draw)
        return self._cover(images_BCHW, draw).clamp(-1, 1)

    def _exchange_borders(self, x: Tensor, draw: "_Draws") -> Tensor:
        own = black_border(x, self.config.border_darkness)
        other = draw.order()
        border = own | (own[other] & draw.chance(self.config.border)[:, None, None, None])
        colour = draw.chance(0.5)[:, None, None, None]
        fill = torch.where(colour, draw.fill(), x[draw.order()])
        black = ~draw.chance(self.config.border_fill)[:, None, None, None]
        return torch.where(border, torch.where(black, torch.full_like(fill, -1.0), fill), x)

    def _warp(self, x: Tensor, draw: "_Draws") -> Tensor:
        angle = draw.between(-1, 1) * (self.config.rotation_degrees * torch.pi / 180)
        zoom = 1 + draw.between(-1, 1) * self.config.scale
        mirror = 1 - 2 * draw.chance(self.config.flip).to(x.dtype)
        # affine_grid's units: the side is 2 long, so a shift by a share of the side is twice that share.
        theta_B23 = torch.stack(
            [
                torch.stack([zoom * angle.cos() * mirror, -zoom * angle.sin(), self._shift(draw)], 1),
                torch.stack([zoom * angle.sin() * mirror, zoom * angle.cos(), self._shift(draw)], 1),
            ],
            1,
        )
        grid = F.affine_grid(theta_B23, list(x.shape), align_corners=False)
        fill = draw.fill()
        return F.grid_sample(x - fill, grid, align_corners=False) + fill

    def _shift(self, draw: "_Draws") -> Tensor:
        return draw.between(-1, 1) * (2 * self.config.shift)

    def _soften(self, x: Tensor, draw: "_Draws") -> Tensor:
        """Low resolution, blur and compression, computed for the chosen crops alone: they are the costly ones."""
        side = x.shape[-1]
        few = min(self.config.min_resolution_px, side)
        resolution = int(draw.one(few, side * 3 // 4 + 1))  # one for the batch: a resize each would be a loop
        x = x.clone()
        coarse = draw.chosen(self.config.low_resolution)
        if len(coarse):  # CUDA's antialiased resizing fails on no images at all
            small = F.interpolate(x[coarse], (resolution, resolution), mode="bilinear", antialias=True)
            x[coarse] = F.interpolate(small, (side, side), mode="bilinear")
        blurred, passes = draw.chosen(self.config.blur), int(draw.one(1, self.config.blur_passes + 1))
        soft = x[blurred]
        for _ in range(passes):
            soft = blur(soft)
        x[blurred] = soft
        packed = draw.chosen(self.config.jpeg)
        quality = draw.between(self.config.min_jpeg_quality, _BEST_JPEG_QUALITY)[packed]
        x[packed] = compressed(x[packed], quality)
        return x

    def _colour(self, x: Tensor, draw: "_Draws") -> Tensor:
        red, green, blue = x.unbind(1)
        grey = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None].expand_as(x)
        x = torch.where(draw.chance(self.config.grey)[:, None, None, None], grey, x)
        mean = x.mean((1, 2, 3), keepdim=True)
        contrast = (1 + draw.between(-1, 1) * self.config.contrast)[:, None, None, None]
        brightness = (draw.between(-1, 1) * self.config.brightness)[:, None, None, None]
        x = (x - mean) * contrast + mean + brightness
        if self.config.tint:
            x = (x + 1) * (1 + draw.tints() * self.config.tint) - 1
        noisy = draw.chosen(self.config.noise)
        sigma = draw.between(0, self.config.noise_sigma)[noisy]
        x[noisy] += draw.normal(x[noisy]) * sigma[:, None, None, None]
        return x

    def _cover(self, x: Tensor, draw: "_Draws") -> Tensor:
        """Cuts edges and erases rectangles; both are filled with black or with one random colour."""
        ys, xs = draw.coordinates()
        hidden = torch.zeros_like(x[:, :1], dtype=torch.bool)
        for share in (1.0, 0.5):  # a second edge half as often: a corner
            angle = (draw.between(0, 2 * torch.pi))[:, None, None]
            distance = (draw.between(0.55, 1.1))[:, None, None]
            beyond = xs * angle.cos() + ys * angle.sin() > distance
            hidden |= (beyond & draw.chance(self.config.edge_cut * share)[:, None, None])[:, None]
        x = torch.where(hidden, draw.fill(), x)
        centre_x, centre_y = (draw.between(-0.9, 0.9)[:, None, None] for _ in range(2))
        half_x, half_y = (draw.between(0.1, max(self.config.erase_share, 0.1))[:, None, None] for _ in range(2))
        inside = ((xs - centre_x).abs() < half_x) & ((ys - centre_y).abs() < half_y)
        erased = (inside & draw.chance(self.config.erase)[:, None, None])[:, None]
        return torch.where(erased, draw.fill(), x)


def black_border(images_BCHW: Tensor, darkness: float) -> Tensor:
    """Where a crop's dark border is: bool (B, 1, H, W), pixels that dark pixels alone separate from a side.

    Args:
        images_BCHW: float (B, 3, H, W), -1 to 1.
        darkness: 0 to 1, brighter than any pixel of a border.
    """
    dark = (images_BCHW.amax(1, keepdim=True) < 2 * darkness - 1).to(torch.uint8)
    border = torch.zeros_like(dark)
    for dim in (2, 3):
        border |= dark.cumprod(dim, dtype=torch.uint8) | dark.flip(dim).cumprod(dim, dtype=torch.uint8).flip(dim)
    return border.to(torch.bool)


def blur(images_BCHW: Tensor) -> Tensor:
    """A 3x3 binomial blur; edges are repeated."""
    padded = F.pad(images_BCHW, (1, 1, 1, 1), mode="replicate")
    rows = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


class _Draws:
    """Random numbers for a batch, drawn on the CPU and moved to the images' device."""

    def __init__(self, images_BCHW: Tensor, generator: torch.Generator) -> None:
        self._images = images_BCHW
        self._generator = generator

    def between(self, low: float, high: float) -> Tensor:
        """Uniform (B,)."""
        uniform = torch.rand(len(self._images), generator=self._generator)
        return (low + (high - low) * uniform).to(self._images, non_blocking=True)

    def one(self, low: int, high: int) -> Tensor:
        """One integer from `low` to `high` - 1."""
        return torch.randint(low, max(high, low + 1), (), generator=self._generator)

    def chance(self, probability: float) -> Tensor:
        """Bool (B,)."""
        return (torch.rand(len(self._images), generator=self._generator) < probability).to(
            self._images.device, non_blocking=True
        )

    def chosen(self, probability: float) -> Tensor:
        """Which crops, int64 (fewer than B or B,): counted on the CPU, so that no GPU is waited for."""
        chosen = torch.rand(len(self._images), generator=self._generator) < probability
        return chosen.nonzero()[:, 0].to(self._images.device, non_blocking=True)

    def tints(self) -> Tensor:
        """Uniform in -1 to 1, one a crop and channel, (B, 3, 1, 1)."""
        return (torch.rand(len(self._images), 3, 1, 1, generator=self._generator) * 2 - 1).to(
            self._images, non_blocking=True
        )

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal in another tensor's shape; drawn on its device, of a seed that is drawn on the CPU.

        A GPU's numbers are thus not a CPU's: noise for a large batch is the one draw that a CPU would hold up.
        """
        seed = int(torch.randint(1 << 62, (), generator=self._generator))
        own = torch.Generator(like.device).manual_seed(seed)
        return torch.randn(like.shape, generator=own, device=like.device, dtype=like.dtype)

    def order(self) -> Tensor:
        """A random order of the batch, int64 (B,)."""
        return torch.randperm(len(self._images), generator=self._generator).to(self._images.device, non_blocking=True)

    def fill(self) -> Tensor:
        """A colour an image, (B, 3, 1, 1): black for half of them."""
        colour = torch.rand(len(self._images), 3, 1, 1, generator=self._generator) * 2 - 1
        black = torch.rand(len(self._images), 1, 1, 1, generator=self._generator) < 0.5
        return torch.where(black, torch.tensor(-1.0), colour).to(self._images, non_blocking=True)

    def coordinates(self) -> tuple[Tensor, Tensor]:
        """Rows' and columns' positions, (1, H, 1) and (1, 1, W), -1 to 1."""
        height, width = self._images.shape[2:]
        device = self._images.device
        ys, xs = torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device)
        return ys[None, :, None], xs[None, None, :]
