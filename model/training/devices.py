"""The device that a training runs on. Never moves anything to it."""

from typing import Literal

import torch


class TrainingError(RuntimeError):
    """A training that cannot go on; the message is one clear line."""


def device_of(device: Literal["auto", "cpu", "cuda"], num_threads: int = 0) -> torch.device:
    """The device that a recipe asks for; `auto` takes CUDA where there is one.

    Args:
        device: as in a recipe.
        num_threads: torch's on the CPU; 0 leaves them as they are.

    Raises:
        TrainingError: if CUDA is asked for and torch finds none.
    """
    if num_threads > 0:
        torch.set_num_threads(num_threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device=cuda, but torch finds no CUDA device")
    chosen = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    if chosen.type == "cuda":
        # Every step has the shapes of the last one, so the search for the quickest convolution pays at once.
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return chosen
