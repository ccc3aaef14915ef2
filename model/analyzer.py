"""The analyzer: a network with its pixel normalisation before it and its probabilities behind it.

The torch twin of a pack's analyzer graph, so that what is evaluated is what is exported. Never trains and never reads a
file. Shape suffixes: N faces; S crop side; B batch; C channels; H, W pixels.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network import MultiTaskNetwork
from model.network_config import Pixels, Temperatures
from model.runtime.labels import Task

# Mean and standard deviation of each channel of pixels in 0 to 1: ImageNet's, as every ImageNet network has them.
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalise(images_NSSC: Tensor, pixels: Pixels = "symmetric") -> Tensor:
    """uint8 (N, S, S, 3) RGB to float32 (N, 3, S, S).

    Args:
        images_NSSC: the images.
        pixels: `symmetric` is `(x / 255 - 0.5) / 0.5`, `imagenet` subtracts ImageNet's mean of each channel and
            divides by its standard deviation.
    """
    images_NCSS = images_NSSC.permute(0, 3, 1, 2).to(torch.float32)
    if pixels == "symmetric":
        return images_NCSS * (2.0 / 255.0) - 1.0
    mean_C11, deviation_C11 = (torch.tensor(each, device=images_NSSC.device).view(3, 1, 1) for each in _IMAGENET)
    return images_NCSS * (1 / (255 * deviation_C11)) - mean_C11 / deviation_C11


class Analyzer(nn.Module):
    """Answers a pack's analyzer contract.

    Attributes:
        tasks: what it answers, in the order of its outputs.
        side_px: the side of the crops that it takes.
        temperatures: what the logits are divided by.
    """

    def __init__(self, network: MultiTaskNetwork, temperatures: Temperatures | None = None) -> None:
        """An analyzer of a network, at its configuration's temperatures or at others."""
        super().__init__()
        self.network = network
        self.temperatures = network.config.temperatures if temperatures is None else temperatures
        self.tasks: tuple[Task, ...] = network.config.tasks
        self.side_px = network.config.backbone.side_px
        for task in self.tasks:
            temperature = self.temperatures.of(task)
            if set(temperature) != {1.0}:
                # On the network's device once and for all: a run that is recorded copies none.
                inverse = torch.tensor([1 / value for value in temperature])
                self.register_buffer(_inverse(task), inverse.to(_device(network)), persistent=False)

    def forward(self, images_NSSC: Tensor) -> dict[str, Tensor]:
        """Answers every task.

        Args:
            images_NSSC: uint8 (N, S, S, 3), RGB aligned crops of `side_px`.

        Returns:
            float32, in the order of `tasks`: `embedding` (N, D) L2-normalised, `age` (N,) years, `gender` (N, 2),
            `expression` (N, 7) and `race` (N, 5) probabilities, `attributes` (N, 40) probabilities of yes.
        """
        raw = self.network(normalise(images_NSSC, self.network.config.pixels))
        return {task: self._answer(task, raw[task].to(torch.float32)) for task in self.tasks}

    def _answer(self, task: Task, raw: Tensor) -> Tensor:
        if task == "age" and self.network.config.age_form == "distribution":
            return expected_years(raw)
        inverse: Tensor | None = getattr(self, _inverse(task), None)
        return _answer(task, raw, inverse)


def _inverse(task: Task) -> str:
    return f"inverse_temperature_{task}"


def _device(network: nn.Module) -> torch.device:
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))


def expected_years(logits_NK: Tensor) -> Tensor:
    """A distribution's expectation: logits of the years 0 to K - 1, (N, K), to years (N,)."""
    years_K = torch.arange(logits_NK.shape[1], dtype=logits_NK.dtype, device=logits_NK.device)
    return torch.softmax(logits_NK, 1) @ years_K


def _answer(task: Task, raw: Tensor, inverse: Tensor | None) -> Tensor:
    if task == "embedding":
        return F.normalize(raw, dim=1)
    if task == "attributes":
        # softmax of a pair [no, yes], second member, is the sigmoid of the difference: one operation in the graph.
        return torch.sigmoid(_tempered(raw[:, :, 1] - raw[:, :, 0] if raw.ndim == 3 else raw, inverse))
    if task == "age":
        # Ordinal logits: the age is how many ranks say "older" with more than even odds.
        return (raw > 0).to(torch.float32).sum(1) if raw.ndim == 2 else raw
    return torch.softmax(_tempered(raw, inverse), 1)


def _tempered(logits: Tensor, inverse: Tensor | None) -> Tensor:
    return logits if inverse is None else logits * inverse
