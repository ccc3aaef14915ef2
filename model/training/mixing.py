"""Mixup and cutmix: two images of a batch as one, and the loss that goes with it.

Holds both mixtures and their loss. Never draws from torch's global state: all comes from the generator that is passed,
so a resumed training mixes as the uninterrupted one would have. Shape suffixes: B batch; C channels; H height; W width.

    images_BCHW, partner_B, share = mixup(images_BCHW, generator)
    loss = mixed(cross_entropy, logits_BK, target_B, partner_B, share)

The partner is a permutation of the batch, so either half of the loss counts the same labelled rows, and a row without a
label stays inert as anyone's partner, too.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def mixup(images_BCHW: Tensor, generator: torch.Generator, alpha: float = 0.8) -> tuple[Tensor, Tensor, float]:
    """Mixes every image with its partner's, number by number (Zhang et al. 2018, arXiv 1710.09412).

    Args:
        images_BCHW: float (B, C, H, W).
        generator: decides the partners and the share.
        alpha: of the share's Beta(alpha, alpha) distribution, above 0 (timm trains with 0.8).

    Returns:
        The images, each row's partner int64 (B,), and the row's own share of the loss.
    """
    partner_B, share = _draw(len(images_BCHW), generator, alpha)
    partner_B = partner_B.to(images_BCHW.device)
    return share * images_BCHW + (1 - share) * images_BCHW[partner_B], partner_B, share


def cutmix(images_BCHW: Tensor, generator: torch.Generator, alpha: float = 1.0) -> tuple[Tensor, Tensor, float]:
    """Pastes one box, the same for all rows, from the partner's image (Yun et al. 2019, arXiv 1905.04899).

    Args:
        images_BCHW: float (B, C, H, W).
        generator: decides the partners, the box' size and its place.
        alpha: of the wanted share's Beta(alpha, alpha) distribution, above 0.

    Returns:
        The images, each row's partner int64 (B,), and the row's own share of the loss: that of the pixels it kept.
    """
    partner_B, wanted = _draw(len(images_BCHW), generator, alpha)
    height, width = images_BCHW.shape[2:]
    top, bottom = _span(height, wanted, generator)
    left, right = _span(width, wanted, generator)
    images_BCHW, partner_B = images_BCHW.clone(), partner_B.to(images_BCHW.device)
    images_BCHW[:, :, top:bottom, left:right] = images_BCHW[partner_B, :, top:bottom, left:right]
    return images_BCHW, partner_B, 1 - (bottom - top) * (right - left) / (height * width)


def mixed(
    loss: Callable[[Tensor, Tensor], Tensor], answer: Tensor, target: Tensor, partner_B: Tensor, share: float
) -> Tensor:
    """The share-weighed sum of a loss against the own targets and against the partners'.

    Args:
        loss: of answers and targets, masked as all in `model.losses`.
        answer: (B, ...), of the mixed images.
        target: (B, ...), of the images before they were mixed.
        partner_B: int64 (B,).
        share: the own one, 0 to 1.
    """
    return share * loss(answer, target) + (1 - share) * loss(answer, target[partner_B])


def _draw(num_rows: int, generator: torch.Generator, alpha: float) -> tuple[Tensor, float]:
    """A permutation, and a share from Beta(alpha, alpha), which torch draws from its global state alone."""
    partner_B = torch.randperm(num_rows, generator=generator)
    seed = int(torch.randint(1 << 62, (), generator=generator))
    return partner_B, float(np.random.default_rng(seed).beta(alpha, alpha))


def _span(length: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    """A box' first and last pixel but one along a side: its centre is anywhere, so it may be cut off at the edge."""
    half = int(length * (1 - share) ** 0.5) // 2
    centre = int(torch.randint(length, (), generator=generator))
    return max(centre - half, 0), min(centre + half, length)
