"""Grad-CAM: where on a crop a network looked for one of its answers.

Holds two ways to weigh a map that the trunk taps, both by captum (BSD-3-Clause): by default the last map, which is what
leaves Swin's and ConvNeXt's last stage and IR's last unit.

`grad-cam` (Selvaraju et al. 2017, arXiv 1610.02391) weighs a channel by the mean of its gradient over all places, as
FAER's pictures do. That loses the place where a head does not average: SwinFace's groups take each channel's largest
place, IR flattens. `hires-cam` (Draelos and Carin 2020, arXiv 2011.08891) weighs each place of a channel by its own
gradient; on a head that averages both are one.

Never reads a photograph and never draws. Shape suffixes: N faces; S crop side; B batch; C channels; H, W places of a
map.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, get_args

import numpy as np
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from numpy.typing import NDArray
from torch import Tensor, nn

from model.analyzer import normalise
from model.network import MultiTaskNetwork
from model.network_config import NetworkConfig
from model.training.explain.aims import ExplainError

Method = Literal["grad-cam", "hires-cam"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
LAST_LEVEL: Final = -1

Score = Callable[[Mapping[str, Tensor]], Tensor]  # raw answers of (B, ...) to (B,), what rises with the answer


def default_method(config: NetworkConfig) -> Method:
    """The way that tells places apart on this network's heads: Grad-CAM where its head averages the last map (FAER)."""
    return "grad-cam" if config.head == "context" else "hires-cam"


def class_activation(
    network: MultiTaskNetwork, images_NSSC: Tensor, score: Score, method: Method, level: int = LAST_LEVEL
) -> NDArray[np.float32]:
    """Maps of what speaks for an answer, on the grid of the tapped level.

    Channels are weighed and summed, and the sum is cut at zero, so that what speaks against the answer is left out.

    Args:
        network: in evaluation mode.
        images_NSSC: uint8 crops of the network's side, on its device.
        score: of its raw answers.
        method: how channels are weighed.
        level: which of the trunk's maps: 0 the finest, -1 the last. Of a Swin's earlier maps only what a head reads of
            them directly counts, not what later stages make of them.

    Returns:
        float32 (N, H, W), not scaled, none below 0.

    Raises:
        ExplainError: if there is no such level, or the score does not depend on it.
    """
    pixels = normalise(images_NSSC, network.config.pixels)
    way = LayerGradCam if method == "grad-cam" else LayerGradientXActivation
    with _tapped(network.backbone, level) as tap:
        try:
            # Over channels the one way's map is summed already, the other's not; the sum of a single one is itself.
            maps_BCHW = way(lambda images: score(network(images)), tap).attribute(pixels)
        except RuntimeError as error:
            if "not have been used" not in str(error):
                raise
            raise ExplainError(f"nothing reads level {level} of the trunk for this answer; try another") from error
    return np.asarray(maps_BCHW.detach().sum(1).clamp(min=0).float().cpu().numpy(), np.float32)


def upsampled(map_HW: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """A map on the crop's own grid (side_px, side_px), bilinear, spread from 0 at its lowest place to 1 at its highest.

    A map that is alike everywhere is zero.
    """
    grown = LayerGradCam.interpolate(torch.from_numpy(map_HW)[None, None], (side_px, side_px), "bilinear")[0, 0]
    spread = grown - grown.min()
    highest = float(spread.max())
    return np.asarray((spread / highest if highest > 0 else spread).numpy(), np.float32)


@contextmanager
def _tapped(trunk: nn.Module, level: int) -> Iterator[nn.Module]:
    """A module whose output is one of the maps that leave the trunk, whatever the trunk's kind."""
    tap = nn.Identity()

    def through(_module: nn.Module, _inputs: object, maps_BCHW: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not -len(maps_BCHW) <= level < len(maps_BCHW):
            raise ExplainError(f"the trunk has {len(maps_BCHW)} levels, 0 to {len(maps_BCHW) - 1}; there is no {level}")
        through_tap = list(maps_BCHW)
        through_tap[level] = tap(maps_BCHW[level])
        return tuple(through_tap)

    handle = trunk.register_forward_hook(through)
    try:
        yield tap
    finally:
        handle.remove()
