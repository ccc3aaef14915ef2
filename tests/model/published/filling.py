"""Weights and pixels that anyone can make again: each tensor's numbers follow from its published name.

Holds the rules of the reference outputs. Never holds a weight that somebody trained.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# How a tensor's name begins, by the part that holds it; a head of face_analysis_pytorch is named by its task instead.
_PREFIXES: Final = {
    "state_dict_backbone": "state_dict_backbone/",
    "state_dict_fam": "state_dict_fam/",
    "state_dict_tss": "state_dict_tss/",
    "state_dict_om": "state_dict_om/",
    "state_dict": "",
    "model": "model/",
}


def filled(part: str, tensors: Mapping[str, Tensor], task: str = "") -> dict[str, Tensor]:
    """Tensors of the same names, shapes and kinds of number, filled by their names.

    Args:
        part: the published part that they stand in.
        tensors: shapes alone are read, so that they may live on the meta device.
        task: what a `head` answers.
    """
    prefix = f"head_{task}/" if part == "head" else _PREFIXES[part]
    return {key: torch.from_numpy(np.asarray(fill(prefix + key, value.shape))) for key, value in tensors.items()}


def fill(name: str, shape: Iterable[int]) -> NDArray[np.generic]:
    """A tensor's numbers from its name."""
    dims, leaf = tuple(shape), name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(dims, np.int64)
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(dims).astype(np.float32)
    if leaf == "running_var":
        return (0.5 + np.abs(noise)).astype(np.float32)
    if leaf in ("running_mean", "gamma"):
        return np.asarray(0.1 * noise, np.float32)
    if len(dims) <= 1:
        return np.asarray(1 + 0.1 * noise if leaf == "weight" else 0.1 * noise, np.float32)
    return np.asarray(noise / np.sqrt(np.prod(dims[1:])), np.float32)


def pixels(num: int, side_px: int) -> Tensor:
    """Normalised images, float32 (num, 3, side_px, side_px)."""
    drawn = np.random.Generator(np.random.PCG64(7)).uniform(-1, 1, (num, 3, side_px, side_px))
    return torch.from_numpy(drawn.astype(np.float32))
