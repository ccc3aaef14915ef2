"""Crops that lie on the GPU: every set's pixels, copied there once, so that no step waits for a copy.

Holds the pixels and the picking of a batch's. Never reads a file and never augments.
Shape suffixes: B batch; S crop side; C channels; N rows of a set.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.training.batches import Mixture

_MAX_SHARE: Final = 0.4  # of the memory that is free: the network, its activations and the optimizer need the rest


class ResidentCrops:
    """Every set's decoded crops on a device."""

    def __init__(self, mixture: Mixture, device: torch.device) -> None:
        """Copies them; every table's images must be decoded (see `fits`)."""
        self._device = device
        self._images = {
            name: torch.from_numpy(np.asarray(table.images)).to(device) for name, table in mixture.tables.items()
        }

    def take(self, rows: Mapping[str, NDArray[np.int64]]) -> Tensor:
        """The named rows' crops, set after set, uint8 (B, S, S, 3) on the device."""
        parts = [
            self._images[name][torch.from_numpy(index).to(self._device, non_blocking=True)]
            for name, index in rows.items()
        ]
        return torch.cat(parts)


def resident_crops(mixture: Mixture, device: torch.device) -> ResidentCrops | None:
    """The crops on a GPU, where they are decoded and there is room for them; else None."""
    if device.type != "cuda" or not fits(mixture, torch.cuda.mem_get_info(device)[0]):
        return None
    return ResidentCrops(mixture, device)


def fits(mixture: Mixture, free_bytes: int) -> bool:
    """Whether all sets are decoded in memory and take a modest share of a device's free memory."""
    tables = mixture.tables.values()
    if not all(isinstance(table.images, np.ndarray) for table in tables):
        return False
    return sum(int(np.prod(table.images.shape)) for table in tables) <= _MAX_SHARE * free_bytes
